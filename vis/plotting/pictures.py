"""Turns maps into pictures: grayscale, a colour map, a heatmap laid over an image.

The default colour map is `'inferno'`: its lightness grows evenly with the value, so it reads the
same in grayscale and to a colour-blind eye, which cannot be said of `'jet'`. A map that is coarser than its picture is
interpolated cubically and clipped to its own range: linear interpolation draws a star around each peak.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

COLORMAP = "inferno"
# The opacity of the largest value of a map over an image: mostly its colour, but the image still shows through.
OPACITY = 0.75
DIVERGING = "blue_white_red"


def clip_brightness(array: np.ndarray, percentile: float = 99.0) -> np.ndarray:
    """Scale a map to [0, 1] with its brightest points cut off, so that a few of them do not leave the rest in the dark.

    Args:
        array: A map, (height, width), of any scale.
        percentile: The percentile of the values that becomes 1, in (0, 100].

    Returns:
        float32, the same shape. A constant map becomes zeros.

    Raises:
        ValueError: `percentile` is out of range.

    Example:
        >>> clip_brightness(np.array([[0.0, 1.0, 2.0, 100.0]]), percentile=50)
        array([[0.       , 0.6666667, 1.       , 1.       ]], dtype=float32)
    """
    if not 0 < percentile <= 100:
        raise ArgumentError("percentile", f"must be above 0 and at most 100, not {percentile}")
    array = np.asarray(array, dtype=np.float32)
    low, high = array.min(), np.percentile(array, percentile)
    if high <= low:
        # Fewer points than the percentile cuts off differ from the background.
        high = array.max()
    if high <= low:
        return np.zeros_like(array)
    return np.clip((array - low) / np.float32(high - low), 0, 1)


def grayscale(heatmap: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
    """Draw a map in shades of gray.

    Args:
        heatmap: (height, width), values in [0, 1].
        size: (width, height) of the picture, in pixels; None for the map's own.

    Returns:
        uint8, (height, width).

    Raises:
        ValueError: `heatmap` is not one map.

    Example:
        >>> grayscale(np.array([[0.0, 0.5, 1.0]]))
        array([[  0, 128, 255]], dtype=uint8)
    """
    return np.round(np.clip(_resize(heatmap, size), 0, 1) * 255).astype(np.uint8)


def colorize(heatmap: np.ndarray, colormap: str = COLORMAP, size: tuple[int, int] | None = None) -> np.ndarray:
    """Draw a map in colours.

    Args:
        heatmap: (height, width), values in [0, 1].
        colormap: The name of a matplotlib colour map.
        size: (width, height) of the picture, in pixels; None for the map's own.

    Returns:
        uint8, (height, width, 3), RGB.

    Raises:
        ValueError: `heatmap` is not one map, or matplotlib has no colour map of that name.

    Example:
        >>> colorize(np.array([[0.0, 1.0]]), "gray").tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    table = _table(colormap)
    return table.take(_places(heatmap, len(table), size), axis=0)


def heatmap_over(
    image: np.ndarray | Image.Image,
    heatmap: np.ndarray,
    alpha: float = OPACITY,
    colormap: str = COLORMAP,
    *,
    zero: float = 0.0,
) -> np.ndarray:
    """Lay the colours of a heatmap over an image, at the image's size; where nothing matters, the image shows through.

    Args:
        image: uint8 or a Pillow image, (height, width) or (height, width, 3).
        heatmap: (height, width) of any size, values in [0, 1].
        alpha: The opacity of the largest value, from 0 (the image alone) to 1; a smaller one has that share of it.
        colormap: The name of a matplotlib colour map.
        zero: The value that is transparent: 0, or 0.5 for a map of both signs brought to [0, 1].

    Returns:
        uint8, (height, width, 3), RGB, of the image's size.

    Raises:
        ValueError: `alpha` is not in [0, 1], `heatmap` is not one map, or matplotlib has no colour map of that name.

    Example:
        >>> image = np.full((4, 6, 3), 255, np.uint8)
        >>> heatmap_over(image, np.zeros((2, 2))).min().item()
        255
    """
    check_alpha(alpha)
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.asarray(image, dtype=np.uint8))
    picture = np.array(image.convert("RGB"), dtype=np.float32)
    kept, laid = _blending(colormap, alpha, zero)
    places = _places(heatmap, len(kept), image.size)
    picture *= kept.take(places, axis=0)
    picture += laid.take(places, axis=0)
    return np.round(picture, out=picture).astype(np.uint8)


def check_alpha(alpha: float) -> None:
    """Refuse an opacity that is none.

    Args:
        alpha: A number from 0 to 1.

    Raises:
        ValueError: It is out of range.

    Example:
        >>> check_alpha(0.5)
    """
    if not 0 <= alpha <= 1:
        raise ArgumentError("alpha", f"must be from 0 to 1, not {alpha}")


def opacities(count: int, alpha: float, zero: float) -> np.ndarray:
    """Return the opacity of the colours of a map over an image, in proportion to their distance from 0.

    Args:
        count: The number of colours, from the lowest value to the highest.
        alpha: The opacity of the colour farthest from 0.
        zero: Where 0 is between the lowest value, 0, and the highest, 1.

    Returns:
        float32, (count,), from 0 to `alpha`.

    Example:
        >>> opacities(5, 0.5, zero=0.5)
        array([0.5 , 0.25, 0.  , 0.25, 0.5 ], dtype=float32)
    """
    return (alpha * np.abs(np.linspace(0, 1, count) - zero) / max(zero, 1 - zero)).astype(np.float32)


def colormap_named(name: str) -> Colormap:
    """Return the colour map of a name.

    Args:
        name: A name of matplotlib's, for example `'inferno'`, `'viridis'`, `'cividis'`, `'gray'`; or
            `'blue_white_red'`, the colours of both signs.

    Returns:
        The `matplotlib.colors.Colormap`.

    Raises:
        ValueError: matplotlib has no colour map of that name.

    Example:
        >>> colormap_named("viridis").name
        'viridis'
    """
    from matplotlib import colormaps

    if name == DIVERGING:
        return diverging_colormap()
    if name not in colormaps:
        raise ArgumentError(
            "colormap",
            f"must be the name of a matplotlib colormap, such as 'inferno' or 'viridis', not {name!r}",
            kind="unknown",
        )
    return colormaps[name]


@functools.cache
def diverging_colormap() -> Colormap:
    """Return the colours of both signs: blue below 0, white at 0, red above, equally dark at equal distance from 0.

    Returns:
        A `matplotlib.colors.Colormap`. It has an odd number of colours, so that the one in the middle is white itself.

    Example:
        >>> diverging_colormap()(0.5)[:3] == (1, 1, 1)
        True
    """
    from matplotlib.colors import LinearSegmentedColormap

    # ColorBrewer's RdBu, with white in place of the gray in its middle.
    colors = ["#053061", "#2166ac", "#4393c3", "#92c5de", "#d1e5f0", "#ffffff"]
    colors += ["#fddbc7", "#f4a582", "#d6604d", "#b2182b", "#67001f"]
    return LinearSegmentedColormap.from_list(DIVERGING, colors, N=257)


@functools.cache
def _table(colormap: str) -> np.ndarray:
    """Return a colour map's colours, uint8, (N, 3): looked up in whole pictures faster than matplotlib does it."""
    colors = colormap_named(colormap)
    return np.round(colors(np.arange(colors.N))[:, :3] * 255).astype(np.uint8)


@functools.lru_cache
def _blending(colormap: str, alpha: float, zero: float) -> tuple[np.ndarray, np.ndarray]:
    """Return, for each colour of a map, the share it keeps of the image below and the colour it adds, (N, 3) each."""
    colors = _table(colormap)
    opacity = np.repeat(opacities(len(colors), alpha, zero)[:, None], 3, axis=1)
    return 1 - opacity, opacity * colors


def _places(heatmap: np.ndarray, count: int, size: tuple[int, int] | None) -> np.ndarray:
    """Return the places of a map's values, in [0, 1], among so many colours; 1 itself has the last one."""
    return np.clip(_resize(heatmap, size) * np.float32(count), 0, count - 1).astype(np.intp)


def _resize(heatmap: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    heatmap = np.asarray(heatmap, dtype=np.float32)
    if heatmap.ndim != 2:
        raise ArgumentError("heatmap", f"must have the shape (height, width), not {heatmap.shape}")
    return heatmap if size is None else interpolate(heatmap, size)


def interpolate(heatmap: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map at a picture's size: interpolated cubically where it grows, averaged where it shrinks.

    Args:
        heatmap: float32, (height, width).
        size: (width, height), in pixels.

    Returns:
        float32, (height, width) of the picture, within the range of the map's values.

    Example:
        >>> interpolate(np.array([[0.0, 1.0]], np.float32), (5, 1)).round(2)
        array([[0.  , 0.07, 0.5 , 0.93, 1.  ]], dtype=float32)
    """
    if size == heatmap.shape[::-1]:
        return heatmap
    larger = np.asarray(Image.fromarray(heatmap).resize(size, Image.Resampling.BICUBIC))
    return np.clip(larger, heatmap.min(), heatmap.max())
