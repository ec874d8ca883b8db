"""What all maps have in common: what is explained, how a map is finished, and laying one over a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import keras
import numpy as np

from vis import backprop_modifiers
from vis.engine import addressing
from vis.engine.addressing import model_of as model_of
from vis.engine.gradients import Differentiated
from vis.engine.inputs import Samples, symbolic_inputs
from vis.engine.rules import underlying
from vis.utils.errors import warn
from vis.utils.utils import normalize as normalize_to_unit


def modified(model, backprop_modifier, *addresses):
    """A model seen through a backprop modifier, and addresses in the original as addresses in what came out.

    Args:
        model: A Keras model.
        backprop_modifier: A name, a function `model -> model` or None.
        *addresses: Layers, tensors and other addresses of `model`.

    Returns:
        `(model, *addresses)`.
    """
    seen = backprop_modifiers.get(backprop_modifier)(model)
    original, result = underlying(model), underlying(seen)
    if original is result:
        return seen, *addresses

    def translate(address):
        if isinstance(address, list):
            return [translate(each) for each in address]
        if isinstance(address, keras.KerasTensor):
            symbols = symbolic_inputs(original)
            at = next((i for i, symbol in enumerate(symbols) if symbol is address), None)
            if at is not None:
                return symbolic_inputs(result)[at]
            return addressing.path_of(original, address._keras_history.operation)
        if isinstance(address, keras.layers.Layer):
            return addressing.path_of(original, address)
        return address

    return seen, *(translate(address) for address in addresses)


class NotFiniteError(ValueError):
    """What is explained, or its gradient, is NaN or infinite."""


def gather(parts: Iterable[Differentiated], to_map: Callable, *, normalize: bool, squeeze: bool) -> list:
    """The maps of all samples.

    Args:
        parts: Differentiated batches.
        to_map: A function `(tap, values, gradient) -> maps` for one batch and one call of one tapped layer.
        normalize: Whether to bring each sample's map to [0, 1].
        squeeze: Whether a single sample's map loses its sample axis.

    Returns:
        For each tap an array of shape (samples, ...); for a layer that is called several times (samples, calls, ...),
        or a list of arrays where their shapes differ.
    """
    batches = []
    for part in parts:
        _check_finite(part)
        maps = []
        for i, (tap, gradients) in enumerate(zip(part.taps, part.gradients, strict=True)):
            values = part.values[i] if part.values else [None] * len(gradients)
            if tap.connected:
                _warn_of_zeros(tap, gradients)
            maps.append([to_map(tap, value, slope) for value, slope in zip(values, gradients, strict=True)])
        batches.append(maps)
    results = []
    for calls_by_batch in zip(*batches, strict=True):
        calls = [_finish(np.concatenate(arrays), normalize, squeeze) for arrays in zip(*calls_by_batch, strict=True)]
        if len(calls) == 1:
            results.append(calls[0])
        elif len({call.shape for call in calls}) == 1:
            alone = squeeze and sum(len(maps[0][0]) for maps in batches) == 1
            results.append(np.stack(calls, axis=0 if alone else 1))
        else:
            results.append(calls)
    return results


def _finish(maps: np.ndarray, normalize: bool, squeeze: bool) -> np.ndarray:
    maps = maps.astype(np.float32, copy=False)
    if normalize:
        maps = np.stack([normalize_to_unit(each) for each in maps]).astype(np.float32, copy=False)
    return maps[0] if squeeze and len(maps) == 1 else maps


def _check_finite(part: Differentiated):
    for values in part.losses:
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise NotFiniteError(
                f"the target is {values[wrong[0]]:g} for {len(wrong)} of {len(values)} samples: a weight of the model "
                "is NaN or infinite, or its output overflows"
            )
    for tap, gradients in zip(part.taps, part.gradients, strict=True):
        if not all(np.isfinite(slopes).all() for slopes in gradients):
            raise NotFiniteError(
                f"the gradient with respect to {tap.name!r} is not finite, though the target is: an operation on the "
                "way has no finite slope there, such as a square root or a logarithm at 0"
            )


def _warn_of_zeros(tap, gradients):
    dead = sum(not any(slope[row].any() for slope in gradients) for row in range(len(gradients[0])))
    if dead:
        warn(
            "zero_gradient",
            f"the gradient with respect to {tap.name!r} is zero everywhere for {dead} of {len(gradients[0])} samples: "
            "the target does not change with it here (a dead ReLU, or a saturated activation, on every way)",
        )


def arranged(results: list, samples: Samples, wrt_tensor):
    """One result alone; several as the user gave the inputs: a dict, or a list."""
    if isinstance(wrt_tensor, list) or (len(results) > 1 and not samples.keys):
        return results
    if len(results) > 1:
        return dict(zip(samples.keys, results, strict=True))
    return results[0]


def overlay(array1, array2, alpha: float = 0.5) -> np.ndarray:
    """Lays one picture over another.

    Args:
        array1: The upper picture, an array of any shape.
        array2: The lower one, of the same shape.
        alpha: The weight of `array1`, from 0 to 1; `array2` has the rest.

    Returns:
        `array1 * alpha + array2 * (1 - alpha)`, of `array1`'s dtype.

    Raises:
        ValueError: `alpha` is out of range, or the shapes differ.

    Example:
        >>> overlay([0, 100], [200, 200], alpha=0.25)
        array([150, 175])
    """
    array1, array2 = np.asarray(array1), np.asarray(array2)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}")
    if array1.shape != array2.shape:
        raise ValueError(f"overlay needs two arrays of one shape, not {array1.shape} and {array2.shape}")
    return (array1 * alpha + array2 * (1.0 - alpha)).astype(array1.dtype)


def get_num_filters(layer) -> int:
    """The number of filters of a layer: its output's size along the channel axis; for a dense layer, its units.

    Args:
        layer: A Keras layer that has been built or knows its number of filters.

    Returns:
        The number of filters.

    Raises:
        ValueError: It cannot be told before the layer is called.

    Example:
        >>> import keras
        >>> get_num_filters(keras.layers.Conv2D(8, 3)), get_num_filters(keras.layers.Dense(10))
        (8, 10)
    """
    for attribute in ("filters", "units"):
        if isinstance(getattr(layer, attribute, None), int):
            return getattr(layer, attribute)
    try:
        shape = layer.output.shape
    except (AttributeError, ValueError) as error:
        raise ValueError(f"layer '{layer.name}' has no symbolic output that tells its number of filters") from error
    return shape[1 if getattr(layer, "data_format", None) == "channels_first" else -1]
