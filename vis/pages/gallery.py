"""A page to look through an explained data set: each image, its map, its label and the prediction with its score.

The page is one file that opens from disk: the pictures, as thumbnails, are in it, and the scripts and styles too. It
links to the files of the images and of the maps by relative paths.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from vis.files.names import named
from vis.files.outputs import replacing
from vis.pages import rendering

#: How many cards a page shows.
PAGE = 200


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
    cards = list(cards)
    labelled = [card for card in cards if _is_labelled(card)]
    wrong = sum(_is_wrong(card) for card in labelled)
    cards.sort(key=_wrongest if labelled else _surest)
    finished: list[int] = []
    parts = rendering.render(
        "gallery.html",
        title=title,
        explained=explained,
        probabilities=probabilities,
        count=len(cards),
        labelled=len(labelled),
        wrong=wrong,
        page=PAGE,
        cards=[(card.row, card.label, card.predicted, card.score) for card in cards],
        names=_class_names(cards, names),
        second_maps=any(card.predicted_picture for card in cards),
        pages=_pages(cards, Path(path).parent, finished),
    )
    with replacing(path) as file:
        for part in parts:
            file.write(part)
            while finished:
                yield finished.pop()


def _is_labelled(card: Card) -> bool:
    return None not in (card.label, card.predicted)


def _is_wrong(card: Card) -> bool:
    return _is_labelled(card) and card.label != card.predicted


def _wrongest(card: Card) -> tuple:
    """The key of the order from confidently wrong over unsure to confidently right."""
    wrong = _is_wrong(card)
    return not wrong, -card.score if wrong else card.score, card.row


def _surest(card: Card) -> tuple:
    return -card.score, card.row


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
