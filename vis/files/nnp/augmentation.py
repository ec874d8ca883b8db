"""Image augmentation: only the part that is the same for every image is kept."""

from __future__ import annotations

import numpy as np
from keras import ops

from vis.files.nnp import layout
from vis.files.nnp.table import dims, function

_OFF = {"angle": 0, "distortion": 0, "brightness": 0, "noise": 0, "flip_lr": False, "flip_ud": False}
_ONE = ("aspect_ratio", "contrast")


@function("ImageAugmentation")
def image_augmentation(call, x):
    """The center of the image at the scale nearest to 1, interpolated linearly, without the random part."""
    options, rank = call.options, len(x.shape)
    shape = (1, *options.shape.dim)
    if rank != 4 or len(shape) != 4 or shape[1] != x.shape[-1]:
        call.refuse(f"to the shape {shape[1:]} of an input of {rank} axes")
    smallest, largest = options.min_scale or 1.0, options.max_scale or 1.0
    scale = min(max(1.0, smallest), largest)
    pads = dims(options.pad, 2, 0)
    random = smallest != largest or any(getattr(options, name) != value for name, value in _OFF.items())
    random = random or any(getattr(options, name) not in (0, 1) for name in _ONE)
    for axis, (size, length, pad) in enumerate(zip(x.shape[1:3], shape[2:], pads, strict=True), 1):
        margin = (size + 2 * pad) * scale - length
        random = random or abs(margin) > 1e-6
        if (size, pad, scale) != (length, 0, 1.0):
            weights = _interpolation(size, (np.arange(length) + margin / 2) / scale - pad)
            x = ops.moveaxis(ops.matmul(ops.moveaxis(x, axis, -1), weights.T), -1, axis)
    if random:
        call.left_out("the random part")
    return x


@function("RandomShift", "RandomFlip", "RandomErase")
def nothing(call, x):
    """The input as it is."""
    call.left_out("all")
    return x


@function("RandomCrop")
def random_crop(call, x):
    """The center crop of the input."""
    shape = layout.sample_shape((1, *call.options.shape.dim))
    if len(shape) != len(x.shape) - 1:
        call.refuse(f"to {len(shape)} axes")
    chosen = [slice(None)]
    for size, length in zip(x.shape[1:], shape, strict=True):
        chosen.append(slice((size - length) // 2, (size - length) // 2 + length))
    call.left_out("the random position")
    return x[tuple(chosen)]


def _interpolation(size: int, positions: np.ndarray) -> np.ndarray:
    """Return the matrix, (positions, size), that interpolates linearly between `size` values."""
    positions = np.clip(positions, 0, size - 1)
    low = np.floor(positions).astype(int)
    rest = positions - low
    matrix = np.zeros((len(positions), size), np.float32)
    rows = np.arange(len(positions))
    np.add.at(matrix, (rows, low), 1 - rest)
    np.add.at(matrix, (rows, np.minimum(low + 1, size - 1)), rest)
    return matrix
