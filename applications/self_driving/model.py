"""The network that steers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, regularizers

SHAPE = (70, 180, 3)


def build_model(seed: int = 0, *, noise: float = 0.1, decay: float = 5e-3) -> keras.Model:
    """A convolutional network like NVIDIA's PilotNet (Bojarski et al. 2016, arXiv 1604.07316), not trained.

    What differs from PilotNet is there for the maps to be of use; see the README. The frame is averaged over 2×2
    pixels, so that no sign can change from pixel to pixel. The kernels are as wide as makes a stride leave no row or
    column over, so that the left and the right of a frame are seen alike.

    Args:
        seed: of the initial weights and of the noise.
        noise: standard deviation of what is added to the frames in training, where 2 is the way from black to white.
        decay: the weight of a penalty on the squared weights. Without it what is left of the random initial weights
            gives the gradient a random sign.

    Returns:
        A model, frames (N, 70, 180, 3) from 0 to 255 to angles (N, 1) from -1 (left) to 1 (right).

    Example:
        >>> build_model().output_shape
        (None, 1)
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(9).tolist())
    penalty = regularizers.L2(decay)

    def weights():
        return keras.initializers.HeNormal(seed=next(seeds))

    def convolution(filters, kernel, strides, name):
        return layers.Conv2D(
            filters,
            kernel,
            strides,
            activation="relu",
            kernel_initializer=weights(),
            kernel_regularizer=penalty,
            name=name,
        )

    return keras.Sequential(
        [
            keras.Input(SHAPE, name="frame"),
            layers.Rescaling(1 / 127.5, offset=-1, name="scale"),
            layers.GaussianNoise(noise, seed=next(seeds), name="noise"),
            layers.AveragePooling2D(2, name="average"),
            convolution(16, 5, 1, "conv1"),
            convolution(24, (5, 6), 2, "conv2"),
            convolution(32, (4, 3), 2, "conv3"),
            convolution(48, 3, 1, "conv4"),
            convolution(48, 3, 1, "conv5"),
            layers.Flatten(name="flatten"),
            layers.Dense(
                64, activation="relu", kernel_initializer=weights(), kernel_regularizer=penalty, name="dense1"
            ),
            layers.Dense(16, activation="relu", kernel_initializer=weights(), name="dense2"),
            layers.Dense(1, activation="tanh", kernel_initializer=weights(), name="angle"),
        ],
        name="steering",
    )
