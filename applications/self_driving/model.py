"""The network that steers."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops, regularizers

SHAPE = (70, 180, 3)
# Filters, kernel and stride.
_CONVOLUTIONS = ((16, 5, 1), (24, (5, 6), 2), (32, (4, 3), 2), (48, 3, 1), (48, 3, 1))


class Mirrored(keras.constraints.Constraint):
    """Keeps a convolution's kernel its own mirror image.

    A mirrored frame then has the mirrored feature map.

    Example:
        >>> kernel = Mirrored()(np.array([0.0, 1.0, 4.0]).reshape(1, 3, 1, 1))
        >>> np.ravel(kernel).tolist()
        [2.0, 1.0, 2.0]
    """

    def __call__(self, w):
        return (w + ops.flip(w, axis=1)) / 2


def build_model(seed: int = 0, *, noise: float = 0.3, decay: float = 5e-3, sparsity: float = 1e-5) -> keras.Model:
    """A convolutional network like NVIDIA's PilotNet (Bojarski et al. 2016, arXiv 1604.07316), not trained.

    What is true of left is as true of right: with A the last feature map and h the dense layers, the angle is
    tanh(h(A) - h(A mirrored)). As every kernel is its own mirror image, and as wide as makes a stride leave no column
    over, a mirrored frame gives exactly the opposite angle. What else differs from PilotNet is in the README.

    Args:
        seed: of the initial weights and of the noise.
        noise: standard deviation of what is added to the frames in training, where 2 is the way from black to white.
        decay: the weight of a penalty on the squared weights.
        sparsity: the weight of a penalty on the sum of all convolutions' outputs, per frame. Without it a filter
            answers a little to every grain of the ground, and the gradient passes wherever a filter answers.

    Returns:
        A model, frames (N, 70, 180, 3) from 0 to 255 to angles (N, 1) from -1 (left) to 1 (right).

    Example:
        >>> model = build_model()
        >>> frame = np.random.default_rng(0).integers(0, 256, (1, 70, 180, 3))
        >>> angle, opposite = (float(model(each)[0, 0]) for each in (frame, frame[:, :, ::-1]))
        >>> abs(angle + opposite) < 1e-5
        True
    """
    seeds = iter(np.random.SeedSequence(seed).generate_state(9).tolist())
    penalty = regularizers.L2(decay)

    def weights():
        return keras.initializers.HeNormal(seed=next(seeds))

    # With one gray value the three colours of a pixel have one gradient, with one sign.
    mean = keras.initializers.Constant(1 / 3)
    frame = keras.Input(SHAPE, name="frame")
    x = layers.Rescaling(1 / 127.5, offset=-1, name="scale")(frame)
    x = layers.Conv2D(1, 1, use_bias=False, kernel_initializer=mean, trainable=False, name="gray")(x)
    x = layers.GaussianNoise(noise, seed=next(seeds), name="noise")(x)
    x = layers.AveragePooling2D(2, name="average")(x)
    for i, (filters, kernel, strides) in enumerate(_CONVOLUTIONS, start=1):
        convolution = layers.Conv2D(
            filters,
            kernel,
            strides,
            activation="relu",
            kernel_initializer=weights(),
            kernel_regularizer=penalty,
            kernel_constraint=Mirrored(),
            activity_regularizer=regularizers.L1(sparsity),
            name=f"conv{i}",
        )
        x = convolution(x)
        # The constraint holds only from the first step on.
        convolution.kernel.assign(convolution.kernel_constraint(convolution.kernel))

    flatten = layers.Flatten(name="flatten")
    dense1 = layers.Dense(
        64, activation="relu", kernel_initializer=weights(), kernel_regularizer=penalty, name="dense1"
    )
    dense2 = layers.Dense(16, activation="relu", kernel_initializer=weights(), name="dense2")
    # A bias would be the same on both sides.
    dense3 = layers.Dense(1, use_bias=False, kernel_initializer=weights(), name="dense3")
    right, left = (dense3(dense2(dense1(flatten(each)))) for each in (x, ops.flip(x, axis=2)))
    angle = layers.Activation("tanh", name="angle")(layers.Subtract(name="difference")([right, left]))
    return keras.Model(frame, angle, name="steering")
