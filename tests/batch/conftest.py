"""A small model of images."""

from __future__ import annotations

import pytest


@pytest.fixture
def model():
    """An untrained classifier of grayscale images of 8 by 8, of three classes."""
    import keras

    layers = [
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, "softmax"),
    ]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])
