"""What an objective's trace refuses, and what it warns of."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import ArgumentTypeError, VisWarning
from vis.visualization import visualize_saliency


def test_a_target_that_does_not_depend_on_the_input():
    image, other = keras.Input((4,), name="image"), keras.Input((3,), name="other")
    model = keras.Model(
        [image, other], [keras.layers.Dense(2, name="a")(image), keras.layers.Dense(2, name="b")(other)]
    )
    with pytest.raises(ValueError, match=r"that the target \(layer 'a'\) is computed from, not 'other'"):
        visualize_saliency(model, "a", 0, [np.ones(4), np.ones(3)], wrt_tensor="other")


def test_integer_input_points_at_the_embedding():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(20, 4, name="words"),
            keras.layers.Flatten(),
            keras.layers.Dense(2),
        ]
    )
    with pytest.raises(ValueError, match="wrt_tensor='words'"):
        visualize_saliency(model, -1, 0, np.arange(6))


@pytest.mark.parametrize(
    "function", [lambda output: np.max(output, axis=-1), lambda output: output[:, 0] if output[0, 0] > 0 else 0]
)
def test_a_function_that_asks_for_numbers_is_refused_with_what_would_do(plain, function):
    with pytest.raises(ArgumentTypeError, match=r"must be made of keras\.ops or TensorFlow operations") as caught:
        visualize_saliency(plain, -1, function, zoo.images(2))
    assert caught.value.kind == "symbolic"


def test_warns_of_a_disconnected_input():
    image, unused = keras.Input((4,), name="image"), keras.Input((3,), name="unused")
    kind, other = keras.layers.Dense(2, name="kind")(image), keras.layers.Dense(2, name="other")(unused)
    model = keras.Model([image, unused], [kind, other])
    with pytest.warns(VisWarning, match="with respect to 'unused' is disconnected .* the target does not depend on it"):
        maps = visualize_saliency(model, "kind", 0, [np.ones(4), np.ones(3)])
    np.testing.assert_array_equal(maps[1], np.zeros(3))
    assert maps[0].max() == 1


def test_warns_of_an_operation_without_a_gradient():
    class Rounded(keras.layers.Layer):
        def call(self, x):
            return tf.cast(tf.cast(x, tf.int32), tf.float32)

    model = keras.Sequential([keras.Input((4,)), Rounded(), keras.layers.Dense(2)])
    with pytest.warns(VisWarning, match="disconnected and given as zeros: an operation on the way has no gradient"):
        maps = visualize_saliency(model, -1, 0, np.ones(4))
    np.testing.assert_array_equal(maps, np.zeros(4))
