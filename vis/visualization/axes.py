"""Which axes of a model's inputs the positions of a feature map belong to, where the map has fewer of them."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.gradients import Question, differentiate
from vis.engine.inputs import Samples, symbolic_inputs
from vis.engine.rules import underlying
from vis.losses import Loss

# How far, in shares of an axis, what a position depends on moves with it; noise moves less.
_SMALLEST_MOVE = 0.05


class _Axes(NamedTuple):
    """Some position axes of one input, and their sizes."""

    input: int
    axes: tuple[int, ...]
    size: tuple[int, ...]


def positions(array, data_format: str) -> tuple[int, ...]:
    """The positions of a model's input: its axes without those of samples and channels."""
    if array.ndim <= 2:
        return array.shape[1:]
    return array.shape[2:] if data_format == "channels_first" else array.shape[1:-1]


def target_size(model, samples: Samples, address, shape: tuple[int, ...], data_format: str) -> tuple[int, ...] | None:
    """The size of those axes of the inputs that the positions of a feature map come from.

    The sizes tell where the map has all of an input's axes, or just the size of some. Otherwise the gradient does: what
    the first and the last position of an axis depend on lies at the two ends of the input's axis.

    Args:
        model: A Keras model.
        samples: Its inputs.
        address: The address of the layer that gives the feature map.
        shape: The map's positions.
        data_format: Of the map.

    Returns:
        One size for each of the map's axes; None where it cannot be told.
    """
    found = _choices([positions(array, data_format) for array in samples.arrays], len(shape))
    if not found:  # an input without a channel axis, or one whose positions are made inside the model
        found = _choices([array.shape[1:] for array in samples.arrays], len(shape)) or [_Axes(0, (), shape)]
    # A table has no positions, where there is anything that has.
    found = [each for each in found if samples.arrays[each.input].ndim > 2] or found
    same = [each for each in found if each.size == shape]
    smaller = [each for each in found if all(got <= want for got, want in zip(shape, each.size, strict=True))]
    for some in (found, same, smaller):
        if len({each.size for each in some}) == 1:
            return some[0].size
    moving = [each for each in found if _moves_along(model, samples, address, shape, data_format, each)]
    return moving[0].size if len({each.size for each in moving}) == 1 else None


def _choices(sizes: list[tuple[int, ...]], count: int) -> list[_Axes]:
    """Every choice of so many of an input's axes, for each input."""
    return [
        _Axes(i, axes, tuple(shape[axis] for axis in axes))
        for i, shape in enumerate(sizes)
        for axes in itertools.combinations(range(len(shape)), count)
    ]


class _Positions(Loss):
    """Some positions of a feature map; which, is an argument."""

    name = "positions"

    def __init__(self, layer, chosen: np.ndarray):
        self.layer = layer
        self.chosen = chosen

    @property
    def key(self):
        return _Positions, self.layer

    def arguments(self, samples: int) -> list[np.ndarray]:
        return [self.chosen.reshape(samples, -1)]

    def __call__(self, run, chosen):
        features = tf.cast(run.tensors(self.layer)[0], tf.float32)
        if run.data_format(self.layer) == "channels_first":
            features = tf.transpose(features, [0, *range(2, features.shape.rank), 1])
        # Not their sum, which a normalization of channels keeps as it is.
        weights = tf.range(1, tf.shape(features)[-1] + 1, dtype=tf.int32)
        features = tf.linalg.matvec(features, tf.cast(weights, tf.float32))
        return tf.reduce_sum(tf.reshape(features, tf.shape(chosen)) * chosen, axis=1)


def _moves_along(model, samples, address, shape, data_format, found: _Axes) -> bool:
    """Whether what the map's positions depend on moves along these axes as they do, and along no others."""
    ends = np.zeros((len(shape), 2, *shape), np.float32)
    for axis in range(len(shape)):
        np.moveaxis(ends[axis], axis + 1, 1)[[0, 1], [0, -1]] = 1
    ends = ends.reshape(-1, *shape)
    symbols = symbolic_inputs(underlying(model))
    wrt = symbols[found.input] if symbols else samples.keys[found.input] if samples.keys else None
    arrays = [array[:1].repeat(len(ends), axis=0) for array in samples.arrays]
    rows = Samples(arrays, samples.keys, samples.structure, samples.shapes)
    try:
        parts = list(differentiate(Question(underlying(model), [(_Positions(address, ends), 1)], rows, wrt)))
    except ValueError:  # of integers, or not what the map is computed from
        return False
    slopes = np.abs(np.concatenate([part.gradients[0 if wrt is not None else found.input][0] for part in parts]))
    if slopes.ndim > 2:
        slopes = slopes.sum(axis=1 if data_format == "channels_first" else -1)
    moves = np.array([_move(first, last) for first, last in zip(slopes[::2], slopes[1::2], strict=True)])
    best = moves.argmax(axis=1)
    others = np.sort(moves, axis=1)[:, :-1].max(axis=1, initial=0)
    clear = (moves.max(axis=1) > _SMALLEST_MOVE) & (moves.max(axis=1) > 2 * others)
    return bool(clear.all()) and tuple(best) == found.axes


def _move(first: np.ndarray, last: np.ndarray) -> list[float]:
    """How far the center of an array moves from one to the other, in shares of each axis."""
    moves = []
    for axis, size in enumerate(first.shape):
        others = tuple(i for i in range(first.ndim) if i != axis)
        centers = [
            np.average(np.arange(size), weights=weights) if weights.any() else np.nan
            for weights in (first.sum(axis=others), last.sum(axis=others))
        ]
        moves.append(abs(centers[1] - centers[0]) / max(size - 1, 1))
    return np.nan_to_num(moves)
