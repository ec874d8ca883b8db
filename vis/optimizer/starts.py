"""The start of an optimization: the range of the input, and the samples of the first step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from vis.engine import addressing, taps
from vis.engine.cache import remember
from vis.engine.inputs import ModelInputs, is_real, prepare, symbolic_inputs
from vis.engine.rules import underlying
from vis.optimizer.parameterizations import Fourier, Pixels
from vis.utils.errors import ArgumentError, warn

if TYPE_CHECKING:
    from vis.images import InputLayout


class Range:
    """The values that an input may have.

    Args:
        input_range: `(min, max)`: two numbers, or two lists of one number per channel.

    Raises:
        ValueError: It is not a pair of finite numbers or lists, or a minimum is not below its maximum.
    """

    def __init__(self, input_range):
        try:
            low, high = np.broadcast_arrays(*(np.asarray(end, np.float32) for end in input_range))
        except (TypeError, ValueError):
            raise ArgumentError("input_range", f"must be a pair (min, max), not {input_range!r}") from None
        if low.ndim > 1 or high.ndim > 1 or not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ArgumentError(
                "input_range", f"must be two numbers, or two lists of one number per channel, not {input_range!r}"
            )
        if not (low < high).all():
            raise ArgumentError("input_range", f"must go from a smaller to a larger number, not {input_range!r}")
        self.low, self.high = low, high

    def ends(self, shape: tuple, data_format: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the two ends as arrays that broadcast against images.

        Args:
            shape: The shape of the images, (images, ...).
            data_format: `'channels_last'` or `'channels_first'`, of the images.

        Returns:
            `(low, high)`, float32.

        Raises:
            ValueError: The number of values of the range is not the number of channels.
        """
        axis = 1 if data_format == "channels_first" else len(shape) - 1
        ends = []
        for end in (self.low, self.high):
            if end.size not in (1, shape[axis]):
                raise ArgumentError(
                    "input_range",
                    f"must have one value, or one for each of the {shape[axis]} channels of the input, not {end.size}",
                )
            ends.append(end.reshape([-1 if i == axis else 1 for i in range(len(shape))]))
        return ends[0], ends[1]


def data_format_of(model, samples: ModelInputs) -> str:
    """Return the axis order of a model's images, from its operations.

    Args:
        model: A Keras model, with or without a backprop modifier.
        samples: Inputs that show what it takes.

    Returns:
        `'channels_first'` or `'channels_last'`; the latter also for inputs without positions.
    """
    key = ("input layouts", *samples.shapes, *(array.dtype.name for array in samples.arrays))
    layouts = remember(model, key, lambda: taps.input_layouts(model, samples))
    first = any(layout.channel == 0 and len(layout.along) > 1 for layout in layouts)
    return "channels_first" if first else "channels_last"


def samples_of(model, seed_input, count: int, value_range: Range) -> ModelInputs:
    """Return the samples of the first step.

    Args:
        model: A Keras model, with or without a backprop modifier.
        seed_input: One image or a batch, (images, ...), a list or dict of these for several inputs, or None for the
            middle of the range.
        count: The number of images, if `seed_input` holds a single one.
        value_range: The `Range`.

    Returns:
        The `ModelInputs`; a single seed is repeated for all images.

    Raises:
        ValueError: `seed_input` does not fit the model's inputs; or it is None and the input shape of the model is
            unknown or of any size, or the model takes integers.
    """
    if seed_input is None:
        seed_input = _middle(model, value_range)
    samples = prepare(model, seed_input)
    if samples.count == 1 < count:
        samples = samples.repeat(count)
    return samples


def noise(
    layout: InputLayout, count: int, input_range, *, parameterization: str = "pixels", seed: int | None = None
) -> np.ndarray:
    """Return random images to start from, for a model that takes images of any size.

    Args:
        layout: What the model takes, from `vis.images.input_layout`, with height and width filled in.
        count: The number of images.
        input_range: (min, max) of the values that the model takes, numbers or one number per channel.
        parameterization: `'pixels'` or `'fourier'`, which determines the kind of noise.
        seed: The seed of the noise.

    Returns:
        A `seed_input`, float32: (count, height, width, channels), (count, channels, height, width) or (count, height,
        width), as the layout says.

    Example:
        >>> from vis.images import InputLayout
        >>> noise(InputLayout(8, 6, 3, channel_axis=0), 2, (0.0, 1.0), seed=0).shape
        (2, 3, 8, 6)
    """
    value_range = Range(input_range)
    space = Fourier("channels_last") if parameterization == "fourier" else Pixels()
    shape = (count, layout.height, layout.width, layout.channels)
    images = space.decode(space.initial(shape, np.random.default_rng(seed)), value_range.low, value_range.high)
    images = np.asarray(images)
    if layout.channel_axis is None:
        return images[..., 0]
    return np.moveaxis(images, -1, 1) if layout.channel_axis == 0 else images


def regularizer_weights(input_range, weight: float = 10) -> dict[str, float]:
    """Return weights of the regularizers with the same effect on images of 0 to 1 and of 0 to 255.

    `LPNorm` grows with the values of an image, `TotalVariation` with β = 2 with their square.

    Args:
        input_range: (min, max) of the values that the model takes, numbers or one number per channel.
        weight: The weight of both for values of 0 to 1.

    Returns:
        `lp_norm_weight` and `tv_weight`, arguments of `vis.visualization.visualize_activation`.

    Example:
        >>> regularizer_weights((-1.0, 1.0))
        {'lp_norm_weight': 5.0, 'tv_weight': 2.5}
    """
    value_range = Range(input_range)
    extent = float(np.mean(value_range.high - value_range.low))
    return {"lp_norm_weight": weight / extent, "tv_weight": weight / extent**2}


def warn_of_values_outside(arrays: list, ranges: list) -> None:
    """Warn if a seed has values outside the range.

    Args:
        arrays: The moving inputs, each (images, ...).
        ranges: The `(low, high)` of each.

    Warns:
        VisWarning: There are such values.
    """
    for array, (low, high) in zip(arrays, ranges, strict=True):
        slack = 1e-3 * (high - low)
        if (array < low - slack).any() or (array > high + slack).any():
            warn(
                "outside_input_range",
                f"seed_input has values from {array.min():g} to {array.max():g}, which input_range cuts off at "
                f"{low.min():g} and {high.max():g}",
                "Give the input_range that the model was trained with",
            )


def are_inputs(model, wrt_tensor) -> bool:
    """Return whether an address names inputs of a model, and nothing after them.

    Args:
        model: A Keras model, with or without a backprop modifier.
        wrt_tensor: The model, a tensor, a layer or its address, or a list of these.

    Returns:
        Whether all of them are inputs.
    """
    symbols = symbolic_inputs(underlying(model))
    for address in keras.tree.flatten(wrt_tensor):
        if underlying(address) is underlying(model):
            continue
        if isinstance(address, keras.KerasTensor):
            if not any(address is symbol for symbol in symbols):
                return False
        elif not isinstance(addressing.find_layer(model, address, "wrt_tensor"), keras.layers.InputLayer):
            return False
    return True


def moved_inputs(model, samples: ModelInputs, wrt_tensor) -> list[int]:
    """Return the positions of the inputs that a descent moves: the named inputs that hold real numbers.

    Args:
        model: A Keras model, with or without a backprop modifier.
        samples: The samples of the first step.
        wrt_tensor: The addresses of inputs: the model, a tensor, a layer, or a list of these.

    Returns:
        Positions among the model's inputs.

    Raises:
        ArgumentError: All of them hold integers.
    """
    symbols = symbolic_inputs(underlying(model))
    named: list[int] = []
    for address in keras.tree.flatten(wrt_tensor):
        if underlying(address) is underlying(model):
            named += range(len(samples.arrays))
            continue
        if not isinstance(address, keras.KerasTensor):
            address = addressing.find_layer(model, address, "wrt_tensor").output
        named += [i for i, symbol in enumerate(symbols) if symbol is address]
    moved = [i for i in dict.fromkeys(named) if is_real(samples.arrays[i])]
    if not moved:
        raise _only_integers(underlying(model))
    return moved


def with_images(samples: ModelInputs, moved: list[int], images: list) -> ModelInputs:
    """Return samples with new images in the inputs that move.

    Args:
        samples: The samples.
        moved: The positions of the inputs that move.
        images: The new images of each, (images, ...).

    Returns:
        New `ModelInputs`.
    """
    arrays = list(samples.arrays)
    for i, array in zip(moved, images, strict=True):
        arrays[i] = np.asarray(array).astype(arrays[i].dtype)
    return samples.with_arrays(arrays)


def _middle(model, value_range: Range):
    model = underlying(model)
    symbols = symbolic_inputs(model)
    if not symbols:
        shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
        if isinstance(shape, (list, tuple)) and all(size is None or isinstance(size, int) for size in shape):
            return _gray(tuple(shape[1:]), value_range)
        raise ArgumentError(
            "seed_input",
            f"must be given, because the model {model.name!r} does not say which shape its input has",
            kind="missing",
        )
    if not any("float" in symbol.dtype for symbol in symbols):
        raise _only_integers(model)
    for symbol in symbols:
        if "float" not in symbol.dtype:
            raise ArgumentError(
                "seed_input",
                f"must be given, because the input {symbol.name!r} takes integers, for which noise is no start",
                kind="missing",
            )
    arrays = [_gray(tuple(symbol.shape[1:]), value_range) for symbol in symbols]
    if isinstance(getattr(model, "input", None), dict):
        return {key: arrays[symbols.index(symbol)] for key, symbol in model.input.items()}
    return arrays if len(arrays) > 1 else arrays[0]


def _only_integers(model) -> ArgumentError:
    embeddings = [path for path, layer in addressing.paths(model) if isinstance(layer, keras.layers.Embedding)]
    return ArgumentError(
        "seed_input",
        "must be of real numbers, which can be moved a little at a time, not of integers, such as tokens",
        f"visualize_saliency with wrt_tensor={embeddings[0]!r} shows which tokens of a text matter"
        if embeddings
        else "",
        kind="integers",
    )


def _gray(shape, value_range: Range) -> np.ndarray:
    if None in shape:
        raise ArgumentError(
            "seed_input",
            f"must be given, because the model takes inputs of any size, {shape}",
            "Its shape is the shape of the result",
            kind="missing",
        )
    return np.full(shape, np.mean([value_range.low.mean(), value_range.high.mean()]), np.float32)
