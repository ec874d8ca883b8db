"""Losses: what is differentiated. A loss is a function of what a model's layers put out in one run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from vis.utils import checks


class Loss:
    """Base class of losses, as in keras-vis: override `build_loss`, or `__call__`.

    A loss is minimized: to look for what increases a quantity, give the loss minus that quantity, or the weight -1.

    Attributes:
        name: A short name, shown in messages and by callbacks.

    Example:
        >>> import keras
        >>> class MeanActivation(Loss):
        ...     def __init__(self, layer):
        ...         self.name = "mean activation"
        ...         self.layer = layer
        ...     def build_loss(self):
        ...         return keras.ops.mean(self.layer.output)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> MeanActivation(model.layers[-1]).build_loss().shape
        ()
    """

    name = "Unnamed Loss"

    def build_loss(self):
        """The loss as a symbolic expression of `keras.ops` on `layer.output` or on other tensors of the graph.

        Returns:
            A Keras tensor: a scalar, or better one value a sample, which lets a batch be computed at once.
        """
        raise TypeError(f"the loss {self.name!r} ({type(self).__name__}) must override build_loss() or __call__()")

    def __call__(self, run, *arguments):
        """The loss in one run of the model. To be overridden where no symbolic expression will do.

        Args:
            run: A `vis.engine.taps.Run`: `run(layer)` is the tensor that a layer returned, `run(None)` the output.
            *arguments: What `arguments` returned, as tensors.

        Returns:
            A tensor of shape (samples,), or a scalar.
        """
        return run(self.build_loss())

    def arguments(self, samples: int) -> list[np.ndarray]:
        """Arrays that may change from call to call without a new trace, each with one row a sample."""
        return []

    def validate(self, width: int | None) -> None:
        """Called before the computation with the number of filters that this loss found to choose from."""

    @property
    def key(self):
        """What two losses must have in common for one traced function to serve both; by default the loss itself."""
        return self


class ActivationMaximization(Loss):
    """Minus the mean activation of each filter, summed over the filters.

    Args:
        layer: The layer: the object itself, or its index, name or path. None for the model's own output.
        filter_indices: Which filters (for a dense layer, units; for a classifier's last layer, classes): an int or a
            flat list means those for every sample, summed. A nested list or an array of shape (samples, k) gives
            each sample its own. None means all.
        logits: Whether a class score is read before the softmax or sigmoid that ends the model.

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
        self.filter_indices = None if filter_indices is None else _indices(filter_indices)
        self.logits = logits

    @property
    def key(self):
        return ActivationMaximization, self.layer, self.filter_indices is None, self.logits

    def arguments(self, samples: int) -> list[np.ndarray]:
        if self.filter_indices is None:
            return []
        indices = np.atleast_2d(self.filter_indices)
        if len(indices) not in (1, samples):
            raise ValueError(
                f"filter_indices has {len(indices)} rows for {samples} samples: give an int, a flat list for all "
                "samples, or one row a sample"
            )
        return [np.broadcast_to(indices, (samples, indices.shape[1]))]

    def validate(self, width: int | None) -> None:
        if self.filter_indices is None or width is None:
            return
        wrong = self.filter_indices[(self.filter_indices < 0) | (self.filter_indices >= width)]
        if wrong.size:
            name = "the model's output" if self.layer is None else f"layer {getattr(self.layer, 'name', self.layer)!r}"
            raise ValueError(
                f"filter_indices={wrong.flat[0]} is out of range: {name} has {width} filters (0 to {width - 1})"
            )

    def __call__(self, run, indices=None):
        output = run.logits(self.layer) if self.logits else run(self.layer)
        run.notes.probability = not self.logits and run.ends_in_probability(self.layer)
        output = tf.cast(output, tf.float32)
        if output.shape.rank == 1:
            output = output[:, None]
        if output.shape.rank > 2:
            axis = 1 if run.data_format(self.layer) == "channels_first" else output.shape.rank - 1
            output = tf.reduce_mean(output, axis=[i for i in range(1, output.shape.rank) if i != axis])
        if indices is None:
            return -tf.reduce_sum(output, axis=-1)
        run.notes.width = output.shape[-1]
        chosen = tf.reduce_sum(tf.one_hot(indices, tf.shape(output)[-1], dtype=output.dtype), axis=1)
        return -tf.reduce_sum(tf.math.multiply_no_nan(output, chosen), axis=-1)


class LogProbability(ActivationMaximization):
    """Minus the log-probability that a softmax classifier gives to classes: their score, against all other scores.

    It is 0 where the layer is not a softmax that ends the model, as there is no competition.

    Args:
        layer: As in `ActivationMaximization`.
        filter_indices: The classes, as in `ActivationMaximization`; of several the probabilities are summed.

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
        logits = run.logits(self.layer, ("Softmax",))
        if logits is run(self.layer):
            return tf.zeros(tf.shape(logits)[:1])
        logits = tf.cast(logits, tf.float32)
        if run.data_format(self.layer) == "channels_first":
            logits = tf.transpose(logits, [0, *range(2, logits.shape.rank), 1])
        run.notes.width = logits.shape[-1]
        chosen = tf.reduce_max(tf.one_hot(indices, tf.shape(logits)[-1]), axis=1)
        chosen = tf.reshape(chosen, [-1, *[1] * (logits.shape.rank - 2), logits.shape[-1]])
        wanted = tf.reduce_logsumexp(tf.where(chosen > 0, logits, -np.inf), axis=-1)
        values = tf.reduce_logsumexp(logits, axis=-1) - wanted
        return tf.reduce_mean(tf.reshape(values, [tf.shape(values)[0], -1]), axis=1)


class Target(Loss):
    """Any function of a layer's output, as something to look for: a class margin, a masked sum, a box's score.

    Its sign is the function's own: `Target(fn)` with weight 1 explains what increases `fn`. Where a list of losses is
    taken, a plain function stands for a `Target` of the model's output.

    Args:
        function: `function(output) -> values` of TensorFlow or `keras.ops` operations. The result is one value a
            sample (shape (samples,), or more axes, which are summed), or a scalar, for which samples run one by one.
            For a model with several outputs, `output` is a list.
        layer: The layer whose output is taken, as in `ActivationMaximization`; None for the model's output.
        logits: Whether that output is read before the softmax or sigmoid that ends the model.

    Example:
        >>> margin = Target(lambda output: output[:, 3] - output[:, 5], logits=True)
    """

    def __init__(self, function: Callable, layer=None, *, logits: bool = False):
        if not callable(function):
            raise TypeError(f"Target takes a function of the output, not {type(function).__name__}")
        self.function = function
        self.layer = layer
        self.logits = logits
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def key(self):
        return Target, self.function, self.layer, self.logits

    def __call__(self, run, *arguments):
        if self.logits:
            return self.function(run.logits(self.layer))
        found = run.tensors(self.layer)
        return self.function(found[0] if len(found) == 1 else found)


def weighted(losses) -> list[tuple[Loss, float]]:
    """A list of `(loss, weight)` from what a user gives.

    Args:
        losses: A list of `(loss, weight)`; or of losses, whose weight is then 1; or one loss. A plain function
            stands for a `Target` of the model's output. A weight of None or 0 leaves its loss out.

    Returns:
        The list of pairs.

    Raises:
        TypeError: An element is neither a loss nor a function.
        ValueError: Nothing is left.
    """
    pairs = []
    for element in losses if isinstance(losses, (list, tuple)) else [losses]:
        pair = element if isinstance(element, (list, tuple)) else (element, 1.0)
        if len(pair) != 2:
            raise TypeError(f"losses holds a {type(pair).__name__} of {len(pair)}: pairs (loss, weight) are wanted")
        loss, weight = pair
        if not isinstance(loss, Loss):
            if not callable(loss):
                raise TypeError(f"losses holds {type(loss).__name__}: a vis.losses.Loss or a function is wanted")
            loss = Target(loss)
        if weight is not None:
            weight = checks.real_number("losses", weight, f"have a number as the weight of {loss.name!r}")
        if weight:
            pairs.append((loss, weight))
    if not pairs:
        raise ValueError("losses has no loss with a weight other than 0: nothing to differentiate")
    return pairs


def _indices(filter_indices) -> np.ndarray:
    try:
        indices = np.asarray(filter_indices)
    except ValueError:  # of lists of different lengths
        indices = np.array([])
    if indices.dtype.kind not in "iu" or indices.ndim > 2 or indices.size == 0:
        raise TypeError(
            "filter_indices must be an int, a list of ints, or one list of ints a sample (all of one length), "
            f"not {filter_indices!r}"
        )
    if indices.min() < 0:
        raise ValueError(f"filter_indices={indices.min()} is negative: filters are counted from 0")
    return indices.astype(np.int64)
