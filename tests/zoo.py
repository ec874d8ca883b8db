"""Small models of every kind, all with the same weights, so that each must give the maps of the plain one."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

CLASSES = 5
SHAPE = (16, 16, 3)


def images(count: int, shape=SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def layers() -> dict:
    """Fresh layers `conv1`, `relu1`, `conv2` (the feature map), `flatten` and `scores`."""
    initializer = keras.initializers.RandomNormal(stddev=0.2, seed=7)
    bias = keras.initializers.RandomNormal(stddev=0.1, seed=8)
    options = {"kernel_initializer": initializer, "bias_initializer": bias}
    return {
        "conv1": keras.layers.Conv2D(6, 3, padding="same", name="conv1", **options),
        "relu1": keras.layers.ReLU(name="relu1"),
        "conv2": keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="conv2", **options),
        "flatten": keras.layers.Flatten(name="flatten"),
        "scores": keras.layers.Dense(CLASSES, activation="softmax", name="scores", **options),
    }


def functional() -> keras.Model:
    x = inputs = keras.Input(SHAPE)
    for layer in layers().values():
        x = layer(x)
    return keras.Model(inputs, x, name="functional")


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input(SHAPE), *layers().values()], name="sequential")


def never_called() -> keras.Model:
    return keras.Sequential(list(layers().values()), name="never_called")


def nested() -> keras.Model:
    """The two convolutions in a backbone, the backbone in a body, two levels deep."""
    parts = layers()
    x = inner = keras.Input(SHAPE)
    for name in ("conv1", "relu1", "conv2"):
        x = parts[name](x)
    backbone = keras.Model(inner, x, name="backbone")
    body = keras.Sequential([keras.Input(SHAPE), backbone], name="body")
    inputs = keras.Input(SHAPE)
    return keras.Model(inputs, parts["scores"](parts["flatten"](body(inputs))), name="nested")


def sequence_of_models() -> keras.Model:
    parts = layers()
    x = inner = keras.Input(SHAPE)
    for name in ("conv1", "relu1", "conv2"):
        x = parts[name](x)
    head = keras.Sequential([parts["flatten"], parts["scores"]], name="head")
    return keras.Sequential([keras.Input(SHAPE), keras.Model(inner, x, name="backbone"), head], name="of_models")


@keras.saving.register_keras_serializable("zoo")
class Subclassed(keras.Model):
    """The plain model with a `call` of its own that also uses bare TensorFlow operations."""

    def __init__(self, name="subclassed", **kwargs):
        super().__init__(name=name, **kwargs)
        for name, layer in layers().items():
            setattr(self, name, layer)
        self.scores.activation = keras.activations.linear

    def call(self, x):
        x = self.conv2(self.relu1(self.conv1(x)))
        x = tf.reshape(x, [-1, x.shape[1] * x.shape[2] * x.shape[3]])
        return tf.nn.softmax(self.scores(x))


def subclassed() -> keras.Model:
    return Subclassed()


def custom_layer() -> keras.Model:
    """A functional model around a layer that holds the convolutions."""

    class Features(keras.layers.Layer):
        def __init__(self, parts, **kwargs):
            super().__init__(**kwargs)
            self.parts = parts

        def call(self, x):
            for layer in self.parts:
                x = layer(x)
            return x

    parts = layers()
    inputs = keras.Input(SHAPE)
    x = Features([parts["conv1"], parts["relu1"], parts["conv2"]], name="features")(inputs)
    return keras.Model(inputs, parts["scores"](parts["flatten"](x)), name="custom_layer")


def pooled(scale: float = 1.0, features: int = 4) -> keras.Model:
    """A network that ends in global average pooling and one dense layer."""
    layers = [
        keras.layers.Conv2D(features, 3, activation="relu", name="features"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(3, name="scores"),
    ]
    model = keras.Sequential([keras.Input((10, 8, 2)), *layers])
    for layer in (layers[0], layers[2]):
        layer.set_weights([scale * weights for weights in layer.get_weights()])
    return model


KINDS = [functional, sequential, never_called, nested, sequence_of_models, subclassed, custom_layer]


class Reference:
    """The plain model's mathematics by hand, on the weights of any model of the zoo."""

    def __init__(self, model):
        from vis.engine import addressing

        weights = {name: addressing.find_layer(model, name).get_weights() for name in ("conv1", "conv2", "scores")}
        self.kernel1, self.bias1 = weights["conv1"]
        self.kernel2, self.bias2 = weights["conv2"]
        self.kernel3, self.bias3 = weights["scores"]

    def features(self, x, relu=tf.nn.relu):
        x = relu(tf.nn.conv2d(x, self.kernel1, 1, "SAME") + self.bias1)
        return relu(tf.nn.conv2d(x, self.kernel2, 2, "VALID") + self.bias2)

    def logits(self, features):
        return tf.reshape(features, [features.shape[0], -1]) @ self.kernel3 + self.bias3

    def input_gradient(self, x, label, *, probability=False, relu=tf.nn.relu) -> np.ndarray:
        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            scores = self.logits(self.features(x, relu))
            scores = tf.nn.softmax(scores) if probability else scores
            score = tf.reduce_sum(scores[:, label])
        return tape.gradient(score, x).numpy()

    def saliency(self, x, label, **options) -> np.ndarray:
        return np.abs(self.input_gradient(x, label, **options)).max(axis=-1)

    def cam(self, x, label) -> np.ndarray:
        features = self.features(tf.constant(x))
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = tf.reduce_sum(self.logits(features)[:, label])
        weights = tf.reduce_mean(tape.gradient(score, features), axis=[1, 2], keepdims=True)
        maps = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
        return tf.image.resize(maps, x.shape[1:3], method="bilinear")[..., 0].numpy()


def assert_close(actual, expected, relative=1e-5):
    """Equal up to a share of the largest value."""
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())
