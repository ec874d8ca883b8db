"""Baselines: what stands for "nothing there", as a caller says it, as one array per tensor."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs
from vis.utils.arrays import blur
from vis.utils.errors import ArgumentError


class Baselines(NamedTuple):
    """For each baseline the values of the tensors, and where the line to them begins, with one row per sample each."""

    pairs: list[tuple[tuple, tuple]]


def baselines_of(baseline, objective: Objective, inputs: ModelInputs, wrt: list, batch_size) -> Baselines:
    """Read what a caller gave for a baseline.

    Args:
        baseline: As in `integrated_gradients`.
        objective: What is explained.
        inputs: The samples.
        wrt: The addresses of what moves.
        batch_size: The most rows to compute at once.

    Returns:
        The `Baselines`, of the tensors that `wrt` names.

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
    names = [source.name for source in sources]
    return Baselines(
        [
            (tuple(values), tuple(_array(each, v, s) for each, v, s in zip(one, values, sources, strict=True)))
            for one in _each(baseline, names)
        ]
    )


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
