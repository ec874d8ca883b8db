"""Class activation maps: which positions of a feature map speak for a score."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vis import grad_modifiers
from vis.engine.addressing import NEAREST
from vis.engine.evaluate import evaluate
from vis.utils import checks
from vis.utils.arrays import resize
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError, warn
from vis.visualization import positions
from vis.visualization.attribution import attribute, of_filter, of_losses


@shared_docs
def visualize_cam(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    penultimate_layer_idx=None,
    backprop_modifier=None,
    grad_modifier=None,
    *,
    method: str | Callable = "gradcam",
    interpolation: str | None = "linear",
    token_grid: tuple | None = None,
    extra_tokens: tuple | None = None,
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Show which regions speak for a score, at the resolution of a feature map: Grad-CAM.

    With A the feature map of a layer, the weight of channel k is α_k = mean over positions of ∂S/∂A_k, and the map is
    ReLU(Σ_k α_k A_k), interpolated to the input's size (Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391,
    equations 1 and 2). For a regressor, `grad_modifier` None, `'negate'` and `'small_values'` show what increases,
    decreases and keeps the output.

    Args:
        {{explained}}
        {{penultimate_layer_idx}}
        {{backprop_modifier}}
        {{grad_modifier}}
        method: `'gradcam'`, or a function `(activations, gradients) -> maps` of two arrays of shape (samples,
            *positions, channels) that returns (samples, *positions): the ReLU, the interpolation and the normalization
            come after it.
        {{interpolation}}
        {{token_grid}}
        {{extra_tokens}}
        {{logits}}
        {{output_options}}

    Returns:
        A float32 array of shape (samples, *positions of the input), or (*positions,) for a single sample; without
        interpolation (samples, *positions of the feature map), along the same axes. A feature map that lacks some of
        the input's axes, such as time after a `ConvLSTM2D`, gives the axes it has; one whose axis was folded into the
        channels, as before a recurrent layer over the columns of a picture, is constant along it. Tokens that come from
        a picture are folded into it. For a layer that is called several times, one map per call, along axis 1; for
        branches over different inputs a dict by the inputs' names. For a stream of batches a generator of these.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The map may mislead: it is negative everywhere before the ReLU, the feature map has a single
            position or is flat, the gradient is zero everywhere, or its positions are not known to be places of the
            input, so that it is given in its own size.

    Example:
        >>> import keras, numpy as np
        >>> layers = [keras.layers.AveragePooling2D(4), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> model.layers[-1].set_weights([np.full((4, 2), 0.5), np.zeros(2)])
        >>> image = np.zeros((8, 8, 1))
        >>> image[4:, :4] = 1
        >>> visualize_cam(model, -1, 0, image)[[0, 7], [0, 0]]
        array([0., 1.], dtype=float32)
    """
    explained, penultimate = of_filter(
        model, layer_idx, filter_indices, logits, backprop_modifier, penultimate_layer_idx
    )
    how = _How(get(method), _interpolated(interpolation), positions.Folding(token_grid, extra_tokens))
    return _cam(explained, seed_input, penultimate, grad_modifier, how, normalize, squeeze, batch_size)


@shared_docs
def visualize_cam_with_losses(
    input_tensor,
    losses,
    seed_input,
    penultimate_layer,
    grad_modifier=None,
    *,
    method: str | Callable = "gradcam",
    interpolation: str | None = "linear",
    token_grid: tuple | None = None,
    extra_tokens: tuple | None = None,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Show which regions speak for any losses' weighted sum, at the resolution of a feature map.

    Args:
        {{input_tensor}}
        {{losses}}
        {{seed_input}}
        {{penultimate_layer}}
        {{grad_modifier}}
        method: `'gradcam'`, or a function `(activations, gradients) -> maps` of two arrays of shape (samples,
            *positions, channels) that returns (samples, *positions): the ReLU, the interpolation and the normalization
            come after it.
        {{interpolation}}
        {{token_grid}}
        {{extra_tokens}}
        {{output_options}}

    Returns:
        A float32 array of shape (samples, *positions of the input), or (*positions,) for a single sample; without
        interpolation (samples, *positions of the feature map), along the same axes. A feature map that lacks some of
        the input's axes, such as time after a `ConvLSTM2D`, gives the axes it has; one whose axis was folded into the
        channels, as before a recurrent layer over the columns of a picture, is constant along it. Tokens that come from
        a picture are folded into it. For a layer that is called several times, one map per call, along axis 1; for
        branches over different inputs a dict by the inputs' names. For a stream of batches a generator of these.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The map may mislead: it is negative everywhere before the ReLU, the feature map has a single
            position or is flat, the gradient is zero everywhere, or its positions are not known to be places of the
            input, so that it is given in its own size.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
        >>> score = lambda output: output[:, 0] - output[:, 1]
        >>> visualize_cam_with_losses(model, [(score, 1)], np.eye(8)[..., None], model.layers[0]).shape
        (8, 8)
    """
    explained = of_losses(input_tensor, losses)
    how = _How(get(method), _interpolated(interpolation), positions.Folding(token_grid, extra_tokens))
    return _cam(explained, seed_input, penultimate_layer, grad_modifier, how, normalize, squeeze, batch_size)


class _How(NamedTuple):
    """How maps are made of a feature map: weighed, laid along the input, and brought to its size (or not: None)."""

    weigh: Callable
    interpolation: str | None
    folding: positions.Folding


def _interpolated(interpolation: str | None) -> str | None:
    if interpolation not in ("linear", "cubic", None):
        raise ArgumentError("interpolation", f"must be one of 'linear', 'cubic' and None, not {interpolation!r}")
    return interpolation


def _cam(explained, seed_input, penultimate, grad_modifier, how, normalize, squeeze, batch_size):
    modify = grad_modifiers.get(grad_modifier)
    negative_may_help = modify is not grad_modifiers.negate
    argument = "penultimate_layer_idx"

    def method(objective, inputs, wrt):
        noted: set = set()
        for part in evaluate(objective, inputs, wrt=wrt, read=True, batch_size=batch_size, argument=argument):
            maps = []
            for source, values, gradients in zip(part.sources, part.values, part.gradients, strict=True):
                maps.append([])
                for activations, gradient in zip(values, gradients, strict=True):
                    features = (
                        _channels_last(source, activations),
                        _channels_last(source, checks.modified(gradient, modify)),
                    )
                    raw = _checked(how.weigh, *features)
                    placed = positions.place(raw, source, inputs, how.folding, noted)
                    _warn_of_blank(source, *features, placed.maps, negative_may_help)
                    positive = np.maximum(placed.maps, 0)
                    if how.interpolation is not None:
                        positive = resize(positive, placed.size, how.interpolation)
                    maps[-1].append(positive)
                if source.note is not None and source.note not in noted:
                    noted.add(source.note)
                    warn(*source.note)
            yield positions.joined(part, maps)

    wrt = NEAREST if penultimate is None else penultimate
    return attribute(explained, seed_input, method, wrt=wrt, argument=argument, normalize=normalize, squeeze=squeeze)


def gradcam(activations, gradients):
    """Return Σ_k α_k A_k, with α_k the mean of the gradient over positions (Selvaraju et al. 2017, eqs. 1 and 2).

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> gradcam(np.ones((1, 2, 3, 4)), np.full((1, 2, 3, 4), 0.5)).tolist()
        [[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]
    """
    # In double precision: a sum of many channels cancels.
    weights = gradients.mean(axis=tuple(range(1, gradients.ndim - 1)), dtype=np.float64)
    return np.einsum("n...c,nc->n...", activations, weights)


_METHODS = {"gradcam": gradcam}


def get(identifier: str | Callable) -> Callable:
    """Return a class activation map's way of weighing.

    Args:
        identifier: Its name, or a function `(activations, gradients) -> maps`: both of shape (samples, *positions,
            channels), the maps (samples, *positions).

    Returns:
        The function.

    Raises:
        ArgumentError: No method has that name.
        ArgumentTypeError: It is neither a name nor a function.

    Example:
        >>> get("gradcam") is gradcam
        True
    """
    if callable(identifier):
        return identifier
    known = ", ".join(map(repr, _METHODS))
    if not isinstance(identifier, str):
        raise ArgumentTypeError("method", f"must be one of {known} or a function, not {type(identifier).__name__}")
    if identifier not in _METHODS:
        raise ArgumentError("method", f"must be one of {known} or a function, not {identifier!r}", kind="unknown")
    return _METHODS[identifier]


def _channels_last(source, array: np.ndarray) -> np.ndarray:
    channel = source.layout.channel
    if array.ndim < 3 or channel is None:
        raise ArgumentError(
            "penultimate_layer_idx",
            f"must be a layer with a feature map, not {source.name!r}, which gives {array.shape[1:]} values without "
            "positions or without channels",
            "Choose a layer such as a convolution",
            kind="no_feature_map",
        )
    return np.moveaxis(array, channel + 1, -1)


def _checked(weigh: Callable, activations, gradients) -> np.ndarray:
    maps = np.asarray(weigh(activations, gradients))
    if maps.shape != activations.shape[:-1]:
        raise ArgumentError(
            "method",
            f"must return maps of shape {activations.shape[:-1]} (samples, *positions) for activations of shape "
            f"{activations.shape}, not {maps.shape}",
            kind="shape",
        )
    return maps


def _warn_of_blank(source, activations, gradients, maps, negative_may_help):
    places = tuple(range(1, activations.ndim - 1))
    flat = maps.reshape(len(maps), -1)
    # Features that are the same everywhere have a sum that is: only then are they looked at.
    even = np.ptp(flat, axis=1) <= 1e-6 * np.abs(flat).max(axis=1)
    negative = flat[(flat.max(axis=1) <= 0) & flat.any(axis=1)]
    before, behind = source.layout.extra
    patches = gradients[:, before : gradients.shape[1] - behind]
    if np.prod(activations.shape[1:-1]) == 1:
        warn(
            "single_position",
            f"the feature map of {source.name!r} has a single position, so its map is flat",
            "Choose an earlier layer by penultimate_layer_idx",
        )
    elif (np.ptp(activations[even], axis=places) == 0).all(axis=-1).any():
        warn("flat_features", f"the feature map of {source.name!r} is the same at every position, so its map is flat")
    elif (before or behind) and not patches.any() and gradients.any():
        warn(
            "class_token_only",
            f"the target reads only the class token of {source.name!r}: the gradient is zero at every patch, and the "
            "map need not mean anything",
            "Choose a layer before the last attention by penultimate_layer_idx",
        )
    elif len(negative):
        warn(
            "negative_map",
            f"the class activation map of {source.name!r} is negative everywhere (from {negative.min():.3g} to "
            f"{negative.max():.3g}) for {len(negative)} of {len(maps)} samples, so the map shown is blank: nothing "
            "there speaks for the target",
            "grad_modifier='negate' shows what speaks against it" if negative_may_help else "",
        )
