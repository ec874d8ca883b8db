"""What a model predicts for a batch, and the score that explains a label or a prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.losses import LabelScore as LabelScore


class Prediction(NamedTuple):
    """What a model predicts for N samples.

    Attributes:
        classes: int64, (N,). For a single output 1 or 0: whether a final sigmoid is at least a half, or a logit at
            least zero.
        scores: float32, (N,): the model's output for that class; for class 0 of a single output, one minus the
            sigmoid, or minus the logit.
        width: how many outputs the model has.
        probabilities: whether the scores are probabilities: the model ends in a softmax or a sigmoid.
    """

    classes: np.ndarray
    scores: np.ndarray
    width: int
    probabilities: bool


def predictor(model: keras.Model) -> Callable[[np.ndarray], Prediction]:
    """A compiled function that tells what a model predicts.

    Args:
        model: a model with one input and one output.

    Returns:
        A function of a batch, (N, ...), that returns the `Prediction`.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> model.layers[-1].set_weights([np.eye(2), np.zeros(2)])
        >>> predictor(model)(np.array([[0.0, 3.0], [5.0, 0.0]], np.float32)).classes
        array([1, 0])
    """
    noted = {}

    @tf.function(autograph=False, reduce_retracing=True)
    def outputs(x):
        run = taps.run(model, _as_taken(model, x))
        if len(run.outputs) != 1:
            raise ValueError(
                f"the model has {len(run.outputs)} outputs to choose from. Use vis.visualization in Python."
            )
        noted["probabilities"] = run.ends_in_probability(None)
        scores = tf.cast(run(None), tf.float32)
        # One number a class; the mean over positions where there are any.
        width = scores.shape[-1] if scores.shape.rank > 1 else 1
        return tf.reduce_mean(tf.reshape(scores, [tf.shape(scores)[0], -1, width]), axis=1)

    def predict(x: np.ndarray) -> Prediction:
        with warnings.catch_warnings():
            # A model made with inputs=[x] asks for a list of one, and is as well served by what is in it.
            warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
            try:
                scores = outputs(x).numpy()
            except (ValueError, TypeError, tf.errors.OpError) as error:
                raise ValueError(f"the model does not run on an image of shape {x.shape[1:]}: {error}") from error
        return decide(scores, noted["probabilities"])

    return predict


def output_width(model: keras.Model, sample: np.ndarray) -> int:
    """How many outputs a model has.

    Args:
        model: a model with one output.
        sample: an image that a subclassed model, which does not say, is asked about.

    Returns:
        The number.

    Raises:
        ValueError: the model has several outputs to choose from, or does not run on the sample.

    Example:
        >>> output_width(keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]), np.zeros(2))
        3
    """
    outputs = getattr(model, "outputs", None) or []
    if len(outputs) != 1 or outputs[0].shape[-1] is None:
        return predictor(model)(sample[None]).width
    return outputs[0].shape[-1]


def decide(scores: np.ndarray, probabilities: bool) -> Prediction:
    """The predicted classes of a batch.

    Args:
        scores: float32, (N, outputs).
        probabilities: whether they are of a softmax or a sigmoid.

    Returns:
        The `Prediction`.

    Example:
        >>> decide(np.array([[0.2], [0.9]], np.float32), True).classes
        array([0, 1])
    """
    if scores.shape[1] > 1:
        classes = scores.argmax(axis=1)
        return Prediction(classes, scores.max(axis=1), scores.shape[1], probabilities)
    alone = scores[:, 0]
    classes = (alone >= (0.5 if probabilities else 0)).astype(np.int64)
    return Prediction(classes, np.where(classes == 1, alone, (1 if probabilities else 0) - alone), 1, probabilities)


def check_label(label: int, width: int) -> None:
    """Refuse a label that a model has no output for.

    Args:
        label: a class index.
        width: how many outputs the model has; a single one stands for the classes 0 and 1.

    Raises:
        ValueError: the label is out of range.

    Example:
        >>> check_label(1, width=1)
    """
    if 0 <= label < max(width, 2):
        return
    if width == 1:
        raise ValueError(f"the label {label} is neither 0 nor 1, which is what a model of one output tells apart")
    raise ValueError(f"the label {label} is out of range: the model has {width} outputs, 0 to {width - 1}")


def _as_taken(model, x):
    """A batch in the structure that the model's inputs have."""
    structure = model.input if isinstance(model, keras.Function) else x
    return keras.tree.pack_sequence_as(structure, [x])
