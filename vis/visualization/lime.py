"""LIME: a linear model of the score, fitted to copies with segments switched off (Ribeiro et al. 2016)."""

from __future__ import annotations

import numpy as np

from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import of_filter
from vis.visualization.perturbation import Subject, filling, perturb
from vis.visualization.segments import Fit, masking


@shared_docs
def lime(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    *,
    segments=None,
    num_samples: int = 1000,
    fill="mean",
    kernel_width: float = 0.25,
    alpha: float = 1.0,
    seed: int = 0,
    inputs=None,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show the weights of a linear model fitted to the score with segments of the input switched off.

    w = argmin Σ_z π(z) (S(x_z) − w · z − b)² + α ‖w‖², over random on/off vectors z of the segments (the first has all
    on), where x_z is x with the switched-off segments filled, π(z) = √exp(−d(z)² / width²), and d is the cosine
    distance of z from all on (Ribeiro et al. 2016, "“Why Should I Trust You?”: Explaining the Predictions of Any
    Classifier", arXiv 1602.04938, equation 2; kernel and ridge are those of the authors' code). It needs forward passes
    only.

    Args:
        {{explained}}
        {{segments}}
        num_samples: The number of on/off vectors, in which each segment is on with probability 1/2.
        {{fill}}
        kernel_width: The width of the kernel π, in units of the cosine distance, above 0.
        alpha: The strength α of the ridge penalty, at least 0. It draws the weights towards 0, more so
            with few samples; with 0 a linear model is recovered exactly.
        {{seed}}
        {{inputs}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

    Returns:
        {{perturbed_maps}} The positions of a segment share its weight.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The score does not depend on the segments.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [3.0], [-1.0]]), np.ones(1)])
        >>> lime(model, -1, 0, np.array([1.0, 1.0, 2.0]), alpha=0.0, normalize=False).round(3)
        array([ 2.,  3., -2.], dtype=float32)
    """
    num_samples = checks.whole_number("num_samples", num_samples)
    seed = checks.whole_number("seed", seed, 0)
    if not checks.real_number("kernel_width", kernel_width) > 0:
        raise ArgumentError("kernel_width", f"must be above 0, not {kernel_width}", kind="range")
    if not checks.real_number("alpha", alpha) >= 0:
        raise ArgumentError("alpha", f"must be at least 0, not {alpha}", kind="range")

    def fit_of(count: int) -> Fit:
        z = np.random.default_rng(seed).integers(0, 2, (num_samples, count), np.uint8)
        z[0] = 1
        distances = 1 - np.sqrt(z.mean(axis=1))  # z · 1 / (‖z‖ ‖1‖) = √(on / count)
        weights = np.sqrt(np.exp(-(distances**2) / kernel_width**2))
        return Fit(z, lambda scores: _ridge(z, scores, weights, alpha))

    def switched(subject: Subject):
        return masking(subject, segments, fit_of, filling(fill, subject))

    explained, *_ = of_filter(model, layer_idx, filter_indices, logits, None)
    options = {"inputs": inputs, "channel_axis": channel_axis, "batch_size": batch_size, "progress": progress}
    return perturb(explained, seed_input, switched, signed=True, normalize=normalize, squeeze=squeeze, **options)


def _ridge(z: np.ndarray, scores: np.ndarray, weights: np.ndarray, alpha: float) -> np.ndarray:
    """Return the coefficients of a weighted ridge regression with an intercept, which is not penalized."""
    roots = np.sqrt(weights)[:, None]
    rows = roots * (z - np.average(z, axis=0, weights=weights))
    targets = roots[:, 0] * (scores - np.average(scores, weights=weights))
    count = z.shape[1]
    return np.linalg.lstsq(
        np.concatenate([rows, np.sqrt(alpha) * np.eye(count)]), np.concatenate([targets, np.zeros(count)]), rcond=None
    )[0]
