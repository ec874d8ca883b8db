"""KernelSHAP: Shapley values of segments by a weighted linear regression (Lundberg and Lee 2017)."""

from __future__ import annotations

import itertools
import math

import numpy as np

from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.visualization.attribution import of_filter
from vis.visualization.perturbation import Subject, background_of, perturb
from vis.visualization.segments import Fit, masking


@shared_docs
def kernel_shap(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    *,
    segments=None,
    background=0.0,
    num_samples: int | None = None,
    seed: int = 0,
    inputs=None,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Distribute the change in score from a background to the sample over segments, as Shapley values.

    φ = argmin Σ_z π(z) (v(z) − v(0) − φ · z)² subject to Σ φ = v(1) − v(0), over on/off vectors z of the M segments,
    with π(z) = (M − 1) / (C(M, |z|) |z| (M − |z|)), and v(z) the score of x with the switched-off segments taken from
    the background, averaged over its rows (Lundberg and Lee 2017, "A Unified Approach to Interpreting Model
    Predictions", arXiv 1705.07874, theorem 2). Over all 2^M vectors these are exactly the Shapley values. It needs
    forward passes only.

    Args:
        {{explained}}
        {{segments}}
        background: The values of absent segments, in the units of the input: a number, an array that
            broadcasts against one sample, or rows of shape (rows, ...), such as training samples, over which the scores
            are averaged; for tokens ids.
        num_samples: The most vectors z to evaluate, each with every row of the background; None takes 2 M + 2048. If
            there are no more vectors in total, all are used. Otherwise complete sizes are used first, from the fewest
            segments on or off, and the rest are drawn at random, each with its complement.
        {{seed}}
        {{inputs}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

    Returns:
        {{perturbed_maps}} The positions of a segment share its value; the values of the segments sum to the change of
        the score.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The score does not depend on the segments.

    Example:
        >>> import keras, numpy as np
        >>> inputs = keras.Input((3,))
        >>> model = keras.Model(inputs, inputs[:, :1] * inputs[:, 1:2] + inputs[:, 2:])
        >>> kernel_shap(model, None, 0, np.array([2.0, 3.0, 5.0]), normalize=False).round(3)
        array([3., 3., 5.], dtype=float32)
    """
    num_samples = checks.whole_number("num_samples", num_samples, 4, or_none=True)
    seed = checks.whole_number("seed", seed, 0)

    def fit_of(count: int) -> Fit:
        z, weights = _coalitions(count, num_samples or 2 * count + 2048, seed)
        return Fit(z, lambda scores: _shapley(z, scores, weights))

    def switched(subject: Subject):
        return masking(subject, segments, fit_of, background_of(background, subject))

    explained, *_ = of_filter(model, layer_idx, filter_indices, logits, None)
    options = {"inputs": inputs, "channel_axis": channel_axis, "batch_size": batch_size, "progress": progress}
    return perturb(explained, seed_input, switched, signed=True, normalize=normalize, squeeze=squeeze, **options)


def _coalitions(count: int, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return on/off vectors, starting with all off and all on, and the kernel weights of the others."""
    ends = np.array([[0] * count, [1] * count], np.uint8)
    if count < 63 and 2**count <= most:
        numbers = np.arange(1, 2**count - 1)[:, None]
        z = (numbers >> np.arange(count) & 1).astype(np.uint8)
        share = [0.0, *(_mass(count, size) / math.comb(count, size) for size in range(1, count)), 0.0]
        return np.concatenate([ends, z]), np.array(share)[z.sum(axis=1)]
    most = max(most - 2, 2)
    masses = np.array([_mass(count, size) + _mass(count, count - size) for size in range(1, count // 2 + 1)])
    if count % 2 == 0:
        masses[-1] /= 2
    whole, weights, first = [], [], 0
    while first < len(masses):
        size = first + 1
        vectors = math.comb(count, size) * (1 if 2 * size == count else 2)
        if vectors > most * masses[first] / masses[first:].sum():
            break
        whole.append(_of_size(count, size))
        weights += [masses[first] / vectors] * vectors
        most, first = most - vectors, first + 1
    drawn = _drawn(count, most // 2, masses, first, np.random.default_rng(seed))
    drawn, times = np.unique(drawn, axis=0, return_counts=True)
    weights += list(masses[first:].sum() * times / times.sum())
    return np.concatenate([ends, *whole, drawn]), np.array(weights)


def _mass(count: int, size: int) -> float:
    """Return the total weight of the vectors with |z| segments on, (M − 1) / (|z| (M − |z|))."""
    return (count - 1) / (size * (count - size))


def _of_size(count: int, size: int) -> np.ndarray:
    """Return all vectors with a number of segments on, and all with that number off."""
    on = np.array(list(itertools.combinations(range(count), size)))
    z = np.zeros((len(on), count), np.uint8)
    np.put_along_axis(z, on, 1, axis=1)
    return z if 2 * size == count else np.concatenate([z, 1 - z])


def _drawn(count: int, pairs: int, masses: np.ndarray, first: int, rng: np.random.Generator) -> np.ndarray:
    """Return random vectors of the sizes from `first` + 1 on, and their complements."""
    sizes = 1 + first + rng.choice(len(masses) - first, pairs, p=masses[first:] / masses[first:].sum())
    ranks = rng.random((pairs, count)).argsort(axis=1).argsort(axis=1)
    z = (ranks < sizes[:, None]).astype(np.uint8)
    return np.concatenate([z, 1 - z])


def _shapley(z: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the values φ, which sum to the change in score; the last one is the remainder."""
    change = scores[1] - scores[0]
    vectors, targets = z[2:].astype(np.float64), scores[2:] - scores[0]
    last, roots = vectors[:, -1], np.sqrt(weights)
    rows = roots[:, None] * (vectors[:, :-1] - last[:, None])
    values = np.linalg.lstsq(rows, roots * (targets - last * change), rcond=None)[0]
    return np.append(values, change - values.sum())
