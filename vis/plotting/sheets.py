"""Lay out many images of the same size as one picture."""

from __future__ import annotations

import numpy as np

from vis.utils.errors import ArgumentError

_MARGIN, _GROUND = 5, 128


def pictures(images, input_range, *, smallest: int = 128) -> np.ndarray:
    """Turn images into viewable pictures; small ones are enlarged, each pixel to a square.

    Args:
        images: An array of shape (images, height, width, channels), (images, channels, height, width) or (images,
            height, width), with 1 or 3 channels.
        input_range: The values that become black and white: (min, max), two numbers or two lists of one number per
            channel.
        smallest: Pictures with a side of fewer pixels than this are enlarged.

    Returns:
        uint8, (images, height, width) or (images, height, width, 3).

    Raises:
        ValueError: The array does not hold images of 1 or 3 channels.

    Example:
        >>> pictures(np.zeros((4, 28, 28, 1)), (0, 1)).shape
        (4, 140, 140)
    """
    images = np.asarray(images, np.float32)
    if images.ndim == 4 and images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[-1] in (1, 3))):
        raise ArgumentError("images", f"must be images of 1 or 3 channels, not an array of shape {images.shape}")
    low, high = (np.asarray(end, np.float32) for end in input_range)
    pixels = np.round(255 * np.clip((images - low) / (high - low), 0, 1)).astype(np.uint8)
    if pixels.ndim == 4 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    times = max(1, -(-smallest // min(pixels.shape[1:3])))
    return pixels.repeat(times, axis=1).repeat(times, axis=2)


def sheet(pictures) -> np.ndarray:
    """Lay out pictures of the same size on a gray ground, in a nearly square grid with few empty cells.

    Args:
        pictures: uint8, (pictures, height, width) or (pictures, height, width, 3).

    Returns:
        uint8, (height, width) or (height, width, 3).

    Example:
        >>> sheet(np.zeros((10, 28, 28), np.uint8)).shape  # two rows of five
        (61, 160)
    """
    pictures = np.asarray(pictures)
    count = len(pictures)
    root = int(np.ceil(np.sqrt(count)))
    columns = min(range(root, 2 * root + 1), key=lambda columns: (-count % columns, columns))
    rows, columns = -(-count // columns), min(columns, count)
    around = [(0, rows * columns - count), (0, _MARGIN), (0, _MARGIN), *[(0, 0)] * (pictures.ndim - 3)]
    _, height, width, *colors = (padded := np.pad(pictures, around, constant_values=_GROUND)).shape
    tiles = padded.reshape(rows, columns, height, width, *colors).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, *colors)[:-_MARGIN, :-_MARGIN]
