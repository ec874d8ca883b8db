"""Predict a batch: the classes, and the scores behind them."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.engine.evaluate import reason
from vis.losses import LabelScore as LabelScore
from vis.utils.errors import ArgumentError


class Prediction(NamedTuple):
    """The predictions of a model for N samples.

    Attributes:
        classes: The predicted classes, int64, (N,). For a single output, 1 if the sigmoid is at least a half, or the
            logit at least zero; else 0.
        scores: float32, (N,): the model's output for the predicted class; for class 0 of a single output, one minus the
            sigmoid, or minus the logit.
        width: The number of outputs of the model.
        probabilities: Whether the scores are probabilities: the model ends in a softmax or a sigmoid.
    """

    classes: np.ndarray
    scores: np.ndarray
    width: int
    probabilities: bool


def predictor(model: keras.Model) -> Callable[[np.ndarray], Prediction]:
    """Return a compiled function that predicts classes.

    Args:
        model: A model with one input and one output.

    Returns:
        A function of a batch, (N, ...), that returns the `Prediction`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> model.layers[-1].set_weights([np.eye(2), np.zeros(2)])
        >>> predictor(model)(np.array([[0.0, 3.0], [5.0, 0.0]], np.float32)).classes
        array([1, 0])
    """
    scores = scorer(model)
    return lambda x: decide(*scores(x))


def scorer(model: keras.Model) -> Callable[[np.ndarray], tuple[np.ndarray, bool]]:
    """Return a compiled function that computes the score of every class.

    Args:
        model: A model with one input and one output.

    Returns:
        A function of a batch, (N, ...), that returns the scores, float32, (N, outputs), averaged over positions if the
        output has any, and whether they are probabilities, because the model ends in a softmax or a sigmoid. It raises
        an `ArgumentError` about `model` if the model has several outputs or does not run on the batch.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.layers[-1].set_weights([np.eye(2), np.zeros(2)])
        >>> scorer(model)(np.array([[0.0, 3.0]], np.float32))
        (array([[0., 3.]], dtype=float32), False)
    """
    noted = {}

    @tf.function(autograph=False, reduce_retracing=True)
    def outputs(x):
        run = taps.run(model, _as_taken(model, x))
        if len(run.outputs) != 1:
            count = len(run.outputs)
            remedy = "Use vis.visualization in Python"
            raise ArgumentError("model", f"must have one output, not {count} outputs to choose from", remedy)
        noted["probabilities"] = run.ends_in_probability(None)
        scores = tf.cast(run(None), tf.float32)
        # One number per class; the mean over positions where there are any.
        width = scores.shape[-1] if scores.shape.rank > 1 else 1
        return tf.reduce_mean(tf.reshape(scores, [tf.shape(scores)[0], -1, width]), axis=1)

    def score(x: np.ndarray) -> tuple[np.ndarray, bool]:
        with _structure_warning_silenced():
            try:
                return outputs(x).numpy(), noted["probabilities"]
            except ArgumentError:
                raise
            except (ValueError, TypeError, tf.errors.OpError) as error:
                why = reason(error) if isinstance(error, tf.errors.InvalidArgumentError) else error
                problem = f"does not run on an image of shape {x.shape[1:]}: {why}"
                raise ArgumentError("model", problem, kind="computation") from error

    return score


def scores_of(model: keras.Model, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the score of every class for a single batch, without compiling, which would take longer.

    Args:
        model: A model with one input and one output.
        x: The batch, (N, ...).

    Returns:
        As the function from `scorer`.

    Raises:
        ArgumentError: The model has several outputs or does not run on the batch; the error's argument is `model`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> model.layers[-1].set_weights([np.eye(2), np.zeros(2)])
        >>> scores_of(model, np.array([[0.0, 200.0]], np.float32))
        (array([[0., 1.]], dtype=float32), True)
    """
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) == 1 and len(outputs[0].shape) == 2 and (outputs[0].shape[1] or 0) > 1:
        try:
            with keras.StatelessScope(), _structure_warning_silenced():
                scores = np.asarray(model(_as_taken(model, tf.convert_to_tensor(x)), training=False), np.float32)
        except (ValueError, TypeError, tf.errors.OpError):  # reported below, without Keras's list of arguments
            return scorer(model)(x)
        # Scores that add up to one come from a softmax; for others only a trace shows whether they are probabilities.
        if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3):
            return scores, True
    return scorer(model)(x)


def output_width(model: keras.Model, sample: np.ndarray) -> int:
    """Return the number of outputs of a model: the length of the last axis of its output tensor.

    Args:
        model: A model with one output tensor.
        sample: One input, without the sample axis, to run a subclassed model on, which does not declare its shape.

    Returns:
        An int.

    Raises:
        ArgumentError: The model has several outputs to choose from, or does not run on the sample.

    Example:
        >>> output_width(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]), np.zeros(2))
        3
    """
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1 or outputs[0].shape[-1] is None:
        return predictor(model)(sample[None]).width
    return outputs[0].shape[-1]


def decide(scores: np.ndarray, probabilities: bool) -> Prediction:
    """Return the predicted classes of a batch.

    Args:
        scores: float32, (N, outputs).
        probabilities: Whether they come from a softmax or a sigmoid.

    Returns:
        The `Prediction`.

    Example:
        >>> decide(np.array([[0.2], [0.9]], np.float32), True).classes
        array([0, 1])
    """
    if scores.shape[1] > 1:
        classes = scores.argmax(axis=1)
        return Prediction(classes, scores.max(axis=1), scores.shape[1], probabilities)
    single = scores[:, 0]
    classes = (single >= (0.5 if probabilities else 0)).astype(np.int64)
    return Prediction(classes, np.where(classes == 1, single, (1 if probabilities else 0) - single), 1, probabilities)


def check_label(label: int, width: int) -> None:
    """Refuse a label that a model has no output for.

    Args:
        label: A class index.
        width: The number of outputs of the model; a single output represents the classes 0 and 1.

    Raises:
        ArgumentError: The label is out of range.

    Example:
        >>> check_label(1, width=1)
    """
    if 0 <= label < max(width, 2):
        return
    if width == 1:
        raise ArgumentError("label", f"must be 0 or 1 for a model of one output, not {label}")
    raise ArgumentError("label", f"must be one of the model's outputs, 0 to {width - 1}, not {label}")


@contextlib.contextmanager
def _structure_warning_silenced() -> Iterator[None]:
    with warnings.catch_warnings():
        # A model made with inputs=[x] expects a list of one, but the array in it gives the same result.
        warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
        yield


def _as_taken(model, x):
    """Return a batch in the structure of the model's inputs."""
    structure = model.input if isinstance(model, keras.Function) else x
    return keras.tree.pack_sequence_as(structure, [x])
