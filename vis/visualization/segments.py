"""Segments: the positions of an input that are switched on and off together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.utils.arrays import normalize
from vis.utils.errors import ArgumentError
from vis.visualization.perturbation import Masking, Subject

# The number of squares of a picture, cubes of a volume, and approximate number of `"slic"` superpixels.
_SEGMENTS = 64


class Fit(NamedTuple):
    """On/off vectors, and the function that turns the scores of masked samples into values.

    Attributes:
        switched: uint8 of shape (masks, segments), 1 where a segment is on.
        values: A function of the scores, (masks,), that returns one value per segment.
    """

    switched: np.ndarray
    values: Callable[[np.ndarray], np.ndarray]


def masking(subject: Subject, segments, fit_of: Callable[[int], Fit], fills: np.ndarray) -> Masking:
    """Return a masking of copies by segments.

    Args:
        subject: The input.
        segments: As in the public functions.
        fit_of: A function of a number of segments that returns their `Fit`.
        fills: As in `Masking`.

    Returns:
        The `Masking`, whose maps have a segment's value at each of its positions.
    """
    segmented = _of_each_sample(subject, segments)
    counts = [int(each.max()) + 1 for each in segmented]
    fits = {count: fit_of(count) for count in dict.fromkeys(counts)}
    of_each = [fits[count] for count in counts]
    return Masking(
        _on,
        [len(fit.switched) for fit in of_each],
        fills,
        lambda row, scores, score: of_each[row].values(scores)[segmented[row]],
        rows=([fit.switched for fit in of_each], segmented),
    )


def _on(k, sizes, switched, segments):
    """Return which positions are in segments that are on in the vectors `k`, (rows, *positions)."""
    return tf.gather(tf.gather(switched, k), segments, axis=1) > 0


def _of_each_sample(subject: Subject, segments) -> list[np.ndarray]:
    """Return an array of the positions' shape for each sample, of numbers 0, 1, 2, ..."""
    segments, samples, sizes = subject.own("segments", segments), len(subject.values), subject.sizes
    if segments is None:
        return [_default(subject)] * samples
    if isinstance(segments, str):
        if segments != "slic":
            raise ArgumentError("segments", f"must be an int array, 'slic' or None, not {segments!r}", kind="unknown")
        return [_slic(sample, subject) for sample in subject.values]
    array = np.asarray(segments)
    if array.dtype.kind not in "iu":
        raise ArgumentError("segments", f"must be of whole numbers, not {array.dtype}", kind="dtype")
    if array.shape == sizes:
        return [_numbered(array)] * samples
    if array.shape == (samples, *sizes):
        return [_numbered(each) for each in array]
    raise ArgumentError(
        "segments",
        f"must have the shape of the positions of {subject.name!r}, {sizes}, or {(samples, *sizes)}, not {array.shape}",
        "Choose among several inputs by inputs=",
        kind="shape",
    )


def _default(subject: Subject) -> np.ndarray:
    """Return squares for a picture, cubes for a volume, and otherwise one segment per position."""
    sizes = subject.sizes
    along = round(_SEGMENTS ** (1 / len(sizes)))
    counts = [min(size, along) for size in sizes] if len(sizes) > 1 else sizes
    segments = np.zeros(sizes, np.int32)
    for axis, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        number = np.arange(size, dtype=np.int32) * count // size
        segments = segments * count + number.reshape([-1 if i == axis else 1 for i in range(len(sizes))])
    return segments


def _slic(sample: np.ndarray, subject: Subject) -> np.ndarray:
    """Return the superpixels of a sample (Achanta et al. 2012, "SLIC Superpixels")."""
    if len(subject.sizes) < 2:
        raise ArgumentError("segments", f"must be an int array or None for {subject.name!r}, which is no picture")
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise ArgumentError(
            "segments", "must not be 'slic' where scikit-image is missing", "Install it: pip install keras3-vis[slic]"
        ) from error
    return _numbered(slic(normalize(sample), n_segments=_SEGMENTS, channel_axis=subject.channel, start_label=0))


def _numbered(segments: np.ndarray) -> np.ndarray:
    """Return segments of any numbers as 0, 1, 2, ..."""
    return np.unique(segments, return_inverse=True)[1].reshape(segments.shape).astype(np.int32)
