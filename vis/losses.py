"""Losses: the quantities that are differentiated. A loss is a function of the outputs of layers in one run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing, taps
from vis.engine.keys import key_of
from vis.utils import checks
from vis.utils.errors import ArgumentError, ArgumentTypeError


class Loss:
    """Base class of losses, as in keras-vis: override `build_loss`, or `__call__`.

    Losses are minimized: to find what increases a quantity, use minus that quantity as the loss, or the weight -1.

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
        """Return the loss as a symbolic expression of `keras.ops` on `layer.output` or on other tensors of the graph.

        Returns:
            A Keras tensor: one value per sample, so that a batch is computed at once, or a scalar.

        Raises:
            ArgumentTypeError: The class overrides neither this nor `__call__`.
        """
        raise ArgumentTypeError(
            "losses",
            f"must compute something: {self.name!r} ({type(self).__name__}) overrides neither build_loss() nor "
            "__call__()",
            kind="abstract",
        )

    def __call__(self, run, *arguments):
        """Return the loss in one run of the model. Override it if a symbolic expression is not possible.

        Args:
            run: A `vis.engine.taps.Run`: `run(layer)` is the tensor that a layer returned, `run(None)` the output.
            *arguments: The arrays of `arguments`, as tensors.

        Returns:
            A tensor of shape (samples,), or a scalar.
        """
        return run(self.build_loss())

    def arguments(self, samples: int) -> list[np.ndarray]:
        """Return arrays that may change from call to call without a new trace; `__call__` gets them as tensors.

        Args:
            samples: The number of samples.

        Returns:
            Arrays of shape (samples, ...).
        """
        return []

    def validate(self, width: int | None) -> None:
        """Refuse arguments that do not fit the layer; called before each computation, after the trace.

        Args:
            width: The number of filters to choose from, if `__call__` set it in `run.notes.width`; else None.
        """

    def bound(self, model) -> Loss:
        """Return this loss with its layer resolved in a model.

        Args:
            model: A Keras model.

        Returns:
            A copy whose `layer` is the layer itself; the loss itself, if it names no layer or has no key.
        """
        layer = getattr(self, "layer", None)
        found = addressing.resolve_target(model, layer)
        if found is layer or type(self).key is Loss.key:
            return self
        bound: Any = copy.copy(self)
        bound.layer, bound.given = found, layer
        return bound

    @property
    def key(self):
        """Return the loss's part of the key of a traced function: losses with equal keys share one trace.

        By default it contains the class, the attributes and everything that the methods read, by value.
        """
        return key_of(self)

    def __str__(self) -> str:
        return self.name


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
        self.filter_indices = None if filter_indices is None else _indices(filter_indices)
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


class Target(Loss):
    """Any function of a layer's output as a target: a class margin, a masked sum, the score of a box.

    It keeps the sign of the function: `Target(fn)` with weight 1 explains what increases `fn`. In a list of losses, a
    plain function means a `Target` of the model's output.

    Args:
        function: `function(output) -> values` of TensorFlow or `keras.ops` operations. The result is one value
            per sample (shape (samples,), or more axes, which are summed), or a scalar, for which samples run one by
            one. For a model with several outputs, `output` has the structure of the model's outputs: a list or a dict.
        layer: The layer whose output is used: the object itself, or its index, name or path. None for the model's
            output.
        logits: Whether to read that output before the final softmax or sigmoid.

    Raises:
        ArgumentTypeError: `function` is not a function.

    Example:
        >>> margin = Target(lambda output: output[:, 3] - output[:, 5], logits=True)
    """

    def __init__(self, function: Callable, layer=None, *, logits: bool = False):
        if not callable(function):
            raise ArgumentTypeError("function", f"must be a function of the output, not {type(function).__name__}")
        self.function = function
        self.layer = layer
        self.logits = logits
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def key(self):
        function = self.function
        key = function.key if isinstance(function, OutputFunction) else key_of(function)
        return Target, key, self.layer, self.logits

    def __call__(self, run, *arguments):
        if isinstance(self.function, OutputFunction):
            output, logits = (_channels_last(run, each(self.layer), self.layer) for each in (run, run.logits))
            run.notes.width = output.shape[-1]
            return self.function.of(logits if self.logits else output, logits, *arguments)
        if self.layer is None:
            read = [run.logits_of(tensor) for tensor in run.outputs] if self.logits else run.outputs
            return self.function(keras.tree.pack_sequence_as(run.structure, read))
        if self.logits:
            return self.function(run.logits(self.layer))
        found = run.tensors(self.layer)
        return self.function(found[0] if len(found) == 1 else found)

    def arguments(self, samples: int) -> list[np.ndarray]:
        return self.function.arguments(samples) if isinstance(self.function, OutputFunction) else []

    def validate(self, width: int | None) -> None:
        if isinstance(self.function, OutputFunction):
            self.function.validate(width)


class OutputFunction:
    """Base class of functions of one output, `(samples, ...) -> (samples,)`; larger means more.

    Pass them as `filter_indices` or as losses. Their other arguments may differ between calls and between samples
    without a new trace.

    Example:
        >>> class Score(OutputFunction):
        ...     def of(self, output, logits):
        ...         return output[:, 2]
        >>> Score()(np.array([[1.0, 2.0, 3.0]])).numpy()
        array([3.], dtype=float32)
    """

    def __call__(self, output):
        """Return the values of an output.

        Args:
            output: Scores with their channels last, of shape (samples, ..., channels).

        Returns:
            A tensor of shape (samples,).
        """
        output = tf.convert_to_tensor(output, tf.float32)
        return self.of(output, output, *map(tf.constant, self.arguments(len(output))))

    def of(self, output, logits, *arguments):
        """Return the values in the graph. Subclasses override it.

        Args:
            output: The output to read, float32 with its channels last.
            logits: The same output before the final softmax or sigmoid.
            *arguments: The arrays of `arguments`, as tensors.

        Returns:
            A tensor of shape (samples,).

        Raises:
            ArgumentTypeError: The class does not override it.
        """
        problem = f"must compute something: {type(self).__name__} does not override of()"
        raise ArgumentTypeError("filter_indices", problem, kind="abstract")

    def arguments(self, samples: int) -> list[np.ndarray]:
        """Return arrays that may change from call to call without a new trace; `of` gets them as tensors.

        Args:
            samples: The number of samples.

        Returns:
            Arrays of shape (samples, ...).
        """
        return []

    def validate(self, width: int | None) -> None:
        """Refuse arguments that do not fit an output.

        Args:
            width: The number of channels of the output, or None if unknown.
        """

    @property
    def key(self):
        """Return what identifies the function, apart from its arguments; by default all that it reads, by value."""
        return key_of(self)


class Difference(OutputFunction):
    """The score of one class minus that of another: why this class and not that one.

    For a feature map or a segmentation, it is averaged over positions.

    Args:
        one: The class whose score counts positively: an int, or one per sample.
        other: The class whose score is subtracted, likewise.

    Example:
        >>> from vis.visualization import visualize_saliency
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> model.layers[-1].set_weights([np.array([[1.0, 2.0], [3.0, 7.0]]), np.zeros(2)])
        >>> visualize_saliency(model, -1, Difference(1, 0), np.ones(2), normalize=False)
        array([1., 4.], dtype=float32)
    """

    def __init__(self, one, other):
        self.one, self.other = _classes("one", one), _classes("other", other)

    @property
    def key(self):
        return (Difference,)

    def arguments(self, samples: int) -> list[np.ndarray]:
        return [_of_samples(self.one, samples), _of_samples(self.other, samples)]

    def validate(self, width: int | None) -> None:
        _check_classes(self.one, width)
        _check_classes(self.other, width)

    def of(self, output, logits, *arguments):
        one, other = arguments
        difference = _scores_of(output, one) - _scores_of(output, other)
        return tf.reduce_mean(tf.reshape(difference, [tf.shape(difference)[0], -1]), axis=1)


class Segmentation(OutputFunction):
    """The mean score of a class over positions of a segmentation: why the model found that object there.

    It is the score of "Seg-Grad-CAM" (Vinogradova et al. 2020, arXiv 2002.11434, equation 2), with a mean in place of
    the sum.

    Args:
        class_index: The class: an int, or one per sample. A model with one channel has only class 0.
        mask: The positions that count, booleans or weights of at least 0: of shape (rows, columns), or (samples, rows,
            columns); for a series (steps,), for a volume (samples or 1, *positions). None takes the positions
            where the class is predicted; with one channel, those with a positive logit. If no position counts, the
            score is 0.

    Raises:
        ArgumentError: The class does not exist, or the mask does not fit the positions or the number of samples.

    Example:
        >>> scores = np.array([[[[2.0, 0.0], [4.0, 5.0]]]])  # one sample of 1 × 2 positions, two classes
        >>> Segmentation(0)(scores).numpy(), Segmentation(0, np.ones((1, 2)))(scores).numpy()
        (array([2.], dtype=float32), array([3.], dtype=float32))
    """

    def __init__(self, class_index, mask=None):
        self.class_index = _classes("class_index", class_index)
        self.mask = None if mask is None else np.asarray(mask, np.float32)
        if self.mask is not None and not (self.mask >= 0).all():
            raise ArgumentError("mask", "must be of booleans, or of weights of at least 0", kind="range")

    @property
    def key(self):
        return Segmentation, self._positions

    @property
    def _positions(self):
        if self.mask is None:
            return None
        return self.mask.shape[1:] if self.mask.ndim > 2 else self.mask.shape

    def arguments(self, samples: int) -> list[np.ndarray]:
        classes = _of_samples(self.class_index, samples)
        if self.mask is None:
            return [classes]
        shared = self.mask.ndim < 3
        return [classes, _of_samples(self.mask[None] if shared else self.mask, samples, self.mask.ndim + shared)]

    def of(self, output, logits, *arguments):
        class_index, mask = (*arguments, None)[:2]
        rank = output.shape.rank
        if rank < 3:
            raise ArgumentError(
                "filter_indices",
                f"must not be a Segmentation for an output of shape {tuple(output.shape)}, which has no positions",
                "Choose a layer that has some by layer_idx",
                kind="positions",
            )
        if mask is None:
            best = tf.argmax(logits, axis=-1, output_type=class_index.dtype)
            is_one = tf.reshape(class_index, [-1, *[1] * (rank - 2)]) == best
            mask = logits[..., 0] > 0 if output.shape[-1] == 1 else is_one
        elif not output.shape[1:-1].is_compatible_with(self._positions):
            raise ArgumentError(
                "mask",
                f"must have the shape of the output's positions, {tuple(output.shape[1:-1])}, not "
                f"{np.asarray(self.mask).shape}",
                kind="shape",
            )
        positions = list(range(1, rank - 1))
        mask = tf.cast(mask, output.dtype)
        total = tf.reduce_sum(_scores_of(output, class_index) * mask, positions)
        return tf.math.divide_no_nan(total, tf.reduce_sum(mask, positions))

    def validate(self, width: int | None) -> None:
        _check_classes(self.class_index, width)


class Similarity(OutputFunction):
    """The cosine similarity of an embedding with a reference: what makes two inputs alike.

    cos(f(x), r) = f(x) · r / (‖f(x)‖ ‖r‖), 0 where either is 0. With the embedding of a second picture as the
    reference, it is the score of the similarity maps of metric learning (Stylianou et al. 2019, arXiv 1901.00536).

    Args:
        reference: The embedding to compare with, of shape (features,), or (samples, features) for one per sample.

    Raises:
        ArgumentError: The references do not fit the number of samples or of features.

    Example:
        >>> Similarity([1.0, 0.0])(np.array([[3.0, 4.0]])).numpy()
        array([0.6], dtype=float32)
    """

    def __init__(self, reference):
        self.reference = np.asarray(reference, np.float32)
        if self.reference.ndim not in (1, 2) or not self.reference.size:
            raise ArgumentError(
                "reference",
                f"must have shape (features,) or (samples, features), not {self.reference.shape}",
                kind="shape",
            )

    @property
    def key(self):
        return Similarity, self.reference.shape[-1]

    def arguments(self, samples: int) -> list[np.ndarray]:
        return [_of_samples(self.reference, samples, 2)]

    def of(self, output, logits, *arguments):
        (reference,) = arguments
        if output.shape.rank != 2 or output.shape[1] not in (None, self.reference.shape[-1]):
            raise ArgumentError(
                "reference",
                f"must have as many features as the output, which is of shape {tuple(output.shape)}, not "
                f"{self.reference.shape[-1]}",
                "Choose the layer that gives the embedding by layer_idx",
                kind="shape",
            )
        one, other = (tf.math.l2_normalize(tf.cast(each, tf.float32), axis=1) for each in (output, reference))
        return tf.reduce_sum(one * other, axis=1)


def _classes(argument: str, value) -> np.ndarray:
    classes = np.asarray(value)
    if classes.dtype.kind not in "iu" or classes.ndim > 1 or not classes.size:
        raise ArgumentTypeError(argument, f"must be a class, or one per sample, not {value!r}", kind="dtype")
    if classes.min() < 0:
        raise ArgumentError(argument, f"must be counted from 0, not {classes.min()}", kind="negative")
    return classes.astype(np.int64)


def _check_classes(classes: np.ndarray, width: int | None) -> None:
    if width is not None and classes.max() >= width:
        raise ArgumentError(
            "filter_indices", f"must be of classes from 0 to {width - 1}, not {classes.max()}", kind="range"
        )


def _of_samples(array: np.ndarray, samples: int, rank: int = 1) -> np.ndarray:
    """Return an array with one row per sample, from one row for all or one per sample, with `rank` axes."""
    array = array if array.ndim == rank else array[None]
    if len(array) not in (1, samples):
        raise ArgumentError(
            "filter_indices",
            f"must hold one value for all samples or one per sample, not {len(array)} for {samples} samples",
            kind="rows",
        )
    return np.broadcast_to(array, (samples, *array.shape[1:]))


def _scores_of(output, classes):
    """Return the scores of one class per sample, of an output with its channels last."""
    chosen = tf.one_hot(classes, tf.shape(output)[-1], dtype=output.dtype)
    chosen = tf.reshape(chosen, [-1, *[1] * (output.shape.rank - 2), tf.shape(output)[-1]])
    return tf.reduce_sum(tf.math.multiply_no_nan(output, chosen), axis=-1)


def _channels_last(run, tensor, layer):
    """Return an output in float32 with its channels last, adding a channel axis if there is none."""
    tensor, rank = tf.cast(tensor, tf.float32), tensor.shape.rank
    channel = run.channel(run(layer)) if rank > 2 else rank - 1 or None
    if channel is None:
        return tensor[..., None]
    return tf.transpose(tensor, [*(axis for axis in range(rank) if axis != channel), channel])


_WEIGHT = "have a number as the weight of {!r}"


def weighted(losses) -> list[tuple[Loss, float]]:
    """Return a list of `(loss, weight)` from the argument of a user.

    Args:
        losses: A list of `(loss, weight)`; or of losses, with weight 1; or a single loss. A plain function means a
            `Target` of the model's output. A loss with weight None or 0 is dropped.

    Returns:
        The list of pairs.

    Raises:
        TypeError: An element is neither a loss nor a function.
        ValueError: No loss is left.

    Example:
        >>> [(loss.name, weight) for loss, weight in weighted([(lambda output: output[:, 0], 2)])]
        [('<lambda>', 2.0)]
    """
    pairs = []
    for element in losses if isinstance(losses, (list, tuple)) else [losses]:
        pair = element if isinstance(element, (list, tuple)) else (element, 1.0)
        if len(pair) != 2:
            raise ArgumentTypeError(
                "losses", f"must hold pairs (loss, weight), not a {type(pair).__name__} of {len(pair)}", kind="pair"
            )
        loss, weight = pair
        if not isinstance(loss, Loss):
            if not callable(loss):
                raise ArgumentTypeError(
                    "losses", f"must hold losses of vis.losses or functions, not {type(loss).__name__}", kind="dtype"
                )
            if isinstance(loss, keras.losses.Loss):
                raise ArgumentTypeError(
                    "losses",
                    f"must hold losses of vis.losses or functions of the output, not the Keras loss {loss.name!r}",
                    "Give a function, such as lambda output: loss(y_true, output)",
                    kind="keras_loss",
                )
            loss = Target(loss)
        weight = 0.0 if weight is None else checks.real_number("losses", weight, _WEIGHT.format(loss.name))
        if weight:
            pairs.append((loss, weight))
    if not pairs:
        raise ArgumentError("losses", "must hold a loss with a weight other than 0", kind="empty")
    return pairs


def marks(filter_indices, width: int | None):
    """Return the filters of rows of marks, which are 0 or 1 for each filter.

    Args:
        filter_indices: Anything that may denote filters.
        width: The number of filters, or None if unknown.

    Returns:
        One list of filters per row; None if the argument is not rows of marks.

    Example:
        >>> marks([[0, 0, 1], [1, 1, 0]], 3)
        [[2], [0, 1]]
    """
    rows: np.ndarray = np.asarray(filter_indices) if not is_ragged(filter_indices) else np.empty(0)
    if rows.ndim != 2 or width is None or rows.shape[1] != width or width < 2 or rows.dtype.kind not in "biuf":
        return None
    if not np.isin(rows, (0, 1)).all() or not rows.any(axis=1).all():
        return None
    return [np.flatnonzero(row).tolist() for row in rows]


def is_ragged(rows) -> bool:
    """Return whether something is a list of lists of different lengths.

    Args:
        rows: Anything that may denote filters.

    Returns:
        True or False.

    Example:
        >>> is_ragged([[0, 2], [1]]), is_ragged([[0], [1]]), is_ragged(3)
        (True, False, False)
    """
    if not isinstance(rows, (list, tuple)) or not all(isinstance(row, (list, tuple, np.ndarray)) for row in rows):
        return False
    return len({len(row) for row in rows if np.ndim(row) == 1}) > 1


def _indices(filter_indices) -> np.ndarray:
    """Return filters as an array of shape (), (k,) or (samples, k); shorter rows are padded with -1."""
    if is_ragged(filter_indices):
        rows = [_indices(row) for row in filter_indices]
        longest = max(len(row) for row in rows)
        return np.array([[*row, *[-1] * (longest - len(row))] for row in rows], np.int64)
    indices = np.asarray(filter_indices)
    if indices.dtype.kind not in "iu" or indices.ndim > 2 or indices.size == 0:
        raise ArgumentTypeError(
            "filter_indices",
            f"must be an int, a list of ints, or one list of ints per sample, not {filter_indices!r}",
            "Labels of other kinds are taken as the y of a stream of batches (x, y)"
            if indices.dtype.kind in "fb"
            else "",
            kind="dtype",
        )
    if indices.min() < 0:
        raise ArgumentError("filter_indices", f"must be counted from 0, not {indices.min()}", kind="negative")
    return indices.astype(np.int64)


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
