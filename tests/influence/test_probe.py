"""Second derivatives are compared with finite differences, and a layer whose one is wrong is named."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import record
from keras import layers

from vis.influence import sgd_influence


def influence(model, images):
    x, y = images
    run = record(model, x[:24], y[:24], optimizer="sgd", batch_size=12)
    return sgd_influence(run, x[24:40], y[24:40], progress=False)


class OwnNormalization(layers.Layer):
    """Layer normalization by a call of `tf.nn.moments` that cannot be reached from outside."""

    def call(self, inputs):
        mean, variance = tf.nn.moments(inputs, [1], keepdims=True)
        return (inputs - mean) * tf.math.rsqrt(variance + 0.1)


def test_a_layer_s_own_moments_are_refused_by_its_name_and_keras_s_layers_are_not(small_images):
    initializer = keras.initializers.GlorotUniform(seed=0)

    def of(*middle):
        stack = [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(8, kernel_initializer=initializer), *middle]
        model = keras.Sequential([*stack, layers.Dense(3, activation="softmax", kernel_initializer=initializer)])
        return influence(model, small_images)

    assert np.ptp(of(layers.LayerNormalization(), layers.GroupNormalization(2))) > 0
    # The layer after it takes back most of what is wrong, so that a finite difference shows too little.
    with pytest.raises(ValueError, match=r"variance .* of layer 'mine' \(OwnNormalization\) is wrong"):
        of(OwnNormalization(name="mine"), layers.LayerNormalization())


def test_bilinear_resizing_is_refused_by_the_layer_s_name(small_images):

    def model(interpolation):
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(3, 3, activation="tanh"),
                layers.UpSampling2D(interpolation=interpolation, name="larger"),
                layers.Conv2D(3, 3, activation="tanh"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, activation="softmax"),
            ]
        )

    with pytest.raises(ValueError, match=r"not the layer 'larger' \(UpSampling2D\), .*interpolation='nearest'"):
        influence(model("bilinear"), small_images)
    influence(model("nearest"), small_images)


@keras.saving.register_keras_serializable("tests")
class Unfaithful(layers.Layer):
    """Squares, with a gradient that says nothing of its own derivative."""

    def call(self, inputs):
        @tf.custom_gradient
        def square(x):
            return x * x, lambda upstream: upstream * 2 * tf.stop_gradient(x)

        return square(inputs)


def test_a_layer_with_a_wrong_second_derivative_is_refused_by_name(small_images):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(4),
            Unfaithful(name="odd"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    words = r"not the layer 'odd' \(Unfaithful\), .*: it has a custom gradient \(tf\.custom_gradient\)\. Replace it, or"
    with pytest.raises(ValueError, match=words):
        influence(model, small_images)


class Unseen(Unfaithful):
    """The same, computing in float32 in a model that cannot be copied."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, inputs):
        return self.function(super().call(inputs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: layers.SpectralNormalization(layers.Dense(4), name="bounded"),
            r"'bounded' \(SpectralNormalization\), .*: it stops a gradient \(stop_gradient\)\. Replace it",
        ),
        (lambda: Unseen(keras.ops.tanh, name="odd"), r"'odd' \(Unseen\), .*: it has a custom gradient"),
    ],
)
def test_a_wrong_second_derivative_is_refused_with_its_reason(small_images, make, words):
    middle = [layers.Flatten(), layers.Dense(4), make()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *middle, layers.Dense(3, activation="softmax")])
    with pytest.raises(ValueError, match=words) as refused:
        influence(model, small_images)
    assert "interpolation" not in str(refused.value)
