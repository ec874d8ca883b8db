"""A page to look through an explained data set: each image, its map, its label and the prediction with its score.

The page is one file that opens from disk: the pictures, as thumbnails, are in it, and the scripts and styles too.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

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
    """

    row: int
    original: Path
    picture: Path
    label: int | None
    predicted: int | None
    score: float


def write(
    path: str | os.PathLike,
    cards: Iterable[Card],
    *,
    title: str,
    explained: str,
    probabilities: bool = True,
) -> Iterator[int]:
    """Write the page, under a temporary name that is then renamed.

    Args:
        path: The HTML file.
        cards: The images to show; the most certain prediction comes first, whatever their order.
        title: The page's heading.
        explained: A sentence on what the maps explain.
        probabilities: Whether the scores are probabilities.

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
    cards = sorted(cards, key=lambda card: (-card.score, card.row))
    labelled = [card for card in cards if card.label is not None and card.predicted is not None]
    wrong = sum(card.label != card.predicted for card in labelled)
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
        pages=_pages(cards, finished),
    )
    with replacing(path) as file:
        for part in parts:
            file.write(part)
            while finished:
                yield finished.pop()


def _pages(cards: list[Card], finished: list[int]) -> Iterator[list[tuple[str, str]]]:
    """Yield the thumbnails of each page, made in threads; note in `finished` how many those were."""
    with ThreadPoolExecutor(os.cpu_count(), "vis-gallery") as pool:
        waiting: deque = deque()
        try:
            for start in range(0, len(cards), PAGE):
                page = cards[start : start + PAGE]
                waiting.append(
                    [
                        (pool.submit(rendering.thumbnail, c.original), pool.submit(rendering.thumbnail, c.picture))
                        for c in page
                    ]
                )
                if len(waiting) > 1:
                    yield _done(waiting.popleft(), finished)
            while waiting:
                yield _done(waiting.popleft(), finished)
        finally:
            pool.shutdown(cancel_futures=True)


def _done(page: list, finished: list[int]) -> list[tuple[str, str]]:
    thumbnails = [(original.result(), picture.result()) for original, picture in page]
    finished.append(len(thumbnails))
    return thumbnails
