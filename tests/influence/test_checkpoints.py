"""The sum over checkpoints beside the learning rates and shares of the steps."""

from __future__ import annotations

import keras
import numpy as np
from influence.networks import record
from keras import layers

from vis.influence.checkpoints import summed_over_checkpoints

X = np.arange(300.0).reshape(300, 1) / 300


def test_each_epoch_counts_by_its_rate_and_each_example_by_its_share():
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.5, 0.25, 0.125])  # of steps 0-1, 2-3, 4-5
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="zeros")])
    steps = [np.arange(200), np.arange(150, 250)]
    run = record(model, X, X, optimizer=keras.optimizers.SGD(rates), batches=steps, epochs=3)
    seen = []

    def at(state):
        seen.append(float(state.weights[0][0, 0]))
        return lambda batch: 10 * np.asarray(batch.inputs)[:, 0]

    scores = summed_over_checkpoints(run, at, progress=False)
    share = np.zeros(300)
    share[:200] += 1 / 200
    share[150:250] += 1 / 100
    np.testing.assert_allclose(scores, (0.5 + 0.25 + 0.125) * share * 10 * X[:, 0], rtol=1e-6)
    assert seen == [float(run.state(epoch).weights[0][0, 0]) for epoch in (1, 2, 3)]
