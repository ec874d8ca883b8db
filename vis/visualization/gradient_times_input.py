"""Gradient times input: what each part of the input adds to a score, to first order (Shrikumar et al. 2016)."""

from __future__ import annotations

from vis.engine.evaluate import evaluate
from vis.utils.docs import shared_docs
from vis.visualization.attribution import attribute, of_filter
from vis.visualization.saliency import summed


@shared_docs
def gradient_times_input(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    wrt_tensor=None,
    backprop_modifier=None,
    *,
    keepdims: bool = False,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Attribute a score to the features of the input with a single gradient.

    M_i = x_i · ∂S/∂x_i (Shrikumar et al. 2016, "Not Just a Black Box: Learning Important Features Through Propagating
    Activation Differences", arXiv 1605.01713, section 2). On a ReLU network without biases it equals integrated
    gradients from 0 (Ancona et al. 2018, arXiv 1711.06104, section 3).

    Args:
        {{explained}}
        {{wrt_tensor}}
        {{backprop_modifier}}
        {{keepdims}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}

    Returns:
        {{signed_maps}}

    Raises:
        {{map_errors}}

    Warns:
        {{map_warnings}}

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [3.0]]), np.ones(1)])
        >>> gradient_times_input(model, -1, 0, np.array([1.0, -1.0]), normalize=False)
        array([ 2., -3.], dtype=float32)
    """
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)

    def method(objective, inputs, wrt):
        for part in evaluate(objective, inputs, wrt=wrt, read=True, batch_size=batch_size):
            maps = [
                [x * gradient for x, gradient in zip(*calls, strict=True)]
                for calls in zip(part.values, part.gradients, strict=True)
            ]
            yield part, summed(part, maps, keepdims, channel_axis)

    return attribute(explained, seed_input, method, wrt=wrt, signed=True, normalize=normalize, squeeze=squeeze)
