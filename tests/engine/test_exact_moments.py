"""Second derivatives of normalization beside finite differences, and what other threads see meanwhile."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from vis.engine.exact_moments import exact_moments, wrong_variances

SHAPE = (3, 4, 6)


def functional(function):
    x = keras.Input(SHAPE, dtype="float64")
    return keras.Model(x, function(x))


def layer_model(layer):
    return lambda: functional(layer(dtype="float64"))


def moments_around(x):
    mean, variance = keras.ops.moments(x, axes=[1, 2], keepdims=True)
    return (x - mean) / keras.ops.sqrt(variance + 0.1)


def flat_moments(x):
    mean, variance = keras.ops.moments(x, axes=[0, 1, 2])
    return (x - mean) / keras.ops.sqrt(variance + 0.1)


MODELS = {
    "batch": layer_model(lambda **kwargs: layers.BatchNormalization(**kwargs)),
    "batch, channels first": layer_model(lambda **kwargs: layers.BatchNormalization(axis=1, **kwargs)),
    "group": layer_model(lambda **kwargs: layers.GroupNormalization(3, **kwargs)),
    "group, channels first": layer_model(lambda **kwargs: layers.GroupNormalization(3, axis=1, **kwargs)),
    "instance": layer_model(lambda **kwargs: layers.GroupNormalization(-1, **kwargs)),
    "layer": layer_model(lambda **kwargs: layers.LayerNormalization(**kwargs)),
    "layer, two axes": layer_model(lambda **kwargs: layers.LayerNormalization(axis=[1, 3], **kwargs)),
    "inside a layer": layer_model(
        lambda **kwargs: layers.TimeDistributed(layers.LayerNormalization(**kwargs), **kwargs)
    ),
    "operation layer_normalization": lambda: functional(lambda x: keras.ops.layer_normalization(x, axis=[1, 2, 3])),
    "operation moments": lambda: functional(moments_around),
    "operation moments, no kept axes": lambda: functional(flat_moments),
}


def scores(model, x):
    """One number that is curved in everything."""
    weights = tf.constant(np.random.default_rng(1).normal(size=(5, *SHAPE)))
    return tf.reduce_sum(weights * tf.exp(model(x, training=True)))


def gradient(model, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = scores(model, x)
    return tape.gradient(score, x)


def error_of_second_derivative(model, context) -> float:
    """How far H v is from a central difference of gradients, relative to it."""
    rng = np.random.default_rng(0)
    x, v = (tf.constant(rng.normal(size=(5, *SHAPE))) for _ in range(2))
    with tf.GradientTape() as tape, context(model):
        tape.watch(x)
        product = tf.reduce_sum(gradient(model, x) * v)
    ours = tape.gradient(product, x)
    theirs = (gradient(model, x + 1e-5 * v) - gradient(model, x - 1e-5 * v)) / 2e-5
    return float(tf.norm(ours - theirs) / tf.norm(theirs))


@pytest.mark.parametrize("name", MODELS)
def test_second_derivatives_are_finite_differences(name):
    model = MODELS[name]()
    assert error_of_second_derivative(model, exact_moments) < 1e-6
    # Should this fail, TensorFlow is right by itself and `exact_moments` may go.
    assert error_of_second_derivative(model, contextlib.nullcontext) > 1e-3


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["BatchNormalization", "GroupNormalization", "LayerNormalization"])
def test_values_and_gradients_are_those_of_keras(name, dtype):
    options = {"groups": 3} if name == "GroupNormalization" else {}
    layer = getattr(layers, name)(dtype=dtype, gamma_initializer="random_normal", **options)
    layer.build((None, *SHAPE))
    model = keras.Sequential([keras.Input(SHAPE, dtype=layer.compute_dtype), layer])
    x = tf.cast(np.random.default_rng(0).normal(1.0, 2.0, size=(5, *SHAPE)), layer.compute_dtype)

    def values():
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = model(x, training=True)
            score = tf.reduce_sum(tf.exp(outputs))
        return [outputs, tape.gradient(score, x)]

    theirs = values()
    with exact_moments(model):
        ours = values()
    tolerance = {"float32": 1e-5, "mixed_float16": 5e-3, "mixed_bfloat16": 5e-2}[dtype]
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == their.dtype
        np.testing.assert_allclose(tf.cast(our, "float32"), tf.cast(their, "float32"), rtol=tolerance, atol=tolerance)


def test_shapes_stay_known():
    x = keras.Input((None, None, 6))
    model = keras.Model(x, layers.GroupNormalization(3)(x))
    with exact_moments(model):
        function = tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec((None, None, 5, 6)))
    assert function.output_shapes.as_list() == [None, None, 5, 6]


@pytest.mark.filterwarnings("ignore:.*rms_scaling=True.*is deprecated:UserWarning")
def test_what_has_no_such_moments_is_left_as_it_is():
    class Own(layers.LayerNormalization):
        def call(self, inputs):
            return 3 * inputs

    found = [
        layers.LayerNormalization(rms_scaling=True, name="rms"),
        layers.BatchNormalization(synchronized=True, name="synchronized"),
        Own(name="own"),
        layers.BatchNormalization(name="masked"),
    ]
    for layer in found:
        layer.build((None, 5, 4))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]], bool)
    model = keras.Sequential([keras.Input((5, 4)), *found])

    def outputs():
        return [layer(x) for layer in found[:3]] + [found[3](x, training=True, mask=mask)]

    theirs = outputs()
    with exact_moments(model):
        ours = outputs()
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(our, their)


def graph_in_training(model) -> tf.Graph:
    return tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.TensorSpec((2, 4))).graph


def test_other_threads_see_tensorflow_s_own_moments():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.LayerNormalization()])
    own = tf.nn.moments
    with exact_moments(model), ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(graph_in_training, model).result()
        assert tf.nn.moments is own
        assert wrong_variances(graph_in_training(model)) == []
    assert len(wrong_variances(theirs)) == 2
    assert len(wrong_variances(graph_in_training(model))) == 2


def test_wrong_variances_inside_functions_and_loops_are_found():
    inner = tf.function(lambda row: tf.nn.moments(row, [0], name="mine")[1])
    model = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: tf.map_fn(inner, x)[:, None])])
    (name,) = set(wrong_variances(graph_in_training(model)))
    assert name.endswith("mine/SquaredDifference")
