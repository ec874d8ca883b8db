"""Saliency: the gradient of a score with respect to the input (Simonyan et al. 2013)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from vis import grad_modifiers
from vis.engine.evaluate import evaluate
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import warn
from vis.visualization.attribution import attribute, of_filter, of_losses


@shared_docs
def visualize_saliency(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    wrt_tensor=None,
    backprop_modifier=None,
    grad_modifier="absolute",
    keepdims: bool = False,
    *,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Show how strongly each position of the input affects the score of a filter: the gradient of the score.

    M = max over channels of |∂S/∂x| (Simonyan et al. 2013, "Deep Inside Convolutional Networks", arXiv 1312.6034,
    section 3.1). For a regressor, `grad_modifier` None, `'negate'` and `'small_values'` show what increases, decreases
    and keeps the output.

    Args:
        {{explained}}
        {{wrt_tensor}}
        {{backprop_modifier}}
        {{grad_modifier}}
        {{keepdims}}
        {{channel_axis}}
        {{logits}}
        {{output_options}}

    Returns:
        {{maps}}

    Raises:
        {{map_errors}}

    Warns:
        {{map_warnings}}

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> model.layers[-1].set_weights([np.arange(12.0).reshape(4, 3), np.zeros(3)])
        >>> visualize_saliency(model, -1, 2, np.ones(4), normalize=False)
        array([ 2.,  5.,  8., 11.], dtype=float32)
    """
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)
    return _saliency(explained, seed_input, wrt, grad_modifier, keepdims, channel_axis, normalize, squeeze, batch_size)


@shared_docs
def visualize_saliency_with_losses(
    input_tensor,
    losses,
    seed_input,
    wrt_tensor=None,
    grad_modifier="absolute",
    keepdims: bool = False,
    *,
    channel_axis="auto",
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Show how strongly each position of the input affects any losses: the gradient of their weighted sum.

    Args:
        {{input_tensor}}
        {{losses}}
        {{seed_input}}
        {{wrt_tensor}}
        {{grad_modifier}}
        {{keepdims}}
        {{channel_axis}}
        {{output_options}}

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
        >>> visualize_saliency_with_losses(model, [(margin, 1)], np.ones(2), normalize=False)
        array([1., 4.], dtype=float32)
    """
    explained = of_losses(input_tensor, losses)
    return _saliency(
        explained, seed_input, wrt_tensor, grad_modifier, keepdims, channel_axis, normalize, squeeze, batch_size
    )


def _saliency(explained, seed_input, wrt, grad_modifier, keepdims, channel_axis, normalize, squeeze, batch_size):
    to_map = sensitivity(grad_modifier, keepdims, channel_axis)

    def method(objective, inputs, wrt):
        for part in evaluate(objective, inputs, wrt=wrt, batch_size=batch_size):
            yield part, to_map(part)

    return attribute(explained, seed_input, method, wrt=wrt, normalize=normalize, squeeze=squeeze)


def sensitivity(grad_modifier, keepdims: bool, channel_axis="auto") -> Callable:
    """Return a function that makes sensitivity maps: the maximum of the modified gradient over channels.

    Args:
        grad_modifier: A name or function of `vis.grad_modifiers`, or None.
        keepdims: Whether to keep the channels.
        channel_axis: The channel axis of a sample; `"auto"` finds it, None means there is none.

    Returns:
        A function of an `Evaluated` that returns its maps, for each source a list with one array per call.
    """
    modify = grad_modifiers.get(grad_modifier)

    def to_map(source, gradient):
        gradient = checks.modified(gradient, modify)
        channel = None if keepdims else channel_of(source, gradient.ndim - 1, channel_axis)
        if channel is None:
            return gradient
        channels = np.moveaxis(gradient, channel + 1, 0)
        # NumPy's own reduction is slow along a short axis.
        return functools.reduce(np.maximum, channels) if len(channels) <= 16 else channels.max(axis=0)

    return lambda part: [
        [to_map(source, gradient) for gradient in gradients]
        for source, gradients in zip(part.sources, part.gradients, strict=True)
    ]


def channel_of(source, rank: int, channel_axis="auto") -> int | None:
    """Return the channel axis of one sample of a source, from its layout or from the caller; None if there is none."""
    if channel_axis != "auto":
        axis = checks.axis("channel_axis", channel_axis, rank)
        return None if rank < 2 else axis
    if rank < 2:
        return None
    if source.layout.is_guess:
        taken = "none" if source.layout.channel is None else f"axis {source.layout.channel} of a sample"
        warn(
            "guessed_channels",
            f"which axis of {source.name!r} holds the channels cannot be told from the model; {taken} is taken",
            "Say it by channel_axis, an axis or None",
        )
    return source.layout.channel


def summed(part, maps: list, keepdims: bool, channel_axis="auto") -> list[list[np.ndarray]]:
    """Sum attributions over channels, unless the channels are kept.

    Args:
        part: The `Evaluated` of the attributions.
        maps: The attributions, for each source a list with one array per call, shaped like its gradients.
        keepdims: Whether to keep the channels.
        channel_axis: The channel axis of a sample; `"auto"` finds it, None means there is none.

    Returns:
        The attributions in the same lists.
    """

    def total(source, attribution):
        channel = None if keepdims else channel_of(source, attribution.ndim - 1, channel_axis)
        if channel is None:
            return attribution
        # Along a short axis a product is several times faster than a sum.
        attribution = np.moveaxis(attribution, channel + 1, -1)
        return attribution @ np.ones(attribution.shape[-1], attribution.dtype)

    return [[total(source, each) for each in calls] for source, calls in zip(part.sources, maps, strict=True)]
