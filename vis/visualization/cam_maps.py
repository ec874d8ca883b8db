"""The steps that all class activation maps share: read, weight, place, rectify and interpolate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from vis import grad_modifiers
from vis.engine.addressing import NEAREST
from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs, is_real
from vis.engine.types import Evaluated, Source
from vis.utils import checks
from vis.utils.arrays import resize
from vis.utils.errors import ArgumentError, warn
from vis.utils.utils import normalize
from vis.visualization import cam_methods, positions
from vis.visualization.cam_scores import AblationCAM, FeatureMap, ScoreCAM, weighted
from vis.visualization.positions import Folding, Placed

ARGUMENT = "penultimate_layer_idx"


class Recipe(NamedTuple):
    """The options of a class activation map.

    Attributes:
        method: A function of activations and gradients, a `ScoreCAM` or an `AblationCAM`.
        modify: The gradient modifier, applied first.
        smoothing: `"augment"` or None.
        relu: Whether negative values become 0.
        interpolation: `"linear"`, `"cubic"` or None.
        folding: The caller's options for folding tokens.
        batch_size: The most rows to run at once, or None.
        progress: Whether to show a progress bar.
    """

    method: Callable | ScoreCAM | AblationCAM
    modify: Callable
    smoothing: str | None
    relu: bool
    interpolation: str | None
    folding: Folding
    batch_size: int | None
    progress: bool


def recipe(
    method, grad_modifier, smoothing, relu, interpolation, token_grid, extra_tokens, batch_size, progress
) -> Recipe:
    """Check the options of `visualize_cam` and return them as a recipe."""
    if smoothing not in (None, "augment"):
        raise ArgumentError("smoothing", f"must be 'augment' or None, not {smoothing!r}", kind="unknown")
    if interpolation not in ("linear", "cubic", None):
        problem = f"must be 'linear', 'cubic' or None, not {interpolation!r}"
        raise ArgumentError("interpolation", problem, kind="unknown")
    folding = Folding(token_grid, extra_tokens)
    modify = grad_modifiers.get(grad_modifier)
    options = (smoothing, bool(relu), interpolation, folding, batch_size, progress)
    return Recipe(cam_methods.get(method), modify, *options)


def is_list(penultimate) -> bool:
    """Return whether the caller passed a list of layers."""
    return isinstance(penultimate, (list, tuple))


def layers_of(penultimate) -> list:
    """Return the addresses of the layers whose feature maps are weighted."""
    if not is_list(penultimate):
        return [NEAREST if penultimate is None else penultimate]
    if not penultimate or any(layer is None for layer in penultimate):
        raise ArgumentError(ARGUMENT, f"must be a layer or a list of layers, not {penultimate!r}", kind="unknown")
    return list(penultimate)


def finished_maps(objective: Objective, inputs: ModelInputs, penultimate, recipe: Recipe) -> Iterator[tuple]:
    """Yield the maps of batches of samples.

    Args:
        objective: What is explained.
        inputs: The samples.
        penultimate: As the caller gave it.
        recipe: How the maps are made.

    Yields:
        Triples of an `Evaluated`, a list with one list of arrays per source, one per call, and a list of the input and
        axis that the positions of each source lie along, as in `Placed`. A list of layers gives one list of arrays.
    """
    layers = layers_of(penultimate)
    noted: set = set()
    maps_of = _maps if recipe.smoothing is None else _smoothed
    for part, placed in maps_of(objective, inputs, layers, recipe, noted):
        if is_list(penultimate):
            yield part, _mean_over_layers(placed), [placed[0][0].along]
            continue
        kept, maps = positions.joined(part, [[call.maps for call in calls] for calls in placed])
        yield kept, maps, [placed[part.sources.index(source)][0].along for source in kept.sources]


def _mean_over_layers(maps: list) -> list[list[np.ndarray]]:
    """Return the mean of the maps of several layers, each scaled to [0, 1] first, in the form of one layer's maps."""
    looks = {tuple((call.along, call.maps.shape) for call in calls) for calls in maps}
    if len(looks) > 1:
        sizes = ", ".join(str(call.maps.shape[1:]) for calls in maps for call in calls)
        raise ArgumentError(
            ARGUMENT,
            f"must be a list of layers whose maps lie along one input in one size, not of {sizes}",
            "Leave interpolation at 'linear', and name layers that are called equally often",
            kind="sizes",
        )
    units = [[np.stack([normalize(each) for each in call.maps]) for call in calls] for calls in maps]
    return [[np.mean(calls, axis=0) for calls in zip(*units, strict=True)]]


def _smoothed(objective, inputs: ModelInputs, layers, recipe: Recipe, noted: set) -> list[tuple]:
    """Return the mean over {as it is, flipped left to right} x {the input times 0.9, 1, 1.1}."""
    summed = list(_maps(objective, inputs, layers, recipe, noted))
    mirror = _mirror(inputs, summed[0][1])
    views = [(factor, axes) for axes in ({}, mirror) for factor in (1.0, 0.9, 1.1) if axes or axes is not mirror]
    for factor, axes in views[1:]:
        view = inputs.with_arrays([_viewed(array, factor, axes.get(i)) for i, array in enumerate(inputs.arrays)])
        others = _maps(objective, view, layers, recipe, noted, quiet=True)
        summed = [
            (part, _each(lambda one, other, axes=axes: one.maps + _turned_back(other, axes), maps, more))
            for (part, maps), (_, more) in zip(summed, others, strict=True)
        ]
    return [(part, _each(lambda one: one.maps / len(views), maps)) for part, maps in summed]


def _mirror(inputs: ModelInputs, maps: list) -> dict[int, int]:
    """Return the axis, counted within one sample, along which each input that is a picture is flipped."""
    alongs = [call.along for calls in maps for call in calls if len(call.along) > 1]
    return {i: along[-1][1] for along in alongs for i in positions.with_axes(inputs, along)}


def _viewed(array: np.ndarray, factor: float, axis: int | None) -> np.ndarray:
    if is_real(array):
        array = array * array.dtype.type(factor)
    return array if axis is None else np.flip(array, 1 + axis)


def _turned_back(placed: Placed, mirror: dict[int, int]) -> np.ndarray:
    is_mirrored = len(placed.along) > 1 and placed.along[-1][0] in mirror
    return np.flip(placed.maps, axis=-1) if is_mirrored else placed.maps


def _each(function: Callable, *maps: list) -> list[list[Placed]]:
    """Return maps with new values: a function of the `Placed` of one call in each of several lists of lists."""
    return [
        [calls[0]._replace(maps=function(*calls)) for calls in zip(*sources, strict=True)]
        for sources in zip(*maps, strict=True)
    ]


def _maps(objective, inputs, layers, recipe: Recipe, noted: set, quiet: bool = False) -> Iterator[tuple]:
    parts = evaluate(objective, inputs, wrt=layers, read=True, batch_size=recipe.batch_size, argument=ARGUMENT)
    runs_again = isinstance(recipe.method, (ScoreCAM, AblationCAM))
    for part in [_joined(list(parts))] if runs_again else parts:
        maps: list[list] = []
        for source, values, gradients in zip(part.sources, part.values, part.gradients, strict=True):

            def lay(maps, source=source):
                return positions.place(maps, source, inputs, recipe.folding, noted)

            maps.append([])
            for number, activations, gradient in zip(source.numbers, values, gradients, strict=True):
                activations = _channels_last(source, activations)
                gradient = _channels_last(source, checks.modified(gradient, recipe.modify))
                if isinstance(recipe.method, (ScoreCAM, AblationCAM)):
                    scores = objective.total(part.scores)
                    arguments = (objective, inputs, layers, source, number, activations, scores, lay)
                    features = FeatureMap(*arguments, recipe.batch_size, recipe.progress)
                    raw = weighted(activations, recipe.method.weights(features))
                else:
                    raw = _checked(recipe.method, activations, gradient)
                placed = lay(raw)
                if not quiet:
                    _warn_of_blank(source, activations, gradient, placed.maps, recipe)
                maps[-1].append(_finished(placed, recipe))
            if source.note is not None and source.note not in noted:
                noted.add(source.note)
                warn(*source.note)
        yield part, maps


def _joined(parts: list[Evaluated]) -> Evaluated:
    """Return the result for all samples, from those of batches."""

    def together(lists):
        return [[np.concatenate(calls) for calls in zip(*sources, strict=True)] for sources in zip(*lists, strict=True)]

    return parts[0]._replace(
        scores=np.concatenate([part.scores for part in parts], axis=1),
        values=together([part.values for part in parts]),
        gradients=together([part.gradients for part in parts]),
    )


def _finished(placed: Placed, recipe: Recipe) -> Placed:
    maps = np.maximum(placed.maps, 0) if recipe.relu else placed.maps
    if recipe.interpolation is not None:
        maps = resize(maps, placed.size, recipe.interpolation)
    return placed._replace(maps=maps)


def _channels_last(source: Source, array: np.ndarray) -> np.ndarray:
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


def _checked(method: Callable, activations, gradients) -> np.ndarray:
    maps = np.asarray(method(activations, gradients))
    if maps.shape != activations.shape[:-1]:
        raise ArgumentError(
            "method",
            f"must return maps of shape {activations.shape[:-1]} (samples, *positions) for activations of shape "
            f"{activations.shape}, not {maps.shape}",
            kind="shape",
        )
    return maps


def _warn_of_blank(source: Source, activations, gradients, maps, recipe: Recipe):
    places = tuple(range(1, activations.ndim - 1))
    flat = maps.reshape(len(maps), -1)
    # Flat features have a flat sum: look at the features only if the sum is flat.
    even = np.ptp(flat, axis=1) <= 1e-6 * np.abs(flat).max(axis=1)
    negative = flat[(flat.max(axis=1) <= 0) & flat.any(axis=1)]
    before, after = source.layout.extra
    patches = gradients[:, before : gradients.shape[1] - after]
    if np.prod(activations.shape[1:-1]) == 1:
        warn(
            "single_position",
            f"the feature map of {source.name!r} has a single position, so its map is flat",
            "Choose an earlier layer by penultimate_layer_idx",
        )
    elif (np.ptp(activations[even], axis=places) == 0).all(axis=-1).any():
        warn("flat_features", f"the feature map of {source.name!r} is the same at every position, so its map is flat")
    elif (before or after) and not patches.any() and gradients.any():
        warn(
            "class_token_only",
            f"the target reads only the class token of {source.name!r}: the gradient is zero at every patch, and the "
            "map need not mean anything",
            "Choose a layer before the last attention by penultimate_layer_idx",
        )
    elif len(negative) and recipe.relu:
        warn(
            "negative_map",
            f"the class activation map of {source.name!r} is negative everywhere (from {negative.min():.3g} to "
            f"{negative.max():.3g}) for {len(negative)} of {len(maps)} samples, so the map shown is blank: nothing "
            "there speaks for the target",
            _remedy(recipe),
        )


def _remedy(recipe: Recipe) -> str:
    if not cam_methods.uses_gradient(recipe.method):
        return "relu=False keeps what speaks against it"
    return "" if recipe.modify is grad_modifiers.negate else "grad_modifier='negate' shows what speaks against it"
