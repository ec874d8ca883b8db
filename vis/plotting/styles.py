"""Styles of pictures: how the map of a method is drawn at the size of its image. `vis.methods` names one per method."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from PIL import Image

from vis.plotting.figures import color_scale
from vis.plotting.pictures import COLORMAP, DIVERGING, clip_brightness, colorize, heatmap_over
from vis.plotting.pictures import grayscale as gray_levels


def colors(image: Image.Image, heatmap: np.ndarray, colormap: str = COLORMAP) -> np.ndarray:
    """Draw a map in colours, with its brightest points cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.
        colormap: The name of a colour map.

    Returns:
        uint8, (height, width, 3), of the image's size.

    Example:
        >>> colors(Image.new("L", (6, 4)), np.eye(2)).shape
        (4, 6, 3)
    """
    return colorize(clip_brightness(heatmap), colormap, image.size)


def grayscale(image: Image.Image, heatmap: np.ndarray) -> np.ndarray:
    """Draw a map in shades of gray, with its brightest points cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.

    Returns:
        uint8, (height, width), of the image's size.

    Example:
        >>> grayscale(Image.new("L", (6, 4)), np.eye(2)).shape
        (4, 6)
    """
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


def signed(image: Image.Image, heatmap: np.ndarray, colormap: str = DIVERGING) -> np.ndarray:
    """Draw a map with both signs in colours that diverge from 0, with its largest values cut off.

    Args:
        image: The image that the map explains.
        heatmap: (height, width), of any scale.
        colormap: The name of a colour map; 0 has the colour in its middle.

    Returns:
        uint8, (height, width, 3), of the image's size.

    Example:
        >>> signed(Image.new("L", (3, 1)), np.array([[-2.0, 0.0, 2.0]])).tolist()  # blue, white, red
        [[[5, 48, 97], [255, 255, 255], [103, 0, 31]]]
    """
    limit = color_scale([heatmap]).vmax
    return colorize(0.5 + np.asarray(heatmap) / (2 * limit), colormap, image.size)


STYLES = MappingProxyType({style.__name__: style for style in (colors, grayscale, over_image, signed)})
