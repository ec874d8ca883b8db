"""Occlusion: how much the score falls where a window of the input is hidden (Zeiler and Fergus 2014)."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import of_filter
from vis.visualization.perturbation import Masking, Subject, filling, perturb


@shared_docs
def occlusion(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    *,
    window=None,
    stride=None,
    fill=0.0,
    inputs=None,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show how much the score falls when a window of the input is hidden.

    M_p = mean of S(x) − S(x with window W filled) over the windows W that cover position p (Zeiler and Fergus 2014,
    "Visualizing and Understanding Convolutional Networks", arXiv 1311.2901, section 4.2). It needs forward passes only,
    one per window. Windows start at 0, `stride`, 2 · `stride`, ...; the last one is cut at the end.

    Args:
        {{explained}}
        window: The size of the window in positions, with all channels hidden together: an int, or one per position
            axis. None takes an eighth of each axis, or a single feature of a table.
        stride: The distance from one window to the next, likewise; None takes half the window.
        {{fill}}
        {{inputs}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

    Returns:
        {{perturbed_maps}} Positions that no window covers are 0.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The score does not depend on the hidden parts.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [3.0], [-1.0]]), np.ones(1)])
        >>> occlusion(model, -1, 0, np.array([1.0, 1.0, 2.0]), window=1, normalize=False)
        array([ 2.,  3., -2.], dtype=float32)
    """

    def windows(subject: Subject) -> Masking:
        sizes = subject.sizes
        eighth = [1 if subject.is_unordered else max(size // 8, 1) for size in sizes]
        widths = _per_axis("window", window, subject, eighth)
        strides = _per_axis("stride", stride, subject, [max(width // 2, 1) for width in widths])
        counts = [
            min(1 + max(0, math.ceil((size - width) / step)), math.ceil(size / step))
            for size, width, step in zip(sizes, widths, strides, strict=True)
        ]

        def to_map(row, scores, score):
            total, times = (score - scores).reshape(counts), 1.0
            for size, width, step, count in zip(sizes, widths, strides, counts, strict=True):
                starts, at = step * np.arange(count)[:, None], np.arange(size)
                covers = ((at >= starts) & (at < starts + width)).astype(np.float64)
                total = np.tensordot(total, covers, (0, 0))  # the axis returns as the last one
                times = np.multiply.outer(times, covers.sum(axis=0))
            return total / np.maximum(times, 1)

        arguments = tuple(np.array(each, np.int64) for each in (counts, strides, widths))
        return Masking(_outside, math.prod(counts), filling(fill, subject), to_map, arguments)

    explained, *_ = of_filter(model, layer_idx, filter_indices, logits, None)
    options = {"inputs": inputs, "channel_axis": channel_axis, "batch_size": batch_size, "progress": progress}
    return perturb(explained, seed_input, windows, signed=True, normalize=normalize, squeeze=squeeze, **options)


def _outside(k, sizes, counts, strides, widths):
    """Return which positions lie outside of the windows `k`, (rows, *positions)."""
    inside = tf.ones([1] * (len(sizes) + 1), tf.bool)
    for axis in reversed(range(len(sizes))):
        start = (k % counts[axis] * strides[axis])[:, None]
        k //= counts[axis]
        at = tf.range(sizes[axis])
        along = (at >= start) & (at < start + widths[axis])
        shape = [-1, *[1] * axis, sizes[axis], *[1] * (len(sizes) - axis - 1)]
        inside &= tf.reshape(along, tf.stack([tf.cast(size, tf.int64) for size in shape]))
    return ~inside


def _per_axis(name: str, value, subject: Subject, default: list[int]) -> list[int]:
    """Return an option as one number per position axis."""
    value = subject.own(name, value)
    if value is None:
        return default
    if not isinstance(value, (list, tuple, np.ndarray)) or np.ndim(value) == 0:
        return [checks.whole_number(name, value)] * len(default)
    if len(value) != len(default):
        raise ArgumentError(
            name,
            f"must be one number, or {len(default)} for the position axes {subject.sizes} of {subject.name!r}, not "
            f"{len(value)}",
            "Choose among several inputs by inputs=",
            kind="axes",
        )
    return [checks.whole_number(name, each) for each in value]
