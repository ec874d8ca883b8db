"""Channels last: where nnabla's axes are in the tensors of a Keras model.

The layout is a function of the rank alone. A tensor of rank 4, (N, C, H, W), or 5, (N, C, D, H, W), has its channels
last here; one of any other rank is as nnabla has it.
"""

from __future__ import annotations

import numpy as np
from keras import layers

_MOVED = (4, 5)


def axis(number: int, rank: int) -> int:
    """Return the axis of a tensor that is a certain axis in nnabla.

    Args:
        number: The axis in nnabla, from 0; negative from the end.
        rank: The number of the tensor's axes.

    Returns:
        The axis here.

    Example:
        >>> axis(1, 4), axis(1, 3), axis(-1, 4)
        (3, 1, 2)
    """
    if not -rank <= number < rank:
        raise ValueError(f"there is no axis {number} in a tensor of {rank} axes")
    number %= rank
    if rank not in _MOVED or number == 0:
        return number
    return rank - 1 if number == 1 else number - 1


def to_nnabla(x):
    """Return a tensor with its axes in nnabla's order."""
    rank = len(x.shape)
    return layers.Permute((rank - 1, *range(1, rank - 1)))(x) if rank in _MOVED else x


def from_nnabla(x):
    """Return a tensor with its axes in the order of its rank here."""
    rank = len(x.shape)
    return layers.Permute((*range(2, rank), 1))(x) if rank in _MOVED else x


def constant(value: np.ndarray, rank: int) -> np.ndarray:
    """Return a parameter so that it broadcasts against tensors of a rank as it does in nnabla.

    Args:
        value: The parameter; axes that it lacks are in front.
        rank: The rank of the tensors.

    Returns:
        An array of that rank.
    """
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    return np.moveaxis(value, 1, -1) if rank in _MOVED else value


def sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one sample here of a shape in nnabla, batch axis included."""
    return (*shape[2:], shape[1]) if len(shape) in _MOVED else tuple(shape[1:])


def channels_last(x):
    """Return a signal, (N, C, L), with its channels last; of any other rank they are already."""
    return layers.Permute((2, 1))(x) if len(x.shape) == 3 else x


def signal(x):
    """Return a signal with its channels last, (N, L, C), as nnabla has it; undoes `channels_last`."""
    return channels_last(x)
