"""Write a page of training rows with the most likely label errors first, and a line where the estimated errors end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vis.files.names import named
from vis.files.outputs import replacing
from vis.files.paths import image_path
from vis.pages import rendering

if TYPE_CHECKING:
    import pandas as pd

_MOST_COLUMNS = 6  # columns of a table that a card shows
_MOST_CONFUSIONS = 8


class _Card(NamedTuple):
    """A training row: its picture and the address of its file, or its first cells; its label and score as text."""

    picture: str | None
    address: str
    cells: list[tuple[str, str]]
    row: int
    label: str
    suggested: str
    confidence: str
    score: str
    bar: float  # percent


class _Confusion(NamedTuple):
    """A label, the label suggested in its place, and the number of such errors."""

    label: str
    suggested: str
    count: int  # type: ignore[assignment]  # a field, which hides the method of tuples


def write(
    path: str | os.PathLike,
    found: pd.DataFrame,
    folder: str | os.PathLike,
    *,
    image: str | None = None,
    columns: Sequence[str] = (),
    names: Sequence[str] | None = None,
    shown: int = 300,
    below: int = 60,
) -> None:
    """Write the page, under a temporary name that is then renamed.

    Args:
        path: The HTML file.
        found: The table of `vis.influence.label_errors`, with additional columns for the cells of the rows.
        folder: The folder that image paths are relative to.
        image: The name of the column of paths, for images.
        columns: The names of the columns to show, for tables; the first six of them are shown.
        names: The class names by class index, shown after the numbers.
        shown: The maximum number of errors to show.
        below: The maximum number of presumably correct rows to show.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> row = {"datasource_index": 3, "label": 0, "suggested_label": 1, "is_error": True, "score": 0.98}
        >>> found = pd.DataFrame([{**row, "confidence": 0.01, "x": "5.1"}])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "page.html"), found, folder, columns=["x"], names=["cat", "dog"])
        ...     "1 dog" in Path(folder, "page.html").read_text(encoding="utf-8")
        True
    """
    is_error = found["is_error"].to_numpy(bool)

    def card(place: int) -> _Card:
        row = found.iloc[place]
        file = None if image is None else image_path(folder, row[image])
        return _Card(
            picture=None if file is None else rendering.thumbnail(file),
            address="" if file is None else rendering.link(file, Path(path).parent),
            cells=[(column, str(row[column])) for column in columns[:_MOST_COLUMNS]],
            row=int(row["datasource_index"]),
            label=named(int(row["label"]), names),
            suggested=named(int(row["suggested_label"]), names),
            confidence=_percent(row["confidence"]),
            score=f"{row['score']:.3f}",
            bar=100 * float(row["score"]),
        )

    errors, others = (np.flatnonzero(is_error == kind) for kind in (True, False))
    parts = rendering.render(
        "label_errors.html",
        title=Path(path).stem,
        count=len(found),
        total=len(errors),
        what="image" if image is not None else "row",
        more_columns=len(columns) > _MOST_COLUMNS,
        confusions=_confusions(found[is_error], names),
        errors=[card(place) for place in errors[:shown]],
        others=[card(place) for place in others[:below]],
    )
    with replacing(path) as file:
        file.writelines(parts)


def _confusions(errors: pd.DataFrame, names: Sequence[str] | None) -> list[_Confusion]:
    """Return the most frequent pairs of a label and a suggested label."""
    counts = errors.groupby(["label", "suggested_label"]).size().sort_values(ascending=False, kind="stable")
    return [
        _Confusion(named(int(label), names), named(int(suggested), names), int(count))
        for (label, suggested), count in counts.head(_MOST_CONFUSIONS).items()
    ]


def _percent(probability: float) -> str:
    """Return a probability in percent with one decimal, but never 0.0 or 100.0: no network is that confident."""
    if probability < 0.0005:
        return "< 0.1 %"
    return "> 99.9 %" if probability >= 0.9995 else f"{100 * probability:.1f} %"
