"""A page to look through an explained data set: each image, its map, its label and the prediction with its score.

The page is one file that opens from disk: the pictures, as thumbnails, are in it, and the scripts and styles too. It
links to the files of the images and of the maps by relative paths. What a browser does not take in one file, more than
2,000 cards, goes into several that are linked with each other.
"""

from __future__ import annotations

import array
import json
import os
import re
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vis.files.names import named
from vis.files.outputs import replacing
from vis.pages import rendering

#: How many cards are shown at once, and how many a file has.
PAGE = 200
CARDS_PER_FILE = 2000

_LINKED = 3  # files on either side that a file links to, beside the first and the last
_NONE = -1  # a label or a predicted class that there is not


class Card(NamedTuple):
    """One explained image.

    Attributes:
        row: Its row number in the data set, from 0.
        original: Its file.
        picture: The file of its map.
        label: Its true label, or None.
        predicted: The predicted class, or None for a regressor.
        score: The model's output for the predicted class, or the regressor's output.
        predicted_picture: The file of the map of the predicted class, where `picture` is that of another label.
    """

    row: int
    original: Path
    picture: Path
    label: int | None
    predicted: int | None
    score: float
    predicted_picture: Path | None = None


def write(
    path: str | os.PathLike,
    cards: Iterable[Card],
    *,
    title: str,
    explained: str,
    probabilities: bool = True,
    names: Sequence[str] | None = None,
) -> Iterator[int]:
    """Write the page, under a temporary name that is then renamed.

    More than 2,000 cards are written as several files, in one order over all of them: the first is the page, the others
    are `page-2.html`, `page-3.html`, ... in the folder of the page's name. In memory are a few numbers of each card and
    the pictures of some hundreds.

    Args:
        path: The HTML file.
        cards: The images to show. Those that are predicted wrongly come first, the most confident of them before all,
            whatever their order; then those that are predicted correctly, the least confident first. Without labels the
            most confident prediction comes first.
        title: The page's heading.
        explained: A sentence on what the maps explain.
        probabilities: Whether the scores are probabilities.
        names: The classes' names by class index, shown after the numbers.

    Yields:
        The number of cards finished since the last time, for a progress bar. Nothing is written before the first number
        is asked for.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = Path(folder, "0.png")
        ...     Image.new("L", (8, 8)).save(picture)
        ...     page = Path(folder, "gallery.html")
        ...     cards = [Card(0, picture, picture, 3, 5, 0.9)]
        ...     sum(write(page, cards, title="Digits", explained="The true label."))
        ...     "<h1>Digits</h1>" in page.read_text()
        1
        True
    """
    path = Path(path)
    with _Spool(cards) as spool:
        order = spool.order()
        parts = max(1, -(-len(order) // CARDS_PER_FILE))
        files = [path, *(path.with_suffix("") / f"page-{part}.html" for part in range(2, parts + 1))]
        if parts > 1:
            path.with_suffix("").mkdir(exist_ok=True)
        shared = {
            "title": title,
            "explained": explained,
            "probabilities": probabilities,
            "total": len(order),
            "total_labelled": int(spool.labelled.sum()),
            "total_wrong": int(spool.wrong.sum()),
            "page": PAGE,
            "parts": parts,
            "second_maps": spool.second_maps,
        }
        # The page itself comes last: once it is there all that it links to is.
        for part in reversed(range(parts)):
            of_part = order[part * CARDS_PER_FILE : (part + 1) * CARDS_PER_FILE]
            links = {number: rendering.link(file, files[part].parent) for number, file in _linked(files, part)}
            yield from _write_file(files[part], spool, of_part, names, part=part + 1, links=links, **shared)
    for file in path.with_suffix("").glob("page-*.html"):  # of an earlier page of more cards
        if (number := re.fullmatch(r"page-(\d+)", file.stem)) and int(number[1]) > parts:
            file.unlink()


def _linked(files: list[Path], part: int) -> list[tuple[int, Path]]:
    """The files that a file links to: the first, the last and those next to it, with their numbers from 1."""
    near = range(max(part - _LINKED, 0), min(part + _LINKED + 1, len(files)))
    return [(number + 1, files[number]) for number in sorted({0, *near, len(files) - 1})]


def _write_file(path: Path, spool: _Spool, order: np.ndarray, names: Sequence[str] | None, **values) -> Iterator[int]:
    """Write the file of some cards, by their places in the spool."""
    cards = [spool[place] for place in order]
    labelled = [card for card in cards if _is_labelled(card)]
    finished: list[int] = []
    parts = rendering.render(
        "gallery.html",
        count=len(cards),
        labelled=len(labelled),
        wrong=sum(card.label != card.predicted for card in labelled),
        cards=[(card.row, card.label, card.predicted, card.score) for card in cards],
        names=_class_names(cards, names),
        pages=_pages(cards, path.parent, finished),
        **values,
    )
    with replacing(path) as file:
        for part in parts:
            file.write(part)
            while finished:
                yield finished.pop()


class _Spool:
    """Cards in the order in which they come: their numbers in memory, their files' paths on disk.

    Attributes:
        labelled: bool, (cards,): whether a label and a prediction can be compared.
        wrong: bool, (cards,): whether another class than the label is predicted.
        second_maps: Whether a card has the map of a predicted class.
    """

    def __init__(self, cards: Iterable[Card]):
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the spool is left
        self._at, rows, labels, predicted = (array.array("q") for _ in range(4))
        scores = array.array("d")
        self.second_maps = False
        for card in cards:
            self._at.append(self._file.tell())
            files = [path and os.fspath(path) for path in (card.original, card.picture, card.predicted_picture)]
            self._file.write(json.dumps(files).encode() + b"\n")
            rows.append(card.row)
            labels.append(_NONE if card.label is None else card.label)
            predicted.append(_NONE if card.predicted is None else card.predicted)
            scores.append(card.score)
            self.second_maps |= card.predicted_picture is not None
        self._rows, self._labels, self._predicted = (np.array(each) for each in (rows, labels, predicted))
        self._scores = np.array(scores)
        self.labelled = (self._labels != _NONE) & (self._predicted != _NONE)
        self.wrong = self.labelled & (self._labels != self._predicted)

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def order(self) -> np.ndarray:
        """Return the places from confidently wrong over unsure to confidently right; without labels by the score."""
        if not self.labelled.any():
            return np.lexsort((self._rows, -self._scores))
        return np.lexsort((self._rows, np.where(self.wrong, -self._scores, self._scores), ~self.wrong))

    def __getitem__(self, place: int) -> Card:
        self._file.seek(self._at[place])
        original, picture, second = (path and Path(path) for path in json.loads(self._file.readline()))
        label, predicted = (
            None if (index := int(each[place])) == _NONE else index for each in (self._labels, self._predicted)
        )
        return Card(int(self._rows[place]), original, picture, label, predicted, float(self._scores[place]), second)


def _is_labelled(card: Card) -> bool:
    return None not in (card.label, card.predicted)


def _class_names(cards: list[Card], names: Sequence[str] | None) -> dict[int, str]:
    """How the page speaks of each class that a card has."""
    classes = {index for card in cards for index in (card.label, card.predicted) if index is not None}
    return {index: named(index, names) for index in sorted(classes)}


def _pages(cards: list[Card], folder: Path, finished: list[int]) -> Iterator[list[dict]]:
    """Yield what the cards of each page show of their files, made in threads; note in `finished` how many those were.

    Of each card that is the file's name and, for each picture, its thumbnail and its address.
    """
    with ThreadPoolExecutor(os.cpu_count(), "vis-gallery") as pool:
        waiting: deque = deque()
        try:
            for start in range(0, len(cards), PAGE):
                page = cards[start : start + PAGE]
                files = [
                    [path for path in (card.original, card.picture, card.predicted_picture) if path] for card in page
                ]
                waiting.append([[(path, pool.submit(rendering.thumbnail, path)) for path in each] for each in files])
                if len(waiting) > 1:
                    yield _done(waiting.popleft(), folder, finished)
            while waiting:
                yield _done(waiting.popleft(), folder, finished)
        finally:
            pool.shutdown(cancel_futures=True)


def _done(page: list[list[tuple[Path, Future]]], folder: Path, finished: list[int]) -> list[dict]:
    shown = [
        {
            "name": files[0][0].name,
            "pictures": [(thumbnail.result(), rendering.link(path, folder)) for path, thumbnail in files],
        }
        for files in page
    ]
    finished.append(len(shown))
    return shown
