"""Guided Grad-CAM: guided backpropagation where a class activation map is bright (Selvaraju et al. 2017)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from vis import backprop_modifiers
from vis.engine.addressing import NEAREST, Address
from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs, is_real
from vis.engine.types import Source
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.utils.utils import normalize as normalize_to_unit
from vis.visualization import cam_maps
from vis.visualization.attribution import attribute, of_filter
from vis.visualization.cam_scores import AblationCAM, ScoreCAM
from vis.visualization.saliency import channel_of


@shared_docs
def visualize_guided_cam(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    penultimate_layer_idx=None,
    *,
    method: str | Callable | ScoreCAM | AblationCAM = "gradcam",
    keepdims: bool = False,
    grad_modifier=None,
    smoothing: str | None = None,
    token_grid: tuple | None = None,
    extra_tokens: tuple | None = None,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show the fine structure of the regions that raise a score: Guided Grad-CAM.

    G · M, with G the gradient of the score with respect to the input by guided backpropagation, and M a class
    activation map, interpolated to the input's size and brought to [0, 1] (Selvaraju et al. 2017, "Grad-CAM", arXiv
    1610.02391, section 3.2).

    Args:
        {{explained}}
        {{penultimate_layer_idx}}
        {{cam_method}}
        keepdims: Whether to keep the channel axis, one value per channel, instead of the value of largest magnitude.
        grad_modifier: The modifier of the gradient that weights the feature map, as for `visualize_cam`; the guided
            gradient is not modified.
        {{smoothing}} The guided gradient is that of the input itself.
        {{token_grid}}
        {{extra_tokens}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

    Returns:
        A float32 array of both signs, of shape (samples, *positions of the input), or (*positions,) for a single
        sample. It is the map of the input that the positions of the feature map come from; branches over different
        inputs give a dict by input name. A layer that is called several times gives one map per call, along axis 1; a
        stream of batches gives a generator.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: A reason for which `visualize_cam` warns; or guided backpropagation could not reach every
            activation.

    Example:
        >>> import keras, numpy as np
        >>> layers = [keras.layers.ReLU(), keras.layers.Flatten(), keras.layers.Dense(1, kernel_initializer="ones")]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> visualize_guided_cam(model, -1, 0, np.eye(8)[..., None])[0, :2]
        array([1., 0.], dtype=float32)
    """
    explained, penultimate = of_filter(model, layer_idx, filter_indices, logits, None, penultimate_layer_idx)
    recipe = cam_maps.recipe(
        method, grad_modifier, smoothing, True, "linear", token_grid, extra_tokens, batch_size, progress
    )
    guided = backprop_modifiers.guided(explained.model)

    def multiplied(objective, inputs, _):
        parts = list(cam_maps.finished_maps(objective, inputs, penultimate, recipe))
        sources, alongs = parts[0][0].sources, parts[0][2]
        maps = [
            [np.concatenate(batches) for batches in zip(*calls, strict=True)]
            for calls in zip(*(maps for _, maps, _ in parts), strict=True)
        ]
        wrt = [_input_of(*each, inputs) for each in zip(sources, alongs, strict=False)]
        start = 0
        for part in evaluate(Objective(guided, objective.losses), inputs, wrt=wrt, batch_size=batch_size):
            rows = slice(start, start + part.scores.shape[1])
            yield (
                part,
                [
                    [
                        _product(source, gradients[0], _units(call[rows]), along, keepdims, channel_axis)
                        for call in calls
                    ]
                    for source, gradients, calls, along in zip(part.sources, part.gradients, maps, alongs, strict=True)
                ],
            )
            start = rows.stop

    return attribute(explained, seed_input, multiplied, wrt=NEAREST, signed=True, normalize=normalize, squeeze=squeeze)


def _input_of(source: Source, along: tuple, inputs: ModelInputs) -> Address:
    """Return the address of the input that the positions of a feature map come from."""
    if not along or not is_real(inputs.arrays[along[0][0]]):
        raise ArgumentError(
            cam_maps.ARGUMENT,
            f"must be a layer whose positions are those of an input of real numbers, not {source.name!r}",
            "Use visualize_cam",
            kind="no_positions",
        )
    position = along[0][0]
    return Address("input", position, inputs.names[position])


def _units(maps: np.ndarray) -> np.ndarray:
    return np.stack([normalize_to_unit(each) for each in maps])


def _product(source, gradient: np.ndarray, maps: np.ndarray, along: tuple, keepdims: bool, channel_axis) -> np.ndarray:
    """Return the gradient times the maps, whose axes are a subset of its position axes."""
    axes = [1 + axis for _, axis in along]
    maps = np.expand_dims(maps, [axis for axis in range(1, gradient.ndim) if axis not in axes])
    product = gradient * maps
    channel = None if keepdims else channel_of(source, gradient.ndim - 1, channel_axis)
    if channel is None:
        return product
    # Of each position that with the largest magnitude; a search along a short axis would be several times slower.
    return functools.reduce(_larger, np.moveaxis(product, channel + 1, 0))


def _larger(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.where(np.abs(other) > np.abs(one), other, one)
