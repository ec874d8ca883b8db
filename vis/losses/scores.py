"""Losses of the scores of filters or classes."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.losses.filter_indices import indices_of, marks
from vis.losses.loss import Loss
from vis.utils.errors import ArgumentError, ArgumentTypeError


class ActivationMaximization(Loss):
    """Minus the mean activation of each filter, summed over the filters.

    Args:
        layer: The layer: the object itself, or its index, name or path. None means the model's output.
        filter_indices: Which filters (for a dense layer, units; for a classifier's last layer, classes): an int or a
            flat list means those for every sample, summed. A nested list or an array of shape (samples, k) gives
            each sample its own. None means all.
        logits: Whether to read a class score before the final softmax or sigmoid.

    Raises:
        ValueError: An index is negative, or out of range when the loss is evaluated.
        TypeError: An index is not an integer.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> loss = ActivationMaximization(model.layers[-1], filter_indices=2)
    """

    name = "ActivationMax Loss"

    def __init__(self, layer, filter_indices=None, *, logits: bool = True):
        self.layer = layer
        self.filter_indices = None if filter_indices is None else indices_of(filter_indices)
        self.logits = logits

    @property
    def key(self):
        return ActivationMaximization, self.layer, self.filter_indices is None, self.logits

    def arguments(self, samples: int) -> list[np.ndarray]:
        """Return the filters, (samples, k), as the base class says.

        Args:
            samples: The number of samples.

        Returns:
            The filters in a list; an empty list if all filters are meant.

        Raises:
            ArgumentError: The number of rows is not the number of samples.
        """
        if self.filter_indices is None:
            return []
        indices = np.atleast_2d(self.filter_indices)
        if len(indices) not in (1, samples):
            raise ArgumentError(
                "filter_indices",
                f"must have one row per sample, not {len(indices)} rows for {samples} samples",
                "Give an int, a flat list for all samples, or one row per sample",
                kind="rows",
            )
        return [np.broadcast_to(indices, (samples, indices.shape[1]))]

    def validate(self, width: int | None) -> None:
        """Refuse a filter that the layer does not have.

        Args:
            width: The number of filters to choose from, or None.

        Raises:
            ArgumentError: A filter is out of range.
        """
        if self.filter_indices is None or width is None:
            return
        wrong = self.filter_indices[self.filter_indices >= width]
        if wrong.size:
            name = "the model's output" if self.layer is None else f"layer {getattr(self.layer, 'name', self.layer)!r}"
            has = f"{width} filters (0 to {width - 1})" if width > 1 else "one filter (0)"
            raise ArgumentError(
                "filter_indices",
                f"must be a filter that there is, not {wrong.flat[0]}: {name} has {has}",
                "grad_modifier='negate' shows what decreases a single output" if width == 1 else "",
                kind="range",
            )

    def __call__(self, run, indices=None):
        output = run.logits(self.layer) if self.logits else run(self.layer)
        run.notes.probability = not self.logits and run.ends_in_probability(self.layer)
        output = tf.cast(output, tf.float32)
        if output.shape.rank == 1:
            output = output[:, None]
        if output.shape.rank > 2:
            channel = run.channel(run(self.layer))
            output = tf.reduce_mean(output, axis=[i for i in range(1, output.shape.rank) if i != channel])
            output = output[:, None] if channel is None else output
        if indices is None:
            return -tf.reduce_sum(output, axis=-1)
        run.notes.width = output.shape[-1]
        chosen = tf.reduce_sum(tf.one_hot(indices, tf.shape(output)[-1], dtype=output.dtype), axis=1)
        return -tf.reduce_sum(tf.math.multiply_no_nan(output, chosen), axis=-1)


class Labels:
    """Labels, in place of filters: one class per sample. A single output has two classes.

    Passed as `filter_indices`, they explain the class of each sample: for a single output, label 1 explains what
    increases it and label 0 what decreases it. The y of a stream is used in the same way.

    Args:
        labels: One label per sample, shape (samples,) or (samples, 1), or rows of marks (one-hot or multi-hot).

    Example:
        >>> import keras
        >>> from vis.visualization import visualize_saliency
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        >>> model.layers[-1].set_weights([np.array([[1.0], [2.0]]), np.zeros(1)])
        >>> visualize_saliency(model, -1, Labels([0]), np.zeros(2), grad_modifier=None, normalize=False)
        array([-1., -2.], dtype=float32)
    """

    def __init__(self, labels):
        self.labels = np.asarray(labels)


class LabelScore(ActivationMaximization):
    """Minus the score of each sample's label; a single output is the score of label 1 and, negated, of label 0.

    So label 0 of a binary classifier explains what decreases the output. A single output whose labels are not classes
    belongs to a regressor, and what increases it is explained.

    Args:
        labels: One label per sample, shape (samples,) or (samples, 1), or rows of marks (one-hot or multi-hot), of
            integers or of floats that are whole.
        width: The number of outputs of the layer, or None if unknown.
        layer: The layer: the object itself, or its index, name or path. None means the model's output.
        logits: Whether to read a class score before the final softmax or sigmoid.

    Raises:
        ArgumentError: A label is not a class of the model.

    Example:
        >>> import keras
        >>> from vis.visualization import visualize_saliency_with_losses
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        >>> model.layers[-1].set_weights([np.array([[1.0], [2.0]]), np.zeros(1)])
        >>> losses = [(LabelScore(np.array([1, 0]), width=1), -1)]
        >>> visualize_saliency_with_losses(model, losses, np.zeros((2, 2)), grad_modifier=None, normalize=False)
        array([[ 1.,  2.],
               [-1., -2.]], dtype=float32)
    """

    def __init__(self, labels: np.ndarray, width: int | None = None, layer=None, *, logits: bool = True):
        labels = np.asarray(labels)
        self.signs = None
        if width == 1:
            flat = labels.reshape(len(labels), -1)[:, 0]
            if not np.isin(flat, (0, 1)).all():
                if labels.dtype.kind in "iu":
                    wrong = flat[~np.isin(flat, (0, 1))][0]
                    raise ArgumentError("y", f"must be 0 or 1 for a model of one output, not {wrong}", kind="range")
                flat = np.ones(len(labels))
            self.signs = np.where(flat == 0, -1, 1).astype(np.float32)[:, None]
            indices = np.zeros((len(labels), 1), np.int64)
        else:
            indices = marks(labels, width)
            if indices is None:
                labels = labels[:, None] if labels.ndim == 1 else labels
                whole = labels.dtype.kind in "biu" or (labels.dtype.kind == "f" and (labels == np.round(labels)).all())
                if not whole or labels.ndim != 2:
                    raise ArgumentTypeError(
                        "y",
                        f"must be classes or rows of 0 and 1, not {labels.dtype} of shape {labels.shape}",
                        "Give filter_indices to choose what is explained",
                        kind="dtype",
                    )
                indices = labels.astype(np.int64)
        super().__init__(layer, indices, logits=logits)

    @property
    def key(self):
        return LabelScore, self.signs is None, *super().key

    def arguments(self, samples: int) -> list[np.ndarray]:
        return super().arguments(samples) + ([] if self.signs is None else [self.signs])

    def __call__(self, run, indices=None, signs=None):
        score = super().__call__(run, indices)
        return score if signs is None else score * signs[:, 0]


class Prediction(ActivationMaximization):
    """The index of the highest output of each sample; for a single output, 1 if it predicts the class, else 0.

    It predicts the class if a final sigmoid is at least one half, or a logit at least zero. It has no gradient.

    Args:
        layer: The layer: the object itself, or its index, name or path. None means the model's output.

    Example:
        >>> Prediction(None).name
        'Prediction'
    """

    name = "Prediction"

    def __init__(self, layer):
        super().__init__(layer)

    @property
    def key(self):
        return Prediction, self.layer

    def __call__(self, run, indices=None):
        scores = run.logits(self.layer)
        scores = tf.cast(scores[:, None] if scores.shape.rank == 1 else scores, tf.float32)
        if scores.shape.rank > 2:
            channel = run.channel(run(self.layer))
            scores = tf.reduce_mean(scores, axis=[i for i in range(1, scores.shape.rank) if i != channel])
        run.notes.width = scores.shape[-1]
        if scores.shape[-1] == 1:
            return tf.cast(scores[:, 0] >= 0, tf.float32)
        return tf.cast(tf.argmax(scores, axis=-1), tf.float32)


class LogProbability(ActivationMaximization):
    """Minus the log-probability that a softmax classifier assigns to classes: their score relative to all others.

    It is 0 if the layer is not a final softmax, because then classes do not compete.

    Args:
        layer: The layer: the object itself, or its index, name or path. None means the model's output.
        filter_indices: The classes: an int, a flat list whose probabilities are summed, or one list per sample.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> loss = LogProbability(model.layers[-1], filter_indices=2)
    """

    name = "Log Probability Loss"

    def __init__(self, layer, filter_indices):
        super().__init__(layer, filter_indices)

    @property
    def key(self):
        return LogProbability, self.layer

    def __call__(self, run, indices=None):
        logits = run.logits(self.layer, ("Softmax", "LogSoftmax"))
        if logits is run(self.layer):
            return tf.zeros(tf.shape(logits)[:1])
        logits = tf.cast(logits, tf.float32)
        if logits.shape.rank > 2 and run.channel(run(self.layer)) == 1:
            logits = tf.transpose(logits, [0, *range(2, logits.shape.rank), 1])
        run.notes.width = logits.shape[-1]
        chosen = tf.reduce_max(tf.one_hot(indices, tf.shape(logits)[-1]), axis=1)
        chosen = tf.reshape(chosen, [-1, *[1] * (logits.shape.rank - 2), logits.shape[-1]])
        wanted = tf.reduce_logsumexp(tf.where(chosen > 0, logits, logits.dtype.min), axis=-1)
        values = tf.reduce_logsumexp(logits, axis=-1) - wanted
        return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)


def get_num_filters(layer) -> int:
    """Return the number of filters of a layer: its output's size along the channel axis; for a dense layer, its units.

    Args:
        layer: A Keras layer that has been built or knows its number of filters.

    Returns:
        The number of filters.

    Raises:
        ArgumentError: The number is unknown until the layer is called.

    Example:
        >>> import keras
        >>> get_num_filters(keras.layers.Conv2D(8, 3)), get_num_filters(keras.layers.Dense(10))
        (8, 10)
    """
    for attribute in ("filters", "units"):
        if isinstance(getattr(layer, attribute, None), int):
            return getattr(layer, attribute)
    try:
        output = layer.output
    except (AttributeError, ValueError) as error:
        raise ArgumentError(
            "layer",
            f"must have been called in a model, or know its number of filters, not {layer.name!r}",
            kind="unbuilt",
        ) from error
    channel = taps.output_layout(output).channel
    return output.shape[-1 if channel is None else channel + 1]
