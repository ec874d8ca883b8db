"""Explains every image of a data set: pictures beside the table, and a column more with their paths.

Who computes, this process or those of a cluster, is the executor's business; the journal and the table are kept here.
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

from vis import datasets, images
from vis.batch import model_files, shards
from vis.batch.executors import LOCAL, Executor
from vis.batch.plan import Outcome, Survey
from vis.batch.rows import question
from vis.batch.shards import numbers_of
from vis.files import tables
from vis.files.journal import Journal
from vis.files.names import named
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


def explain(
    survey: Survey,
    model: keras.Model,
    journal: Journal,
    executor: Executor = LOCAL,
    file: model_files.ModelFile | None = None,
) -> Iterator[list[Outcome]]:
    """Explain every row that the journal does not have, and write the table when the last one is done.

    Args:
        survey: what is asked.
        model: of whom.
        journal: from `journal_of`.
        executor: who computes; the result is the same.
        file: the content of the model's file, for other processes; the model is saved for them unless given.

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
    for outcomes in _explained(survey, model, layout, size, journal.done * size, executor, file):
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
        if each.picture and original is not None and each.score is not None:
            second = folder / each.predicted_picture if each.predicted_picture else None
            yield gallery.Card(
                each.row, original, folder / each.picture, each.label, each.predicted, each.score, second
            )


def write_page(survey: Survey, journal: Journal, failed: int) -> Iterator[int]:
    """Write the gallery of a survey.

    Args:
        survey: what was asked.
        journal: of all rows.
        failed: how many rows could not be explained.

    Yields:
        The number of cards finished since the last time, for a progress bar.

    Raises:
        OSError: it cannot be written.

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
    """Where the image of each row is; None for a cell that names none."""
    (column,) = survey.table.positions(survey.input_variable)
    for frame in survey.table.rows():
        for cell in frame[column]:
            yield datasets.image_path(survey.table.folder, cell) if cell.strip() else None


def _pixels(survey: Survey, layout: images.InputLayout) -> int:
    """How many pixels an image has that goes into the model: the largest of the first ones if it takes any size."""
    if layout.height is not None and layout.width is not None:
        return layout.height * layout.width
    largest = 1
    for path in itertools.islice(_image_paths(survey), _ROWS_LOOKED_AT):
        try:
            width, height = images.read_size(path) if path else (1, 1)
        except ValueError:  # a bad row, of which its own reading tells
            continue
        largest = max(largest, (layout.height or height) * (layout.width or width))
    return largest


def _explained(survey: Survey, model, layout, size: int, start: int, executor, file) -> Iterator[list[Outcome]]:
    """The outcomes of the rows from `start` on, batch by batch."""
    rows = shards.Cells(survey)
    if not executor.is_remote:
        yield from shards.explain_rows(survey, question(survey, model), layout, size, rows, start)
        return
    file = file or model_files.packed(model)
    pieces = rows.shards(size * executor.pieces_at_once(survey.table.count() // size + 1), start)
    job = shards.Job(survey, file, layout, size)
    done = executor.map(shards.explain_shard, job, pieces, named=lambda shard: shard.name, modules=file.modules())
    with contextlib.closing(done):
        for batches in done:
            yield from batches


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
