"""Classification: convert labels to class indices, and outputs to probabilities."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.influence.training import compiled
from vis.utils.errors import ArgumentError


class Classifier(NamedTuple):
    """How the outputs of a model represent classes.

    Attributes:
        width: The number of outputs per example; a single output represents the classes 0 and 1.
        activation: The activation that turns its outputs into probabilities: `'softmax'`, `'sigmoid'`, or `''` if they
            are probabilities.
    """

    width: int
    activation: str = ""

    @property
    def classes(self) -> int:
        """Return the number of classes."""
        return max(self.width, 2)

    def probabilities(self, outputs) -> tf.Tensor:
        """Return the probability of each class.

        Args:
            outputs: The model's outputs, (examples, outputs) or (examples,), or a list or dict of only this array.

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
    """Return how a model represents classes, and refuse a model that is not a classifier.

    Args:
        model: A built Keras model with one output.
        loss: The Keras loss that it is trained with, or a function.
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


def class_numbers(y: np.ndarray, classifier: Classifier, name: str = "y") -> np.ndarray:
    """Return labels as class indices.

    Args:
        y: Class indices, (examples,) or (examples, 1), or one-hot rows, (examples, classes).
        classifier: How the model represents classes.
        name: The caller's name for the labels, for error messages.

    Returns:
        An int64 array of shape (examples,).

    Raises:
        ValueError: A label is not a class of the model, or a row is not one-hot.

    Example:
        >>> class_numbers(np.array([[0, 1, 0], [0, 0, 1]]), Classifier(3))
        array([1, 2])
    """
    count = classifier.classes
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2:
        if y.shape[1] != count or classifier.width == 1:
            rows = "" if classifier.width == 1 else f", or a one-hot row of {count} numbers"
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


def loss_labels(loss, classes: np.ndarray, classifier: Classifier, given: np.ndarray) -> np.ndarray:
    """Return labels in the form that a loss takes.

    Args:
        loss: A Keras loss, or a function.
        classes: int64, (examples,), from `class_numbers`.
        classifier: How the model represents classes.
        given: The user's labels, which a user-defined function receives unchanged.

    Returns:
        Class indices, (examples,), for a sparse loss or a single output; one-hot rows for another Keras loss.
    """
    home = type(loss).__module__ if isinstance(loss, keras.losses.Loss) else getattr(loss, "__module__", "")
    if not home.startswith("keras."):
        return given
    if "sparse" in loss_name(loss):
        return classes
    return classes.astype(np.float32) if classifier.width == 1 else np.eye(classifier.width, dtype=np.float32)[classes]


def loss_name(loss) -> str:
    """Return the name of a loss in lower case.

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
