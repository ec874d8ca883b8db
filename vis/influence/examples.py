"""Training and validation examples: check them, index them, and compute the loss of each.

Losses are kept separate per example, not averaged over a batch, so that examples can be weighted.
"""

from __future__ import annotations

import zlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing, inputs, keras_internals
from vis.influence.losses import ExampleLoss, check_count
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError

# Keras's losses whose labels are from 0 to 1, and those whose labels have another shape than the outputs.
_OF_PROBABILITIES = (
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
)
_OF_OTHER_SHAPES = ("circle", "ctc")
_ONE_OUTPUT = "vis.influence is for models with one output"


class Batch(NamedTuple):
    """A batch of examples.

    Attributes:
        inputs: The model's inputs in its structure, arrays of shape (examples, ...).
        labels: (examples, ...).
        sample_weight: (examples,), in the dtype of the model.
    """

    inputs: Any
    labels: Any
    sample_weight: Any


class UnknownLossError(ArgumentError):
    """No loss was given, and none can be derived."""


class Examples:
    """A data set for a model.

    Args:
        model: The model that takes the inputs; it is built if needed.
        x: Its inputs: an array of shape (examples, ...), or for several inputs a list or dict of arrays.
        y: The labels: (examples,) or (examples, ...).
        sample_weight: (examples,), or None for ones.
        names: The caller's names for these three, for error messages.
        least: The smallest number of examples allowed; with 1, `x` may be a single example without its axis.

    Attributes:
        arrays: The inputs, one array each.
        structure: The structure of the model's inputs.
        labels: The labels, an array.
        sample_weight: The weights, an array in the dtype of the model.

    Raises:
        ValueError: The model has several outputs, lengths differ, there are too few examples, values are not finite, or
            the inputs do not fit the model.
        TypeError: The labels are not numbers, or are a dict.
    """

    def __init__(self, model, x, y, sample_weight=None, names=("x", "y", "sample_weight"), least: int = 2):
        check_one_output(model)
        try:
            prepared = inputs.prepare(model, x, texts=True)
        except ArgumentError as error:
            if error.argument != "seed_input":
                raise
            raise error.about(names[0]) from error
        self.arrays = prepared.arrays
        self.structure = prepared.structure
        self.labels = _labels(y, names[1])
        count = len(self.arrays[0])
        if count == least == 1 and (self.labels.ndim == 0 or _is_single(x, self.arrays[0])):
            self.labels = self.labels[None]
        if self.labels.ndim == 0 or len(self.labels) != count:
            came = "a single number" if self.labels.ndim == 0 else len(self.labels)
            raise ArgumentError(
                names[1], f"must hold one label for each of the {count} examples of {names[0]}, not {came}"
            )
        if count < least:
            raise ArgumentError(names[0], f"must hold at least {least} examples, not {count}")
        if self.labels.dtype.kind not in "biuf":
            raise ArgumentTypeError(
                names[1],
                f"must be numeric, not {self.labels.dtype}",
                "Number classes by name with np.unique(y, return_inverse=True)[1], in the order of the model's outputs",
            )
        if self.labels.dtype.kind == "f" and not np.isfinite(self.labels).all():
            raise ArgumentError(names[1], "must be finite, not NaN or infinite")
        dtype = _dtype(model)
        try:
            self.sample_weight = np.ones(count, dtype) if sample_weight is None else np.asarray(sample_weight, dtype)
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                names[2], f"must be an array of one number per example, not {type(sample_weight).__name__}"
            ) from None
        if self.sample_weight.shape != (count,):
            raise ArgumentError(names[2], f"must have the shape ({count},), not {self.sample_weight.shape}")
        if not np.isfinite(self.sample_weight).all():
            raise ArgumentError(names[2], "must be finite, not NaN or infinite")

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices) -> Batch:
        """Return examples by index.

        Args:
            indices: Indices of examples, or a slice.

        Returns:
            The `Batch`, in the order of the indices.
        """
        # Keras takes strings only as tensors.
        arrays = [tf.constant(a[indices]) if a.dtype.kind == "U" else a[indices] for a in self.arrays]
        inputs = keras.tree.pack_sequence_as(self.structure, arrays)
        return Batch(inputs, self.labels[indices], self.sample_weight[indices])

    def specification(self) -> Batch:
        """Return the `tf.TensorSpec`s of a batch of any size, as a `Batch`."""

        def spec(array):
            return tf.TensorSpec((None, *array.shape[1:]), tf.string if array.dtype.kind == "U" else array.dtype)

        inputs = keras.tree.pack_sequence_as(self.structure, [spec(array) for array in self.arrays])
        return Batch(inputs, spec(self.labels), spec(self.sample_weight))

    def checksum(self) -> int:
        """Return a checksum of the bytes of the data set (CRC-32)."""
        value = 0
        for array in (*self.arrays, self.labels, self.sample_weight):
            value = zlib.crc32(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data, value)
        return value


@shared_docs
def example_loss(model, loss, labels: np.ndarray, weight: float | None = None):
    """Return a function that computes the loss of each example from labels and outputs.

    Args:
        model: A model with one output.
        {{loss}}
        labels: The training labels, to distinguish classes from numbers.
        weight: A factor; None for the one that the model is compiled with, if the loss is the model's.

    Returns:
        The Keras loss or function; and the `ExampleLoss`, a function that maps tensors of labels, (examples, ...), and
        outputs, (examples, ...), to losses, (examples,).

    Raises:
        UnknownLossError: No loss is given and none can be derived, or Keras has no loss of that name.
        ValueError: The model has several outputs, or its class overrides how the loss is computed; or the loss averages
            over the batch.
    """
    if loss is None:
        check_not_overridden(model, "compute_loss")
        loss = getattr(model, "loss", None) or _loss_of_last_layer(model, labels)
        weight = keras_internals.loss_weight(model) if weight is None else weight
    if isinstance(loss, list | tuple | dict):
        if len(loss) != 1:
            raise ArgumentError("loss", f"must be one loss, not {len(loss)}", _ONE_OUTPUT)
        loss = next(iter(loss.values())) if isinstance(loss, dict) else loss[0]
    try:
        loss = keras.losses.get(loss)
    except ValueError:
        raise UnknownLossError(
            "loss",
            f"must be a Keras loss, not {loss!r}",
            "Give for example 'mean_squared_error' or 'sparse_categorical_crossentropy'",
            kind="unknown",
        ) from None
    return loss, ExampleLoss(loss, 1.0 if weight is None else weight)


def check_not_overridden(model, *methods: str) -> None:
    """Refuse a model whose class overrides how it trains, which a training step here would not follow.

    Args:
        model: A Keras model.
        methods: Names of methods of `keras.Model`.

    Raises:
        ValueError: The model's class overrides one of them.
    """
    for method in methods:
        if getattr(getattr(model, method), "__func__", None) is not getattr(keras.Model, method):
            raise ArgumentError(
                "model",
                f"must train as keras.Model does, not by the {method} of {type(model).__name__}",
                "Give a model without it, such as the network inside, and its computation as loss=",
                kind="own_training",
            )


def check_labels(loss, labels: np.ndarray, outputs: int | None, name: str = "y") -> None:
    """Refuse labels that a classification loss would accept silently, or turn into NaN.

    Args:
        loss: A Keras loss or loss function.
        labels: (examples, ...).
        outputs: The number of outputs of the model, if known.
        name: The caller's name for the labels, for error messages.

    Raises:
        ValueError: A label is not a class or not from 0 to 1, or the loss does not take labels of this shape.
    """
    kind = _kind_of(loss)
    if kind == "sparse_categorical_crossentropy":
        outside = (labels != np.round(labels)) | (labels < 0) | (labels >= (outputs or np.inf))
        ignored = getattr(loss, "ignore_class", None)
        wrong = np.flatnonzero(outside if ignored is None else outside & (labels != ignored))
        if len(wrong):
            classes = f"a class from 0 to {outputs - 1}" if outputs else "a whole number of at least 0"
            place = f" as at index {wrong[0]}" if len(labels) > 1 else ""
            raise ArgumentError(name, f"must be {classes}, not {labels.reshape(-1)[wrong[0]]:g}{place}")
    elif kind in _OF_PROBABILITIES:
        wrong = np.flatnonzero((labels < 0) | (labels > 1))
        if len(wrong):
            raise ArgumentError(name, f"must be from 0 to 1 for {kind}, not {labels.reshape(-1)[wrong[0]]}")
        if kind.startswith("categorical") and labels.shape[-1] != (outputs or labels.shape[-1]):
            raise ArgumentError(
                name,
                f"must be one row of {outputs} probabilities per example for {kind}, not an array of "
                f"shape {labels.shape}",
                "For class indices use sparse_categorical_crossentropy",
            )


def check_labels_of(model, loss, labels: np.ndarray, name: str = "y") -> None:
    """Refuse labels that do not go with the outputs of a model, by their values or their shape.

    Args:
        model: A Keras model with one output.
        loss: A Keras loss or loss function.
        labels: (examples, ...).
        name: The caller's name for the labels, for error messages.

    Raises:
        ValueError: As for `check_labels`, or the shape is not that of the outputs.
    """
    check_labels(loss, labels, outputs_of(model), name)
    kind, shape = _kind_of(loss), _output_shape(model)
    if shape is None or not kind or kind in _OF_OTHER_SHAPES:
        return
    ours, theirs = labels.shape[1:], shape[1:]
    sparse = kind == "sparse_categorical_crossentropy"
    if sparse:
        theirs = theirs[:-1]
    # Keras adds or drops a last axis of size 1, and repeats other axes of size 1.
    if len(ours) == len(theirs) + 1 and ours[-1] == 1:
        ours = ours[:-1]
    elif len(theirs) == len(ours) + 1 and theirs[-1] == 1:
        ours = (*ours, 1)
    pairs = zip(ours, theirs, strict=False)
    if len(ours) == len(theirs) and all(b in (None, a) or (not sparse and 1 in (a, b)) for a, b in pairs):
        return
    axes = ", ".join(["examples", *("any" if size is None else str(size) for size in theirs)])
    raise ArgumentError(
        name,
        f"must have the shape ({axes}{',' if not theirs else ''}){'' if sparse else ' of the output'} for {kind}, not "
        f"{labels.shape}",
        "For one-hot rows use categorical_crossentropy" if sparse else "",
    )


def check_one_output(model) -> None:
    """Refuse a model with several outputs; subclassed models do not declare theirs and pass.

    Args:
        model: A Keras model.

    Raises:
        ValueError: It has several outputs.
    """
    try:
        outputs = model.outputs
    except AttributeError:  # a subclassed model, or a Sequential that is not built
        return
    one = "Give a model of one of them, such as keras.Model(model.input, model.outputs[0])"
    check_count(len(keras.tree.flatten(outputs)), one)


def outputs_of(model) -> int | None:
    """Return the number of outputs of a model: the size of the last axis of its output.

    Args:
        model: A Keras model.

    Returns:
        An int; None if the model does not declare it.
    """
    shape = _output_shape(model)
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def same_examples(training: Examples, validation: Examples) -> bool:
    """Return whether two data sets contain the same examples.

    Args:
        training: The training examples.
        validation: The validation examples.

    Returns:
        Whether all inputs and labels are equal, in the same order.
    """
    return training.labels.shape == validation.labels.shape and all(
        ours.shape == theirs.shape and np.array_equal(ours, theirs)
        for ours, theirs in zip(
            (*training.arrays, training.labels), (*validation.arrays, validation.labels), strict=False
        )
    )


def _kind_of(loss) -> str:
    """Return the name of Keras's function for a loss; an empty string for others."""
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", "") if getattr(function, "__module__", "").startswith("keras.") else ""


def _output_shape(model) -> tuple | None:
    try:
        shape = model.output_shape
    except (AttributeError, ValueError):  # a subclassed model
        return None
    return shape if isinstance(shape, tuple) else None


def _labels(y, name: str) -> np.ndarray:
    if isinstance(y, dict):
        raise ArgumentTypeError(name, "must be one array, not a dict", _ONE_OUTPUT)
    try:
        return np.asarray(y)
    except ValueError:
        raise ArgumentError(name, "must be one array, not arrays of different shapes", _ONE_OUTPUT) from None


def _is_single(x, array: np.ndarray) -> bool:
    """Return whether a single example was given without the sample axis, which its array has."""
    return np.ndim(keras.tree.flatten(x)[0]) == array.ndim - 1 > 0


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
        "loss",
        f"must be given, because the model is not compiled and its last layer, {name!r}, implies none",
        "Give for example 'mean_squared_error'",
        kind="missing",
    )
