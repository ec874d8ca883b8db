"""Integrated gradients: the gradient averaged along the line from a baseline (Sundararajan et al. 2017)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import evaluate
from vis.engine.types import Change, Reduce
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import attribute, of_filter
from vis.visualization.baselines import baselines_of
from vis.visualization.saliency import channel_of


@shared_docs
def integrated_gradients(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    wrt_tensor=None,
    backprop_modifier=None,
    *,
    baseline=0.0,
    steps: int = 50,
    quadrature: str = "gausslegendre",
    return_gap: bool = False,
    keepdims: bool = False,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Attribute the change of a score between a baseline and an input to the input's features.

    IG_i = (x_i − x'_i) · ∫₀¹ ∂S/∂x_i (x' + α (x − x')) dα, so that Σ_i IG_i = S(x) − S(x') (Sundararajan et al. 2017,
    "Axiomatic Attribution for Deep Networks", arXiv 1703.01365, equation 1 and proposition 1).

    Args:
        {{explained}}
        {{wrt_tensor}}
        {{backprop_modifier}}
        baseline: Where the line begins, in the model's units: a number; an array, one sample's or all samples';
            `"blur"`, the blurred input; or a list of these, over which the attributions are averaged. For several
            inputs a list or dict with one of these per input, which all move together. With `wrt_tensor` it is a value
            of that tensor.
        steps: The number of points on the line.
        quadrature: `"gausslegendre"`, or `"midpoint"` for equal steps.
        return_gap: Whether to return also how far the attributions miss the score's change.
        {{keepdims}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}

    Returns:
        A float32 array of shape (samples, *positions), of both signs: summed over channels unless `keepdims`. For a
        table one value per feature, for an embedding one per token; for several inputs a list or dict of these. With
        `return_gap` a pair (maps, gap), gap being Σ attribution − (S(x) − S(baseline)), float64 of shape (samples,).

    Raises:
        ArgumentError: A `baseline` that does not fit the input, an unknown `quadrature`, fewer than one step, a layer
            that does not exist, a filter out of range, or a `seed_input` that does not fit the model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [3.0]]), np.ones(1)])
        >>> maps, gap = integrated_gradients(model, -1, 0, np.array([1.0, -1.0]), normalize=False, return_gap=True)
        >>> maps, np.abs(gap) < 1e-5
        (array([ 2., -3.], dtype=float32), array([ True]))
    """
    alphas, weights = _points(quadrature, checks.whole_number("steps", steps))
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)
    differences: list[np.ndarray] = []

    def method(objective, inputs, wrt):
        options = {"wrt": wrt, "batch_size": batch_size}
        start = baselines_of(baseline, objective, inputs, wrt, batch_size)
        parts = []
        for values, bases in start.pairs:  # one for each baseline, over which the attributions are averaged
            line = Change(_along, ("line",), (alphas,), bases)
            ends = Change(_along, ("line",), (np.array([0.0, 1.0], np.float32),), bases)
            mean = Reduce(weights=weights)
            slopes = list(evaluate(objective, inputs, change=line, copies=steps, reduce=mean, **options))
            parts.append([_attributions(part, values, bases, row) for row, part in enumerate(slopes)])
            if return_gap:
                scores = evaluate(objective, inputs, change=ends, copies=2, reduce=None, **options)
                change = [np.diff(objective.total(part.scores))[0] for part in scores]
                differences.append(np.array(change) / len(start.pairs))
        for part, *maps in zip(slopes, *parts, strict=True):
            means = [[np.mean(each, axis=0) for each in zip(*calls, strict=True)] for calls in zip(*maps, strict=True)]
            sources = zip(part.sources, means, strict=True)
            yield part, [[finish(source, m) for m in calls] for source, calls in sources]

    def finish(source, attribution):
        channel = channel_of(source, attribution.ndim - 1, channel_axis)
        return attribution if keepdims or channel is None else attribution.sum(axis=channel + 1)

    def gap(found):
        maps = (call.reshape(len(call), -1) for calls in found.maps for call in calls)
        missed = sum(each.sum(axis=1, dtype=np.float64) for each in maps) - np.sum(differences, axis=0)
        differences.clear()
        return missed

    also = gap if return_gap else None
    return attribute(
        explained, seed_input, method, wrt=wrt, signed=True, normalize=normalize, squeeze=squeeze, also=also
    )


def _points(quadrature: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the points on the line from 0 to 1, and their weights."""
    if quadrature == "midpoint":
        return ((np.arange(steps) + 0.5) / steps).astype(np.float32), np.full(steps, 1 / steps)
    if quadrature != "gausslegendre":
        raise ArgumentError("quadrature", f"must be 'gausslegendre' or 'midpoint', not {quadrature!r}", kind="unknown")
    points, weights = np.polynomial.legendre.leggauss(steps)
    return ((points + 1) / 2).astype(np.float32), weights / 2


def _along(value, k, index, alphas, *bases):
    """Return the points of the line from a baseline to a value that the copies `k` stand for."""
    base = tf.cast(bases[index], value.dtype)
    ones = [1] * (value.shape.rank - base.shape.rank)
    base = tf.reshape(base, tf.concat([[1], tf.constant(ones, tf.int32), tf.shape(base)[1:]], 0))
    alpha = tf.reshape(tf.cast(tf.gather(alphas, k), value.dtype), [-1, *[1] * (value.shape.rank - 1)])
    return base + alpha * (value - base)


def _attributions(part, values, bases, row: int) -> list[list[np.ndarray]]:
    """Return (x − x') times the mean gradient, for each source a list with one array per call, of one sample."""
    flat = iter(zip(values, bases, strict=True))
    found = []
    for gradients in part.gradients:
        found.append([])
        for gradient in gradients:
            value, base = (np.asarray(array[row], np.float32) for array in next(flat))
            found[-1].append((value - base)[None] * gradient[..., 0])
    return found
