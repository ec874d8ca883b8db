"""Seed inputs: what is taken, as what, and what is refused."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import zoo
from PIL import Image

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
