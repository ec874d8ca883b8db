"""Expected gradients beside closed forms, a plain loop and the score's difference from its mean."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.visualization import expected_gradients, integrated_gradients
from vis.visualization.expected_gradients import _draws

RAW = {"normalize": False}
RNG = np.random.default_rng(0)
BACKGROUND = RNG.normal(size=(6, 5)).astype("float32")


def dense(activation="tanh"):
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, activation), keras.layers.Dense(3)])


@pytest.mark.parametrize("turns", [1, 4])
def test_a_linear_model_is_exact_where_all_rows_are_taken_equally_often(turns):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    x = RNG.normal(size=(2, 5)).astype("float32")
    maps = expected_gradients(model, -1, [[0], [2]], x, background=BACKGROUND, num_samples=6 * turns, **RAW)
    kernel = model.get_weights()[0]
    np.testing.assert_allclose(maps, (x - BACKGROUND.mean(axis=0)) * kernel[:, [0, 2]].T, rtol=1e-4, atol=1e-6)


def test_it_is_a_loop_over_rows_and_places():
    model, x = dense(), RNG.normal(size=5).astype("float32")
    maps = expected_gradients(model, -1, 1, x, background=BACKGROUND, num_samples=20, seed=3, **RAW)
    expected = np.zeros(5)
    for row, alpha in zip(*_draws(6, 20, 3), strict=True):
        point = tf.constant((BACKGROUND[row] + alpha * (x - BACKGROUND[row]))[None])
        with tf.GradientTape() as tape:
            tape.watch(point)
            score = model(point)[0, 1]
        expected += (x - BACKGROUND[row]) * tape.gradient(score, point).numpy()[0] / 20
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_the_attributions_add_up_to_the_difference_from_the_mean():
    model, x = dense(), 2 * RNG.normal(size=(3, 5)).astype("float32")
    maps = expected_gradients(model, -1, 1, x, background=BACKGROUND, num_samples=3000, **RAW)
    difference = model(x).numpy()[:, 1] - model(BACKGROUND).numpy()[:, 1].mean()
    np.testing.assert_allclose(maps.sum(axis=1), difference, atol=2e-3)
    parts = [integrated_gradients(model, -1, 1, x, baseline=row, **RAW) for row in BACKGROUND]
    np.testing.assert_allclose(maps, np.mean(parts, axis=0), atol=2e-3)


@pytest.mark.parametrize(("rows", "count"), [(6, 24), (6, 20), (6, 4), (1, 7)])
def test_rows_are_taken_in_turn_and_places_are_stratified(rows, count):
    taken, alphas = _draws(rows, count, 0)
    times = np.bincount(taken, minlength=rows)
    assert times.max() - times.min() <= 1
    for row in range(rows):
        np.testing.assert_array_equal(np.sort(np.int64(alphas[taken == row] * times[row])), np.arange(times[row]))
    if count % rows == 0:  # the rows of a turn, too, share out the places
        np.testing.assert_array_equal(np.sort(np.int64(alphas * count)), np.arange(count))


def test_places_do_not_depend_on_the_row():
    means = np.mean([_draws(4, 8, seed)[1] for seed in range(2000)], axis=0)
    np.testing.assert_allclose(means, np.repeat([0.25, 0.75], 4), atol=0.015)


def test_a_sample_has_the_same_attribution_alone_and_in_a_batch_of_any_size():
    model, x = zoo.functional(), zoo.images(3)
    options = {"background": zoo.images(4, seed=1), "num_samples": 8, **RAW}
    together = expected_gradients(model, -1, [[0], [1], [2]], x, **options)
    assert together.shape == (3, 16, 16)
    for i in range(3):
        alone = expected_gradients(model, -1, i, x[i], batch_size=3, **options)
        np.testing.assert_allclose(alone, together[i], atol=1e-6)
    streamed = expected_gradients(model, -1, None, iter([(x[:2], [0, 1]), (x[2:], [2])]), **options)
    np.testing.assert_allclose(np.concatenate(list(streamed)), together, atol=1e-6)
    assert np.abs(expected_gradients(model, -1, 0, x[0], seed=1, **options) - together[0]).max() > 1e-4


def test_the_tokens_of_an_embedding_have_rows_of_tokens_for_their_background():
    layers = [keras.layers.Embedding(10, 4, name="words"), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    tokens, background = np.arange(7), RNG.integers(10, size=(5, 7))
    maps = expected_gradients(model, -1, [[1]], tokens, "words", background=background, num_samples=5, **RAW)
    table, (kernel, _) = layers[0].get_weights()[0], layers[2].get_weights()
    expected = (table[tokens] - table[background].mean(axis=0)) @ kernel[:, 1] / 7
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_rows_of_several_inputs_belong_together():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.ops.sum(a * b, axis=-1, keepdims=True))
    x = {"a": np.array([1.0, 2.0]), "b": np.array([3.0, -1.0])}
    background = {"a": RNG.normal(size=(3, 2)), "b": RNG.normal(size=(3, 2))}
    maps = expected_gradients(model, None, 0, x, background=background, num_samples=3000, **RAW)
    # On the way from (a', b') the mean of b is (b + b') / 2.
    expected = ((x["a"] - background["a"]) * (x["b"] + background["b"]) / 2).mean(axis=0)
    np.testing.assert_allclose(maps["a"], expected, atol=2e-3)


def test_no_new_trace_for_another_class_background_or_number():
    from vis.engine import cache

    model = dense()
    for label, rows, count in [(0, 2, 10), (1, 4, 10), (2, 6, 33)]:
        x = RNG.normal(size=5)
        expected_gradients(model, -1, label, x, background=BACKGROUND[:rows], num_samples=count, seed=label)
    assert cache.traced(model) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": np.zeros((3, 4))}, r"background must have shape \(None, 5\)"),
        ({"background": np.zeros((0, 5))}, "background must hold at least one sample"),
        ({"background": np.full((3, 5), np.nan)}, "background must be finite"),
        ({"background": BACKGROUND, "num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"background": BACKGROUND, "seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        expected_gradients(dense(), -1, 0, np.ones(5), **options)


def test_a_background_of_another_size_than_the_picture():
    layers = [keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((None, None, 1)), *layers])
    with pytest.raises(ValueError, match=r"background must have rows of the samples' shape \(8, 8, 1\)"):
        expected_gradients(model, -1, 0, np.ones((8, 8, 1)), background=np.ones((2, 9, 9, 1)))
