"""Losses at each checkpoint beside a closed form."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from influence.networks import record
from keras import layers

from vis.influence import example_losses, load_training

X = np.linspace(-1, 1, 300).reshape(300, 1)


def test_they_are_squares_of_what_is_left(tmp_path):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, kernel_initializer="zeros"), layers.Dropout(0.9)])
    run = record(model, X, 2 * X[:, 0], loss="mse", optimizer="sgd", epochs=2, directory=tmp_path)
    losses = example_losses(run, progress=False)
    expected = [
        (float(kernel[0, 0]) * X[:, 0] + float(bias[0]) - 2 * X[:, 0]) ** 2
        for kernel, bias in (run.state(epoch).weights for epoch in range(3))
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match=r"run must have its examples, .*load_training\(directory, x, y\)"):
        example_losses(load_training(tmp_path), progress=False)
    with pytest.raises(TypeError, match="run must be a recorded training run, not Sequential"):
        example_losses(model)
