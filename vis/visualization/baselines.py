"""Baselines, what stands for "nothing there", and the lines from them to the samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs, is_real
from vis.engine.types import Change, Evaluated
from vis.utils.arrays import blur
from vis.utils.errors import ArgumentError

# What is averaged over the points of a line: the gradient, and the attribution that it gives.
ATTRIBUTION = (lambda gradient, way: gradient, tf.multiply)


class Moved(NamedTuple):
    """A tensor that moves along a line.

    Attributes:
        name: Its name in messages.
        values: Its values, with one row per sample.
        number: Its position among the tensors that a `Change` receives; -1 if it cannot move.
        channel: The channel axis of one sample, or None.
    """

    name: str
    values: np.ndarray
    number: int
    channel: int | None = None


class Line(NamedTuple):
    """The line from a baseline to each sample, for each tensor that moves.

    Attributes:
        bases: The start of the line, x', one row per sample; of shape (samples,) for a number.
        numbers: The positions of the tensors among those that a `Change` receives.
    """

    bases: tuple
    numbers: tuple

    def change(self, points) -> Change:
        """Return the change of copies into points of the line, from 0 to 1."""
        numbers = self.numbers

        def along(value, k, index, alphas, *bases):
            if index not in numbers:
                return value, tf.zeros_like(value)
            return toward(value, bases[numbers.index(index)], tf.gather(alphas, k))

        return Change(along, ("line", numbers), (np.asarray(points, np.float32),), self.bases)


def toward(value, base, alpha):
    """Return points on the way from a baseline to a value, and the whole way, by which their gradient is multiplied.

    Args:
        value: A tensor of shape (rows, ...).
        base: The baseline, of shape (rows, ...), (1, ...), or (1,) for a number.
        alpha: The share of the way, of shape (rows,).

    Returns:
        x' + α (x − x') and x − x', float32.
    """
    value, base = tf.cast(value, tf.float32), tf.cast(base, tf.float32)
    ones = tf.ones([value.shape.rank - base.shape.rank], tf.int32)
    base = tf.reshape(base, tf.concat([tf.shape(base), ones], 0))
    alpha = tf.reshape(tf.cast(alpha, tf.float32), [-1, *[1] * (value.shape.rank - 1)])
    way = value - base
    return base + alpha * way, way


def points(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points on a line from 0 to 1 where a gradient is taken, and their weights.

    Args:
        quadrature: `"gausslegendre"`, or `"midpoint"` for equal steps.
        steps: Their number.

    Returns:
        Two arrays of shape (steps,); the weights add up to 1.

    Raises:
        ArgumentError: An unknown `quadrature`.
    """
    if quadrature == "midpoint":
        return ((np.arange(steps) + 0.5) / steps).astype(np.float32), np.full(steps, 1 / steps)
    if quadrature != "gausslegendre":
        raise ArgumentError("quadrature", f"must be 'gausslegendre' or 'midpoint', not {quadrature!r}", kind="unknown")
    places, weights = np.polynomial.legendre.leggauss(steps)
    return ((places + 1) / 2).astype(np.float32), weights / 2


def attributed(part: Evaluated) -> tuple[Evaluated, list[list[np.ndarray]]]:
    """Return a result of `ATTRIBUTION` with its gradients alone, and the attributions in the same lists."""
    gradients, maps = ([[call[..., i] for call in calls] for calls in part.gradients] for i in range(2))
    return part._replace(gradients=gradients), maps


def moved(objective: Objective, inputs: ModelInputs, wrt: list, batch_size, *, layouts: bool = False) -> list[Moved]:
    """Return the tensors that move, with their values for some samples.

    Args:
        objective: What is explained.
        inputs: The samples.
        wrt: The addresses of what moves.
        batch_size: The most rows to compute at once.
        layouts: Whether their channels are of interest.

    Returns:
        A `Moved` per tensor.
    """
    if len(wrt) == 1 and wrt[0] is None and not layouts and all(map(is_real, inputs.arrays)):
        return [Moved(*each, i) for i, each in enumerate(zip(inputs.names, inputs.arrays, strict=True))]
    parts = list(evaluate(objective, inputs, wrt=wrt, read=True, batch_size=batch_size))
    return [
        Moved(source.name, np.concatenate([part.values[i][call] for part in parts]), number, source.layout.channel)
        for i, source in enumerate(parts[0].sources)
        for call, number in enumerate(source.numbers)
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
    tensors = moved(objective, inputs, wrt, batch_size, layouts=_has_blur(baseline))
    lines = []
    for baselines in _each(baseline, [tensor.name for tensor in tensors]):
        ends = [(_array(*pair), pair[1].number) for pair in zip(baselines, tensors, strict=True)]
        bases, numbers = zip(*(end for end in ends if end[1] >= 0), strict=True)
        lines.append(Line(bases, numbers))
    return lines


def averaged(maps: list) -> list[list[np.ndarray]]:
    """Return the mean of several lists of maps of the same structure."""
    return [[np.mean(each, axis=0) for each in zip(*calls, strict=True)] for calls in zip(*maps, strict=True)]


def _has_blur(baseline) -> bool:
    parts = baseline.values() if isinstance(baseline, dict) else baseline if isinstance(baseline, (list, tuple)) else ()
    return isinstance(baseline, str) or any(map(_has_blur, parts))


def _each(baseline, names: list[str]) -> list[list]:
    """Return for each of several baselines a list with one per tensor."""
    if isinstance(baseline, dict):
        if set(baseline) != set(names):
            raise ArgumentError("baseline", f"must have the keys {names}, not {list(baseline)}", kind="keys")
        of_tensors = [baseline[name] for name in names]
    elif len(names) > 1 and isinstance(baseline, (list, tuple)):
        if len(baseline) != len(names):
            raise ArgumentError(
                "baseline", f"must have one value per input ({', '.join(names)}), not {len(baseline)}", kind="count"
            )
        of_tensors = list(baseline)
    else:
        of_tensors = [baseline] * len(names)
    several = [list(each) if isinstance(each, (list, tuple)) else [each] for each in of_tensors]
    count = max(map(len, several))
    if not all(several):
        raise ArgumentError("baseline", "must hold at least one baseline, not an empty list")
    if any(len(each) not in (1, count) for each in several):
        counts = ", ".join(str(len(each)) for each in several)
        raise ArgumentError(
            "baseline", f"must have one baseline per input, or the same number of them, not {counts}", kind="count"
        )
    return [[each[i % len(each)] for each in several] for i in range(count)]


def _array(baseline, tensor: Moved) -> np.ndarray:
    """Return a baseline of one tensor with a row per sample: of shape (samples,) for a number."""
    value = tensor.values
    if isinstance(baseline, str) and baseline == "blur":
        axes = [axis for axis in range(1, value.ndim) if tensor.channel is None or axis != tensor.channel + 1]
        return blur(value, axes)
    try:
        array = np.asarray("" if baseline is None else baseline, np.float32)
    except (TypeError, ValueError) as error:
        problem = f"must be a number, an array, 'blur' or a list of these, not {baseline!r}"
        raise ArgumentError("baseline", problem, kind="unknown") from error
    if not np.isfinite(array).all():
        raise ArgumentError("baseline", "must be finite, not NaN or infinite", kind="not_finite")
    if array.ndim == 0:
        return np.full(len(value), array)
    shape = value.shape
    if array.shape == shape or array.shape == (1, *shape[1:]):
        return np.broadcast_to(array, shape)
    if array.shape == shape[1:]:
        return np.broadcast_to(array[None], shape)
    raise ArgumentError(
        "baseline",
        f"must be a number or an array of shape {shape[1:]} or {shape} for {tensor.name!r}, not of shape {array.shape}",
        kind="shape",
    )
