"""The loss of each example: weighed and divided, they are what Keras makes of a batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from vis import ArgumentError
from vis.influence.losses import ExampleLoss, check_count, divisor

RNG = np.random.default_rng(0)
WEIGHTS = np.array([1.0, 0.0, 2.5], np.float32)
REDUCTIONS = ["sum_over_batch_size", "sum", "mean_with_sample_weight"]


def of_batch(each: ExampleLoss, y, outputs) -> float:
    losses = each(tf.constant(y), outputs)
    assert losses.shape == (3,)
    return float(tf.reduce_sum(WEIGHTS * losses) / divisor(each.reduction, tf.constant(WEIGHTS)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(3, 2), (3, 4, 2)], ids=["one", "positions"])
def test_a_batch_is_keras_s(reduction, shape):
    y, outputs = RNG.normal(size=(2, *shape)).astype(np.float32)
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    weights = WEIGHTS if len(shape) == 2 else np.repeat(WEIGHTS[:, None], 4, axis=1)
    expected = float(loss(y, outputs, sample_weight=weights))
    assert of_batch(ExampleLoss(loss), y, tf.constant(outputs)) == pytest.approx(expected, rel=1e-5)
    assert of_batch(ExampleLoss(loss, weight=3.0), y, tf.constant(outputs)) == pytest.approx(3 * expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_masked_positions_do_not_count(reduction):
    tokens = np.array([[3, 1, 0], [2, 0, 0], [1, 1, 4]])
    y = RNG.normal(size=(3, 3, 1)).astype(np.float32)
    embedding = layers.Embedding(5, 1, mask_zero=True)
    outputs = embedding(tokens)
    losses = ExampleLoss(keras.losses.MeanSquaredError(reduction=reduction))(tf.constant(y), outputs).numpy()
    squares = np.where(tokens == 0, 0, (y - outputs.numpy())[..., 0] ** 2)
    # As in Keras, the mean is over the positions of the whole batch that count: 6 of 9.
    expected = squares.sum(axis=1) if reduction == "sum" else squares.mean(axis=1) * 9 / 6
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_labels_and_outputs_are_paired_by_their_first_axes():
    def absolute(y, outputs):
        return tf.abs(y - outputs)

    each = ExampleLoss(absolute)
    assert each(tf.constant([1.0, 2.0, 4.0]), tf.constant([[1.0], [1.0], [1.0]])).numpy().tolist() == [0, 1, 3]
    assert each(tf.constant([[1.0], [2.0], [4.0]]), {"y": tf.constant([1.0, 1.0, 1.0])}).numpy().tolist() == [0, 1, 3]


def test_half_precision_is_summed_in_single():
    outputs = tf.constant([[300.0], [1.0], [2.0]], tf.float16)  # whose square is above 65504
    losses = ExampleLoss(keras.losses.MeanSquaredError())(tf.zeros([3, 1]), outputs)
    assert losses.dtype == tf.float32
    assert losses.numpy().tolist() == [90000, 1, 4]


def test_weights_that_add_up_to_zero_divide_by_one():
    assert float(divisor("mean_with_sample_weight", tf.zeros(3))) == 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: ExampleLoss(keras.losses.MeanSquaredError(reduction=None)),
            "loss must reduce a batch to one number, not have reduction=None",
        ),
        (
            lambda: ExampleLoss(lambda y, outputs: tf.reduce_mean(y - outputs))(tf.zeros(3), tf.zeros(3)),
            "loss must return one number per example, not one number for a whole batch",
        ),
        (lambda: ExampleLoss(keras.losses.MeanSquaredError())(tf.zeros(3), [tf.zeros(3)] * 2), "one output, not 2"),
        (lambda: check_count(2, "Take one"), r"model must have one output, not 2\. Take one\."),
    ],
)
def test_refusals(ask, message):
    with pytest.raises(ArgumentError, match=message):
        ask()
