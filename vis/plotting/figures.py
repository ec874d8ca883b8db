"""Figures for notebooks and reports: an image with its map, many of them, and several maps of one image compared.

Each function returns a matplotlib figure, which a notebook shows when it is the cell's last line, once. pyplot knows
nothing of it: nothing has to be closed, and `figure.savefig("map.png")` writes it.

What is coloured alike is alike. A map of one sign goes from dark to light ('inferno'), a map of both signs from blue
over white, which is 0, to red; both can be told apart by a colour-blind eye. The brightest hundredth of the values has
the brightest colour, so that a few of them do not leave the rest in the dark; the colour bar then ends in a point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vis.plotting.canvas import Panel, as_map, as_picture, draw
from vis.utils.checks import whole_number
from vis.utils.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

_MOST_STRETCHED = 2


def show(
    image,
    heatmap=None,
    title: str | None = None,
    *,
    alpha: float = 0.5,
    colormap: str | None = None,
    percentile: float = 99.0,
    colorbar: bool = True,
    width: float = 4.0,
) -> Figure:
    """Draw an image with a map over it, or one of them alone.

    Args:
        image: A Pillow image or an array, (height, width), (height, width, 1) or (height, width, 3): uint8, or numbers
            in [0, 1] or [0, 255]; others are stretched to the range of what can be seen. None for the map alone.
        heatmap: (height, width), of any scale, and of any size of about the image's proportions; None for the image
            alone.
        title: Its lines are broken where the picture ends.
        alpha: The map's share of what is seen over an image, from 0 to 1; under a map of both signs the image is gray.
        colormap: A name of matplotlib's, such as 'jet'. None takes 'inferno', or blue-white-red where the map has
            both signs.
        percentile: The percentile of the map's absolute values that has the brightest colour.
        colorbar: Whether to draw the scale of the colours.
        width: Of the picture, in inches.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.

    Example:
        >>> figure = show(np.eye(8), np.arange(64.0).reshape(8, 8), "row by row")
        >>> figure.axes[0].get_title()
        'row by row'
    """
    if image is None and heatmap is None:
        raise ArgumentError("image", "must be given where heatmap is None", kind="missing")
    if heatmap is not None:
        heatmap = as_map(heatmap)
    if image is not None:
        image = as_picture(image)
    _check_proportions("heatmap", heatmap, image)
    panel = Panel(image, heatmap, title, None if heatmap is None else color_scale([heatmap], percentile))
    return draw([(None, [panel])], alpha=alpha, colormap=colormap, colorbar=colorbar, width=width)


def grid(
    images: Iterable,
    heatmaps: Iterable | Mapping[str, Iterable] | None = None,
    titles: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    alpha: float | None = None,
    colormap: str | None = None,
    percentile: float = 99.0,
    shared: bool = False,
    width: float = 2.4,
) -> Figure:
    """Draw many images with their maps.

    Args:
        images: N images, each as in `show`.
        heatmaps: N maps, each laid over its image; or a dict of them, name to N maps, which gives a row of images
            and beneath it a row for each name. None for the images alone.
        titles: N titles, of the images.
        columns: How many images stand side by side; as many as there are, up to 5 (with a dict: all), unless given.
        alpha: The maps' share of what is seen; 0.5 over an image, and 1, the map alone, in a row of its own.
        colormap: As in `show`.
        percentile: As in `show`.
        shared: Whether one scale holds for all maps (with a dict for all maps of a row), so that they can be compared
            with each other; it is drawn beside them. Otherwise each map has its own.
        width: Of one picture, in inches.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.

    Example:
        >>> maps = np.random.default_rng(0).normal(size=(3, 8, 8))
        >>> figure = grid(np.abs(maps), {"saliency": maps, "squared": maps**2}, ["a", "b", "c"])
        >>> len(figure.axes)
        9
    """
    images = [as_picture(image, "images") for image in images]
    if not images:
        raise ArgumentError("images", "must hold at least one image, not none")
    titles = [None] * len(images) if titles is None else list(titles)
    _check_length("titles", titles, images)
    named = isinstance(heatmaps, Mapping)
    if columns is None:
        columns = len(images) if named else min(len(images), 5)
    columns = whole_number("columns", columns)

    def row(maps, name=""):
        maps = [as_map(each, "heatmaps") for each in maps]
        _check_length("heatmaps", maps, images, name)
        for image, each in zip(images, maps, strict=True):
            _check_proportions("heatmaps", each, image)
        together = color_scale(maps, percentile) if shared else None
        scales = [together or color_scale([each], percentile) for each in maps]
        return [Panel(image, each, None, scale) for image, each, scale in zip(images, maps, scales, strict=True)]

    rows = [(None, [Panel(image) for image in images])]
    if named:
        rows += [(str(name), row(maps, name)) for name, maps in heatmaps.items()]
    elif heatmaps is not None:
        rows = [(None, row(heatmaps))]
    rows[0] = None, [panel._replace(title=title) for panel, title in zip(rows[0][1], titles, strict=True)]
    blocks = [slice(start, start + columns) for start in range(0, len(images), columns)]
    return draw(
        [(name, panels[block]) for block in blocks for name, panels in rows],
        alpha=(1.0 if named else 0.5) if alpha is None else alpha,
        colormap=colormap,
        colorbar=shared,
        width=width,
    )


def compare(
    maps: Mapping[str, np.ndarray],
    image=None,
    *,
    columns: int = 4,
    alpha: float = 1.0,
    colormap: str | None = None,
    percentile: float = 99.0,
    width: float = 2.4,
) -> Figure:
    """Draw several maps of one image on one scale of colours, so that what is brighter is more.

    Args:
        maps: Name to map, (height, width), of any scale; not normalized, if their sizes are to be compared too. Where
            one of them has both signs, all are drawn in the colours of both signs, with 0 white.
        image: The image they are of, drawn first; as in `show`.
        columns: How many pictures stand side by side.
        alpha: The maps' share of what is seen over the image; with 1 the colours are those of the colour bar.
        colormap: As in `show`.
        percentile: Of the absolute values of all maps together: what has the brightest colour.
        width: Of one picture, in inches.

    Returns:
        The `matplotlib.figure.Figure`.

    Raises:
        ValueError: What is wrong with an argument, and what would do.

    Example:
        >>> figure = compare({"all": np.ones((4, 4)), "half": np.full((4, 4), 0.5)})
        >>> [axes.images[0].get_clim() for axes in figure.axes[:2]]
        [(0.0, 1.0), (0.0, 1.0)]
    """
    if not isinstance(maps, Mapping):
        raise ArgumentTypeError(
            "maps",
            f"must be a dict of names and maps, not {type(maps).__name__}",
            "Give the dict first, then the image: compare({'saliency': saliency, 'Grad-CAM': regions}, image)",
        )
    if not maps:
        raise ArgumentError("maps", "must hold at least one map, not none")
    columns = whole_number("columns", columns)
    if image is not None:
        image = as_picture(image)
    maps = {str(name): as_map(heatmap, "maps") for name, heatmap in maps.items()}
    for heatmap in maps.values():
        _check_proportions("maps", heatmap, image)
    scale = color_scale(maps.values(), percentile)
    panels = [Panel(image, heatmap, name, scale) for name, heatmap in maps.items()]
    if image is not None:
        panels.insert(0, Panel(image, title="image"))
    rows = [(None, panels[start : start + columns]) for start in range(0, len(panels), columns)]
    return draw(rows, alpha=alpha, colormap=colormap, colorbar=True, width=width)


def color_scale(maps: Iterable[np.ndarray], percentile: float = 99.0) -> Normalize:
    """One scale for all of some maps: from 0 to the largest value, or as far below 0 as above it.

    Args:
        maps: Arrays of any shape.
        percentile: The percentile of the absolute values, of all maps together, that ends the scale, in (0, 100].

    Returns:
        A `matplotlib.colors.Normalize`; its `vmin` is 0, or `-vmax` where a value is negative, so that 0 is in the
        middle.

    Raises:
        ValueError: `percentile` is out of range.

    Example:
        >>> scale = color_scale([np.array([-1.0, 0.0]), np.array([4.0])], percentile=100)
        >>> scale.vmin, scale.vmax
        (-4.0, 4.0)
    """
    from matplotlib.colors import Normalize

    if not 0 < percentile <= 100:
        raise ArgumentError("percentile", f"must be above 0 and at most 100, not {percentile}")
    values = np.concatenate([np.ravel(each) for each in maps]).astype(np.float64)
    magnitudes = np.abs(values)
    # Where fewer values differ from 0 than the percentile cuts off, it is 0.
    limit = float(np.percentile(magnitudes, percentile)) or float(magnitudes.max()) or 1.0
    return Normalize(-limit if values.min() < 0 else 0.0, limit)


def _check_proportions(argument: str, heatmap: np.ndarray | None, image: np.ndarray | None) -> None:
    if heatmap is None or image is None:
        return
    # Models take photographs squeezed to a square, so a square map may well be of an image that is none.
    stretched = heatmap.shape[0] / heatmap.shape[1] * image.shape[1] / image.shape[0]
    if max(stretched, 1 / stretched) > _MOST_STRETCHED:
        raise ArgumentError(
            argument, f"must have about the proportions of the image, {image.shape[:2]}, not {heatmap.shape}"
        )


def _check_length(argument: str, values: list, images: list, name: str = "") -> None:
    if len(values) != len(images):
        place = f" under {name!r}" if name else ""
        raise ArgumentError(
            argument, f"must have as many elements{place} as there are images, {len(images)}, not {len(values)}"
        )
