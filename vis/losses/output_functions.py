"""Functions of one output, to be given as `filter_indices`: `Difference`, `Segmentation`, `Similarity`."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.engine.keys import key_of
from vis.utils.errors import ArgumentError, ArgumentTypeError


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
        >>> import keras
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
