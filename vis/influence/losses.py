"""The loss of each example, which a step averages or sums as Keras does.

A Keras loss has one value per example, or one per position (words, pixels). With s_i the sample weights, m_it = 1 for
positions that count and 0 for masked ones (by an `Embedding(mask_zero=True)`, or by `ignore_class`), and T positions
per example, Keras trains on

    'sum_over_batch_size', 'mean':    Σ_i s_i Σ_t m_it ℓ_it / Σ_it m_it
    'sum':                            Σ_i s_i Σ_t m_it ℓ_it
    'mean_with_sample_weight':        Σ_i s_i Σ_t m_it ℓ_it / Σ_it s_i m_it

The loss of example i is its term in this sum without s_i and, if there is a divisor, times the number of examples B. So
the step sums s_i ℓ_i and divides by B, by 1, or by Σ s_i.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from vis.engine import keras_internals
from vis.utils.errors import ArgumentError


class ExampleLoss:
    """A Keras loss as a function that returns one number per example.

    Args:
        loss: A `keras.losses.Loss` or a function of labels and outputs.
        weight: A factor, such as that of `model.compile(loss_weights=...)`.

    Attributes:
        weight: As given.
        reduction: How Keras reduces a batch to one number: `'sum_over_batch_size'`, `'mean'`, `'sum'` or
            `'mean_with_sample_weight'`.

    Raises:
        ValueError: The loss does not reduce a batch (`reduction='none'`).

    Example:
        >>> each = ExampleLoss(keras.losses.MeanSquaredError(reduction="sum"), weight=2.0)
        >>> each(tf.constant([1.0, 3.0]), tf.constant([[1.0], [2.0]])).numpy().tolist(), each.reduction
        ([0.0, 2.0], 'sum')
    """

    def __init__(self, loss, weight: float = 1.0):
        self.weight = weight
        self.reduction = getattr(loss, "reduction", "sum_over_batch_size")
        self._loss = loss
        if self.reduction in (None, "none"):
            raise ArgumentError(
                "loss",
                f"must reduce a batch to one number, not have reduction={self.reduction!r}",
                "Give reduction='sum_over_batch_size' or 'sum'",
            )

    def __call__(self, y_true, y_pred) -> tf.Tensor:
        """Compute the loss of each example.

        Args:
            y_true: The labels, (examples, ...).
            y_pred: The model's output, (examples, ...), or a list or dict of only this array.

        Returns:
            A tensor of shape (examples,).

        Raises:
            ValueError: The model has several outputs; or the loss has one number for a whole batch, or not one for each
                position that the model masks.
        """
        if isinstance(y_pred, list | tuple | dict):
            check_count(len(y_pred), "Give a model with one of them")
            y_pred = next(iter(y_pred.values())) if isinstance(y_pred, dict) else y_pred[0]
        mask = keras_internals.mask_of(y_pred)
        if y_pred.dtype.size < 4:
            y_pred = tf.cast(y_pred, tf.float32)
        y_true = tf.cast(y_true, y_pred.dtype)
        if isinstance(self._loss, keras.losses.Loss):
            losses = self._loss.call(y_true, y_pred)
        else:
            losses = self._loss(*_same_rank(y_true, y_pred))
        masks = [each for each in (mask, keras_internals.mask_of(losses)) if each is not None]
        losses = tf.convert_to_tensor(losses)
        if losses.shape.rank == 0:
            raise ArgumentError("loss", "must return one number per example, not one number for a whole batch")
        if masks:
            losses = self._masked(losses, tf.reduce_all(tf.stack(masks), axis=0))
        combine = tf.reduce_sum if self.reduction == "sum" else tf.reduce_mean
        losses = combine(losses, axis=list(range(1, losses.shape.rank)))
        return losses if self.weight == 1 else losses * tf.cast(self.weight, losses.dtype)

    def _masked(self, losses, mask):
        """Return losses that are 0 at masked positions and scaled up elsewhere: their mean is that of the others."""
        mask = tf.cast(mask, losses.dtype)
        losses, mask = _same_rank(losses, mask)
        if losses.shape.rank != mask.shape.rank:
            raise ArgumentError(
                "loss",
                f"must have a number for each position that the model masks, of shape {mask.shape[1:]} per example, "
                f"not {losses.shape[1:]}",
                "Give labels with one more axis, or a model whose output is not masked",
            )
        if self.reduction == "sum":
            return losses * mask
        return losses * mask * tf.math.divide_no_nan(tf.cast(tf.size(mask), mask.dtype), tf.reduce_sum(mask))


def divisor(reduction: str, sample_weight):
    """Return the divisor of the sum of a batch's weighted losses.

    Args:
        reduction: The `reduction` of an `ExampleLoss`.
        sample_weight: The sample weights s of the batch, (examples,).

    Returns:
        A scalar tensor in the dtype of the weights.
    """
    if reduction == "sum":
        return tf.ones([], sample_weight.dtype)
    if reduction == "mean_with_sample_weight":
        total = tf.reduce_sum(sample_weight)
        return tf.where(total == 0, tf.ones_like(total), total)
    return tf.cast(tf.shape(sample_weight)[0], sample_weight.dtype)


def check_count(outputs: int, remedy: str) -> None:
    """Refuse a model with several outputs.

    Args:
        outputs: The number of outputs.
        remedy: The remedy for the error message.

    Raises:
        ValueError: There are several outputs.
    """
    if outputs > 1:
        raise ArgumentError("model", f"must have one output, not {outputs}", remedy)


def _same_rank(one, other):
    """Return both with the same number of axes, adding or dropping a last axis of size 1 as Keras does."""
    if one.shape.rank == other.shape.rank + 1 and one.shape[-1] == 1:
        return (one, other[..., None]) if other.shape.rank == 1 else (tf.squeeze(one, -1), other)
    if other.shape.rank == one.shape.rank + 1 and other.shape[-1] == 1:
        return (one[..., None], other) if one.shape.rank == 1 else (one, tf.squeeze(other, -1))
    return one, other
