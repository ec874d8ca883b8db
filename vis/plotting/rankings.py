"""A figure of ranked training examples: the extremes as images, the scores, and the effect of removing harmful ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vis.plotting.canvas import NotebookFigure, as_picture
from vis.utils.checks import whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_HARMFUL, _HELPFUL, _QUIET = "#b3401f", "#1b7a5a", "0.45"


@shared_docs
def plot_influence(
    table: pd.DataFrame,
    images: Sequence | None = None,
    labels: Sequence | None = None,
    *,
    cleansing: pd.DataFrame | None = None,
    shown: int = 8,
    width: float = 10.0,
) -> Figure:
    """Draw a ranking of training examples.

    Args:
        table: A `pandas.DataFrame` from `vis.influence.rank`, with the columns `influence` and `datasource_index`.
        images: The images by `datasource_index`, each a Pillow image or an array as `vis.plotting.show` takes it; None
            to leave out the examples.
        labels: Their labels by `datasource_index`, to be written above them; None for none.
        cleansing: A `pandas.DataFrame` with the columns `removed` (number of examples), `error` (the held-out error
            without the most harmful ones) and `random` (without as many at random), one row per number; None to leave
            out the curve.
        shown: The number of most harmful, and of most helpful, examples to show, at least 1.
        width: The width of the figure, in inches.

    Returns:
        {{figure}}

    Raises:
        ValueError: `table` is not a data frame, a column is missing, `shown` is below 1, there are fewer images or
            labels than the table refers to, or an image has another shape or values that are not finite.

    Example:
        >>> from vis.influence import rank
        >>> figure = plot_influence(rank([0.5, -1.0, 0.0]), [np.eye(4)] * 3, labels="abc", shown=1)
        >>> figure.axes[0].get_title()
        'b\\n-1'
    """
    if not hasattr(table, "columns"):
        raise ArgumentTypeError(
            "table", f"must be a table from vis.influence.rank, not {type(table).__name__}", "Give rank(scores)"
        )
    _check_columns("table", table, ("influence", "datasource_index"))
    if cleansing is not None:
        _check_columns("cleansing", cleansing, ("removed", "error", "random"))
    shown = whole_number("shown", shown)
    table = table.sort_values("influence", kind="stable")
    shown = min(shown, len(table))
    groups = [(table.head(shown), "Most harmful", _HARMFUL), (table.tail(shown)[::-1], "Most helpful", _HELPFUL)]
    rows = groups if images is not None else []
    pictures: Sequence = () if images is None else images
    needed = int(max(frame["datasource_index"].max() for frame, _, _ in groups)) + 1
    for name, values in (("images", images), ("labels", labels)):
        if values is not None and len(values) < needed:
            raise ArgumentError(
                name, f"must have at least {needed} elements, as table has example {needed - 1}, not {len(values)}"
            )

    heights = [width / shown + 0.5] * len(rows) + [3.0]
    figure = NotebookFigure(figsize=(width, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, (frame, title, color) in zip(parts, rows, strict=False):
        part.suptitle(title, color=color, fontsize=11)
        for axes, (_, row) in zip(part.subplots(1, shown, squeeze=False)[0], frame.iterrows(), strict=True):
            number = int(row["datasource_index"])
            axes.imshow(as_picture(pictures[number], "images"), interpolation="antialiased")
            axes.set(xticks=[], yticks=[])
            above = "" if labels is None else f"{labels[number]}\n"
            axes.set_title(f"{above}{row['influence']:.2g}", fontsize=9)
    lower = parts[-1].subplots(1, 1 if cleansing is None else 2, squeeze=False)[0]
    _paint_histogram(lower[0], table["influence"].to_numpy())
    if cleansing is not None:
        _paint_cleansing(lower[1], cleansing)
    return figure


def _check_columns(argument: str, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    if any(column not in frame for column in columns):
        raise ArgumentError(
            argument, f"must have the columns {', '.join(columns)}, not only {', '.join(map(str, frame.columns))}"
        )


def _paint_histogram(axes, scores: np.ndarray) -> None:
    _, edges, bars = axes.hist(scores, bins=41, log=True, color=_HELPFUL)
    for bar, middle in zip(bars, (edges[1:] + edges[:-1]) / 2, strict=True):
        bar.set_facecolor(_HARMFUL if middle < 0 else _HELPFUL)
    axes.axvline(0, color=_QUIET, linewidth=0.8)
    axes.set(xlabel="influence (below 0: harmful)", ylabel="examples")
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right"]].set_visible(False)


def _paint_cleansing(axes, cleansing: pd.DataFrame) -> None:
    axes.plot(cleansing["removed"], cleansing["error"], "o-", color=_HARMFUL, markersize=3, label="the most harmful")
    axes.plot(cleansing["removed"], cleansing["random"], "o--", color=_QUIET, markersize=3, label="at random")
    axes.set(xlabel="examples removed", ylabel="held-out error")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
