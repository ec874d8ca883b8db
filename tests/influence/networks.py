"""Small networks."""

import keras
from keras import layers


def dense_network(units=(), inputs=30, seed=0, dropout=0.0):
    """A classifier of tables with ReLU layers: (N, inputs) to (N, 1)."""
    stack = [keras.Input((inputs,))]
    for position, size in enumerate(units):
        initializer = keras.initializers.HeNormal(seed=seed + position)
        stack.append(layers.Dense(size, activation="relu", kernel_initializer=initializer))
        if dropout:
            stack.append(layers.Dropout(dropout, seed=seed))
    stack.append(layers.Dense(1, activation="sigmoid", kernel_initializer=keras.initializers.GlorotUniform(seed=seed)))
    return keras.Sequential(stack)


def image_network(seed=0, dtype="float32", dropout=0.3):
    """Convolution, max pooling, batch normalization and dropout: (N, 8, 8, 1) to (N, 3)."""

    def drawn():
        return keras.initializers.HeNormal(seed=seed)

    return keras.Sequential(
        [
            keras.Input((8, 8, 1), dtype=dtype),
            layers.Conv2D(3, 3, use_bias=False, kernel_initializer=drawn(), dtype=dtype),
            layers.BatchNormalization(momentum=0.7, dtype=dtype),
            layers.ReLU(dtype=dtype),
            layers.MaxPooling2D(dtype=dtype),
            layers.Conv2D(4, 2, activation="tanh", kernel_initializer=drawn(), dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dropout(dropout, seed=seed, dtype=dtype),
            layers.Dense(3, activation="softmax", kernel_initializer=drawn(), kernel_regularizer="l2", dtype=dtype),
        ]
    )
