"""Map nnabla's channels-first axes to the channels-last tensors of a Keras model.

The layout depends only on the rank. A tensor of rank 4, (N, C, H, W), or 5, (N, C, D, H, W), has its channels last in
Keras; tensors of other ranks keep nnabla's order.
"""

from __future__ import annotations

import numpy as np
from keras import layers

_MOVED = (4, 5)


def axis(number: int, rank: int) -> int:
    """Return the Keras axis of an nnabla axis.

    Args:
        number: The axis in nnabla, from 0; negative from the end.
        rank: The number of axes of the tensor.

    Returns:
        The axis in Keras, from 0.

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
    """Return a tensor with its axes in the order of Keras."""
    rank = len(x.shape)
    return layers.Permute((*range(2, rank), 1))(x) if rank in _MOVED else x


def constant(value: np.ndarray, rank: int) -> np.ndarray:
    """Return a parameter in a shape that broadcasts against tensors as in nnabla.

    Args:
        value: The parameter; missing axes are added at the front.
        rank: The rank of the tensors.

    Returns:
        An array of that rank.
    """
    value = value.reshape((1,) * (rank - value.ndim) + value.shape)
    return np.moveaxis(value, 1, -1) if rank in _MOVED else value


def sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the Keras shape of one sample, from an nnabla shape with the batch axis."""
    return (*shape[2:], shape[1]) if len(shape) in _MOVED else tuple(shape[1:])


def channels_last(x):
    """Return a signal, (N, C, L), with its channels last; in other ranks they are already last."""
    return layers.Permute((2, 1))(x) if len(x.shape) == 3 else x


def signal(x):
    """Return a signal with its channels last, (N, L, C), in nnabla's order: the inverse of `channels_last`."""
    return channels_last(x)
