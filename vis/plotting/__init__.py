"""Maps as pictures (arrays of pixels, to be written to a file) and as figures for notebooks and reports."""

from vis.plotting.figures import color_scale, compare, grid, show
from vis.plotting.pictures import COLORMAP, clip_brightness, colorize, colormap_named, grayscale, heatmap_over
from vis.plotting.rankings import plot_influence

__all__ = [
    "COLORMAP",
    "clip_brightness",
    "color_scale",
    "colorize",
    "colormap_named",
    "compare",
    "grayscale",
    "grid",
    "heatmap_over",
    "plot_influence",
    "show",
]
