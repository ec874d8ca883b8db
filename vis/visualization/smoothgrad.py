"""SmoothGrad: saliency averaged over noisy copies of the input (Smilkov et al. 2017)."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import evaluate
from vis.engine.types import Change, Reduce
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import attribute, of_filter, of_losses
from vis.visualization.baselines import ATTRIBUTION, attributed, points, toward
from vis.visualization.progress import bar
from vis.visualization.saliency import sensitivity, summed


@shared_docs
def smoothgrad(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    wrt_tensor=None,
    backprop_modifier=None,
    grad_modifier="absolute",
    keepdims: bool = False,
    *,
    of: str = "gradient",
    noise_level: float = 0.15,
    num_samples: int = 25,
    aggregate: str = "mean",
    seed: int | None = 0,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Average saliency, or another method, over noisy copies of the input.

    M = 1/n Σ ∂S/∂x (x + 𝒩(0, σ²)), with σ = `noise_level` · (max x − min x) of each sample (Smilkov et al. 2017,
    "SmoothGrad: removing noise by adding noise", arXiv 1706.03825, equation 2 and section 3.2). The noise is added to
    `wrt_tensor`: for a token model, to its embeddings.

    Args:
        {{explained}}
        {{wrt_tensor}}
        {{backprop_modifier}}
        {{grad_modifier}} It is applied to the aggregate, and only to gradients.
        {{keepdims}}
        of: What to average: `"gradient"`, or the signed attributions `"gradient_times_input"` or
            `"integrated_gradients"` (from 0, with 50 points), which are returned as those methods return them.
        {{noise_level}}
        {{num_noisy}}
        {{aggregate}}
        {{random_seed}}
        {{channel_axis}}
        {{logits}}
        {{output_options}}
        {{progress_bar}}

    Returns:
        {{maps}}

    Raises:
        {{map_errors}}

    Warns:
        {{map_warnings}}

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
        >>> smoothgrad(model, -1, 2, np.ones(4) * [1, 2, 3, 4], num_samples=10, seed=0).shape
        (4,)
    """
    noise = gaussian(noise_level, num_samples, aggregate, seed)
    if of not in ("gradient", *_ATTRIBUTIONS):
        known = ", ".join(map(repr, ("gradient", *_ATTRIBUTIONS)))
        raise ArgumentError("of", f"must be one of {known}, not {of!r}", kind="unknown")
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)
    if of == "gradient":
        to_map = sensitivity(grad_modifier, keepdims, channel_axis)
        return _smoothgrad(
            explained, seed_input, wrt, noise, num_samples, aggregate, to_map, normalize, squeeze, batch_size, progress
        )
    if aggregate != "mean":
        raise ArgumentError("aggregate", f"must be 'mean' where of={of!r}, not {aggregate!r}", kind="unknown")
    alphas, weights = _ATTRIBUTIONS[of]
    change = _along_noisy_lines(noise, alphas)
    weights = np.tile(weights, int(num_samples)) / int(num_samples)
    options: dict[str, Any] = {"copies": len(weights), "reduce": Reduce(ATTRIBUTION, weights), "batch_size": batch_size}

    def method(objective, inputs, wrt):
        with bar(len(weights) * inputs.count, progress) as shown:
            drawn: dict[str, Any] = {"seed": int(noise.arguments[1]), "progress": shown.update}
            for part in evaluate(objective, inputs, wrt=wrt, change=change, **drawn, **options):
                part, maps = attributed(part)
                yield part, summed(part, maps, keepdims, channel_axis)

    return attribute(explained, seed_input, method, wrt=wrt, signed=True, normalize=normalize, squeeze=squeeze)


@shared_docs
def smoothgrad_with_losses(
    input_tensor,
    losses,
    seed_input,
    wrt_tensor=None,
    grad_modifier="absolute",
    keepdims: bool = False,
    *,
    noise_level: float = 0.15,
    num_samples: int = 25,
    aggregate: str = "mean",
    seed: int | None = 0,
    channel_axis="auto",
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Average the gradient of the weighted sum of any losses over noisy copies of the input.

    Args:
        {{input_tensor}}
        {{losses}}
        {{seed_input}}
        {{wrt_tensor}}
        {{grad_modifier}} It is applied to the aggregate.
        {{keepdims}}
        {{noise_level}}
        {{num_noisy}}
        {{aggregate}}
        {{random_seed}}
        {{channel_axis}}
        {{output_options}}
        {{progress_bar}}

    Returns:
        {{maps}}

    Raises:
        {{map_errors}}

    Warns:
        {{map_warnings}}

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.layers[-1].set_weights([np.array([[1.0, 2.0], [3.0, 7.0]]), np.zeros(2)])
        >>> margin = lambda output: output[:, 1] - output[:, 0]
        >>> smoothgrad_with_losses(model, [(margin, 1)], np.ones(2), num_samples=4, seed=0, normalize=False)
        array([1., 4.], dtype=float32)
    """
    noise = gaussian(noise_level, num_samples, aggregate, seed)
    explained = of_losses(input_tensor, losses)
    to_map = sensitivity(grad_modifier, keepdims, channel_axis)
    return _smoothgrad(
        explained,
        seed_input,
        wrt_tensor,
        noise,
        num_samples,
        aggregate,
        to_map,
        normalize,
        squeeze,
        batch_size,
        progress,
    )


def _smoothgrad(
    explained, seed_input, wrt, noise, num_samples, aggregate, to_map, normalize, squeeze, batch_size, progress
):
    terms, combine = _AGGREGATES[aggregate]
    seed = int(noise.arguments[1])

    def method(objective, inputs, wrt):
        options = {"copies": int(num_samples), "reduce": Reduce(terms), "batch_size": batch_size, "seed": seed}
        with bar(int(num_samples) * inputs.count, progress) as shown:
            for part in evaluate(objective, inputs, wrt=wrt, change=noise, progress=shown.update, **options):
                gradients = [[combine(*np.moveaxis(call, -1, 0)) for call in calls] for calls in part.gradients]
                part = part._replace(gradients=gradients)
                yield part, to_map(part)

    return attribute(explained, seed_input, method, wrt=wrt, normalize=normalize, squeeze=squeeze)


def gaussian(noise_level: float, num_samples: int, aggregate: str, seed: int | None) -> Change:
    """Check the options of SmoothGrad and return its noise.

    Its standard deviation is `noise_level` in units of each sample's own range, maximum minus minimum. It depends
    only on the seed and on the numbers of the copy and the tensor.
    """
    if not 0 <= checks.real_number("noise_level", noise_level) <= 1:
        raise ArgumentError(
            "noise_level", f"must be from 0 to 1, a share of the input's range, not {noise_level}", kind="range"
        )
    num_samples = checks.whole_number("num_samples", num_samples)
    seed = checks.whole_number("seed", seed, 0, or_none=True)
    if aggregate not in _AGGREGATES:
        known = ", ".join(map(repr, _AGGREGATES))
        raise ArgumentError("aggregate", f"must be one of {known}, not {aggregate!r}", kind="unknown")
    if aggregate == "var" and num_samples < 2:
        raise ArgumentError(
            "num_samples", f"must be at least 2 for aggregate='var', not {num_samples}", "One copy has no variance"
        )
    seed = secrets.randbits(31) if seed is None else seed & 0x7FFFFFFFFFFFFFFF

    def noisy(value, k, index, level, seed):
        axes = list(range(1, value.shape.rank))
        span = tf.reduce_max(value, axes, keepdims=True) - tf.reduce_min(value, axes, keepdims=True)

        def drawn(copy):
            key = tf.random.experimental.stateless_fold_in(tf.stack([seed, copy]), index + 1)
            return tf.random.stateless_normal(tf.shape(value)[1:], key)

        noise = tf.map_fn(drawn, k, fn_output_signature=tf.TensorSpec(value.shape[1:], tf.float32))
        return value + tf.cast(level * noise, value.dtype) * span

    return Change(noisy, ("gaussian",), (np.float32(noise_level), np.int64(seed)))


def _along_noisy_lines(noise: Change, alphas: np.ndarray) -> Change:
    """Return the change of copies into points on the lines from 0 to noisy copies, line by line."""

    def along(value, k, index, alphas, *options):
        noisy = noise.to(value, k // tf.size(alphas, tf.int64), index, *options)
        return toward(noisy, tf.zeros([1]), tf.gather(alphas, k % tf.size(alphas, tf.int64)))

    return Change(along, ("noisy lines", *noise.key), (alphas, *noise.arguments))


# The points on the line from 0 to a noisy copy where the gradient is taken, and their weights.
_ATTRIBUTIONS = {
    "gradient_times_input": (np.ones(1, np.float32), np.ones(1)),
    "integrated_gradients": points("gausslegendre", 50),
}

# The moments of the gradient to average, and how to combine them.
_AGGREGATES: dict[str, tuple] = {
    "mean": ((tf.identity,), lambda mean: mean),
    "absolute": ((tf.abs,), lambda mean: mean),
    "square": ((tf.square,), lambda square: square),
    "var": ((tf.identity, tf.square), lambda mean, square: np.maximum(square - mean**2, 0)),
}
