"""What is done to a model while a training step is traced, and seen from other threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from vis.engine.exact_moments import wrong_variances
from vis.influence.examples import Batch
from vis.influence.training import TrainingStep
from vis.influence.update_rules import update_rule


class Meanwhile(layers.Layer):
    """The identity, which runs a function in another thread whenever the thread that made it calls it."""

    def __init__(self):
        super().__init__()
        self.function, self.results = None, []
        self.thread = threading.get_ident()

    def call(self, inputs):
        if self.function is not None and threading.get_ident() == self.thread:
            with ThreadPoolExecutor(1) as pool:
                self.results.append(pool.submit(self.function).result())
        return inputs


def network():
    meanwhile = Meanwhile()
    normalizations = [layers.BatchNormalization(), layers.GroupNormalization(2)]
    dense = layers.Dense(1, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((4,)), *normalizations, meanwhile, dense])
    model.compile("sgd", "mse")
    return model, meanwhile


def own_moments(model) -> int:
    """How often `tf.nn.moments` stands in a model's graph in training."""
    function = tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.TensorSpec((2, 4)))
    return len(wrong_variances(function.graph))


def test_other_threads_train_and_predict_with_tensorflow_s_own_moments_during_a_trace():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = x.sum(axis=1, keepdims=True)
    moments = tf.nn.moments
    expected, _ = network()
    outputs = expected.predict(x, verbose=0)
    expected.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    model, meanwhile = network()

    def elsewhere():
        count = own_moments(model)
        predicted = model.predict(x, verbose=0)
        model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        return tf.nn.moments is moments, count, predicted

    step = TrainingStep(model, lambda y, outputs: tf.square(outputs[:, 0]), update_rule("sgd"))
    weights = [tf.constant(variable.numpy()) for variable in model.trainable_variables]
    buffers = [tf.constant(variable.numpy()) for variable in model.non_trainable_variables]
    own = own_moments(model)
    meanwhile.function = elsewhere
    batch = Batch(x, y, np.ones(8, "float32"))
    traced = tf.function(lambda: step.losses(weights, buffers, batch, training=True)[0]).get_concrete_function()
    meanwhile.function = None
    ((untouched, count, predicted),) = meanwhile.results
    assert untouched
    assert count == own == 2
    assert wrong_variances(traced.graph) == []
    np.testing.assert_array_equal(predicted, outputs)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
