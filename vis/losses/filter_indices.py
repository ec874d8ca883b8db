"""Parse `filter_indices` where they are numbers: filters for all samples, for each sample, or marks of filters."""

from __future__ import annotations

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError


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


def indices_of(filter_indices) -> np.ndarray:
    """Return filters as an array of shape (), (k,) or (samples, k); shorter rows are padded with -1."""
    if is_ragged(filter_indices):
        rows = [indices_of(row) for row in filter_indices]
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
