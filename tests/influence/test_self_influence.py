"""Self-influence: what an example's own steps did to its own loss."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.influence import load_training, record_training, self_influence, tracin
from vis.utils.errors import ArgumentError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5, 5, 1)).astype("float32")
Y = RNG.integers(0, 3, 24)


def network():
    layers = [keras.layers.Conv2D(3, 3, activation="tanh"), keras.layers.BatchNormalization(), keras.layers.Flatten()]
    return keras.Sequential(
        [keras.Input((5, 5, 1)), *layers, keras.layers.Dropout(0.5), keras.layers.Dense(3, "softmax")]
    )


@pytest.fixture(scope="module")
def run():
    return record_training(
        network(), X, Y, optimizer=keras.optimizers.SGD(0.1), epochs=3, batch_size=7, l2=0.01,
        sample_weight=np.where(np.arange(24) == 5, 3.0, 1.0), progress=False,
    )  # fmt: skip


def test_it_is_the_squared_gradient_over_the_checkpoints(run):
    model, expected = network(), np.zeros(24)
    loss = keras.losses.SparseCategoricalCrossentropy()
    for epoch in range(1, 4):
        state = run.state(epoch)
        for variable, value in zip(model.trainable_variables, state.weights, strict=True):
            variable.assign(value)
        buffers = [b for b in state.buffers if np.asarray(b).dtype.kind == "f"]
        for variable, value in zip(
            [v for v in model.non_trainable_variables if "seed" not in v.name], buffers, strict=True
        ):
            variable.assign(value)
        for i in range(24):
            with tf.GradientTape() as tape:
                decay = 0.005 * sum(tf.reduce_sum(v**2) for v in model.trainable_variables)
                value = loss(Y[i : i + 1], model(X[i : i + 1], training=False)) + decay
            gradient = tape.gradient(value, model.trainable_variables)
            size = next(len(batch) for batch in run.order(epoch - 1) if i in batch)
            weight = 3.0 if i == 5 else 1.0
            expected[i] += 0.1 / size * weight * sum(float(tf.reduce_sum(g**2)) for g in gradient)
    np.testing.assert_allclose(self_influence(run, progress=False), expected, rtol=1e-4)


def test_it_is_tracin_of_an_example_with_itself_as_the_validation_set():
    x, y = X[:8], Y[:8]
    run = record_training(network(), x, y, optimizer=keras.optimizers.SGD(0.1), epochs=2, batch_size=4, progress=False)
    itself = [tracin(run, x[i : i + 1] + 0, y[i : i + 1], progress=False)[i] for i in range(8)]
    np.testing.assert_allclose(self_influence(run, progress=False), itself, rtol=1e-4)


def test_a_wrong_label_stands_out():
    x = np.concatenate([RNG.normal(-2, 1, (30, 4)), RNG.normal(2, 1, (30, 4))]).astype("float32")
    y = np.repeat([0, 1], 30)
    y[[7, 40]] = 1 - y[[7, 40]]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax", kernel_initializer="zeros")])
    run = record_training(model, x, y, optimizer=keras.optimizers.SGD(0.1), epochs=5, progress=False)
    assert set(np.argsort(self_influence(run, progress=False))[-2:]) == {7, 40}


def test_an_unknown_method_and_a_run_without_its_examples_are_refused(run, tmp_path):
    with pytest.raises(ArgumentError, match="^method must be 'tracin', not 'foo'"):
        self_influence(run, method="foo")
    run.save(tmp_path / "run")
    with pytest.raises(ValueError, match="examples"):
        self_influence(load_training(tmp_path / "run"), progress=False)
