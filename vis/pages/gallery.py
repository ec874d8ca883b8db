"""Write a page for browsing an explained data set: each image, its map, its label and the prediction with its score.

The page is a single file that opens from disk and contains thumbnails, scripts and styles. It links to the files of the
images and maps by relative paths. More than 2,000 cards, too many for a browser to handle in one file, are split into
several files that link to each other.
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

#: The number of cards that are shown at once, and the most cards per file.
PAGE = 200
CARDS_PER_FILE = 2000

_LINKED = 3  # files on either side that a file links to, beside the first and the last
_NONE = -1  # no label, or no predicted class


class Card(NamedTuple):
    """One explained image.

    Attributes:
        row: The row number in the data set, from 0.
        original: The file of the image.
        picture: The file of the map.
        label: The true label, or None.
        predicted: The predicted class, or None for a regressor.
        score: The model's output for the predicted class, or the regressor's output.
        predicted_picture: The file of the map of the predicted class, if `picture` explains a different label.
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

    More than 2,000 cards are split into several files with a common order: the first is the page, the others are
    `page-2.html`, `page-3.html`, ... in the folder with the page's name. Only a few numbers per card and the pictures
    of a few hundred cards are in memory.

    Args:
        path: The HTML file.
        cards: The images to show, in any order. The page starts with misclassified images, the most confident first,
            followed by correctly classified images, the least confident first. Without labels, the most confident
            prediction comes first.
        title: The heading of the page.
        explained: A sentence that says what the maps explain.
        probabilities: Whether the scores are probabilities.
        names: The class names by class index, shown after the numbers.

    Yields:
        The number of cards finished since the last number, for a progress bar. Nothing is written before the first
        number is requested.

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
        # The page itself comes last: when it exists, so do all files that it links to.
        for part in reversed(range(parts)):
            of_part = order[part * CARDS_PER_FILE : (part + 1) * CARDS_PER_FILE]
            links = {number: rendering.link(file, files[part].parent) for number, file in _linked(files, part)}
            yield from _write_file(files[part], spool, of_part, names, part=part + 1, links=links, **shared)
    for file in path.with_suffix("").glob("page-*.html"):  # left by an earlier page with more cards
        if (number := re.fullmatch(r"page-(\d+)", file.stem)) and int(number[1]) > parts:
            file.unlink()


def _linked(files: list[Path], part: int) -> list[tuple[int, Path]]:
    """Return the files that a file links to, with their numbers from 1: the first, the last and its neighbours."""
    near = range(max(part - _LINKED, 0), min(part + _LINKED + 1, len(files)))
    return [(number + 1, files[number]) for number in sorted({0, *near, len(files) - 1})]


def _write_file(path: Path, spool: _Spool, order: np.ndarray, names: Sequence[str] | None, **values) -> Iterator[int]:
    """Write one file of cards, given by their positions in the spool."""
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
    """Cards in the order of arrival, with their numbers in memory and the paths of their files on disk.

    Attributes:
        labelled: bool, (cards,): whether a card has both a label and a prediction.
        wrong: bool, (cards,): whether the prediction differs from the label.
        second_maps: Whether any card has a map of the predicted class.
    """

    def __init__(self, cards: Iterable[Card]):
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the spool is left
        self._offsets, rows, labels, predicted = (array.array("q") for _ in range(4))
        scores = array.array("d")
        self.second_maps = False
        for card in cards:
            self._offsets.append(self._file.tell())
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
        """Return positions from confidently wrong through uncertain to confidently correct; without labels by score."""
        if not self.labelled.any():
            return np.lexsort((self._rows, -self._scores))
        return np.lexsort((self._rows, np.where(self.wrong, -self._scores, self._scores), ~self.wrong))

    def __getitem__(self, place: int) -> Card:
        self._file.seek(self._offsets[place])
        original, picture, second = (path and Path(path) for path in json.loads(self._file.readline()))
        label, predicted = (
            None if (index := int(each[place])) == _NONE else index for each in (self._labels, self._predicted)
        )
        return Card(int(self._rows[place]), original, picture, label, predicted, float(self._scores[place]), second)


def _is_labelled(card: Card) -> bool:
    return None not in (card.label, card.predicted)


def _class_names(cards: list[Card], names: Sequence[str] | None) -> dict[int, str]:
    """Return the text for each class that occurs on a card."""
    classes = {index for card in cards for index in (card.label, card.predicted) if index is not None}
    return {index: named(index, names) for index in sorted(classes)}


def _pages(cards: list[Card], folder: Path, finished: list[int]) -> Iterator[list[dict]]:
    """Yield the file data of the cards of each page, made in threads, and append the number of cards to `finished`.

    The data of a card are the name of the image file and, for each picture, its thumbnail and its address.
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
