"""Explains every image of a data set: pictures beside the CSV file, and a column more with their paths.

Three things go on at once: threads read and decode the images of the next rows, the model is asked about these, and
threads draw and write the pictures of those before. What is in memory are a few batches, however many rows there are.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vis import datasets, images
from vis.batch.plan import Outcome, Survey
from vis.batch.rows import Explained, question, reader
from vis.files import outputs, tables
from vis.files.journal import Journal
from vis.pages import gallery
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras


# A batch holds so many numbers of the model's input, and at most so many images: 11 of 224 x 224 in colours, 32 of
# 96 x 96. More is hardly faster, and takes the more memory the deeper the model. Where many copies of each image are
# computed it holds fewer: no faster either, and the longer until something is done. For a model of any size the first
# images tell how large they are.
_NUMBERS_AT_ONCE = 1_800_000
_ROWS_AT_ONCE = 32
_ROWS_OF_COPIES_AT_ONCE = 8
_ROWS_LOOKED_AT = 256

# Batches at once: what one leaves of the processor between its operations the others take.
_BATCHES_AT_ONCE = 3


def journal_of(survey: Survey, model: keras.Model, *, resume: bool = False) -> Journal:
    """The journal to keep of a survey.

    Args:
        survey: what is asked.
        model: of whom.
        resume: whether to go on with that of a run that was killed, if there is one.

    Returns:
        The `Journal`.

    Raises:
        ValueError: the model takes no images, the run to resume was another one, or another one is going on.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> with journal_of(survey, model, resume=True) as journal:  # doctest: +SKIP
        ...     for outcomes in explain(survey, model, journal):
        ...         print(len(outcomes), "rows more")
    """
    settings = {**survey.settings, "batch size": rows_at_once(survey, images.input_layout(model))}

    def pictures_are_there(entry) -> bool:
        done = [Outcome(*fields) for fields in entry]
        pictures = [picture for each in done for picture in (each.picture, each.predicted_picture)]
        return all((survey.output.parent / picture).exists() for picture in pictures if picture)

    return Journal(survey.journal, settings, resume=resume, still_there=pictures_are_there)


def explain(survey: Survey, model: keras.Model, journal: Journal) -> Iterator[list[Outcome]]:
    """Explain every row that the journal does not have, and write the CSV file when the last one is done.

    Args:
        survey: what is asked.
        model: of whom.
        journal: from `journal_of`.

    Yields:
        The outcomes, batch by batch, as soon as their pictures are written; first those of the journal.

    Raises:
        ValueError: the model does not run on these images, or a method refuses its options.
        OSError: the disk is full, for example.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> explain(survey, model, journal)  # doctest: +SKIP
    """
    for entry in journal:
        yield [Outcome(*fields) for fields in entry]
    layout = images.input_layout(model)
    size = rows_at_once(survey, layout)
    for outcomes in _explained(survey, model, layout, size, journal.done * size):
        journal.append(outcomes)
        yield outcomes
    _finish(survey, journal)


def outcomes(journal: Journal) -> Iterator[Outcome]:
    """What came of every row that is done, in order.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal"), {}) as journal:
        ...     journal.append([Outcome(0, picture="0000/0.png"), Outcome(1, error="a.png does not exist")])
        ...     [outcome.error for outcome in outcomes(journal)]
        [None, 'a.png does not exist']
    """
    return (Outcome(*fields) for entry in journal for fields in entry)


def cards(survey: Survey, journal: Journal) -> Iterator[gallery.Card]:
    """What a gallery shows of the rows that were explained.

    Args:
        survey: what was asked.
        journal: of all rows.

    Yields:
        A card for each picture.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> list(cards(survey, journal))  # doctest: +SKIP
    """
    folder = survey.output.parent
    for original, each in zip(_image_paths(survey), outcomes(journal), strict=True):
        if each.picture:
            second = folder / each.predicted_picture if each.predicted_picture else None
            yield gallery.Card(
                each.row, original, folder / each.picture, each.label, each.predicted, each.score, second
            )


def rows_at_once(survey: Survey, layout: images.InputLayout) -> int:
    """How many images make a batch.

    Example:
        >>> # Not run: it takes a data set.
        >>> rows_at_once(survey, images.InputLayout(224, 224, 3, -1))  # doctest: +SKIP
        11
    """
    numbers = layout.channels * _pixels(survey, layout)
    most = _ROWS_AT_ONCE if survey.method.is_one_pass(survey.options) else _ROWS_OF_COPIES_AT_ONCE
    return int(np.clip(_NUMBERS_AT_ONCE // numbers, 1, most))


def check_output(survey: Survey) -> None:
    """Refuse to write what would destroy what is read: the data set or its images.

    Args:
        survey: what is asked.

    Raises:
        ArgumentError: Something would be overwritten; its argument is `output`.

    Example:
        >>> # Not run: it takes a data set.
        >>> check_output(survey)  # doctest: +SKIP
    """
    for path in (survey.output, survey.errors, survey.page, survey.journal):
        if path.exists() and path.samefile(survey.table.path):
            raise ArgumentError("output", f"must not write {path}, which is the input itself", "Give another name")
    pictures = Path(os.path.realpath(survey.pictures))

    @functools.lru_cache(1024)
    def holds_images(folder: Path) -> bool:
        folder = Path(os.path.realpath(folder))
        return folder == pictures or pictures in folder.parents

    for path in _image_paths(survey):
        if path is not None and holds_images(path.parent):
            raise ArgumentError(
                "output",
                f"must not put its pictures into {survey.pictures}, where images to be explained are ({path})",
                "Give another name",
            )


def _image_paths(survey: Survey) -> Iterator[Path | None]:
    """Where the image of each row is; None for a cell that names none."""
    (column,) = survey.table.positions(survey.input_variable)
    for frame in survey.table.rows():
        for cell in frame[column]:
            yield datasets.image_path(survey.table.folder, cell) if cell.strip() else None


def _pixels(survey: Survey, layout: images.InputLayout) -> int:
    """How many pixels an image has that goes into the model: the largest of the first ones if it takes any size."""
    if None not in (layout.height, layout.width):
        return layout.height * layout.width
    largest = 1
    for path in itertools.islice(_image_paths(survey), _ROWS_LOOKED_AT):
        try:
            width, height = images.read_size(path) if path else (1, 1)
        except ValueError:  # a bad row, of which its own reading tells
            continue
        largest = max(largest, (layout.height or height) * (layout.width or width))
    return largest


def _explained(survey: Survey, model, layout, size: int, start: int) -> Iterator[list[Outcome]]:
    """The outcomes of the rows from `start` on, batch by batch."""
    ask = question(survey, model)
    threads = os.cpu_count() or 1
    together = max(1, size // (2 * threads))
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(_BATCHES_AT_ONCE, "vis-ask") as askers, ThreadPoolExecutor(threads, "vis-draw") as pool:

        def explained(rows):
            found, failed = ask(rows)
            parts = [found[at : at + together] for at in range(0, len(found), together)]
            return failed, [pool.submit(_draw, survey, part) for part in parts]

        try:
            for rows in datasets.read(survey.table, reader(survey, layout, size), size, start=start):
                waiting.append(askers.submit(explained, rows))
                if len(waiting) > _BATCHES_AT_ONCE:
                    yield _settled(*waiting.popleft().result())
            while waiting:
                yield _settled(*waiting.popleft().result())
        finally:
            askers.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)


def _settled(failed: list[Outcome], parts: list[Future]) -> list[Outcome]:
    return sorted([*failed, *(outcome for part in parts for outcome in part.result())])


def _draw(survey: Survey, explained: list[Explained]) -> list[Outcome]:
    """Write the pictures of some rows, each as `<thousands>/<row>.png`."""
    drawn = []
    for outcome, sample, heatmap, predicted_heatmap, numbers in explained:
        image = sample.image or images.read_image(sample.path)
        outcome = outcome._replace(picture=f"{survey.pictures.name}/{outcome.row // 1000:04d}/{outcome.row}.png")
        for picture, drawn_map in ((outcome.picture, heatmap), (outcome.predicted_picture, predicted_heatmap)):
            if picture:
                content = outputs.encode_png(survey.method.picture(image, drawn_map, survey.options, survey.size))
                _write(survey.output.parent / picture, content)
        if numbers is not None:
            content = io.BytesIO()
            np.save(content, numbers)
            _write(survey.output.parent / numbers_of(outcome.picture), content.getvalue())
        drawn.append(outcome)
    return drawn


def numbers_of(picture: str) -> str:
    """Return where the numbers behind a picture are.

    Example:
        >>> numbers_of("gradcam/0000/3.png")
        'gradcam/0000/3.npy'
    """
    return f"{picture.removesuffix('.png')}.npy"


def _write(path: Path, content: bytes) -> None:
    """Write a file under its own name: until the journal says that it is whole, it counts as not written."""
    try:
        path.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _finish(survey: Survey, journal: Journal) -> None:
    """Write the CSV files from the journal, row after row; none stays that an earlier run left and this one has not."""
    errors = ((each.row, each.error) for each in outcomes(journal) if each.error)
    if any(each.error for each in outcomes(journal)):
        tables.write(survey.errors, ["row", "error"], errors)
    else:
        survey.errors.unlink(missing_ok=True)
    if any(each.picture for each in outcomes(journal)):
        columns = {survey.column: (each.picture or "" for each in outcomes(journal))}
        if survey.save_maps:
            columns["map"] = (numbers_of(each.picture) if each.picture else "" for each in outcomes(journal))
        survey.table.write(survey.output, columns)
    else:
        survey.output.unlink(missing_ok=True)
