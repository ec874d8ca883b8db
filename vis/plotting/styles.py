"""Styles of pictures: how the map of a method is drawn at the size of its image. `vis.methods` names one per method."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from PIL import Image

from vis.plotting.figures import color_scale
from vis.plotting.pictures import COLORMAP, DIVERGING, clip_brightness, colorize, heatmap_over
from vis.plotting.pictures import grayscale as gray_levels


def colors(image: Image.Image, heatmap: np.ndarray, colormap: str = COLORMAP, overlay: bool = False) -> np.ndarray:
    """Draw a map in colours, with its brightest points cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.
        colormap: The name of a colour map.
        overlay: Whether to lay the colours over the image, instead of drawing them alone.

    Returns:
        uint8, (height, width, 3), of the image's size.

    Example:
        >>> colors(Image.new("L", (6, 4)), np.eye(2)).shape
        (4, 6, 3)
    """
    clipped = clip_brightness(heatmap)
    return heatmap_over(image, clipped, colormap=colormap) if overlay else colorize(clipped, colormap, image.size)


def grayscale(image: Image.Image, heatmap: np.ndarray, colormap: str = "gray", overlay: bool = False) -> np.ndarray:
    """Draw a map in shades of gray, or in other colours, with its brightest points cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.
        colormap: The name of a colour map.
        overlay: Whether to lay the colours over the image, instead of drawing them alone.

    Returns:
        uint8, (height, width) for `'gray'` alone, else (height, width, 3), of the image's size.

    Example:
        >>> grayscale(Image.new("L", (6, 4)), np.eye(2)).shape
        (4, 6)
    """
    if colormap != "gray" or overlay:
        return colors(image, heatmap, colormap, overlay)
    return gray_levels(clip_brightness(heatmap), image.size)


def over_image(image: Image.Image, heatmap: np.ndarray, colormap: str = COLORMAP) -> np.ndarray:
    """Lay the colours of a map over its image.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), values in [0, 1].
        colormap: The name of a colour map.

    Returns:
        uint8, (height, width, 3), of the image's size.

    Example:
        >>> over_image(Image.new("L", (6, 4)), np.eye(2)).shape
        (4, 6, 3)
    """
    return heatmap_over(image, heatmap, colormap=colormap)


def signed(image: Image.Image, heatmap: np.ndarray, colormap: str = DIVERGING, overlay: bool = False) -> np.ndarray:
    """Draw a map with both signs in colours that diverge from 0, with its largest values cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.
        colormap: The name of a colour map; 0 has the colour in its middle.
        overlay: Whether to lay the colours over the image, in shades of gray, instead of drawing them alone.

    Returns:
        uint8, (height, width, 3), of the image's size.

    Example:
        >>> signed(Image.new("L", (3, 1)), np.array([[-2.0, 0.0, 2.0]])).tolist()  # blue, white, red
        [[[5, 48, 97], [255, 255, 255], [103, 0, 31]]]
    """
    limit = color_scale([heatmap]).vmax or 1.0
    placed = np.clip(0.5 + np.asarray(heatmap) / (2 * limit), 0, 1)
    if overlay:
        return heatmap_over(image.convert("L"), placed, colormap=colormap, zero=0.5)
    return colorize(placed, colormap, image.size)


STYLES = MappingProxyType({style.__name__: style for style in (colors, grayscale, over_image, signed)})


def draw(style: str, image: Image.Image, heatmap: np.ndarray, size: int = 1, **options) -> np.ndarray:
    """Draw a map in a style, and a small one enlarged by a whole number: a pixel of the image becomes a square.

    Args:
        style: A name of `STYLES`.
        image: The image that the map explains.
        heatmap: (height, width). If these are the image's, its pixels become squares too, so that they are not
            smoothed; else it is interpolated to the picture's size.
        size: The minimum length of the picture's longer side, in pixels.
        **options: The options of the style.

    Returns:
        uint8, of a multiple of the image's size, (height, width) or (height, width, 3).

    Example:
        >>> draw("colors", Image.new("L", (28, 20)), np.zeros((20, 28)), 224).shape
        (160, 224, 3)
    """
    times = max(1, -(-size // max(image.size)))
    if heatmap.shape == image.size[::-1]:
        return STYLES[style](image, heatmap, **options).repeat(times, axis=0).repeat(times, axis=1)
    larger = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    return STYLES[style](larger, heatmap, **options)
