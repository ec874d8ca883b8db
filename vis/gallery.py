"""A page to look through an explained data set: each image, its map, its label, what was predicted and how surely.

The page is one file that opens from disk: the pictures, made small, are in it, and the scripts and styles too.
"""

from __future__ import annotations

import base64
import io
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vis import __version__, images
from vis.tables import replacing

#: How many cards a page shows.
PAGE = 200

_LONGEST_SIDE = 160  # pixels of a thumbnail
_LOSSLESS = 64 * 64  # pixels; smaller pictures are kept as they are


class Card(NamedTuple):
    """One explained image.

    Attributes:
        row: its row number in the data set.
        original: its file.
        picture: the file of its map.
        label: its true label, or None.
        predicted: the predicted class, or None for a regressor.
        score: the model's output for the predicted class, or the regressor's output.
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
        path: the HTML file.
        cards: what to show; the surest prediction comes first, whatever their order.
        title: the page's heading.
        explained: a sentence on what the maps explain.
        probabilities: whether the scores are probabilities.

    Yields:
        The number of cards finished since the last time, for a progress bar. Nothing is written before the first is
        asked for.

    Raises:
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
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
    import jinja2

    cards = sorted(cards, key=lambda card: (-card.score, card.row))
    labelled = [card for card in cards if card.label is not None and card.predicted is not None]
    wrong = sum(card.label != card.predicted for card in labelled)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vis"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    finished: list[int] = []
    parts = environment.get_template("gallery.html").generate(
        title=title,
        explained=explained,
        probabilities=probabilities,
        count=len(cards),
        labelled=len(labelled),
        wrong=wrong,
        page=PAGE,
        cards=[(card.row, card.label, card.predicted, card.score) for card in cards],
        pages=_pages(cards, finished),
        version=__version__,
    )
    with replacing(Path(path)) as file:
        for part in parts:
            file.write(part)
            while finished:
                yield finished.pop()


def _pages(cards: list[Card], finished: list[int]) -> Iterator[list[tuple[str, str]]]:
    """The thumbnails of each page, made in threads; notes in `finished` how many those were."""
    with ThreadPoolExecutor(os.cpu_count(), "vis-gallery") as pool:
        waiting: deque = deque()
        try:
            for start in range(0, len(cards), PAGE):
                page = cards[start : start + PAGE]
                waiting.append([(pool.submit(_shown, c.original), pool.submit(_shown, c.picture)) for c in page])
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


def _shown(path: Path) -> str:
    """A thumbnail, or nothing where the file has gone since it was explained."""
    try:
        return thumbnail(path)
    except ValueError:
        return ""


def thumbnail(path: Path) -> str:
    """A small picture as a data URI: PNG as it is where it is small already, JPEG otherwise.

    Args:
        path: an image file.

    Returns:
        The URI.

    Raises:
        ValueError: the file is not there (any more), or is no image.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 8)).save(Path(folder, "a.bmp"))
        ...     thumbnail(Path(folder, "a.bmp"))[:22]
        'data:image/png;base64,'
    """
    image = images.read_image(path)
    content = io.BytesIO()
    if image.width * image.height <= _LOSSLESS:
        image.save(content, "PNG")
        kind = "png"
    else:
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BILINEAR)
        image.save(content, "JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
