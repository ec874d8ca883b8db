"""Write a page of ranked training images: the most harmful and the most helpful, in one file that opens from disk."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vis import datasets
from vis.files.names import named
from vis.files.outputs import replacing
from vis.files.paths import image_path
from vis.pages import rendering

if TYPE_CHECKING:
    import pandas as pd


class _Card(NamedTuple):
    """A training image: its picture, the address of its file, its row, and its label and score as text."""

    picture: str
    address: str
    row: int
    label: str
    predicted: str | None
    score: str
    bar: float  # percent of the largest score
    noise: bool


class _Group(NamedTuple):
    """The harmful or the helpful images: their number, the number beyond noise, and the cards to show."""

    name: str
    kind: str
    effect: str  # on the validation loss
    total: int
    beyond_noise: int
    cards: list[_Card]


class _Notation(NamedTuple):
    """The number format of all scores of a page: a unit, which is a power of ten, and a number of decimals."""

    exponent: int
    decimals: int

    def number(self, value: float) -> str:
        return f"{value / 10.0**self.exponent:.{self.decimals}f}"

    def score(self, value: float, margin: float) -> str:
        sign = "\N{MINUS SIGN}" if value < 0 else "+"
        return sign + self.number(abs(value)) + ("" if math.isnan(margin) else f" ± {self.number(margin)}")


def write(
    path: str | os.PathLike,
    ranked: pd.DataFrame,
    folder: str | os.PathLike,
    image: str,
    label: str | Sequence[str],
    shown: int = 100,
    *,
    names: Sequence[str] | None = None,
    predicted: np.ndarray | None = None,
    margins: np.ndarray | None = None,
    summary: Sequence[str] = (),
) -> None:
    """Write the page, under a temporary name that is then renamed.

    A score whose magnitude is below its margin is noise: such images come after all others, below a line.

    Args:
        path: The HTML file.
        ranked: A `pandas.DataFrame` from `vis.influence.rank`, ascending, with a column of image paths and one or more
            columns of labels.
        folder: The folder that those paths are relative to.
        image: The name of the column of paths.
        label: The name of the column of labels, or the names of the columns of a vector (one-hot or probabilities).
        shown: The maximum number of images to show of each kind.
        names: The class names by class index, shown after the numbers.
        predicted: The predicted class of each image, int, (examples,), in the order of `ranked`, or None.
        margins: The margin of error of each score, float, (examples,), in the order of `ranked`, from
            `vis.batch.influence_trials.margins`; None, or NaN for a score, if unknown.
        summary: Sentences about all scores together, without their full stops.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 8)).save(Path(folder, "a.png"))
        ...     ranked = pd.DataFrame({"influence": [-0.1], "datasource_index": [3], "x:image": ["a.png"], "y": ["1"]})
        ...     write(Path(folder, "page.html"), ranked, folder, "x:image", "y", names=["cat", "dog"])
        ...     "1 dog" in Path(folder, "page.html").read_text(encoding="utf-8")
        True
    """
    scores = ranked["influence"].to_numpy()
    margins = np.full(len(scores), np.nan) if margins is None else np.asarray(margins, np.float64)
    noise = np.abs(scores) < margins  # never where a margin is NaN
    harmful = np.flatnonzero(scores < 0)
    helpful = np.flatnonzero(scores > 0)[::-1]
    largest = np.abs(scores).max(initial=0.0)
    notation = _notation(largest)
    columns = [label] if isinstance(label, str) else list(label)

    def card(place: int) -> _Card:
        row = ranked.iloc[place]
        file = image_path(folder, row[image])
        return _Card(
            picture=rendering.thumbnail(file),
            address=rendering.link(file, Path(path).parent),
            row=row["datasource_index"],
            label=_label([str(row[column]) for column in columns], names),
            predicted=None if predicted is None else named(int(predicted[place]), names),
            score=notation.score(scores[place], margins[place]),
            bar=100 * abs(scores[place]) / largest,
            noise=bool(noise[place]),
        )

    def group(name: str, kind: str, effect: str, places: np.ndarray) -> _Group:
        beyond_noise = places[~noise[places]]
        first = np.concatenate([beyond_noise, places[noise[places]]])[:shown]
        return _Group(name, kind, effect, len(places), len(beyond_noise), [card(place) for place in first])

    parts = rendering.render(
        "influence.html",
        title=Path(path).stem,
        count=len(ranked),
        exponent=notation.exponent,
        known=not np.isnan(margins).any(),
        beyond_noise=int(np.count_nonzero(~noise)),
        with_predicted=predicted is not None,
        summary=summary,
        groups=[
            group("Most harmful", "harmful", "lowers", harmful),
            group("Most helpful", "helpful", "raises", helpful),
        ],
    )
    with replacing(path) as file:
        file.writelines(parts)


def _notation(largest: float) -> _Notation:
    """Return the power of 1,000 in which the largest score is between 1 and 1,000, with four digits."""
    if not largest:
        return _Notation(0, 3)
    power = math.floor(math.log10(largest))
    exponent = 3 * (power // 3)
    return _Notation(exponent, 3 - (power - exponent))


def _label(cells: list[str], names: Sequence[str] | None) -> str:
    """Return the class in the cells, or else their text, such as the numbers of a regressor's label."""
    try:
        return named(datasets.labels(cells), names)
    except ValueError:
        return ", ".join(cells)
