"""RISE: the score of randomly masked copies, averaged over the masks that show a position (Petsiuk et al. 2018)."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import of_filter
from vis.visualization.perturbation import Masking, Subject, filling, perturb

# The number of masks to make and sum at once.
_MASKS = 64


@shared_docs
def rise(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    *,
    num_masks: int = 4000,
    grid: int = 7,
    probability: float = 0.5,
    seed: int = 0,
    inputs=None,
    channel_axis="auto",
    logits: bool = False,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show which regions must be visible for a high score: the mean of random masks, each weighted by its score.

    M = 1/(N · p) Σ_k S(x · M_k) M_k (Petsiuk et al. 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", arXiv 1806.07421, equation 6). A mask M_k is a grid of cells that are 1 with probability p, enlarged
    linearly to the input and moved by a random part of a cell (section 3.2). It needs N forward passes.

    Args:
        {{explained}}
        num_masks: The number N of masks.
        grid: The number of cells along each position axis. In tables and texts, each feature and each token is a
            cell, and masked tokens get the id 0.
        probability: The probability p, above 0 and up to 1, that a cell is visible.
        {{seed}}
        {{inputs}}
        {{channel_axis}}
        {{logits}} The paper averages probabilities.
        {{output_options}}
        {{progress_bar}}

    Returns:
        {{perturbed_maps}}

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The score does not depend on the masked parts.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [0.0], [0.0]]), np.zeros(1)])
        >>> rise(model, -1, 0, np.ones(3), num_masks=10000, normalize=False).round(1)
        array([2., 1., 1.], dtype=float32)
    """
    num_masks = checks.whole_number("num_masks", num_masks)
    seed = checks.whole_number("seed", seed, 0)
    checks.whole_number("grid", grid)
    if not 0 < checks.real_number("probability", probability) <= 1:
        raise ArgumentError("probability", f"must be above 0 and at most 1, not {probability}", kind="range")

    def masks(subject: Subject) -> Masking:
        make, arguments = _drawn(subject, num_masks, grid, probability, seed)

        def to_map(row, scores, score):
            total = np.zeros(subject.sizes)
            for first in range(0, num_masks, _MASKS):
                some = np.arange(first, min(first + _MASKS, num_masks))
                mask = tf.cast(make(tf.constant(some), subject.sizes, *arguments), tf.float32)
                total += np.tensordot(scores[some].astype(np.float32), mask.numpy(), 1)
            return total / (num_masks * probability)

        return Masking(make, num_masks, filling(0.0, subject), to_map, arguments)

    explained, *_ = of_filter(model, layer_idx, filter_indices, logits, None)
    options = {"inputs": inputs, "channel_axis": channel_axis, "batch_size": batch_size, "progress": progress}
    return perturb(explained, seed_input, masks, signed=False, normalize=normalize, squeeze=squeeze, **options)


def _drawn(subject: Subject, num_masks: int, grid: int, probability: float, seed: int) -> tuple:
    """Return a function that makes the masks of an input, and the random cells and shifts it needs."""
    rng = np.random.default_rng(seed)
    alone = subject.values.ndim == 2
    cells = [size if alone else min(grid, size) for size in subject.sizes]
    seen = (rng.random((num_masks, *cells), np.float32) < probability).astype(np.uint8)
    if alone:
        return _each, (seen,)
    extents = np.array([math.ceil(size / count) for size, count in zip(subject.sizes, cells, strict=True)])
    shifts = rng.integers(0, extents, (num_masks, len(cells)))
    return _enlarged, (seen, shifts, extents)


def _each(k, sizes, seen):
    """Return masks with one cell per position, (rows, positions)."""
    return tf.gather(seen, k) > 0


def _enlarged(k, sizes, seen, shifts, extents):
    """Return the masks `k`, (rows, *positions): cells enlarged linearly by (cells + 1) / cells, shifted and cut."""
    mask, shift = tf.cast(tf.gather(seen, k), tf.float32), tf.cast(tf.gather(shifts, k), tf.float32)
    for axis, size in enumerate(sizes):
        cells = tf.cast(tf.shape(mask)[1], tf.float32)
        at = tf.cast(tf.range(size), tf.float32) + shift[:, axis, None] + 0.5
        place = at * cells / ((cells + 1) * tf.cast(extents[axis], tf.float32)) - 0.5
        place = tf.clip_by_value(place, 0, cells - 1)
        nearness = tf.maximum(1 - tf.abs(place[..., None] - tf.range(cells)), 0)
        mask = tf.einsum("kc...,kpc->k...p", mask, nearness)  # the axis returns as the last one
    return mask
