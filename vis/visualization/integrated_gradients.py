"""Integrated gradients: the gradient averaged along the line from a baseline (Sundararajan et al. 2017)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vis.engine.evaluate import evaluate
from vis.engine.types import Reduce
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.visualization.attribution import attribute, of_filter
from vis.visualization.baselines import ATTRIBUTION, attributed, averaged, lines_of, points
from vis.visualization.progress import bar
from vis.visualization.saliency import summed


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
    progress: bool = True,
):
    """Attribute the change in score between a baseline and an input to the features of the input.

    IG_i = (x_i − x'_i) · ∫₀¹ ∂S/∂x_i (x' + α (x − x')) dα, so that Σ_i IG_i = S(x) − S(x') (Sundararajan et al. 2017,
    "Axiomatic Attribution for Deep Networks", arXiv 1703.01365, equation 1 and proposition 1).

    Args:
        {{explained}}
        {{wrt_tensor}}
        {{backprop_modifier}}
        baseline: The start of the line, in the model's units: a number; an array for one sample or for all samples;
            `"blur"`, the blurred input; or a list of these, over which the attributions are averaged. For several
            inputs a list or dict with one of these per input, which all move together. With `wrt_tensor` it is a value
            of that tensor.
        steps: The number of points on the line.
        quadrature: `"gausslegendre"`, or `"midpoint"` for equal steps.
        return_gap: Whether to also return by how much the attributions miss the change in score.
        {{keepdims}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

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
    alphas, weights = points(quadrature, checks.whole_number("steps", steps))
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)
    changes: list[list] = []

    def method(objective, inputs, wrt):
        options = {"wrt": wrt, "batch_size": batch_size}
        mean = Reduce(ATTRIBUTION, weights)
        lines = lines_of(baseline, objective, inputs, **options)
        if return_gap:
            for line in lines:
                ends = evaluate(objective, inputs, change=line.change([0, 1]), copies=2, reduce=None, **options)
                changes.append([np.diff(objective.total(part.scores))[0] for part in ends])
        with bar(len(lines) * inputs.count * steps, progress) as shown:
            options |= {"copies": steps, "reduce": mean, "progress": shown.update}
            runs = [evaluate(objective, inputs, change=line.change(alphas), **options) for line in lines]
            for of_sample in zip(*runs, strict=True):
                parts, maps = zip(*map(attributed, of_sample), strict=True)
                yield parts[0], summed(parts[0], averaged(maps), keepdims, channel_axis)

    def gap(found):
        missed = found.total() - np.mean(changes, axis=0)
        changes.clear()
        return missed

    output: dict[str, Any] = {"normalize": normalize, "squeeze": squeeze, "also": gap if return_gap else None}
    return attribute(explained, seed_input, method, wrt=wrt, signed=True, **output)
