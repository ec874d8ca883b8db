"""Saliency: the gradient of a score with respect to the input (Simonyan et al. 2013)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from vis import grad_modifiers
from vis.engine.evaluate import evaluate
from vis.utils import checks
from vis.visualization.attribution import attribute, of_filter, of_losses


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
    """Saliency: where a small change of the input changes a score most.

    M = max over channels of |∂S/∂x|, S being the class score before the softmax (Simonyan et al. 2013, "Deep Inside
    Convolutional Networks", arXiv 1312.6034, section 3). For a regressor, `grad_modifier` None, `'negate'` and
    `'small_values'` show what increases, decreases and keeps the output.

    Args:
        model: A Keras model of any kind.
        layer_idx: The layer whose filter is explained: an index into `model.layers`, a name, a path through nested
            models such as `'backbone/block5_conv3'`, a layer, or None for the model's own output.
        filter_indices: The filter (for a classifier's last layer, the class): an int, or a list whose scores are
            summed; an array of shape (samples, k) gives each sample its own. None means all.
        seed_input: One sample or a batch: an array, a tensor or a Pillow image, with or without the sample axis; for
            several inputs a list or dict of them. In the model's own units (preprocessed). Or a `tf.data.Dataset` or
            another iterable of batches: of `x`, or of `(x, y)`, where y is each sample's filter if `filter_indices`
            is None.
        wrt_tensor: What the gradient is taken with respect to: None for all inputs, a tensor of the graph, a layer
            (object, index, name or path), or a list of these. For a model that takes tokens, its embedding layer.
        backprop_modifier: `'guided'`, `'rectified'`, a function `model -> model`, or None.
        grad_modifier: What is done to the gradient before the maximum over channels: `'absolute'`, `'negate'`,
            `'invert'`, `'relu'`, `'small_values'`, a function, or None.
        keepdims: Whether to keep the channels instead of taking their maximum.
        logits: Whether a class score is read before the softmax or sigmoid that ends the model.
        normalize: Whether to bring each sample's map to [0, 1].
        squeeze: Whether a single sample's map loses its sample axis.
        batch_size: The most samples to compute at once; None chooses.

    Returns:
        A float32 array of shape `(samples, *positions)`, or `(*positions)` for a single sample; with `keepdims` the
        gradient's own shape. Inputs of rank 2 (tables) have no channel axis: a value a feature. For several inputs a
        list or dict of arrays, as in `seed_input`; for a list `wrt_tensor`, a list. For a layer that is called
        several times, one map a call, along axis 1. For an iterable of batches a generator of the result of each.

    Raises:
        ValueError: What is wrong with an argument, and what would do.
        TypeError: An argument is of a wrong type.

    Warns:
        VisWarning: The map may mislead: a disconnected gradient, one that is zero everywhere, a saturated softmax, an
            activation that the backprop modifier could not reach.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> model.layers[-1].set_weights([np.arange(12.0).reshape(4, 3), np.zeros(3)])
        >>> visualize_saliency(model, -1, 2, np.ones(4), normalize=False)
        array([ 2.,  5.,  8., 11.], dtype=float32)
    """
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, wrt_tensor)
    return _saliency(explained, seed_input, wrt, grad_modifier, keepdims, channel_axis, normalize, squeeze, batch_size)


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
    """Saliency of any losses: the gradient of their weighted sum.

    Args:
        input_tensor: `model.input`, or the model itself (a subclassed model has no symbolic input).
        losses: A list of `(loss, weight)`; a plain function of the model's output is a loss too. As losses are
            minimized, `(ActivationMaximization(layer, 3), -1)` is what `visualize_saliency` explains.
        seed_input: As in `visualize_saliency`.
        wrt_tensor: As in `visualize_saliency`.
        grad_modifier: As in `visualize_saliency`.
        keepdims: As in `visualize_saliency`.
        normalize: As in `visualize_saliency`.
        squeeze: As in `visualize_saliency`.
        batch_size: As in `visualize_saliency`.

    Returns:
        As `visualize_saliency`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.
        TypeError: An argument is of a wrong type.

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
    """Return what makes sensitivity maps of gradients: the modified gradient's maximum over channels.

    Args:
        grad_modifier: A name or function of `vis.grad_modifiers`, or None.
        keepdims: Whether to keep the channels.
        channel_axis: Which axis of a sample they are; `"auto"` finds it, None says that there is none.

    Returns:
        A function of an `Evaluated` that returns its maps, for each source a list with one array per call.
    """
    modify = grad_modifiers.get(grad_modifier)

    def to_map(source, gradient):
        gradient = checks.modified(gradient, modify)
        channel = channel_of(source, gradient.ndim - 1, channel_axis)
        if keepdims or channel is None:
            return gradient
        channels = np.moveaxis(gradient, channel + 1, 0)
        # NumPy's own reduction is slow along a short axis.
        return functools.reduce(np.maximum, channels) if len(channels) <= 16 else channels.max(axis=0)

    return lambda part: [
        [to_map(source, gradient) for gradient in gradients]
        for source, gradients in zip(part.sources, part.gradients, strict=True)
    ]


def channel_of(source, rank: int, channel_axis="auto") -> int | None:
    """Return the channel axis of one sample of a source, as its layout or the caller has it; None if there is none."""
    if channel_axis != "auto":
        axis = checks.axis("channel_axis", channel_axis, rank)
        return None if rank < 2 else axis
    return source.layout.channel if rank > 1 else None
