"""Copies compute what the model computes, whatever its layers hold."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from vis.engine.adapted import adapted_layers, adapted_state, set_adapted_state
from vis.engine.copies import Borrowed, copy_model, set_values

X = np.random.default_rng(0).normal(size=(6, 3)).astype("float32") * 20 + 100
WORDS = np.array([["a b"], ["b c"], ["c c"], ["d"], ["a d"], ["d d"]])


def adapted(layer, data=X):
    layer.adapt(data)
    return layer


def regular(weights):
    return keras.ops.sum(weights)


class Own(keras.regularizers.Regularizer):
    def __call__(self, weights):
        return regular(weights)

    def get_config(self):
        return {}


def by(factor):
    return lambda x: x * factor


MODELS = {
    "Normalization": (X, lambda: [adapted(layers.Normalization())]),
    "Normalization of one axis": (X, lambda: [adapted(layers.Normalization(axis=None))]),
    "Normalization with given statistics": (X, lambda: [layers.Normalization(mean=3.0, variance=4.0)]),
    "Discretization": (X, lambda: [adapted(layers.Discretization(num_bins=3)), layers.Rescaling(1.0)]),
    "Discretization with given bins": (X, lambda: [layers.Discretization(bin_boundaries=[90.0, 110.0])]),
    "IntegerLookup": (X.astype(int), lambda: [adapted(layers.IntegerLookup(), X.astype(int))]),
    "IntegerLookup with a vocabulary": (X.astype(int), lambda: [layers.IntegerLookup(vocabulary=[100, 101, 99])]),
    "StringLookup": (WORDS, lambda: [adapted(layers.StringLookup(), WORDS)]),
    "StringLookup, tf-idf": (WORDS, lambda: [adapted(layers.StringLookup(output_mode="tf_idf"), WORDS)]),
    "TextVectorization": (WORDS, lambda: [adapted(layers.TextVectorization(output_sequence_length=3), WORDS)]),
    "TextVectorization, tf-idf": (WORDS, lambda: [adapted(layers.TextVectorization(output_mode="tf_idf"), WORDS)]),
    "Hashing": (WORDS, lambda: [layers.Hashing(4, salt=3)]),
    "lambdas with closures": (X, lambda: [layers.Lambda(by(2)), layers.Lambda(by(5)), layers.Dense(2, by(0.1))]),
    "an unregistered regularizer": (X, lambda: [layers.Dense(2, kernel_regularizer=Own())]),
    "an unregistered function": (
        X,
        lambda: [layers.Dense(2, kernel_regularizer=regular, activation=by(3))],
    ),
    "low-rank adaptation": (X, lambda: [layers.Dense(4, lora_rank=2)]),
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_copy_predicts_as_the_model(name, nested):
    x, make = MODELS[name]
    kind = "string" if x.dtype.kind == "U" else x.dtype.name
    x = tf.constant(x)
    inputs = keras.Input(x.shape[1:], dtype=kind)
    model = keras.Sequential([inputs, *make()])
    if nested:
        outer = keras.Input(x.shape[1:], dtype=kind)
        model = keras.Model(outer, keras.ops.cast(model(outer), "float32") * 2)
    copy = copy_model(model, x)
    set_values(
        copy,
        *([v.numpy() for v in variables] for variables in (model.trainable_variables, model.non_trainable_variables)),
    )
    np.testing.assert_array_equal(copy(x), model(x))
    assert all(ours is not theirs for ours, theirs in zip(copy.variables, model.variables, strict=True))


def test_what_layers_learned_is_set_by_its_order():
    first, second = (adapted(layers.Normalization(name=f"scale_{i}"), X * (i + 1)) for i in range(2))
    model = keras.Sequential([keras.Input((3,)), first, layers.Dense(3), second])
    other = keras.Sequential([keras.Input((3,)), layers.Normalization(), layers.Dense(3), layers.Normalization()])
    set_adapted_state(other, adapted_state(model))
    for ours, theirs in zip(adapted_layers(other), adapted_layers(model), strict=True):
        np.testing.assert_array_equal(ours(X), theirs(X))
    with pytest.raises(ValueError, match="shorter"):
        set_adapted_state(other, adapted_state(model)[:1])


def test_a_borrowed_model_has_weights_and_statistics_of_its_own():
    model = keras.Sequential([keras.Input((3,)), layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(2)])
    borrowed = Borrowed(model)
    before = [variable.numpy() for variable in model.variables]
    np.testing.assert_array_equal(borrowed(X), model(X))
    borrowed(X, training=True)
    for old, theirs in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, theirs.numpy())
    mean = next(v for v in borrowed.variables if v.name == "moving_mean")
    np.testing.assert_allclose(mean.numpy(), 0.01 * X.mean(axis=0), rtol=1e-4)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(borrowed(X))
    assert all(gradient is not None for gradient in tape.gradient(total, borrowed.trainable_variables))
