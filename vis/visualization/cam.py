"""Class activation maps: which positions of a feature map speak for a score."""

from __future__ import annotations

import functools

import numpy as np

from vis import grad_modifiers
from vis.engine.gradients import Question, differentiate
from vis.engine.inputs import prepare
from vis.engine.tracing import NEAREST_FEATURE_MAP
from vis.losses import ActivationMaximization, weighted
from vis.utils import checks
from vis.utils.errors import warn
from vis.visualization.attribution import arranged, gather, model_of, modified
from vis.visualization.axes import positions, target_size
from vis.visualization.streams import over_batches


@over_batches
def visualize_cam(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    penultimate_layer_idx=None,
    backprop_modifier=None,
    grad_modifier=None,
    *,
    method: str = "gradcam",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Grad-CAM: which regions speak for a score, at the resolution of a feature map.

    With A the feature map of a layer: the weight of channel k is α_k = mean over positions of ∂S/∂A_k, and the map is
    ReLU(Σ_k α_k A_k), interpolated linearly to the input's size (Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391,
    equations 1 and 2). For a regressor, `grad_modifier` None, `'negate'` and `'small_values'` show what increases,
    decreases and keeps the output.

    Args:
        model: A Keras model of any kind.
        layer_idx: The layer whose filter is explained: an index into `model.layers`, a name, a path through nested
            models, a layer, or None for the model's own output.
        filter_indices: The filter (for a classifier's last layer, the class): an int, or a list whose scores are
            summed; an array of shape (samples, k) gives each sample its own. None means all.
        seed_input: One sample or a batch, with or without the sample axis, in the model's own units; or batches of
            `x` or `(x, y)`, as in `visualize_saliency`.
        penultimate_layer_idx: The layer whose feature map is used, addressed like `layer_idx`. None takes the nearest
            one in front of the target with more than one position, inside a nested model too.
        backprop_modifier: `'guided'`, `'rectified'`, a function `model -> model`, or None.
        grad_modifier: What is done to the gradient before it is averaged: `'negate'`, `'small_values'`, ..., a
            function, or None.
        method: How a feature map is weighted: `'gradcam'`.
        logits: Whether a class score is read before the softmax or sigmoid that ends the model.
        normalize: Whether to bring each sample's map to [0, 1].
        squeeze: Whether a single sample's map loses its sample axis.
        batch_size: The most samples to compute at once; None chooses.

    Returns:
        A float32 array of shape `(samples, *input positions)`, or `(*input positions)` for a single sample; of a
        feature map that lacks some of the input's axes, such as time behind a `ConvLSTM2D`, or height and width where
        each frame was pooled, the positions of those it has. For a layer that is called several times, one map a
        call, along axis 1. For batches a generator of the result of each.

    Raises:
        ValueError: What is wrong with an argument, and what would do.
        TypeError: An argument is of a wrong type.

    Warns:
        VisWarning: The map may mislead: it is negative everywhere before the ReLU, the feature map has a single
            position or is flat, the gradient is zero everywhere, or it cannot be told which of the input's axes the
            map has, so that it is given in its own size.

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
    model, layer, penultimate = modified(model, backprop_modifier, layer_idx, penultimate_layer_idx)
    loss = ActivationMaximization(layer, filter_indices, logits=logits)
    return visualize_cam_with_losses(
        model,
        [(loss, -1)],
        seed_input,
        penultimate,
        grad_modifier,
        method=method,
        normalize=normalize,
        squeeze=squeeze,
        batch_size=batch_size,
    )


@over_batches
def visualize_cam_with_losses(
    input_tensor,
    losses,
    seed_input,
    penultimate_layer,
    grad_modifier=None,
    *,
    method: str = "gradcam",
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
):
    """Grad-CAM of any losses: the gradient is that of their weighted sum.

    Args:
        input_tensor: `model.input`, or the model itself (a subclassed model has no symbolic input).
        losses: A list of `(loss, weight)`; a plain function of the model's output is a loss too. As losses are
            minimized, `(ActivationMaximization(layer, 3), -1)` is what `visualize_cam` explains.
        seed_input: As in `visualize_cam`.
        penultimate_layer: The layer whose feature map is used, by itself or addressed; None for the nearest one.
        grad_modifier: As in `visualize_cam`.
        method: As in `visualize_cam`.
        normalize: As in `visualize_cam`.
        squeeze: As in `visualize_cam`.
        batch_size: As in `visualize_cam`.

    Returns:
        As `visualize_cam`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.
        TypeError: An argument is of a wrong type.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
        >>> score = lambda output: output[:, 0] - output[:, 1]
        >>> visualize_cam_with_losses(model, [(score, 1)], np.eye(8)[..., None], model.layers[0]).shape
        (8, 8)
    """
    if method not in _WEIGHTS:
        raise ValueError(f"method={method!r} is unknown; known ones are {', '.join(map(repr, _WEIGHTS))}")
    model = model_of(input_tensor)
    modify = grad_modifiers.get(grad_modifier)
    samples = prepare(model, seed_input)
    wrt = NEAREST_FEATURE_MAP if penultimate_layer is None else penultimate_layer
    question = Question(model, weighted(losses), samples, wrt, batch_size, "penultimate_layer_idx")
    parts = differentiate(question, values=True)

    @functools.cache
    def size_of(name, shape, data_format):
        address = name if penultimate_layer is None else penultimate_layer
        size = target_size(model, samples, address, shape, data_format)
        if size is None:
            warn(
                "unknown_axes",
                f"the feature map of {name!r} has positions of shape {shape}, and it cannot be told which axes of the "
                "input they belong to: its map is given as it is, not brought to the input's size",
            )
        return size

    def to_map(tap, activations, gradients):
        # Channels last, whatever the layer's order.
        axis = 1 if tap.data_format == "channels_first" else -1
        activations = np.moveaxis(activations, axis, -1)
        gradients = np.moveaxis(checks.modified(gradients, modify), axis, -1)
        if activations.ndim < 3:
            raise ValueError(
                f"penultimate_layer_idx: layer {tap.name!r} gives {activations.shape[1:]} values without positions; "
                "choose a layer with a feature map, such as a convolution"
            )
        maps = _as_grid(_WEIGHTS[method](activations, gradients), samples.arrays, tap.data_format)
        _warn_of_blank(tap, activations, gradients, maps, modify is not grad_modifiers.negate)
        shape = maps.shape[1:]
        return resize(np.maximum(maps, 0), size_of(tap.name, shape, tap.data_format) or shape)

    return arranged(gather(parts, to_map, normalize=normalize, squeeze=squeeze), samples, penultimate_layer)


def gradcam(activations, gradients):
    """Σ_k α_k A_k, with α_k the mean of the gradient over positions."""
    # In double precision: a sum of many channels cancels.
    weights = gradients.mean(axis=tuple(range(1, gradients.ndim - 1)), dtype=np.float64)
    return np.einsum("n...c,nc->n...", activations, weights)


_WEIGHTS = {"gradcam": gradcam}


def resize(maps: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Interpolates maps linearly, along any number of axes; pixels are areas, as in `tf.image.resize`.

    Args:
        maps: Shape (samples, *positions).
        size: The positions wanted, one number an axis.

    Returns:
        An array of shape (samples, *size).

    Example:
        >>> resize(np.array([[0.0, 1.0]]), (4,))
        array([[0.  , 0.25, 0.75, 1.  ]])
    """
    for axis, wanted in enumerate(size, start=1):
        given = maps.shape[axis]
        if given != wanted:
            maps = np.moveaxis(np.moveaxis(maps, axis, -1) @ _interpolation(given, wanted).T, -1, axis)
    return maps


@functools.lru_cache
def _interpolation(given: int, wanted: int) -> np.ndarray:
    """The matrix, (wanted, given), that interpolates along an axis."""
    at = np.clip((np.arange(wanted) + 0.5) * given / wanted - 0.5, 0, given - 1)
    left = np.floor(at).astype(int)
    matrix, rows = np.zeros((wanted, given)), np.arange(wanted)
    matrix[rows, left] = 1 - (at - left)
    matrix[rows, np.minimum(left + 1, given - 1)] += at - left
    return matrix


def _as_grid(maps, inputs, data_format):
    """Folds the tokens of an image model, with or without a class token in front, into its grid of patches."""
    images = [array for array in inputs if array.ndim == 4]
    if maps.ndim != 2 or not images or any(array.ndim == 3 for array in inputs):
        return maps
    height, width = positions(images[0], data_format)
    for extra in (0, 1):
        patches = maps.shape[1] - extra
        rows = round(np.sqrt(patches * height / width))
        if rows and rows * round(patches / rows) == patches:
            return maps[:, extra:].reshape(len(maps), rows, -1)
    return maps


def _warn_of_blank(tap, activations, gradients, maps, negative_may_help):
    positions = tuple(range(1, activations.ndim - 1))
    flat = maps.reshape(len(maps), -1)
    # Features that are the same everywhere have a sum that is: only then are they looked at.
    even = np.ptp(flat, axis=1) <= 1e-6 * np.abs(flat).max(axis=1)
    negative = flat[(flat.max(axis=1) <= 0) & flat.any(axis=1)]
    if np.prod(activations.shape[1:-1]) == 1:
        caution = (
            "single_position",
            f"the feature map of {tap.name!r} has a single position, so its map is flat",
            "Choose an earlier layer by penultimate_layer_idx",
        )
    elif (np.ptp(activations[even], axis=positions) == 0).all(axis=-1).any():
        caution = "flat_features", f"the feature map of {tap.name!r} is the same at every position, so its map is flat"
    elif activations.ndim == 3 and maps.ndim == 3 and not gradients[:, 1:].any():
        caution = (
            "class_token_only",
            f"the target reads only the class token of {tap.name!r}: the gradient is zero at every patch, and the map "
            "need not mean anything",
            "Choose a layer before the last attention by penultimate_layer_idx",
        )
    elif len(negative):
        caution = (
            "negative_map",
            f"the class activation map of {tap.name!r} is negative everywhere (from {negative.min():.3g} to "
            f"{negative.max():.3g}) for {len(negative)} of {len(maps)} samples, so the map shown is blank: nothing "
            "there speaks for the target",
            "grad_modifier='negate' shows what speaks against it" if negative_may_help else "",
        )
    else:
        return
    warn(*caution)
