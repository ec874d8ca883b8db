"""Figures for notebooks and reports: an image with its map, many of them, and several maps of one image compared.

Each function returns a matplotlib figure, which a notebook shows once, when it is the cell's last line. pyplot does not
know it: nothing has to be closed, and `figure.savefig("map.png")` writes it.

Equal colours mean equal values. A map of one sign goes from dark to light ('inferno'), a map of both signs from blue
over white, which is 0, to red; a colour-blind eye can tell both apart. The largest hundredth of the values has the
brightest colour, so that a few outliers do not darken the rest; the colour bar then ends in a point.

Over an image, values farther from 0 are more opaque: where nothing matters, the image shows through. The colour bar
shows every value over all grays of the image, the darkest to the left, so every colour of the picture is in the bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vis.plotting.canvas import Panel, as_map, as_picture, draw
from vis.plotting.pictures import OPACITY
from vis.utils.checks import whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

_MOST_STRETCHED = 2
_MOST_COLUMNS = 5


@shared_docs
def show(
    image,
    heatmap=None,
    title: str | None = None,
    *,
    alpha: float = OPACITY,
    colormap: str | None = None,
    percentile: float = 99.0,
    colorbar: bool = True,
    width: float = 4.0,
) -> Figure:
    """Draw an image with a map over it, or one of them alone.

    Args:
        {{image}} None draws the map alone.
        heatmap: (height, width), of any scale, and of any size with about the image's proportions; None draws the image
            alone.
        title: The title, wrapped where the picture ends.
        alpha: The opacity of the map's largest values over an image, from 0 to 1; a smaller value has that share of it.
            Under a map of both signs the image is gray.
        {{colormap}}
        {{percentile}}
        colorbar: Whether to draw the scale of the colours.
        width: The width of the picture, in inches.

    Returns:
        {{figure}}

    Raises:
        ValueError: Both `image` and `heatmap` are None, one of them has another shape or values that are not finite,
            their proportions differ by more than a factor of 2, a number is out of range, or matplotlib does not know
            the colour map.

    Example:
        >>> figure = show(np.eye(8), np.arange(64.0).reshape(8, 8), "row by row")
        >>> figure.axes[0].get_title()
        'row by row'
    """
    if image is None and heatmap is None:
        raise ArgumentError("image", "must be given if heatmap is None", kind="missing")
    if heatmap is not None:
        heatmap = as_map(heatmap)
    if image is not None:
        image = as_picture(image)
    _check_proportions("heatmap", heatmap, image)
    panel = Panel(image, heatmap, title, None if heatmap is None else color_scale([heatmap], percentile))
    return draw([(None, [panel])], alpha=alpha, colormap=colormap, colorbar=colorbar, width=width)


@shared_docs
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
        images: N images, each a Pillow image or an array as `show` takes it.
        heatmaps: N maps, (height, width), each laid over its image; or a dict from names to N maps, which gives a
            row of images and one row per name below it. None draws the images alone.
        titles: N titles, of the images; None for none.
        columns: The number of images side by side, at least 1; None for rows of up to 5, as even as possible (with a
            dict: a single row).
        alpha: The opacity of the maps' largest values over an image, from 0 to 1; a smaller value has that share of it.
            None for 0.75, and with a dict for the maps alone, in rows of their own.
        {{colormap}}
        {{percentile}}
        shared: Whether all maps (with a dict, all maps of a row) share one scale, so that they can be compared with
            each other; it is drawn beside them. Otherwise every map has a separate scale.
        width: The width of one picture, in inches.

    Returns:
        {{figure}}

    Raises:
        ValueError: There are no images, the numbers of maps or titles differ from theirs, an image or a map has another
            shape or values that are not finite, the proportions of a map and its image differ by more than a factor of
            2, a number is out of range, or matplotlib does not know the colour map.

    Example:
        >>> maps = np.random.default_rng(0).normal(size=(3, 8, 8))
        >>> figure = grid(np.abs(maps), {"saliency": maps, "squared": maps**2}, ["a", "b", "c"])
        >>> len(figure.axes)
        9
    """
    images = [as_picture(image, "images") for image in images]
    if not images:
        raise ArgumentError("images", "must hold at least one image, not none")
    captions: list[str | None] = [None] * len(images) if titles is None else list(titles)
    _check_length("titles", captions, images)
    named = isinstance(heatmaps, Mapping)
    if columns is None:
        columns = len(images) if named else even_columns(len(images))
    columns = whole_number("columns", columns)

    def row(maps, name=""):
        maps = [as_map(each, "heatmaps") for each in maps]
        _check_length("heatmaps", maps, images, name)
        for image, each in zip(images, maps, strict=True):
            _check_proportions("heatmaps", each, image)
        together = color_scale(maps, percentile) if shared else None
        scales = [together or color_scale([each], percentile) for each in maps]
        return [Panel(image, each, None, scale) for image, each, scale in zip(images, maps, scales, strict=True)]

    rows: list[tuple[str | None, list[Panel]]] = [(None, [Panel(image) for image in images])]
    if isinstance(heatmaps, Mapping):
        rows += [(str(name), row(maps, name)) for name, maps in heatmaps.items()]
    elif heatmaps is not None:
        rows = [(None, row(heatmaps))]
    rows[0] = None, [panel._replace(title=title) for panel, title in zip(rows[0][1], captions, strict=True)]
    blocks = [slice(start, start + columns) for start in range(0, len(images), columns)]
    return draw(
        [(name, panels[block]) for block in blocks for name, panels in rows],
        alpha=None if named and alpha is None else OPACITY if alpha is None else alpha,
        colormap=colormap,
        colorbar=shared,
        width=width,
    )


@shared_docs
def compare(
    maps: Mapping[str, np.ndarray],
    image=None,
    *,
    columns: int | None = None,
    alpha: float | None = None,
    colormap: str | None = None,
    percentile: float = 99.0,
    shared: bool | None = None,
    width: float = 2.4,
) -> Figure:
    """Draw several maps of one image side by side.

    Args:
        maps: A dict of names and maps, (height, width), of any scale; not normalized, if their magnitudes are to be
            compared too.
        {{image}} It is drawn first; None for the maps alone.
        columns: The number of pictures side by side, at least 1; None for rows of up to 5, as even as possible.
        alpha: The opacity of the maps' largest values over the image, from 0 to 1; a smaller value has that share of
            it. None for the maps alone.
        {{colormap}}
        percentile: The percentile, above 0 and up to 100, of the absolute values of a scale's maps that gets the
            brightest colour.
        shared: Whether all maps share one scale, so that brighter means more; it is drawn beside them, and where one
            map has both signs, all are drawn in the colours of both signs. Otherwise each map has its own. None for
            shared, unless every map is normalized, that is, has the largest magnitude 1: then the magnitudes say
            nothing, and a map with a few large values would be dark beside the others.
        width: The width of one picture, in inches.

    Returns:
        {{figure}}

    Raises:
        ValueError: `maps` is empty or not a dict, the image or a map has another shape or values that are not finite,
            their proportions differ by more than a factor of 2, a number is out of range, or matplotlib does not know
            the colour map.

    Example:
        >>> figure = compare({"all": np.ones((4, 4)), "half": np.full((4, 4), 0.5)})  # not both are normalized
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
    if columns is not None:
        columns = whole_number("columns", columns)
    if image is not None:
        image = as_picture(image)
    maps = {str(name): as_map(heatmap, "maps") for name, heatmap in maps.items()}
    for heatmap in maps.values():
        _check_proportions("maps", heatmap, image)
    if shared is None:
        shared = not all(map(_is_normalized, maps.values()))
    together = color_scale(maps.values(), percentile)
    panels = [
        Panel(image, heatmap, name, together if shared else color_scale([heatmap], percentile))
        for name, heatmap in maps.items()
    ]
    if image is not None:
        panels.insert(0, Panel(image, title="image"))
    columns = columns or even_columns(len(panels))
    rows = [(None, panels[start : start + columns]) for start in range(0, len(panels), columns)]
    return draw(rows, alpha=alpha, colormap=colormap, colorbar=shared, width=width)


def even_columns(count: int) -> int:
    """Return the number of pictures side by side, up to 5, so that the last row is almost as long as the others.

    Args:
        count: The number of pictures.

    Returns:
        The number of columns.

    Example:
        >>> [even_columns(count) for count in (1, 5, 6, 7, 11)]
        [1, 5, 3, 4, 4]
    """
    rows = -(-count // _MOST_COLUMNS)
    return -(-count // rows)


def color_scale(maps: Iterable[np.ndarray], percentile: float = 99.0) -> Normalize:
    """Return one scale for several maps: from 0 to the largest value, or as far below 0 as above it.

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


def _is_normalized(heatmap: np.ndarray) -> bool:
    """Return whether a map was brought to [0, 1] or [-1, 1]; a blank one stays blank then."""
    largest = np.abs(heatmap).max()
    return largest == 0 or abs(largest - 1) < 1e-6


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
