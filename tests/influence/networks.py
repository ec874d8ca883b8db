"""Small networks, data for them, and recorded trainings of them."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from vis.influence import record_training

# Three clouds of points in a plane, one per class.
BLOBS = np.random.default_rng(0).normal(size=(90, 2)).astype("float32")
BLOBS += np.repeat([[-2, 0], [2, 0], [0, 3]], 30, axis=0)
BLOB_LABELS = np.repeat([0, 1, 2], 30)


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


def linear(outputs=3, activation="softmax", inputs=2):
    """Softmax regression, of weights that are zero."""
    return keras.Sequential([keras.Input((inputs,)), layers.Dense(outputs, activation, kernel_initializer="zeros")])


def record(model, x, y, **options):
    """A recorded training, by Adam unless it is said otherwise."""
    return record_training(model, x, y, **{"optimizer": "adam", "progress": False, **options})


def flat(state):
    """The arrays of a state."""
    return [np.asarray(value) for value in tf.nest.flatten(state)]


def assert_same(ours, theirs):
    for one, other in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


def record_table(x, y=None, model=None, **options):
    """A recorded training of a small network of tables, or of another model."""
    model = dense_network([5]) if model is None else model
    return record_training(
        model, x, y, **{"optimizer": keras.optimizers.SGD(0.1, momentum=0.9), "epochs": 3, "progress": False, **options}
    )


def dataset(*arrays, size=20):
    """Arrays in batches."""
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)
