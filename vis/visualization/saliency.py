"""Saliency maps: how a score changes with each value of the input."""

from __future__ import annotations

import functools
import secrets

import numpy as np
import tensorflow as tf

from vis import grad_modifiers
from vis.engine.averaging import averaged
from vis.engine.gradients import Question, differentiate
from vis.engine.inputs import prepare
from vis.losses import ActivationMaximization, weighted
from vis.utils import checks
from vis.visualization.attribution import arranged, gather, model_of, modified
from vis.visualization.streams import over_batches


@over_batches
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
    model, layer, wrt_tensor = modified(model, backprop_modifier, layer_idx, wrt_tensor)
    loss = ActivationMaximization(layer, filter_indices, logits=logits)
    return visualize_saliency_with_losses(
        model,
        [(loss, -1)],
        seed_input,
        wrt_tensor,
        grad_modifier,
        keepdims,
        normalize=normalize,
        squeeze=squeeze,
        batch_size=batch_size,
    )


@over_batches
def visualize_saliency_with_losses(
    input_tensor,
    losses,
    seed_input,
    wrt_tensor=None,
    grad_modifier="absolute",
    keepdims: bool = False,
    *,
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
    model = model_of(input_tensor)
    samples = prepare(model, seed_input)
    parts = differentiate(Question(model, weighted(losses), samples, wrt_tensor, batch_size))
    to_map = _sensitivity(grad_modifier, keepdims)
    return arranged(gather(parts, to_map, normalize=normalize, squeeze=squeeze), samples, wrt_tensor)


@over_batches
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
    noise_level: float = 0.15,
    num_samples: int = 25,
    aggregate: str = "mean",
    seed: int | None = None,
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """SmoothGrad: saliency averaged over noisy copies of the input.

    M = 1/n Σ ∂S/∂x (x + 𝒩(0, σ²)), with σ = `noise_level` · (max x − min x) of each sample (Smilkov et al. 2017,
    "SmoothGrad: removing noise by adding noise", arXiv 1706.03825, equation 2 and section 3.2).

    Args:
        model: As in `visualize_saliency`.
        layer_idx: As in `visualize_saliency`.
        filter_indices: As in `visualize_saliency`.
        seed_input: As in `visualize_saliency`.
        wrt_tensor: As in `visualize_saliency`. The noise is added there, so that a model that takes tokens gets it on
            its embeddings.
        backprop_modifier: As in `visualize_saliency`.
        grad_modifier: As in `visualize_saliency`; it acts on the aggregate.
        keepdims: As in `visualize_saliency`.
        noise_level: The noise's standard deviation in units of the sample's range, from 0 to 1. The paper finds 0.1
            to 0.2 good.
        num_samples: The number n of noisy copies.
        aggregate: `'mean'` of the gradients, as in the paper; `'square'`, the mean of their squares, which keeps what
            the sign would cancel (Hooker et al. 2019, arXiv 1806.10758); or `'var'`, their variance (Adebayo et al.
            2018, arXiv 1810.03307).
        seed: An int for the same noise at each call; None for another one.
        logits: As in `visualize_saliency`.
        normalize: As in `visualize_saliency`.
        squeeze: As in `visualize_saliency`.
        batch_size: The most noisy copies to compute at once; None chooses. The result does not depend on it, nor does
            the memory depend on `num_samples`.

    Returns:
        As `visualize_saliency`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.
        TypeError: An argument is of a wrong type.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
        >>> smoothgrad(model, -1, 2, np.ones(4) * [1, 2, 3, 4], num_samples=10, seed=0).shape
        (4,)
    """
    model, layer, wrt_tensor = modified(model, backprop_modifier, layer_idx, wrt_tensor)
    loss = ActivationMaximization(layer, filter_indices, logits=logits)
    return smoothgrad_with_losses(
        model,
        [(loss, -1)],
        seed_input,
        wrt_tensor,
        grad_modifier,
        keepdims,
        noise_level=noise_level,
        num_samples=num_samples,
        aggregate=aggregate,
        seed=seed,
        normalize=normalize,
        squeeze=squeeze,
        batch_size=batch_size,
    )


@over_batches
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
    seed: int | None = None,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """SmoothGrad of any losses: the gradient of their weighted sum, averaged over noisy copies of the input.

    Args:
        input_tensor: As in `visualize_saliency_with_losses`.
        losses: As in `visualize_saliency_with_losses`.
        seed_input: As in `visualize_saliency`.
        wrt_tensor: As in `smoothgrad`.
        grad_modifier: As in `smoothgrad`.
        keepdims: As in `visualize_saliency`.
        noise_level: As in `smoothgrad`.
        num_samples: As in `smoothgrad`.
        aggregate: As in `smoothgrad`.
        seed: As in `smoothgrad`.
        normalize: As in `visualize_saliency`.
        squeeze: As in `visualize_saliency`.
        batch_size: As in `smoothgrad`.

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
        >>> smoothgrad_with_losses(model, [(margin, 1)], np.ones(2), num_samples=4, seed=0, normalize=False)
        array([1., 4.], dtype=float32)
    """
    if not 0 <= checks.real_number("noise_level", noise_level) <= 1:
        raise ValueError(f"noise_level must be from 0 to 1, a share of the input's range, not {noise_level}")
    num_samples = checks.whole_number("num_samples", num_samples)
    seed = checks.whole_number("seed", seed, 0, or_none=True)
    if aggregate not in _AGGREGATES:
        raise ValueError(f"aggregate={aggregate!r} is unknown; known ones are {', '.join(map(repr, _AGGREGATES))}")
    if aggregate == "var" and num_samples < 2:
        raise ValueError(f"num_samples must be at least 2 for aggregate='var', not {num_samples}: one has no variance")
    model = model_of(input_tensor)
    samples = prepare(model, seed_input)
    powers, combine = _AGGREGATES[aggregate]
    question = Question(model, weighted(losses), samples, wrt_tensor, batch_size)
    seed = secrets.randbits(31) if seed is None else seed & 0x7FFFFFFFFFFFFFFF
    parts = (
        part._replace(gradients=[[combine(*np.moveaxis(call, -1, 0)) for call in calls] for calls in part.gradients])
        for part in averaged(question, powers, level=noise_level, draws=num_samples, seed=seed)
    )
    to_map = _sensitivity(grad_modifier, keepdims)
    return arranged(gather(parts, to_map, normalize=normalize, squeeze=squeeze), samples, wrt_tensor)


def _sensitivity(grad_modifier, keepdims):
    modify = grad_modifiers.get(grad_modifier)

    def to_map(tap, values, gradient):
        gradient = checks.modified(gradient, modify)
        if keepdims or gradient.ndim < 3:
            return gradient
        channels = np.moveaxis(gradient, 1 if tap.data_format == "channels_first" else -1, 0)
        # NumPy's own reduction is slow along a short axis.
        return functools.reduce(np.maximum, channels) if len(channels) <= 16 else channels.max(axis=0)

    return to_map


# What of the gradient is averaged, and what is made of the averages.
_AGGREGATES = {
    "mean": ([tf.identity], lambda mean: mean),
    "square": ([tf.square], lambda square: square),
    "var": ([tf.identity, tf.square], lambda mean, square: np.maximum(square - mean**2, 0)),
}
