"""Examples as `model.fit` takes them: arrays, a `tf.data.Dataset` or a `keras.utils.PyDataset`, with class weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.utils.errors import ArgumentError, ArgumentTypeError


class Source(NamedTuple):
    """Examples as arrays.

    Attributes:
        x: The inputs: an array, or a list or dict of arrays.
        y: The labels.
        sample_weight: (examples,), or None.
        sizes: The batch sizes of the data set; None for arrays.
    """

    x: Any
    y: Any
    sample_weight: Any
    sizes: list[int] | None


def is_data_set(x) -> bool:
    """Return whether an object is a data set that contains its labels.

    Args:
        x: The user's argument `x`.

    Returns:
        Whether it is a `tf.data.Dataset` or a `keras.utils.PyDataset`.
    """
    return isinstance(x, tf.data.Dataset | keras.utils.PyDataset)


def read(x, y=None, sample_weight=None, class_weight: Mapping | None = None, name: str = "x") -> Source:
    """Return examples as arrays.

    Args:
        x: Arrays, or a data set of batches `(x, y)` or `(x, y, sample_weight)`, which is read twice: it must be finite
            and in a fixed order.
        y: The labels; None for a data set.
        sample_weight: One factor per example; None for a data set.
        class_weight: A dict of class numbers to factors; other classes have 1.
        name: The caller's name for `x`, for error messages.

    Returns:
        The `Source`.

    Raises:
        ValueError: The data set is infinite or empty, has no labels, or changes its order when read again; or there are
            both sample weights and class weights.
        TypeError: `y` or `sample_weight` comes with a data set, or `y` is missing for arrays.
    """
    sizes = None
    if is_data_set(x):
        for other, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ArgumentTypeError(
                    other, f"must not be given besides a {type(x).__name__}", "Make it part of the data set's batches"
                )
        x, y, sample_weight, sizes = _collected(x, name)
    elif y is None:
        raise ArgumentTypeError("y", f"must be given, because {name} is not a data set", kind="missing")
    if class_weight is not None:
        if sample_weight is not None:
            raise ArgumentError(
                "class_weight", "must not be given besides sample_weight", "Multiply the sample weights by it"
            )
        sample_weight = of_classes(y, class_weight)
    return Source(x, y, sample_weight, sizes)


def of_classes(y, class_weight: Mapping) -> np.ndarray:
    """Return the factor of each example's loss by its class, as Keras does.

    Args:
        y: The labels: class numbers, (examples,) or (examples, 1), or one row of a number per class.
        class_weight: A dict of class numbers to factors; other classes have 1.

    Returns:
        A float32 array of shape (examples,).

    Raises:
        ValueError: `class_weight` is not a dict of class numbers to numbers.

    Example:
        >>> of_classes([0, 1, 2], {1: 5.0})
        array([1., 5., 1.], dtype=float32)
    """
    try:
        factors = {int(label): float(factor) for label, factor in class_weight.items()}
    except (AttributeError, TypeError, ValueError):
        raise ArgumentError(
            "class_weight", f"must be a dict of class numbers to factors, not {class_weight!r}"
        ) from None
    labels = np.asarray(y)
    if labels.ndim > 1:
        labels = labels[..., 0] if labels.shape[-1] == 1 else labels.argmax(axis=-1)
    if labels.ndim != 1:
        raise ArgumentError("class_weight", f"must not be given for labels of shape {np.shape(y)}, one class each")
    return np.array([factors.get(int(label), 1.0) for label in np.round(labels)], np.float32)


def _collected(data_set, name: str) -> tuple:
    if isinstance(data_set, tf.data.Dataset):
        infinite = int(data_set.cardinality()) == tf.data.INFINITE_CARDINALITY
    else:
        infinite = data_set.num_batches is None
    if infinite:
        raise ArgumentError(name, "must be a data set of finite length, not an infinite one", "Leave out .repeat()")
    batches = list(_batches(data_set, name))
    if not batches:
        raise ArgumentError(name, "must be a data set of at least one batch, not an empty one")
    if isinstance(data_set, keras.utils.PyDataset):
        data_set.on_epoch_end()  # which may shuffle
    again = _batches(data_set, name)
    if not all(_equal(ours, theirs) for ours, theirs in itertools.zip_longest(batches, again, fillvalue=())):
        raise ArgumentError(
            name,
            "must be a data set of a fixed order, not one that yields other batches when it is read again",
            "Leave out .shuffle() and random changes, or shuffle once before",
        )
    return (
        *(
            None if parts[0] is None else keras.tree.map_structure(lambda *arrays: np.concatenate(arrays), *parts)
            for parts in zip(*batches, strict=True)
        ),
        [len(keras.tree.flatten(inputs)[0]) for inputs, _, _ in batches],
    )


def _batches(data_set, name: str) -> Iterator[tuple]:
    """Yield a data set's batches as `(x, y, sample_weight)` of NumPy arrays."""
    if isinstance(data_set, tf.data.Dataset):
        elements = data_set.as_numpy_iterator()
    else:
        elements = (data_set[index] for index in range(data_set.num_batches))
    for element in elements:
        if not isinstance(element, tuple | list) or len(element) not in (2, 3):
            raise ArgumentError(
                name,
                f"must be a data set of pairs (x, y) or of (x, y, sample_weight), not of {type(element).__name__}s",
            )
        x, y, *weight = element
        x, y = (keras.tree.map_structure(np.asarray, part) for part in (x, y))
        sizes = {array.shape[:1] for array in keras.tree.flatten((x, y))}
        if len(sizes) != 1 or () in sizes:
            raise ArgumentError(
                name,
                "must be a data set of batches, whose arrays all have one row per example, not of arrays of shapes "
                f"{', '.join(str(array.shape) for array in keras.tree.flatten((x, y)))}",
                "Call .batch(32) if its elements are single examples",
            )
        yield x, y, np.asarray(weight[0]) if weight and weight[0] is not None else None


def _equal(ours: tuple, theirs: tuple) -> bool:
    flat = [keras.tree.flatten(batch) for batch in (ours, theirs)]
    return len(flat[0]) == len(flat[1]) and all(map(np.array_equal, *flat))
