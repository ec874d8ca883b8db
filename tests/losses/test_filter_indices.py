"""Numbers of filters as users write them."""

from __future__ import annotations

import numpy as np
import pytest

from vis import ArgumentError, ArgumentTypeError
from vis.losses.filter_indices import indices_of, is_ragged, marks


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, 3),
        (np.int32(3), 3),
        ([1, 4], [1, 4]),
        ((2,), [2]),
        (np.array([[0, 2], [1, 1]], np.uint8), [[0, 2], [1, 1]]),
        ([[5, 6], [7]], [[5, 6], [7, -1]]),
        ([np.array([0]), (1, 2, 3)], [[0, -1, -1], [1, 2, 3]]),
    ],
)
def test_filters_become_an_array_padded_by_minus_one(given, expected):
    found = indices_of(given)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("given", ["cat", 1.0, [0.5], [], [[[1]]], None, [[1, 2], ["a"]]])
def test_what_is_no_filter_is_named(given):
    with pytest.raises(ArgumentTypeError, match="filter_indices.*must be an int, a list of ints"):
        indices_of(given)


@pytest.mark.parametrize("given", [-1, [2, -3], [[0, 1], [-1]]])
def test_filters_are_counted_from_0(given):
    with pytest.raises(ArgumentError, match="counted from 0"):
        indices_of(given)


def test_floats_are_told_where_labels_belong():
    with pytest.raises(ArgumentTypeError, match="stream of batches"):
        indices_of(np.ones(3))


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float32])
def test_rows_of_marks_are_the_filters_that_they_mark(dtype):
    assert marks(np.array([[0, 0, 1], [1, 1, 0]], dtype), 3) == [[2], [0, 1]]


@pytest.mark.parametrize(
    ("given", "width"),
    [
        ([[0, 1]], 3),  # two filters of three
        ([[0, 1]], None),  # nothing to compare with
        ([[1], [0]], 1),  # one filter: these are indices
        ([[0, 0], [0, 1]], 2),  # a row that marks none
        ([[0, 2]], 2),  # not a mark
        ([[0, 1], [1]], 2),  # of different lengths
        ([0, 1], 2),  # a flat list of filters
        (["a", "b"], 2),
    ],
)
def test_anything_else_is_no_row_of_marks(given, width):
    assert marks(given, width) is None


def test_only_lists_of_different_lengths_are_ragged():
    assert is_ragged([[0, 1], [2]])
    assert is_ragged([np.array([0]), [1, 2]])
    for given in ([[0], [1]], [0, [1]], 3, np.eye(2), [], "ab"):
        assert not is_ragged(given)
