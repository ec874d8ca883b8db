"""What all perturbation methods share: which inputs, what stands for what is hidden, which scores."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import ArgumentError, VisWarning
from vis.visualization import occlusion
from vis.visualization.perturbation import Subject, background_of, filling

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def two_inputs():
    a, b = keras.Input((4,), name="a"), keras.Input((6, 2), name="b")
    steps = keras.layers.Conv1D(2, 1, use_bias=False, kernel_initializer=lambda *_, **__: np.eye(2)[None])(b)
    both = keras.layers.Concatenate()([a, keras.layers.Flatten()(steps)])
    return keras.Model({"a": a, "b": b}, keras.layers.Dense(2)(both))


def test_each_of_several_inputs_by_itself():
    model = two_inputs()
    x = {"a": RNG.normal(size=(3, 4)).astype("float32"), "b": RNG.normal(size=(3, 6, 2)).astype("float32")}
    kernel = model.layers[-1].get_weights()[0][:, 1]
    of_a, of_b = x["a"] * kernel[:4], (x["b"] * kernel[4:].reshape(6, 2)).sum(axis=-1)
    maps = occlusion(model, None, 1, x, window=1, **RAW)
    assert list(maps) == ["a", "b"]
    np.testing.assert_allclose(maps["a"], of_a, atol=1e-5)
    np.testing.assert_allclose(maps["b"], of_b, atol=1e-5)
    for name, index, expected in [("a", 0, of_a), ("b", -1, of_b)]:
        for inputs in (name, index):
            np.testing.assert_allclose(
                occlusion(model, None, 1, x, window=1, inputs=inputs, **RAW), expected, atol=1e-5
            )
    options = {"window": {"a": 1, "b": 6}, "fill": {"a": x["a"] - 1, "b": 0}}
    several = occlusion(model, None, 1, x, inputs=["b", "a"], **options, **RAW)
    np.testing.assert_allclose(several[0], np.repeat(of_b.sum(axis=1, keepdims=True), 6, axis=1), atol=1e-5)
    np.testing.assert_allclose(several[1], np.tile(kernel[:4], (3, 1)), atol=1e-5)


def test_a_function_of_the_output_a_prediction_and_a_stream():
    model, x = two_inputs(), {"a": RNG.normal(size=(3, 4)), "b": RNG.normal(size=(3, 6, 2))}
    options = {"window": 1, "inputs": "a", **RAW}
    parts = [occlusion(model, None, label, x, **options) for label in (0, 1)]
    margin = occlusion(model, None, lambda output: output[:, 1] - output[:, 0], x, **options)
    np.testing.assert_allclose(margin, parts[1] - parts[0], atol=1e-6)
    labels = model(x).numpy().argmax(axis=1)
    predicted = occlusion(model, None, "predicted", x, **options)
    np.testing.assert_allclose(predicted, np.choose(labels[:, None], parts), atol=1e-6)
    batches = [({name: each[i : i + 2] for name, each in x.items()}, labels[i : i + 2]) for i in (0, 2)]
    stream = list(occlusion(model, None, None, iter(batches), **options))
    assert [len(each) for each in stream] == [2, 1]
    np.testing.assert_allclose(np.concatenate(stream), predicted, atol=1e-6)


def test_copies_go_through_the_model_in_batches_of_batch_size():
    rows = []

    class Noted(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda v: rows.append(len(v)), [x], [])
            return x

    model = keras.Sequential([keras.Input((40,)), Noted(), keras.layers.Dense(1)])
    occlusion(model, -1, 0, np.ones(40), window=1, stride=1, batch_size=7)
    assert sum(rows) >= 40
    assert max(rows) == 7


def test_the_model_may_be_of_half_precision():
    model = zoo.functional()
    with_half = keras.models.clone_model(model, clone_function=lambda layer: layer.__class__.from_config(
        {**layer.get_config(), "dtype": "mixed_float16"} if layer.weights else layer.get_config()
    ))  # fmt: skip
    with_half.set_weights(model.get_weights())
    x = zoo.images(1)[0]
    half = occlusion(with_half, -1, 1, x, window=4, **RAW)
    np.testing.assert_allclose(half, occlusion(model, -1, 1, x, window=4, **RAW), atol=0.02)


def test_a_target_that_nothing_moves_is_told():
    model = zoo.functional()
    with pytest.warns(VisWarning, match="the target is the same however .* is perturbed, for 1 of 2 samples"):
        maps = occlusion(model, -1, 0, np.stack([np.full((16, 16, 3), 0.5), zoo.images(1)[0]]), fill=0.5)
    assert not maps[0].any()
    assert np.isfinite(maps).all()


def test_a_score_of_a_copy_that_is_not_finite_is_refused():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Lambda(lambda x: keras.ops.log(x)), keras.layers.Dense(1)]
    )
    with pytest.raises(ValueError, match="finite numbers for perturbed inputs too"):
        occlusion(model, -1, 0, np.ones(3), fill=0)


def subject_of(values, channel=None):
    return Subject(0, "x", np.asarray(values), channel)


def test_what_stands_for_what_is_hidden():
    # Two samples of 1 by 2 positions and two channels.
    picture = subject_of([[[[0.0, 10.0], [2.0, 30.0]]], [[[4.0, 0.0], [4.0, 2.0]]]], channel=2)
    assert (picture.axes, picture.sizes) == ([1, 2], (1, 2))
    assert filling("mean", picture).tolist() == [[[[[1.0, 20.0]]]], [[[[4.0, 1.0]]]]]
    assert filling(7, picture).shape == (2, 1, 1, 1, 1)
    assert filling({"x": [5.0, 6.0], "y": 0}, picture).tolist() == [[[[[5.0, 6.0]]]]] * 2
    own = filling(picture.values + 1, picture)
    np.testing.assert_array_equal(own[:, 0], picture.values + 1)


def test_tokens_and_tables_have_no_mean_and_no_neighbours():
    for subject, what in (
        (subject_of(np.array([[3, 1, 4]])), "tokens"),
        (subject_of(np.array([[3.0, 1.0, 4.0]])), "the features of a table"),
    ):
        assert filling("mean", subject).tolist() == [[[0]]]
        with pytest.raises(ArgumentError, match=f"fill must be a number or an array for {what}, which cannot be blur"):
            filling("blur", subject)


def test_a_background_holds_for_every_sample_and_is_of_their_type():
    pixels = subject_of(np.zeros((2, 3), np.uint8))
    found = background_of([[0.4, 1.6, 2.0], [9, 9, 9]], pixels)
    assert found.dtype == np.uint8
    assert found.tolist() == [[[0, 2, 2], [9, 9, 9]]] * 2


@pytest.mark.parametrize(
    ("fill", "message"),
    [
        ("black", "fill must be a number, an array, 'mean' or 'blur', not 'black'"),
        (
            [1.0, 2.0],
            r"fill must be a number or an array of shape \(3\) or \(samples, 3\) for 'x', not of shape \(1, 2\)",
        ),
        (np.zeros((3, 3)), r"not of shape \(3, 3\)"),
        ([np.inf, 0, 0], "fill must be finite, not NaN or infinite"),
        (object(), "fill must be a number or an array, not <object"),
        ({"y": 0}, r"fill must have a value for the input 'x', not only for \['y'\]"),
    ],
)
def test_what_cannot_stand_for_it(fill, message):
    with pytest.raises(ArgumentError, match=message):
        filling(fill, subject_of(np.zeros((2, 3))))


def test_what_integers_of_a_few_bits_cannot_hold_does_not_stand_for_them():
    with pytest.raises(ArgumentError, match=r"fill must be from 0 to 255 \(uint8\), not 300.0"):
        filling(300, subject_of(np.zeros((2, 3), np.uint8)))
