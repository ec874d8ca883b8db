"""Channels last of rank 4 and 5: where nnabla's axes are here, and back."""

from __future__ import annotations

import numpy as np
import pytest

from vis.files.nnp import layout


@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_an_axis_is_where_its_size_is(rank):
    sizes = tuple(range(10, 10 + rank))  # of nnabla's axes, each another
    here = (sizes[0], *layout.sample_shape(sizes))
    assert sorted(here) == sorted(sizes)
    for number in range(-rank, rank):
        assert here[layout.axis(number, rank)] == sizes[number]
    for number in (rank, -rank - 1):
        with pytest.raises(ValueError, match=f"there is no axis {number} in a tensor of {rank} axes"):
            layout.axis(number, rank)


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_tensors_come_to_nnabla_s_order_and_back(rank):
    theirs = np.random.default_rng(0).normal(size=range(2, 2 + rank)).astype(np.float32)
    here = np.moveaxis(theirs, 1, -1) if rank > 3 else theirs
    np.testing.assert_array_equal(layout.to_nnabla(here), theirs)
    np.testing.assert_array_equal(layout.from_nnabla(theirs), here)


def test_only_a_signal_has_its_channels_moved():
    signal, picture = np.arange(6.0).reshape(1, 2, 3), np.zeros((1, 2, 3, 4))
    np.testing.assert_array_equal(layout.channels_last(signal), signal.transpose(0, 2, 1))
    np.testing.assert_array_equal(layout.signal(layout.channels_last(signal)), signal)
    assert layout.channels_last(picture) is picture


@pytest.mark.parametrize("rank", [3, 4, 5])
def test_a_parameter_broadcasts_as_in_nnabla(rank):
    rng = np.random.default_rng(0)
    theirs = rng.normal(size=range(2, 2 + rank))
    for shape in (theirs.shape[1:], (theirs.shape[1], *[1] * (rank - 2)), theirs.shape[-1:], ()):
        value = rng.normal(size=shape)
        expected = theirs + value
        if rank > 3:
            found = np.moveaxis(np.moveaxis(theirs, 1, -1) + layout.constant(value, rank), -1, 1)
        else:
            found = theirs + layout.constant(value, rank)
        np.testing.assert_array_equal(found, expected)
