"""Training and validation examples: checked, taken by index, and the loss of each.

Losses are kept separate per example, not averaged over a batch, so that examples can be weighted.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing, inputs, keras_internals
from vis.utils.docs import shared_docs


class Batch(NamedTuple):
    """A batch of examples.

    Attributes:
        inputs: The model's inputs in its structure, arrays of shape (examples, ...).
        labels: (examples, ...).
        sample_weight: (examples,), in the dtype of the model.
    """

    inputs: object
    labels: object
    sample_weight: object


class UnknownLossError(ValueError):
    """No loss was given, and none can be derived.

    Args:
        reason: Why, as a clause.
        advice: What to do, as a sentence.

    Attributes:
        reason: As given.
    """

    def __init__(self, reason: str, advice: str):
        super().__init__(f"{reason}. {advice}")
        self.reason = reason


class Examples:
    """A data set for a model.

    Args:
        model: The model that takes the inputs; it is built if needed.
        x: Its inputs: an array of shape (examples, ...), or for several inputs a list or dict of arrays.
        y: The labels: (examples,) or (examples, ...).
        sample_weight: (examples,), or None for ones.
        names: What the caller calls these three, for the error messages.

    Attributes:
        arrays: The inputs, one array each.
        structure: The structure that the model takes them in.
        labels: The labels, an array.
        sample_weight: The weights, an array in the dtype of the model.

    Raises:
        ValueError: The model has several outputs, lengths differ, there are fewer than two examples, values are not
            finite, or the inputs do not fit the model.
        TypeError: The labels are not numbers, or come in a dict.
    """

    def __init__(self, model, x, y, sample_weight=None, names=("x", "y", "sample_weight")):
        check_one_output(model)
        try:
            prepared = inputs.prepare(model, x)
        except (ValueError, TypeError) as error:
            raise type(error)(str(error).replace("seed_input", names[0])) from error
        self.arrays = prepared.arrays
        self.structure = prepared.structure
        self.labels = _labels(y, names[1])
        count = len(self.arrays[0])
        if self.labels.ndim == 0 or len(self.labels) != count:
            given = "one label" if self.labels.ndim == 0 else f"{len(self.labels)} labels"
            raise ValueError(f"{names[0]} holds {count} examples, but {names[1]} holds {given}: give one for each.")
        if count < 2:
            raise ValueError(f"{names[0]} holds one example. Give two at least.")
        if self.labels.dtype.kind not in "biuf":
            raise TypeError(f"{names[1]} must be numeric, not {self.labels.dtype}.")
        if self.labels.dtype.kind == "f" and not np.isfinite(self.labels).all():
            raise ValueError(f"{names[1]} holds values that are NaN or infinite.")
        dtype = _dtype(model)
        self.sample_weight = np.ones(count, dtype) if sample_weight is None else np.asarray(sample_weight, dtype)
        if self.sample_weight.shape != (count,):
            raise ValueError(
                f"{names[2]} has the shape {self.sample_weight.shape}. Give one number for each of the "
                f"{count} examples."
            )
        if not np.isfinite(self.sample_weight).all():
            raise ValueError(f"{names[2]} holds values that are NaN or infinite.")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices) -> Batch:
        """Return some examples, in the given order.

        Args:
            indices: Indices of examples, or a slice.

        Returns:
            The `Batch`.
        """
        inputs = keras.tree.pack_sequence_as(self.structure, [array[indices] for array in self.arrays])
        return Batch(inputs, self.labels[indices], self.sample_weight[indices])

    def specification(self) -> Batch:
        """Return the `tf.TensorSpec`s of a batch of any size, as a `Batch`."""

        def spec(array):
            return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

        inputs = keras.tree.pack_sequence_as(self.structure, [spec(array) for array in self.arrays])
        return Batch(inputs, spec(self.labels), spec(self.sample_weight))

    def checksum(self) -> int:
        """Return a number that differs between data sets, by their bytes (CRC-32)."""
        value = 0
        for array in (*self.arrays, self.labels, self.sample_weight):
            value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1), value)
        return value


@shared_docs
def example_loss(model, loss, labels: np.ndarray):
    """Return the loss of each example as a function of labels and outputs.

    Args:
        model: A model with one output.
        {{loss}}
        labels: The training labels, to tell classes from numbers.

    Returns:
        The Keras loss or function; and a function of tensors, labels (examples, ...) and outputs (examples, ...), to
        losses (examples,).

    Raises:
        UnknownLossError: No loss is given and none can be derived, or Keras has none of that name.
        ValueError: The model has several outputs or masks its output, or the loss averages over the batch.
    """
    if loss is None:
        loss = getattr(model, "loss", None) or _loss_of_last_layer(model, labels)
    if isinstance(loss, list | tuple | dict):
        if len(loss) != 1:
            raise ValueError("loss: a model of several outputs has several losses, which is not supported.")
        loss = next(iter(loss.values())) if isinstance(loss, dict) else loss[0]
    try:
        loss = keras.losses.get(loss)
    except ValueError:
        raise UnknownLossError(
            f"loss is {loss!r}, which is no loss of Keras",
            "Give for example 'mean_squared_error' or 'sparse_categorical_crossentropy'.",
        ) from None
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss

    def each(y_true, y_pred):
        if isinstance(y_pred, list | tuple | dict):
            _check_count(len(y_pred), "Give a model of one of them.")
            y_pred = next(iter(y_pred.values())) if isinstance(y_pred, dict) else y_pred[0]
        if keras_internals.mask_of(y_pred) is not None:
            raise ValueError("model masks positions of its output, which is not supported by vis.influence.")
        y_true = tf.cast(y_true, y_pred.dtype)
        if y_true.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
            y_true = y_true[..., None]
        losses = tf.convert_to_tensor(call(y_true, y_pred))
        if losses.shape.rank == 0:
            raise ValueError("loss gives one number for a whole batch. Give a loss that has one for each example.")
        return tf.reduce_mean(losses, axis=list(range(1, losses.shape.rank)))

    return loss, each


def check_labels(loss, labels: np.ndarray, outputs: int | None, name: str = "y") -> None:
    """Refuse labels that a classification loss would accept silently, or turn into NaN.

    Args:
        loss: A Keras loss or loss function.
        labels: (examples, ...).
        outputs: How many outputs the model has, if known.
        name: What the caller calls the labels.

    Raises:
        ValueError: A label is not a class or not from 0 to 1, or the labels' shape is not the one the loss takes.
    """
    kind = getattr(loss, "name", None) or getattr(loss, "__name__", "")
    if kind == "sparse_categorical_crossentropy":
        wrong = np.flatnonzero((labels != np.round(labels)) | (labels < 0) | (labels >= (outputs or np.inf)))
        if len(wrong):
            place = f"{name}[{wrong[0]}]" if len(labels) > 1 else name
            raise ValueError(
                f"{place} is {labels.reshape(-1)[wrong[0]]:g}, but the model has the classes 0 to {(outputs or 0) - 1}."
            )
    elif kind in ("categorical_crossentropy", "binary_crossentropy"):
        wrong = np.flatnonzero((labels < 0) | (labels > 1))
        if len(wrong):
            raise ValueError(f"{name} holds {labels.reshape(-1)[wrong[0]]}, but {kind} takes labels from 0 to 1.")
        if kind == "categorical_crossentropy" and labels.shape[-1] != (outputs or labels.shape[-1]):
            raise ValueError(
                f"{name} has the shape {labels.shape}, but categorical_crossentropy takes a row of {outputs} "
                "probabilities for each example. For class numbers use sparse_categorical_crossentropy."
            )


def check_one_output(model) -> None:
    """Refuse a model with several outputs, as far as it says how many it has: a subclassed one does not.

    Args:
        model: A Keras model.

    Raises:
        ValueError: It has several outputs.
    """
    try:
        outputs = model.outputs
    except AttributeError:  # a subclassed model, or a Sequential that is not built
        return
    one = "Give a model of one of them, such as keras.Model(model.input, model.outputs[0])."
    _check_count(len(keras.tree.flatten(outputs)), one)


def outputs_of(model) -> int | None:
    """Return how many outputs a model has, the size of the last axis, if it says so.

    Args:
        model: A Keras model.

    Returns:
        The number; None if the model does not say.
    """
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):  # a subclassed model
        return None
    return shape[-1] if isinstance(shape, tuple) and isinstance(shape[-1], int) else None


def same_examples(training: Examples, validation: Examples) -> bool:
    """Return whether two data sets hold the same examples.

    Args:
        training: The one.
        validation: The other.

    Returns:
        Whether all inputs and labels are equal, in the same order.
    """
    return training.labels.shape == validation.labels.shape and all(
        ours.shape == theirs.shape and np.array_equal(ours, theirs)
        for ours, theirs in zip(
            (*training.arrays, training.labels), (*validation.arrays, validation.labels), strict=False
        )
    )


def _check_count(outputs: int, advice: str) -> None:
    if outputs > 1:
        raise ValueError(f"model has {outputs} outputs; influence needs one. {advice}")


def _labels(y, name: str) -> np.ndarray:
    one = "Give one array, a label for each example: influence is of a model of one output."
    if isinstance(y, dict):
        raise TypeError(f"{name} is a dict. {one}")
    try:
        return np.asarray(y)
    except ValueError:
        raise ValueError(f"{name} holds arrays of different shapes. {one}") from None


def _dtype(model) -> str:
    return next((weight.dtype for weight in model.trainable_variables), "float32")


def _loss_of_last_layer(model, labels: np.ndarray) -> str | keras.losses.Loss:
    layer = model
    while isinstance(layer, keras.Model):
        inside = addressing.children(layer)
        if isinstance(layer, keras.Sequential) or not isinstance(layer, keras.Function):
            layer = inside[-1] if inside else None
        else:
            layer, *_ = keras_internals.producer(layer.outputs[0])
    activation = getattr(layer, "activation", None)
    kind = "softmax" if isinstance(layer, keras.layers.Softmax) else getattr(activation, "__name__", None)
    outputs = outputs_of(model)
    classes = labels.dtype.kind in "biu" and (labels.ndim == 1 or labels.shape[-1] == 1)
    if kind == "softmax":
        return "sparse_categorical_crossentropy" if classes else "categorical_crossentropy"
    if kind == "sigmoid":
        return "binary_crossentropy"
    if kind == "linear":
        if classes and outputs and outputs > 1:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return "mean_squared_error"
    name = getattr(layer, "name", "unknown")
    raise UnknownLossError(
        f"loss is not given, the model is not compiled, and its last layer ({name}) tells of none",
        "Give loss, for example 'mean_squared_error'.",
    )
