"""Activation maximization: the input that a filter responds to most."""

from __future__ import annotations

import inspect

import numpy as np

from vis import grad_modifiers
from vis.engine import addressing
from vis.engine.rules import underlying
from vis.losses import ActivationMaximization, LogProbability
from vis.optimizer import Optimizer
from vis.optimizer.starts import data_format_of, samples_of
from vis.regularizers import LPNorm, TotalVariation
from vis.utils.docs import shared_docs
from vis.visualization.attribution import modified


@shared_docs
def visualize_activation(
    model,
    layer_idx,
    filter_indices=None,
    wrt_tensor=None,
    seed_input=None,
    input_range=(0, 255),
    backprop_modifier=None,
    grad_modifier=None,
    act_max_weight=1,
    lp_norm_weight=10,
    tv_weight=10,
    *,
    class_weight=10,
    logits: bool = True,
    **optimizer_params,
):
    """Synthesize the image that a filter responds to most, starting from noise or from another image.

    x* = argmin over x of −a(x) + λ₁ Lp(x) + λ₂ TV(x), where a is the mean activation of the filter, or for a
    classifier's last layer the class score before the softmax (Simonyan et al. 2013, "Deep Inside Convolutional
    Networks", arXiv 1312.6034, section 2; Mahendran and Vedaldi 2015, arXiv 1412.0035, for the regularizers). With the
    score alone, the image often mixes several classes, so for a class of a final softmax −λ₃ times its log-probability
    is added.

    For a convolutional network with batch normalization, optimizing pixels gives noise: use
    `parameterization='fourier'`, and `input_modifiers=[Jitter(4)]` for clearer shapes.

    Args:
        {{model}}
        {{layer_idx}}
        filter_indices: The filter (for a classifier's last layer, the class): an int, or a list whose activations are
            summed; an array of shape (images, k), such as [[0], [1], [2]], makes one image per row, all at once. None
            means all filters together.
        {{optimized_tensor}}
        {{start}}
        {{input_range}}
        {{backprop_modifier}}
        {{step_modifier}} `'negate'` returns the input that decreases the output.
        act_max_weight: The weight of the activation; 0 or None leaves the term out, here and below.
        lp_norm_weight: The weight λ₁ of `LPNorm`, p = 6.
        tv_weight: The weight λ₂ of `TotalVariation`, β = 2: more gives smoother images.
        class_weight: The weight λ₃ of a class's log-probability; 0 is keras-vis's objective, the score alone.
        {{logits}}
        **optimizer_params: Options of `vis.optimizer.Optimizer.minimize`: `max_iter`, `input_modifiers`, `callbacks`,
            `verbose` (False here), `optimizer`, `parameterization`, `callback_every`, `patience`, `min_delta`, `seed`,
            `squeeze`, `batch_size`.

    Returns:
        One image without a sample axis, or several in an array of shape (images, ...), always channels-last. uint8 for
        the integer `input_range` (0, 255), float32 otherwise.

    Raises:
        ArgumentError: A layer that does not exist, a filter out of range, an unknown modifier, an invalid
            `input_range`, or a `seed_input` that does not fit the model; or a loss became NaN or infinite.
        ArgumentTypeError: An argument of a wrong type, or an unknown argument.

    Warns:
        VisWarning: `seed_input` leaves `input_range`; the filter is never active.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
        >>> image = visualize_activation(model, 0, 1, input_range=(0.0, 1.0), max_iter=20, seed=0)
        >>> image.shape, image.dtype
        ((8, 8, 1), dtype('float32'))
    """
    model, layer, wrt_tensor = modified(model, backprop_modifier, layer_idx, wrt_tensor)
    if grad_modifier in ("negate", grad_modifiers.negate):
        # Modifies the gradient of the activation only: the regularizers smooth the image in any case.
        grad_modifier, class_weight, act_max_weight = None, 0, -act_max_weight if act_max_weight else 0
    losses = [
        (ActivationMaximization(layer, filter_indices, logits=logits), act_max_weight),
        (LPNorm(model), lp_norm_weight),
        (TotalVariation(model), tv_weight),
    ]
    if act_max_weight and filter_indices is not None and _is_end(model, layer):
        losses.append((LogProbability(layer, filter_indices), class_weight))
    return visualize_activation_with_losses(
        model, losses, wrt_tensor, seed_input, input_range, **{"grad_modifier": grad_modifier, **optimizer_params}
    )


@shared_docs
def visualize_activation_with_losses(
    input_tensor, losses, wrt_tensor=None, seed_input=None, input_range=(0, 255), **optimizer_params
):
    """Make the image that minimizes the weighted sum of losses.

    Args:
        {{input_tensor}}
        {{losses}}
        {{optimized_tensor}}
        {{start}}
        {{input_range}}
        **optimizer_params: Options of `vis.optimizer.Optimizer.minimize`, and `verbose=False`.

    Returns:
        One image without a sample axis, or several in an array of shape (images, ...), always channels-last. uint8 for
        the integer `input_range` (0, 255), float32 otherwise. For a model with several inputs, a list.

    Raises:
        ArgumentError: No loss is left, `input_range` is invalid, or `seed_input` does not fit the model; or a loss
            became NaN or infinite.
        ArgumentTypeError: An argument of a wrong type, or an unknown argument.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> model.layers[-1].set_weights([np.array([[1.0, 2.0], [3.0, -7.0]]), np.zeros(2)])
        >>> margin = lambda output: output[:, 0] - output[:, 1]
        >>> visualize_activation_with_losses(model, [(margin, 1)], input_range=(0.0, 1.0), seed=0)
        array([1., 0.], dtype=float32)
    """
    known = list(inspect.signature(Optimizer.minimize).parameters)[2:]
    unknown = next((name for name in optimizer_params if name not in known), None)
    if unknown is not None:
        names = ", ".join(map(repr, known))
        raise TypeError(f"{unknown!r} is no argument of activation maximization; beside its own it takes {names}")
    squeeze = optimizer_params.pop("squeeze", True)
    optimizer = Optimizer(input_tensor, losses, input_range, wrt_tensor)
    found = optimizer.minimize(seed_input, squeeze=False, **{"verbose": False, **optimizer_params})[0]
    samples = samples_of(optimizer.model, seed_input, 1, optimizer.input_range)  # of inputs that do not move too
    data_format = data_format_of(optimizer.model, samples)
    pictures = [
        _picture(images, input_range, data_format) for images in (found if isinstance(found, list) else [found])
    ]
    pictures = [images[0] if squeeze and len(images) == 1 else images for images in pictures]
    return pictures if isinstance(found, list) else pictures[0]


def _is_end(model, layer) -> bool:
    """Return whether a layer is the model's output or its last layer, and so may be a softmax over classes."""
    return layer is None or addressing.find_layer(model, layer) is underlying(model).layers[-1]


def _picture(images: np.ndarray, input_range, data_format: str) -> np.ndarray:
    if data_format == "channels_first" and images.ndim > 2:
        images = np.moveaxis(images, 1, -1)
    # Not for other integer ranges, such as (0, 1): rounding would destroy the image.
    if all(isinstance(end, int) for end in input_range) and tuple(input_range) == (0, 255):
        return np.round(images).astype(np.uint8)
    return images
