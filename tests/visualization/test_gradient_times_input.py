"""Gradient times input beside the product by hand, and beside integrated gradients where the two are one."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
import zoo

from vis.visualization import gradient_times_input, integrated_gradients, visualize_saliency

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def test_it_is_the_product_of_the_two():
    model, x = zoo.functional(), zoo.images(2)
    kept = gradient_times_input(model, -1, [[1], [3]], x, keepdims=True, **RAW)
    gradient = visualize_saliency(model, -1, [[1], [3]], x, grad_modifier=None, keepdims=True, **RAW)
    np.testing.assert_allclose(kept, x * gradient, atol=1e-7)
    summed = gradient_times_input(model, -1, [[1], [3]], x, **RAW)
    np.testing.assert_allclose(summed, kept.sum(axis=-1), atol=1e-6)
    unit = gradient_times_input(model, -1, [[1], [3]], x)
    np.testing.assert_allclose(unit, summed / np.abs(summed).max(axis=(1, 2), keepdims=True), rtol=1e-5)
    alone = gradient_times_input(model, -1, 3, x[1], **RAW)
    np.testing.assert_allclose(alone, summed[1], atol=1e-7)


def test_rectifiers_without_biases_have_the_integrated_gradients_from_zero():
    layers = [keras.layers.Dense(8, "relu", use_bias=False), keras.layers.Dense(3, use_bias=False)]
    model = keras.Sequential([keras.Input((5,)), *layers])
    x = RNG.normal(size=(4, 5))
    maps = gradient_times_input(model, -1, 1, x, **RAW)
    np.testing.assert_allclose(maps, integrated_gradients(model, -1, 1, x, steps=3, **RAW), atol=1e-6)
    np.testing.assert_allclose(maps.sum(axis=1), model(x).numpy()[:, 1], atol=1e-5)


def test_the_tokens_of_an_embedding_and_a_function_of_the_output():
    layers = [keras.layers.Embedding(10, 4, name="words"), keras.layers.LSTM(5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    tokens = np.arange(14).reshape(2, 7) % 10
    margin = lambda output: output[:, 1] - output[:, 0]  # noqa: E731
    maps = gradient_times_input(model, None, margin, tokens, "words", **RAW)
    with tf.GradientTape() as tape:
        tape.watch(vectors := tf.convert_to_tensor(model.layers[0](tokens)))
        score = margin(layers[2](layers[1](vectors)))
    expected = (vectors * tape.gradient(score, vectors)).numpy().sum(axis=-1)
    np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_several_inputs_keep_their_structure():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    product = keras.ops.sum(a, axis=-1, keepdims=True) * keras.ops.sum(b, axis=-1, keepdims=True)
    x = {"a": np.arange(4.0), "b": np.full(3, 2.0)}
    maps = gradient_times_input(keras.Model({"a": a, "b": b}, product), None, 0, x, **RAW)
    np.testing.assert_allclose(maps["a"], 6 * np.arange(4))
    np.testing.assert_allclose(maps["b"], np.full(3, 12))
