"""Warnings about a traced objective: each is given where it is due, and only there."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import VisWarning
from vis.visualization import (
    visualize_saliency,
)


def test_a_variable_of_tensorflow_s_own_that_a_run_changes_is_told():
    class Count(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(1.0, trainable=False)

        def call(self, x):
            return x * self.calls.assign_add(1.0)

    model = keras.Sequential([keras.Input((4,)), Count(), keras.layers.Dense(2)])
    with pytest.warns(VisWarning, match="assigns to a tf.Variable .* keras.Variable"):
        visualize_saliency(model, -1, 1, np.ones(4))


def ending_in(operations):
    inputs = keras.Input((4,))
    return keras.Model(inputs, operations(keras.layers.Dense(3, name="last")(inputs)))


@pytest.mark.parametrize(
    ("operations", "names"),
    [
        (lambda z: -z * 2, "Multiply, Negative"),
        (lambda z: keras.ops.softmax(-z), "Negative"),
        (lambda z: z + keras.ops.flip(z), "Add"),
    ],
)
def test_a_last_layer_that_the_model_goes_on_from_is_told(operations, names):
    model = ending_in(operations)
    with pytest.warns(VisWarning, match=f"layer_idx=-1 is the layer 'last', .*{names}.* layer_idx=None"):
        visualize_saliency(model, -1, 0, np.ones(4))
    for layer_idx in (None, "last"):
        visualize_saliency(model, layer_idx, 0, np.ones(4))


@pytest.mark.parametrize(
    "operations",
    [
        keras.ops.softmax,
        keras.layers.Activation("softmax"),
        lambda z: keras.ops.reshape(keras.ops.sigmoid(z), (-1, 3, 1)),
        lambda z: keras.layers.Rescaling(-1.0)(z),
    ],
)
def test_a_last_layer_that_is_the_model_s_score_is_not_warned_of(operations):
    visualize_saliency(ending_in(operations), -1, 0, np.ones(4))


@keras.saving.register_keras_serializable("tests")
class Bare(keras.layers.Layer):
    """Rectifies by bare operations, which no modifier can reach."""

    def __init__(self, functions, **kwargs):
        super().__init__(**kwargs)
        self.functions = functions

    def call(self, x):
        for function in self.functions:
            x = function(x)
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (tf.nn.relu, "Relu"),
        (keras.ops.relu6, "Relu6"),
        (tf.nn.elu, "Elu"),
        (tf.nn.silu, "Sigmoid"),
        (tf.nn.gelu, "Gelu/Erfc?"),  # Erf in TensorFlow 2.18, Erfc in 2.21
        (keras.ops.gelu, "Gelu/Tanh"),
        (keras.ops.silu, "Sigmoid"),
        (keras.ops.softplus, "Softplus"),
    ],
)
def test_a_bare_operation_in_a_subclassed_call_is_named_in_a_warning(function, op):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(30, "relu"), Bare([function], name="bare"), keras.layers.Dense(2)]
    )
    with pytest.warns(VisWarning, match=f"guided did not reach 1 activation .*bare_?1?/{op}"):
        visualize_saliency(model, -1, 0, np.ones(4), backprop_modifier="guided")


def test_all_bare_operations_are_counted():
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(30, "relu"), Bare([tf.nn.relu, tf.nn.selu]), keras.layers.Dense(2)]
    )
    with pytest.warns(VisWarning, match="guided did not reach 2 activations"):
        visualize_saliency(model, -1, 0, np.ones(4), backprop_modifier="guided")


def test_warns_where_no_activation_was_changed():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(30, "tanh"), keras.layers.Dense(2, "softmax")])
    with pytest.warns(VisWarning, match="guided changed nothing: the model '.*' has no activation that it could reach"):
        maps = visualize_saliency(model, -1, 0, np.ones(4), backprop_modifier="guided")
    np.testing.assert_array_equal(maps, visualize_saliency(model, -1, 0, np.ones(4)))
