"""Explain every image of a data set: write a picture for each, and the table with a column of their paths.

The executor decides where the computation runs, in this process or in those of a cluster. The journal and the table are
written here.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vis import images
from vis.batch import model_files, shards
from vis.batch.executors import LOCAL, Executor
from vis.batch.plan import Outcome, Survey
from vis.batch.rows import explainer
from vis.batch.shards import numbers_of
from vis.files import tables
from vis.files.journal import Journal
from vis.files.names import named
from vis.files.paths import image_path
from vis.pages import gallery
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras


# The most input values and the most images of a batch: 11 images of 224 x 224 pixels in colour, 64 of 96 x 96. Larger
# batches are hardly faster and take more memory, the more so the deeper the model. Methods that run many copies of each
# image get smaller batches: larger ones are no faster, and show progress later. For a model without a fixed input size
# the size of the images is taken from the first ones.
_NUMBERS_AT_ONCE = 1_800_000
_ROWS_AT_ONCE = 64
_ROWS_OF_COPIES_AT_ONCE = 8
_ROWS_LOOKED_AT = 256


def journal_of(survey: Survey, model: keras.Model, *, resume: bool = False) -> Journal:
    """Return the journal of a survey.

    Args:
        survey: The survey.
        model: The model to explain.
        resume: Whether to continue the journal of an interrupted run, if there is one.

    Returns:
        The `Journal`.

    Raises:
        ValueError: The model does not take images, the interrupted run had other settings, or a run is in progress.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> with journal_of(survey, model, resume=True) as journal:  # doctest: +SKIP
        ...     for outcomes in explain(survey, model, journal):
        ...         print(len(outcomes), "more rows")
    """
    settings = {**survey.settings, "batch size": rows_at_once(survey, images.input_layout(model))}

    def pictures_are_there(entry) -> bool:
        done = [Outcome(*fields) for fields in entry]
        pictures = [picture for each in done for picture in (each.picture, each.predicted_picture)]
        return all((survey.output.parent / picture).exists() for picture in pictures if picture)

    return Journal(survey.journal, settings, resume=resume, still_there=pictures_are_there)


def explain(
    survey: Survey,
    model: keras.Model,
    journal: Journal,
    executor: Executor = LOCAL,
    file: model_files.ModelFile | None = None,
) -> Iterator[list[Outcome]]:
    """Explain every row that is not in the journal yet, and write the table at the end.

    Args:
        survey: The survey.
        model: The model to explain.
        journal: The journal from `journal_of`.
        executor: Where to compute; the result does not depend on it.
        file: The content of the model's file, for other processes; without it the model is saved for them.

    Yields:
        The outcomes, batch by batch, as soon as their pictures are written; those of the journal come first.

    Raises:
        ValueError: The model cannot be run on these images, or the method refuses its options.
        OSError: A file cannot be written, because the disk is full, for example.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> explain(survey, model, journal)  # doctest: +SKIP
    """
    for entry in journal:
        yield [Outcome(*fields) for fields in entry]
    layout = images.input_layout(model)
    size = rows_at_once(survey, layout)
    for outcomes in _explained(survey, model, layout, size, journal.done * size, executor, file):
        journal.append(outcomes)
        yield outcomes
    _finish(survey, journal)


def outcomes(journal: Journal) -> Iterator[Outcome]:
    """Return the outcomes of all rows in a journal, in order.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Journal(Path(folder, "journal"), {}) as journal:
        ...     journal.append([Outcome(0, picture="0000/0.png"), Outcome(1, error="a.png does not exist")])
        ...     [outcome.error for outcome in outcomes(journal)]
        [None, 'a.png does not exist']
    """
    return (Outcome(*fields) for entry in journal for fields in entry)


def cards(survey: Survey, journal: Journal) -> Iterator[gallery.Card]:
    """Yield the cards of a gallery, one for each row that was explained.

    Args:
        survey: The survey.
        journal: The journal of all rows.

    Yields:
        The cards.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> list(cards(survey, journal))  # doctest: +SKIP
    """
    folder = survey.output.parent
    for original, each in zip(_image_paths(survey), outcomes(journal), strict=True):
        if each.picture and original is not None and each.score is not None:
            second = folder / each.predicted_picture if each.predicted_picture else None
            yield gallery.Card(
                each.row, original, folder / each.picture, each.label, each.predicted, each.score, second
            )


def write_page(survey: Survey, journal: Journal, failed: int) -> Iterator[int]:
    """Write the gallery of a survey.

    Args:
        survey: The survey.
        journal: The journal of all rows.
        failed: The number of rows that could not be explained.

    Yields:
        The number of cards written since the last one, for a progress bar.

    Raises:
        OSError: A file cannot be written.

    Example:
        >>> # Not run: it takes a data set and a model.
        >>> sum(write_page(survey, journal, 0))  # doctest: +SKIP
    """
    explained = "true label" if survey.label_variable is not None else "predicted class"
    explained = explained if survey.class_index is None else f"class {named(survey.class_index, survey.names)}"
    rows = "1 row" if failed == 1 else f"{failed:,} rows"
    yield from gallery.write(
        survey.page,
        cards(survey, journal),
        title=survey.output.name,
        explained=f"Each map ({survey.column}) explains the score of the {explained}."
        + (f" {rows} could not be explained: see {survey.errors.name}." if failed else ""),
        probabilities=any(outcome.probability for outcome in outcomes(journal)),
        names=survey.names,
    )


def rows_at_once(survey: Survey, layout: images.InputLayout) -> int:
    """Return the number of images in a batch.

    Example:
        >>> # Not run: it takes a data set.
        >>> rows_at_once(survey, images.InputLayout(224, 224, 3, -1))  # doctest: +SKIP
        11
    """
    numbers = layout.channels * _pixels(survey, layout)
    most = _ROWS_AT_ONCE if survey.method.is_one_pass(survey.options) else _ROWS_OF_COPIES_AT_ONCE
    return int(np.clip(_NUMBERS_AT_ONCE // numbers, 1, most))


def check_output(survey: Survey) -> None:
    """Refuse an output that would overwrite the data set or its images.

    Args:
        survey: The survey.

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
    if survey.table.path.is_dir() and Path(os.path.realpath(survey.table.path)) in pictures.parents:
        raise ArgumentError(
            "output",
            f"must not put its pictures into {survey.table.path}, the folder of images to be explained",
            "Give another name",
        )

    @functools.lru_cache(1024)
    def holds_images(folder: Path) -> bool:
        folder = Path(os.path.realpath(folder))
        return folder == pictures or pictures in folder.parents

    for image in _image_paths(survey):
        if image is not None and holds_images(image.parent):
            raise ArgumentError(
                "output",
                f"must not put its pictures into {survey.pictures}, where images to be explained are ({image})",
                "Give another name",
            )


def _image_paths(survey: Survey) -> Iterator[Path | None]:
    """Yield the path of each row's image, or None for an empty cell."""
    (column,) = survey.table.positions(survey.input_variable)
    for frame in survey.table.rows():
        for cell in frame[column]:
            yield image_path(survey.table.folder, cell) if cell.strip() else None


def _pixels(survey: Survey, layout: images.InputLayout) -> int:
    """Return the pixels of an image at the model's input: of the largest of the first ones, if it takes any size."""
    if layout.height is not None and layout.width is not None:
        return layout.height * layout.width
    largest = 1
    for path in itertools.islice(_image_paths(survey), _ROWS_LOOKED_AT):
        try:
            width, height = images.read_size(path) if path else (1, 1)
        except ValueError:  # an unreadable image is reported when its row is explained
            continue
        largest = max(largest, (layout.height or height) * (layout.width or width))
    return largest


def _explained(survey: Survey, model, layout, size: int, start: int, executor, file) -> Iterator[list[Outcome]]:
    """Yield the outcomes of the rows from `start` on, batch by batch."""
    rows = shards.Cells(survey)
    if not executor.is_remote:
        yield from shards.explain_rows(survey, explainer(survey, model), layout, size, rows, start)
        return
    file = file or model_files.packed(model)
    pieces = rows.shards(size * executor.pieces_at_once(survey.table.count() // size + 1), start)
    job = shards.Job(survey, file, layout, size)
    done = executor.map(shards.explain_shard, job, pieces, named=lambda shard: shard.name, modules=file.modules())
    with contextlib.closing(done):
        for batches in done:
            yield from batches


def _finish(survey: Survey, journal: Journal) -> None:
    """Write the tables of pictures and of errors from the journal; remove one of an earlier run that is now empty."""
    errors = ((each.row, each.error) for each in outcomes(journal) if each.error)
    if any(each.error for each in outcomes(journal)):
        tables.write(survey.errors, ["row", "error"], errors)
    else:
        survey.errors.unlink(missing_ok=True)
    if any(each.picture for each in outcomes(journal)):
        columns = {survey.column: (each.picture or "" for each in outcomes(journal))}
        if survey.save_maps:
            columns["map"] = (numbers_of(each.picture) if each.picture else "" for each in outcomes(journal))
        survey.table.write(survey.output, columns, survey.table.positions(survey.input_variable))
    else:
        survey.output.unlink(missing_ok=True)
