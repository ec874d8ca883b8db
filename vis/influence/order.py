"""The examples of each step of training: by seeded shuffling, as listed, or in the order of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError

_A_STEP = "Each step is a list or array of the indices of its examples"


class Order:
    """The examples of each step of each epoch.

    Args:
        count: The number of examples.
        batch_size: The number of examples per step of a shuffled epoch; its last step may have fewer.
        seed: The seed of the shuffling.
        batches: Arrays of indices, one per step of every epoch; or one list of these per epoch; None to shuffle.

    Example:
        >>> [step.tolist() for step in Order(3, 2, 0, consecutive([2, 1]))(5)]
        [[0, 1], [2]]
    """

    def __init__(self, count: int, batch_size: int, seed: int, batches: Sequence | None = None):
        self._count = count
        self._batch_size = batch_size
        self._seed = seed
        self._batches = batches

    def __call__(self, epoch: int) -> list[np.ndarray]:
        """Return an array of indices for each step of an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            A list of arrays.

        Raises:
            ValueError: There is a list of steps per epoch, and none for this one.
        """
        if self._batches is None:
            order = np.random.default_rng([self._seed, epoch]).permutation(self._count)
            return [order[start : start + self._batch_size] for start in range(0, self._count, self._batch_size)]
        if not is_per_epoch(self._batches):
            return list(self._batches)
        if epoch >= len(self._batches):
            raise ArgumentError(
                "batches",
                f"must hold one list of steps per epoch, not {len(self._batches)} for {epoch + 1} epochs",
            )
        return self._batches[epoch]

    def steps(self, epoch: int) -> int:
        """Return the number of steps of an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            The number of steps.
        """
        return -(-self._count // self._batch_size) if self._batches is None else len(self(epoch))

    def first_step(self, epoch: int) -> int:
        """Return the number of steps before an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            The number of steps.
        """
        if self._batches is not None and is_per_epoch(self._batches):
            return sum(self.steps(earlier) for earlier in range(epoch))
        return epoch * self.steps(0)


def is_per_epoch(batches: Sequence) -> bool:
    """Return whether batches are a list of steps for each epoch, not one list for every epoch.

    Args:
        batches: A list of steps, or of lists of steps, one per epoch; each step an array or list of indices.

    Returns:
        A bool.
    """
    return any(np.ndim(step[0]) > 0 for step in batches[:1] if len(step))


def consecutive(sizes: Sequence[int]) -> list[np.ndarray]:
    """Return batches of consecutive examples.

    Args:
        sizes: The number of examples of each batch.

    Returns:
        An array of indices for each.

    Example:
        >>> [batch.tolist() for batch in consecutive([2, 3])]
        [[0, 1], [2, 3, 4]]
    """
    ends = np.cumsum(sizes)
    return [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def sizes_of(count: int, batch_size: int) -> list[int]:
    """Return the sizes of the batches that examples are split into; the last one may be smaller.

    Args:
        count: The number of examples.
        batch_size: The number of examples of each batch but the last.

    Returns:
        A list of ints.

    Example:
        >>> sizes_of(7, 3)
        [3, 3, 1]
    """
    return [min(batch_size, count - start) for start in range(0, count, batch_size)]


def checked_batches(batches: Sequence, count: int, epochs: int) -> list:
    """Return batches as arrays of indices, and refuse anything else.

    Args:
        batches: A list of steps, or of lists of steps, one per epoch; each step a list of indices.
        count: The number of examples.
        epochs: The number of epochs.

    Returns:
        A list of int64 arrays, or of lists of these.

    Raises:
        ValueError: An index is out of range or not a whole number, a step or an epoch is empty, or there are not as
            many lists as epochs.
    """
    if isinstance(batches, str) or not isinstance(batches, Iterable):
        raise ArgumentTypeError("batches", f"must be a list of steps, not {type(batches).__name__}", _A_STEP)
    batches = list(batches)
    wrong = next((step for step in batches if not isinstance(step, Iterable)), None)
    if wrong is not None:
        raise ArgumentTypeError("batches", f"must be a list of steps, not of {type(wrong).__name__}s", _A_STEP)
    if batches and is_per_epoch(batches):
        if len(batches) != epochs:
            raise ArgumentError(
                "batches",
                f"must hold one list of steps for each of the {epochs} epochs, not {len(batches)}",
                "For the same steps in every epoch, give a single list of steps",
            )
        return [_checked(steps, count) for steps in batches]
    return _checked(batches, count)


def _checked(steps: Sequence, count: int) -> list[np.ndarray]:
    steps = [checked_indices(step, count, "batches") for step in steps]
    if not steps or not all(len(step) for step in steps):
        raise ArgumentError("batches", "must hold at least one step, each with at least one example, not an empty list")
    return steps


def checked_indices(values, count: int, name: str) -> np.ndarray:
    """Return indices of examples as an int64 array.

    Args:
        values: A list or array of whole numbers.
        count: The number of examples.
        name: The caller's name for `values`, for the error message.

    Returns:
        An int64 array of shape (len(values),).

    Raises:
        ValueError: An index is out of range or not a whole number, or `values` is not a flat list.
    """
    array = np.asarray(values, dtype=np.int64 if np.size(values) == 0 else None)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentError(
            name, f"must hold indices of examples, whole numbers, not {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= count):
        wrong = array[(array < 0) | (array >= count)][0]
        raise ArgumentError(name, f"must hold indices of examples, 0 to {count - 1}, not {wrong}")
    return array.astype(np.int64)


def to_json(batches: Sequence | None):
    """Return batches in a form that JSON can hold; consecutive batches become a dict of their sizes.

    Args:
        batches: A list of arrays of indices, or of lists of these, one per epoch; or None.

    Returns:
        None, a list or a dict, for `from_json`.
    """
    if batches is None:
        return None
    if is_per_epoch(batches):
        return [[step.tolist() for step in steps] for steps in batches]
    sizes = [len(step) for step in batches]
    if all(np.array_equal(ours, theirs) for ours, theirs in zip(batches, consecutive(sizes), strict=True)):
        return {"sizes": sizes}
    return [step.tolist() for step in batches]


def from_json(batches):
    """Return the batches from the result of `to_json`.

    Args:
        batches: The result of `to_json`.

    Returns:
        A list of arrays of indices, or of lists of these, one per epoch; or None.

    Example:
        >>> [step.tolist() for step in from_json(to_json(consecutive([1, 2])))]
        [[0], [1, 2]]
    """
    if batches is None:
        return None
    if isinstance(batches, dict):
        return consecutive(batches["sizes"])
    if is_per_epoch(batches):
        return [[np.array(step) for step in steps] for steps in batches]
    return [np.array(step) for step in batches]
