"""Baselines, what stands for "nothing there", and the lines from them to the samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs
from vis.engine.types import Change, Evaluated
from vis.utils.arrays import blur
from vis.utils.errors import ArgumentError


class Line(NamedTuple):
    """The line from a baseline to each sample, for each tensor that moves.

    Attributes:
        values: The tensors' values x, with one row per sample each.
        bases: Where the line begins, x', likewise; of shape (samples,) for a number.
    """

    values: tuple
    bases: tuple

    def change(self, points) -> Change:
        """Return the change of copies into points of the line, from 0 to 1."""
        return Change(_along, ("line",), (np.asarray(points, np.float32),), self.bases)

    def times(self, part: Evaluated, row: int) -> list[list[np.ndarray]]:
        """Return (x − x') times the reduced gradient of one sample, for each source a list with one array per call."""
        flat = zip(self.values, self.bases, strict=True)
        ends = [[next(flat) for _ in gradients] for gradients in part.gradients]
        return [
            [
                (value[row] - np.asarray(base[row], np.float32))[None] * gradient[..., 0]
                for (value, base), gradient in zip(calls, gradients, strict=True)
            ]
            for calls, gradients in zip(ends, part.gradients, strict=True)
        ]


def lines_of(baseline, objective: Objective, inputs: ModelInputs, wrt: list, batch_size) -> list[Line]:
    """Return the line from each baseline that a caller gave.

    Args:
        baseline: As `vis.visualization.integrated_gradients` takes it.
        objective: What is explained.
        inputs: The samples.
        wrt: The addresses of what moves.
        batch_size: The most rows to compute at once.

    Returns:
        A `Line` per baseline.

    Raises:
        ArgumentError: It does not fit the tensors.
    """
    parts = list(evaluate(objective, inputs, wrt=wrt, read=True, batch_size=batch_size))
    sources = [source for source in parts[0].sources for _ in range(source.count)]
    values = [
        np.concatenate([part.values[i][call] for part in parts])
        for i, source in enumerate(parts[0].sources)
        for call in range(source.count)
    ]
    return [
        Line(tuple(values), tuple(_array(each, v, s) for each, v, s in zip(one, values, sources, strict=True)))
        for one in _each(baseline, [source.name for source in sources])
    ]


def averaged(maps: list) -> list[list[np.ndarray]]:
    """Return the mean of several lists of maps of the same structure."""
    return [[np.mean(each, axis=0) for each in zip(*calls, strict=True)] for calls in zip(*maps, strict=True)]


def _along(value, k, index, alphas, *bases):
    """Return the points of the line from a baseline to a value that the copies `k` stand for."""
    base = tf.cast(bases[index], value.dtype)
    ones = [1] * (value.shape.rank - base.shape.rank)
    base = tf.reshape(base, tf.concat([[1], tf.constant(ones, tf.int32), tf.shape(base)[1:]], 0))
    alpha = tf.reshape(tf.cast(tf.gather(alphas, k), value.dtype), [-1, *[1] * (value.shape.rank - 1)])
    return base + alpha * (value - base)


def _each(baseline, names: list[str]) -> list[list]:
    """Return for each of several baselines a list with one per tensor."""
    if isinstance(baseline, dict):
        if set(baseline) != set(names):
            raise ArgumentError("baseline", f"must have the keys {names}, not {list(baseline)}", kind="keys")
        return [[baseline[name] for name in names]]
    if isinstance(baseline, (list, tuple)):
        if len(names) > 1:
            if len(baseline) != len(names):
                raise ArgumentError(
                    "baseline", f"must have one value per input ({', '.join(names)}), not {len(baseline)}", kind="count"
                )
            return [list(baseline)]
        if not baseline:
            raise ArgumentError("baseline", "must hold at least one baseline, not an empty list")
        return [[each] for each in baseline]
    return [[baseline] * len(names)]


def _array(baseline, value: np.ndarray, source) -> np.ndarray:
    """Return a baseline of one tensor with a row per sample: of shape (samples,) for a number."""
    if isinstance(baseline, str):
        if baseline != "blur":
            raise ArgumentError(
                "baseline", f"must be a number, an array, 'blur' or a list of these, not {baseline!r}", kind="unknown"
            )
        channel = source.layout.channel
        axes = [axis for axis in range(1, value.ndim) if channel is None or axis != channel + 1]
        return blur(value, axes)
    array = np.asarray(baseline, np.float32)
    if array.ndim == 0:
        return np.full(len(value), array)
    shape = value.shape
    if array.shape == shape or array.shape == (1, *shape[1:]):
        return np.broadcast_to(array, shape)
    if array.shape == shape[1:]:
        return np.broadcast_to(array[None], shape)
    raise ArgumentError(
        "baseline",
        f"must be a number or an array of shape {shape[1:]} or {shape} for {source.name!r}, not of shape {array.shape}",
        kind="shape",
    )
