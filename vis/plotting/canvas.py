"""Places pictures on a figure: rows of one width, titles wrapped to fit them, colour bars at the side."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from PIL import Image

from vis.plotting.pictures import (
    COLORMAP,
    DIVERGING,
    check_alpha,
    colormap_named,
    interpolate,
    opacities,
)
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError

_FONT = 10
# All lengths are in inches; a point is 1/72 of one.
_LINE = 1.25 * _FONT / 72
_PAD = 0.05
_GAP = 0.1
_BAR = 0.12
_BAR_LABELS = 0.6


class Panel(NamedTuple):
    """One picture of a figure: an image, a map and the scale of its colours, or one of these alone.

    Attributes:
        image: uint8, (height, width, 3), or None.
        heatmap: float32, (height, width), or None.
        title: The title, or None.
        scale: The map's colour scale, or None without a map.
    """

    image: np.ndarray | None = None
    heatmap: np.ndarray | None = None
    title: str | None = None
    scale: Normalize | None = None

    @property
    def ratio(self) -> float:
        """Return the picture's height divided by its width."""
        height, width = self.size
        return height / width

    @property
    def size(self) -> tuple[int, int]:
        """Return the picture's height and width in pixels: the image's, or the map's where there is no image."""
        return np.asarray(self.heatmap if self.image is None else self.image).shape[:2]


class NotebookFigure(Figure):
    """A figure that a notebook shows, though pyplot does not know it and so cannot show it a second time."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


@shared_docs
def draw(rows: Sequence[tuple[str | None, list[Panel]]], *, alpha, colormap, colorbar, width) -> Figure:
    """Draw rows of panels.

    Args:
        rows: Pairs of a row's name, written to its left (or None), and its panels.
        alpha: The opacity of a map's largest values over an image, from 0 to 1; None draws maps without their images,
            at their sizes.
        {{colormap}}
        colorbar: Whether to draw the scales: one bar where there is one scale, else one per row.
        width: The width of a panel, in inches.

    Returns:
        {{figure}}

    Raises:
        ValueError: `alpha` or `width` is out of range, or matplotlib does not know the colour map.

    Example:
        >>> draw([(None, [Panel(np.eye(4))])], alpha=1, colormap=None, colorbar=False, width=2).get_size_inches()
        array([2.1, 2.1])
    """
    if alpha is not None:
        check_alpha(alpha)
    if not width > 0:
        raise ArgumentError("width", f"must be above 0, not {width}", "It is the width of a picture in inches")
    panels = [row for _, row in rows]
    titles = [[wrap(panel.title, width) for panel in row] for row in panels]
    heights = [width * max(panel.ratio for panel in row) for row in panels]
    names = [wrap(name, height) for (name, _), height in zip(rows, heights, strict=True)]
    scales = {panel.scale for row in panels for panel in row if panel.scale is not None}
    colorbar = colorbar and bool(scales)

    left = _PAD + _text_height(names)
    right = left + max(map(len, panels)) * (width + _GAP) - _GAP
    above = [_text_height(row) for row in titles]
    bottoms = list(accumulate(text + height + _GAP for text, height in zip(above, heights, strict=True)))
    tops = [_PAD + bottom - _GAP - height for bottom, height in zip(bottoms, heights, strict=True)]
    size = right + _PAD + colorbar * (_GAP + _BAR + _BAR_LABELS), bottoms[-1] - _GAP + 2 * _PAD
    figure = NotebookFigure(figsize=size)

    def place(x, top, across, down) -> Axes:
        return figure.add_axes((x / size[0], 1 - (top + down) / size[1], across / size[0], down / size[1]))

    for row, of_row, name, top, height in zip(panels, titles, names, tops, heights, strict=True):
        for column, (panel, title) in enumerate(zip(row, of_row, strict=True)):
            axes = place(left + column * (width + _GAP), top, width, height)
            _paint(axes, panel, alpha, colormap)
            axes.set_title(title, fontsize=_FONT, pad=4, parse_math=False)
            if not column:
                axes.set_ylabel(name, fontsize=_FONT, labelpad=4, parse_math=False)
    if colorbar:
        spans = [(0, len(rows))] if len(scales) == 1 else [(i, i + 1) for i in range(len(rows))]
        for start, stop in spans:
            beside = [(panel, panel.scale) for row in panels[start:stop] for panel in row if panel.scale is not None]
            if beside:
                down = tops[stop - 1] + heights[stop - 1] - tops[start]
                axes, (shown, of_bar) = place(right + _GAP, tops[start], _BAR, down), zip(*beside, strict=True)
                _paint_bar(axes, of_bar[0], shown, alpha, colormap)
    return figure


def _text_height(texts) -> float:
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return lines * _LINE + _GAP if lines else 0.0


def _paint(axes: Axes, panel: Panel, alpha: float | None, colormap: str | None) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color="0.8", linewidth=0.6)
    image, heatmap, _, scale = panel
    height, width = panel.size
    # 'antialiased' leaves a pixel that is drawn large a square, as a map of pixels must not be smoothed.
    options: dict[str, Any] = {"extent": (0, width, height, 0), "interpolation": "antialiased"}
    if heatmap is None or scale is None:
        if image is not None:
            axes.imshow(image, **options)
        return
    over = image is not None and alpha is not None
    if image is not None and over:
        # Red and blue are the map's alone.
        axes.imshow(_gray(image) if _ends(scale)[0] < 0 else image, **options)
    if heatmap.shape[0] < height or heatmap.shape[1] < width:
        heatmap = interpolate(heatmap, (width, height))
    colors = _colors(scale, colormap, alpha if over else None)
    axes.imshow(heatmap, cmap=colors, norm=scale, **options)


def _paint_bar(axes: Axes, scale: Normalize, panels: Sequence[Panel], alpha: float | None, colormap: str | None):
    """Draw a scale; of maps over images on all grays that these have, dark to the left, as the map lies on them."""
    least, most = _ends(scale)
    beneath = [_gray(panel.image) for panel in panels if panel.image is not None and alpha is not None]
    colors = _colors(scale, colormap, alpha if beneath else None)
    if beneath:
        grays = np.linspace(min(image.min() for image in beneath), max(image.max() for image in beneath), 64) / 255
        ends = colors([0.0, 1.0])
        low, high = ends[:, 3:] * ends[:, :3] + (1 - ends[:, 3:]) * grays.mean()
        colors = colors.with_extremes(under=low, over=high)
    beyond = max(np.abs(panel.heatmap).max() for panel in panels if panel.heatmap is not None) > most
    extend = "neither" if not beyond else "both" if least < 0 else "max"
    axes.figure.colorbar(ScalarMappable(scale, colors), cax=axes, extend=extend, extendfrac=0.03)
    if beneath:
        axes.set_autoscale_on(False)
        edges = np.linspace(*axes.get_xlim(), len(grays) + 1)
        axes.pcolormesh(edges, [least, most], grays[None], cmap="gray", vmin=0, vmax=1, zorder=0)
    axes.tick_params(labelsize=_FONT - 2)
    axes.yaxis.get_major_locator().set_params(nbins=5)  # type: ignore[call-arg]  # that of a colour bar has bins


def _ends(scale: Normalize) -> tuple[float, float]:
    """Return the values at which a scale begins and ends."""
    return scale.vmin or 0.0, scale.vmax or 0.0


def _gray(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _colors(scale: Normalize, colormap: str | None, alpha: float | None) -> Colormap:
    """Return the colours of a scale; with an opacity they are the more transparent, the nearer to 0."""
    signed = _ends(scale)[0] < 0
    colors = colormap_named(colormap or (DIVERGING if signed else COLORMAP))
    if alpha is None:
        return colors
    levels = colors(np.arange(colors.N))
    levels[:, 3] = opacities(colors.N, alpha, zero=0.5 if signed else 0.0)
    return ListedColormap(levels, colors.name)


def wrap(text: str | None, width: float) -> str:
    """Break a text into lines that fit a width in the font of a title; a word that is longer is broken too.

    Args:
        text: Any text; None is an empty one.
        width: The width, in inches.

    Returns:
        The text with line breaks.

    Example:
        >>> wrap("activation maximization", 1)
        'activation\\nmaximization'
    """
    lines = []
    for paragraph in (text or "").split("\n"):
        line = ""
        for word in paragraph.split():
            if line and _text_width(f"{line} {word}") <= width:
                line = f"{line} {word}"
                continue
            if line:
                lines.append(line)
            while len(word) > 1 and _text_width(word) > width:
                fits = next(i for i in range(len(word) - 1, 0, -1) if i == 1 or _text_width(word[:i]) <= width)
                lines.append(word[:fits])
                word = word[fits:]
            line = word
        lines.append(line)
    return "\n".join(lines)


def _text_width(text: str) -> float:
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=_FONT), ismath=False)[0] / 72


@shared_docs
def as_picture(image, argument: str = "image") -> np.ndarray:
    """Turn an image into pixels that can be shown.

    Args:
        {{image}}
        argument: The name of the caller's argument, for the error.

    Returns:
        uint8, (height, width, 3).

    Raises:
        ValueError: It is not one image of 1 or 3 channels, or it holds values that are not finite.

    Example:
        >>> as_picture(np.array([[0.0, 1.0]]))[0].tolist()
        [[0, 0, 0], [255, 255, 255]]
    """
    if isinstance(image, Image.Image):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] not in (1, 3) or not pixels.size:
        raise ArgumentError(
            argument,
            f"must have the shape (height, width), (height, width, 1) or (height, width, 3), not {pixels.shape}",
        )
    if pixels.dtype != np.uint8:
        pixels = _finite(argument, pixels.astype(np.float64))
        low, high = pixels.min(), pixels.max()
        if low >= 0 and high <= 1:
            low, high = 0, 1
        elif low >= 0 and high <= 255:
            low, high = 0, 255
        pixels = np.round((pixels - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def as_map(heatmap, argument: str = "heatmap") -> np.ndarray:
    """Turn a map into numbers that can be drawn.

    Args:
        heatmap: (height, width), or (height, width, 1).
        argument: The name of the caller's argument, for the error.

    Returns:
        float32, (height, width).

    Raises:
        ValueError: It is not one map, or it holds values that are not finite.

    Example:
        >>> as_map([[1, 2]])
        array([[1., 2.]], dtype=float32)
    """
    values = np.asarray(heatmap, dtype=np.float32)
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 2 or not values.size:
        raise ArgumentError(argument, f"must have the shape (height, width), not {values.shape}")
    return _finite(argument, values)


def _finite(argument: str, values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ArgumentError(argument, "must be finite, not NaN or infinite")
    return values
