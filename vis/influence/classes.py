"""Classification: which class a label names, and which probabilities a model's outputs are."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.influence.training import compiled
from vis.utils.errors import ArgumentError


class Classifier(NamedTuple):
    """How a model tells classes.

    Attributes:
        width: How many outputs it has for each example; a single one stands for the classes 0 and 1.
        activation: What makes probabilities of its outputs: `'softmax'`, `'sigmoid'`, or `''` where they are some.
    """

    width: int
    activation: str = ""

    @property
    def classes(self) -> int:
        """Return how many classes there are."""
        return max(self.width, 2)

    def probabilities(self, outputs) -> tf.Tensor:
        """Return the probability of each class.

        Args:
            outputs: The model's outputs, (examples, outputs) or (examples,), or a list or dict that holds nothing else.

        Returns:
            A float32 tensor of shape (examples, classes), whose rows add up to 1.
        """
        (outputs,) = keras.tree.flatten(outputs)
        scores = tf.reshape(tf.cast(outputs, tf.float32), [-1, self.width])
        if self.activation == "softmax":
            return tf.nn.softmax(scores)
        scores = tf.sigmoid(scores) if self.activation == "sigmoid" else tf.maximum(scores, 0.0)
        if self.width == 1:
            scores = tf.minimum(scores, 1.0)
            return tf.concat([1.0 - scores, scores], axis=1)
        return tf.math.divide_no_nan(scores, tf.reduce_sum(scores, axis=1, keepdims=True))


def classifier(model, loss, inputs) -> Classifier:
    """Return how a model tells classes, refusing one that does not.

    Args:
        model: A built Keras model with one output.
        loss: The Keras loss that it is trained on, or a function.
        inputs: The `tf.TensorSpec`s of a batch, in the structure of the model's inputs.

    Returns:
        The `Classifier`.

    Raises:
        ValueError: The model is a regressor, or has outputs for each position of an example.
    """
    ends = {}

    def outputs(batch):
        run = taps.run(model, batch)
        ends["probability"] = run.ends_in_probability(None)
        return run(None)

    shape = compiled(outputs, [inputs]).output_shapes
    name = loss_name(loss)
    if "crossentropy" not in name and not ends["probability"]:
        raise ArgumentError(
            "model",
            f"must be a classifier, which ends in a softmax or sigmoid or is trained by a cross entropy, not a "
            f"regressor trained by {name or loss!r}",
            "For a model of logits give loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), or "
            "BinaryCrossentropy",
            kind="regressor",
        )
    if shape.rank not in (1, 2) or (shape.rank == 2 and shape[1] is None):
        raise ArgumentError(
            "model", f"must have one row of class scores per example, not outputs of shape {tuple(shape[1:])}"
        )
    width = 1 if shape.rank == 1 else shape[1]
    config = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    if not config.get("from_logits"):
        return Classifier(width)
    return Classifier(width, "sigmoid" if width == 1 or name.startswith("binary") else "softmax")


def class_numbers(y: np.ndarray, told: Classifier, name: str = "y") -> np.ndarray:
    """Return labels as class numbers.

    Args:
        y: Numbers: class numbers, (examples,) or (examples, 1), or one-hot rows, (examples, classes).
        told: How the model tells classes.
        name: What the caller calls the labels.

    Returns:
        An int64 array of shape (examples,).

    Raises:
        ValueError: A label is no class of the model, or a row is not one-hot.

    Example:
        >>> class_numbers(np.array([[0, 1, 0], [0, 0, 1]]), Classifier(3))
        array([1, 2])
    """
    count = told.classes
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        if y.shape[1] != count or told.width == 1:
            rows = "" if told.width == 1 else f", or a one-hot row of {count} numbers"
            raise ArgumentError(
                name, f"must be a class from 0 to {count - 1}{rows} per example, not an array of shape {y.shape}"
            )
        wrong = np.flatnonzero(((y != 0) & (y != 1)).any(axis=1) | (y.sum(axis=1) != 1))
        if len(wrong):
            raise ArgumentError(
                name,
                f"must have exactly one 1 in each one-hot row, and 0 elsewhere, not {y[wrong[0]].tolist()}"
                f"{_place(y, wrong)}",
                "An example has one label",
            )
        y = y.argmax(axis=1)
    elif y.ndim != 1:
        raise ArgumentError(name, f"must be one class per example, not an array of shape {y.shape}")
    wrong = np.flatnonzero((y != np.round(y)) | (y < 0) | (y >= count))
    if len(wrong):
        raise ArgumentError(name, f"must be a class from 0 to {count - 1}, not {y[wrong[0]]:g}{_place(y, wrong)}")
    return y.astype(np.int64)


def loss_labels(loss, classes: np.ndarray, told: Classifier, given: np.ndarray) -> np.ndarray:
    """Return labels as a loss takes them.

    Args:
        loss: A Keras loss, or a function.
        classes: int64, (examples,), from `class_numbers`.
        told: How the model tells classes.
        given: The labels as the user gave them, which a function of the user's own gets.

    Returns:
        Class numbers, (examples,), for a sparse loss or a single output, one-hot rows for another loss of Keras.
    """
    home = type(loss).__module__ if isinstance(loss, keras.losses.Loss) else getattr(loss, "__module__", "")
    if not home.startswith("keras."):
        return given
    if "sparse" in loss_name(loss):
        return classes
    return classes.astype(np.float32) if told.width == 1 else np.eye(told.width, dtype=np.float32)[classes]


def loss_name(loss) -> str:
    """Return the name of a loss in small letters.

    Args:
        loss: A Keras loss, or a function.

    Returns:
        The name, or an empty string.

    Example:
        >>> loss_name(keras.losses.BinaryCrossentropy(name="own")), loss_name(keras.losses.mean_squared_error)
        ('binarycrossentropy', 'mean_squared_error')
    """
    if isinstance(loss, keras.losses.Loss):
        return type(loss).__name__.lower()
    return getattr(loss, "__name__", "")


def _place(y: np.ndarray, wrong: np.ndarray) -> str:
    return f" as at index {wrong[0]}" if len(y) > 1 else ""
