"""Seed inputs: what is taken, as what, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import zoo
from PIL import Image

from vis import ArgumentError, VisWarning
from vis.engine.inputs import prepare
from vis.visualization import visualize_saliency


def test_tensors_and_pillow_images_are_taken_as_arrays(plain):
    pixels = np.random.default_rng(0).integers(0, 255, zoo.SHAPE, dtype="uint8")
    expected = visualize_saliency(plain, -1, 2, pixels.astype("float32"))
    for given in (pixels, Image.fromarray(pixels), tf.constant(pixels), [Image.fromarray(pixels)]):
        np.testing.assert_array_equal(visualize_saliency(plain, -1, 2, given), expected)


@pytest.mark.parametrize(
    ("seed_input", "message"),
    [
        (np.zeros((1, 16, 16, 4)), r"must have shape \(None, 16, 16, 3\), or that of one sample, not \(1, 16, 16, 4\)"),
        (np.zeros((8, 16, 3)), r"must have shape \(None, 16, 16, 3\), or that of one sample, not \(8, 16, 3\)"),
        (np.zeros((16, 16)), r"must have shape \(None, 16, 16, 3\), or that of one sample, not \(16, 16\)"),
        (np.zeros((0, 16, 16, 3)), "must hold at least one sample"),
        (np.full(zoo.SHAPE, np.nan), "NaN or infinite"),
        (np.full(zoo.SHAPE, np.inf), "NaN or infinite"),
    ],
)
def test_bad_seed_inputs(plain, seed_input, message):
    with pytest.raises(ValueError, match=message):
        visualize_saliency(plain, -1, 2, seed_input)


@pytest.mark.parametrize("form", [list, tuple])
def test_a_list_of_the_one_batch_is_that_batch(plain, form):
    x = zoo.images(2)
    np.testing.assert_array_equal(visualize_saliency(plain, -1, 2, form([x])), visualize_saliency(plain, -1, 2, x))
    single = visualize_saliency(plain, -1, 2, form([x[0]]))  # a batch of one, as ever
    np.testing.assert_array_equal(single, visualize_saliency(plain, -1, 2, x[0]))
    table = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2)])
    assert visualize_saliency(table, -1, 0, form([np.ones(1)])).shape == (1,)


def test_a_seed_input_that_is_not_numeric(plain):
    with pytest.raises(TypeError, match="seed_input must be numeric"):
        visualize_saliency(plain, -1, 2, "cat.png")


@pytest.mark.parametrize(
    ("dtype", "value", "message"),
    [
        ("int32", np.nan, "seed_input must be finite, not NaN or infinite"),
        ("uint8", 300, r"seed_input must be from 0 to 255 \(uint8\), not 300"),
        ("uint8", -1.5, r"seed_input must be from 0 to 255 \(uint8\), not -1.5"),
        ("float32", -1e300, r"seed_input must be from -3.4\d*e\+38 to 3.4\d*e\+38 \(float32\), not -1e\+300"),
    ],
)
def test_a_number_that_the_dtype_of_the_model_does_not_have(dtype, value, message):
    model = keras.Sequential([keras.Input((2,), dtype=dtype), keras.layers.Rescaling(1.0), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=message):
        prepare(model, np.array([1, value]))
    assert prepare(model, np.array([1.0, 100.0])).arrays[0].dtype == dtype


def test_texts_are_refused_by_name():
    model = keras.Sequential([keras.Input((1,), dtype="string"), keras.layers.TextVectorization(vocabulary=["a"])])
    for texts in (np.array(["a b"]), tf.constant(["a b"]), ["a b"], np.array([["a"]], object)):
        with pytest.raises(TypeError, match="seed_input must be numeric, not texts. Split the model"):
            prepare(model, texts)
    with pytest.raises(TypeError, match="seed_input must be numeric: .*, not an array of <U1"):
        prepare(keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]), np.array(["a"]))


def test_a_column_of_a_table_is_an_input_of_one_value_per_sample():
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "height")}
    joined = keras.layers.Concatenate()(list(inputs.values()))
    model = keras.Model(inputs, keras.layers.Dense(2)(joined))
    table = pd.DataFrame({"age": [1.0, 2.0, 3.0], "height": [4.0, 5.0, 6.0]})
    maps = visualize_saliency(model, -1, 1, dict(table), normalize=False)
    for i, name in enumerate(inputs):
        np.testing.assert_allclose(maps[name], np.full((3, 1), np.abs(model.layers[-1].kernel[i, 1])), rtol=1e-6)


def test_inside_a_tf_function_one_is_told_to_call_it_outside(plain):
    with pytest.raises(RuntimeError, match=r"needs eager execution\. Call it outside of tf\.function"):
        tf.function(lambda: visualize_saliency(plain, -1, 0, zoo.images(1)))()


def two_inputs():
    a, b = keras.Input((2,), name="left"), keras.Input((3,), name="right", dtype="int32")
    return keras.Model(
        {"left": a, "right": b}, keras.layers.Concatenate()([a, keras.layers.Embedding(9, 1)(b)[..., 0]])
    )


def test_inputs_by_key_come_in_the_model_s_order_and_types():
    found = prepare(two_inputs(), {"right": [[1, 2, 3]], "left": np.array([[4, 5]])})
    assert (found.keys, found.names, found.count) == (["left", "right"], ["left", "right"], 1)
    assert [array.tolist() for array in found.arrays] == [[[4, 5]], [[1, 2, 3]]]
    assert [array.dtype.name for array in found.arrays] == ["float32", "int32"]
    assert found.shapes == [(None, 2), (None, 3)]
    several = found.repeat(3)
    assert (several.count, several.slice(1, 3).count) == (3, 2)
    assert several.names == found.names


def test_a_list_has_an_array_for_each_input():
    found = prepare(two_inputs(), [np.ones(2), np.ones(3)])
    assert found.keys is None
    assert [array.shape for array in found.arrays] == [(1, 2), (1, 3)]


@pytest.mark.parametrize(
    ("seed_input", "message"),
    [
        ({"left": [[1, 2]]}, r"must have the keys of the model's inputs, \['left', 'right'\], not \['left'\]"),
        ([np.ones((1, 2))], r"must hold one array per input of the model \(2: \['left', 'right'\]\), not 1"),
        (np.ones((1, 2)), r"must be a list or dict of the model's 2 inputs, \['left', 'right'\], not one array"),
        ([np.ones((2, 2)), np.ones((3, 3))], "must hold the same number of samples for every input, not 2, 3"),
        (
            [np.ones((1, 4)), np.ones((1, 3))],
            r"must have shape \(None, 2\) for 'left', or that of one sample, not \(1, 4\)",
        ),
        ([[[1, 2], [np.nan, 3]], np.ones((2, 3))], r"must be finite for 'left', not NaN or infinite \(in sample 1\)"),
        ([[[1, 2], [3]], np.ones((2, 3))], "must hold samples of one shape for 'left'"),
    ],
)
def test_what_several_inputs_do_not_take(seed_input, message):
    with pytest.raises(ArgumentError, match=f"seed_input {message}"):
        prepare(two_inputs(), seed_input)


def test_a_column_that_is_no_number_is_named():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    table = pd.DataFrame({"age": [1.0], "name": ["Ann"]})
    with pytest.raises(TypeError, match="must have columns of numbers, but column 'name' is of"):
        prepare(model, table)
    np.testing.assert_array_equal(prepare(model, table.assign(name=2)).arrays[0], [[1, 2]])


def test_texts_are_taken_where_they_are_allowed():
    inputs = keras.Input((1,), dtype="string")
    model = keras.Model(inputs, keras.layers.StringLookup(vocabulary=["ä"])(inputs))
    found = prepare(model, tf.constant([["ä"], ["b"]]), texts=True)
    assert found.arrays[0].tolist() == [["ä"], ["b"]]
    with pytest.raises(TypeError, match="seed_input must be numeric"):
        prepare(model, np.array([["ä"]]))
    with pytest.raises(TypeError, match="seed_input must hold texts, not int64"):
        prepare(model, np.array([[1]]), texts=True)


def test_a_model_that_was_never_called_is_built_by_the_first_sample():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    model = Own()
    found = prepare(model, np.ones((2, 3)))
    assert model.dense.kernel.shape == (3, 1)
    assert found.shapes == [(None, 3)]


def test_an_error_of_the_first_call_is_shown_with_the_shape():
    class Strict(keras.Model):
        def call(self, x):
            raise ValueError("three features\nonly.")

    with pytest.raises(ArgumentError) as raised:
        prepare(Strict(name="strict"), np.ones((2, 4)))
    assert str(raised.value).endswith("'strict' can be called on, not of shape (1, 4): three features only.")


def test_fractions_that_an_input_of_integers_drops_are_told():
    model = keras.Sequential([keras.Input((3,), dtype="uint8"), keras.layers.Rescaling(1.0)])
    with pytest.warns(VisWarning, match=r"such as 0\.5, but the model takes whole numbers \(uint8\)"):
        found = prepare(model, np.array([[1.0, 0.5, 2.0]]))
    np.testing.assert_array_equal(found.arrays[0], [[1, 0, 2]])
    prepare(model, np.array([[1.0, 0.0, 255.0]]))
