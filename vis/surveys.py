"""Explains every image of a data set: pictures beside the CSV file, and a column more with their paths.

Three things go on at once: threads read and decode the images of the next rows, the model is asked about these, and
threads draw and write the pictures of those before. What is in memory are a few batches, however many rows there are.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vis import datasets, gallery, images, tables
from vis.journal import Journal
from vis.tables import Table

if TYPE_CHECKING:
    import keras

    from vis.predictions import Prediction

# A batch holds so many numbers of the model's input, and at most so many images: 64 of 96 x 96 in colours, 11 of 224 x
# 224. More is no faster, and takes the more memory the deeper the model.
_NUMBERS_AT_ONCE = 1_800_000
_ROWS_AT_ONCE = 64

# Larger originals are read again for drawing rather than kept until then.
_LARGEST_KEPT = 1_000_000  # pixels


class Survey(NamedTuple):
    """What is asked of the model about every row.

    Attributes:
        table: the data set.
        output: the CSV file to write, `<name>.csv`; the pictures go into the folder `<name>`.
        column: the header cell of the column to be added.
        input_variable: the name of the column of images.
        label_variable: the name of the column of labels, or None to explain the predicted class.
        preprocess: the scale of pixel values, as in `vis.images.to_model_input`.
        explain: `(model, losses, x) -> maps`, of a batch of images of one size, with the sample axis.
        draw: `(image, map) -> picture`, uint8.
        logits: whether a class score is read before a final softmax or sigmoid.
        predict: whether every prediction is wanted, too.
        settings: what else the pictures depend on, for a run that is resumed to be of the same kind.
    """

    table: Table
    output: Path
    column: str
    input_variable: str
    label_variable: str | None
    preprocess: str
    explain: Callable
    draw: Callable[[Image.Image, np.ndarray], np.ndarray]
    logits: bool
    predict: bool
    settings: dict

    @property
    def pictures(self) -> Path:
        """The folder of the pictures."""
        return self.output.with_suffix("")

    @property
    def errors(self) -> Path:
        """The CSV file of the rows that could not be explained."""
        return Path(f"{self.output}.errors.csv")

    @property
    def journal(self) -> Path:
        """Where a run notes what it has done, until all is done."""
        return Path(f"{self.output}.journal")


class Outcome(NamedTuple):
    """What came of one row.

    Attributes:
        row: its number, from 0.
        picture: the path of its picture relative to the CSV file, or None.
        error: why there is no picture, or None.
        label: its label, or None.
        predicted: the predicted class, or None where it was not asked for or there is none: a regressor.
        score: the model's output for the predicted class, or a regressor's output, or None.
        probability: whether the score is a probability.
    """

    row: int
    picture: str | None = None
    error: str | None = None
    label: int | None = None
    predicted: int | None = None
    score: float | None = None
    probability: bool = False


def journal_of(survey: Survey, model: keras.Model, *, resume: bool = False) -> Journal:
    """The journal to keep of a survey.

    Args:
        survey: what is asked.
        model: of whom.
        resume: whether to go on with that of a run that was killed, if there is one.

    Returns:
        The `Journal`.

    Raises:
        ValueError: the model takes no images, or the run to resume was another one.

    Example:
        >>> with journal_of(survey, model, resume=True) as journal:  # doctest: +SKIP
        ...     for outcomes in explain(survey, model, journal):
        ...         print(len(outcomes), "rows more")
    """
    settings = {**survey.settings, "batch size": rows_at_once(images.input_layout(model))}
    return Journal(survey.journal, settings, resume=resume)


def explain(survey: Survey, model: keras.Model, journal: Journal) -> Iterator[list[Outcome]]:
    """Explain every row that the journal does not have, and write the CSV file when the last one is done.

    Args:
        survey: what is asked.
        model: of whom.
        journal: from `journal_of`; removed when all is done.

    Yields:
        The outcomes, batch by batch, as soon as their pictures are written; first those of the journal.

    Raises:
        ValueError: the model does not run on these images, or a method refuses its options.
        OSError: the disk is full, for example, or the pictures would be written among the images.

    Example:
        >>> explain(survey, model, journal)  # doctest: +SKIP
    """
    yield from _noted(journal)
    layout = images.input_layout(model)
    size = rows_at_once(layout)
    for outcomes in _explained(survey, model, layout, size, journal.done * size):
        journal.append(outcomes)
        yield outcomes
    _finish(survey, journal)
    journal.remove()


def cards(survey: Survey, outcomes: Iterable[Outcome]) -> Iterator[gallery.Card]:
    """What a gallery shows of the rows that were explained.

    Args:
        survey: what was asked.
        outcomes: what came of all rows, in order.

    Yields:
        A card for each picture.

    Example:
        >>> list(cards(survey, outcomes))  # doctest: +SKIP
    """
    (column,) = survey.table.positions(survey.input_variable)
    cells = (cell for frame in survey.table.rows() for cell in frame[column])
    for cell, each in zip(cells, outcomes, strict=True):
        if each.picture:
            original = datasets.image_path(survey.table.folder, cell)
            yield gallery.Card(
                each.row, original, survey.output.parent / each.picture, each.label, each.predicted, each.score
            )


def rows_at_once(layout: images.InputLayout) -> int:
    """How many images make a batch.

    Example:
        >>> [rows_at_once(images.InputLayout(size, size, 3, -1)) for size in (28, 96, 224, 1024)]
        [64, 64, 11, 1]
    """
    numbers = (layout.height or 224) * (layout.width or 224) * layout.channels
    return int(np.clip(_NUMBERS_AT_ONCE // numbers, 1, _ROWS_AT_ONCE))


class _Sample(NamedTuple):
    """A row that could be read: its image (None if it is large), the path of that, and what the model takes of it."""

    image: Image.Image | None
    path: Path
    x: np.ndarray
    label: int | None


def _explained(survey: Survey, model, layout, size: int, start: int) -> Iterator[list[Outcome]]:
    """The outcomes of the rows from `start` on, batch by batch."""
    ask = _question(survey, model)
    threads = os.cpu_count() or 1
    waiting: deque[tuple[list[Outcome], list[Future]]] = deque()
    with ThreadPoolExecutor(threads, "vis-draw") as pool:
        try:
            for rows in datasets.read(survey.table, _reader(survey, layout), size, start=start):
                explained, failed = ask(rows)
                together = max(1, size // (2 * threads))
                parts = [explained[at : at + together] for at in range(0, len(explained), together)]
                waiting.append((failed, [pool.submit(_draw, survey, part) for part in parts]))
                if len(waiting) > 2:
                    yield _settled(*waiting.popleft())
            while waiting:
                yield _settled(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _settled(failed: list[Outcome], parts: list[Future]) -> list[Outcome]:
    return sorted([*failed, *(outcome for part in parts for outcome in part.result())])


def _reader(survey: Survey, layout) -> Callable[[list[str]], _Sample]:
    """Reads what is needed of a row's cells."""
    (column,) = survey.table.positions(survey.input_variable)
    label_columns = survey.table.positions(survey.label_variable) if survey.label_variable is not None else []

    pictures = survey.pictures.resolve()

    @functools.cache
    def holds_images(folder: Path) -> bool:
        folder = folder.resolve()
        return folder == pictures or pictures in folder.parents

    def read(cells):
        label = datasets.labels([cells[position] for position in label_columns]) if label_columns else None
        path = datasets.image_path(survey.table.folder, cells[column])
        if holds_images(path.parent):
            raise FileExistsError(errno.EEXIST, "images to be explained are in the folder of its pictures", path)
        image = images.read_image(path)
        x = images.to_model_input(image, layout, survey.preprocess)
        return _Sample(image if image.width * image.height <= _LARGEST_KEPT else None, path, x, label)

    return read


def _question(survey: Survey, model) -> Callable:
    """A function that asks the model about some rows.

    It returns what is to be drawn, a list of `(outcome, sample, map)`, and the outcomes of the rows that failed.
    """
    from vis.predictions import LabelScore, check_label, output_width, predictor

    predict = predictor(model)
    width = None

    def ask(rows):
        nonlocal width
        failed, by_shape = [], {}
        for row in rows:
            if row.error:
                failed.append(Outcome(row.number, error=row.error))
                continue
            if width is None:
                width = output_width(model, row.value.x)
            try:
                if row.value.label is not None:
                    check_label(row.value.label, width)
            except ValueError as error:
                failed.append(Outcome(row.number, error=str(error)))
            else:
                # All are of one shape, unless the model takes any.
                by_shape.setdefault(row.value.x.shape, []).append(row)
        return [each for alike in by_shape.values() for each in explain(alike)], failed

    def explain(rows):
        samples = [row.value for row in rows]
        x = np.stack([sample.x for sample in samples])
        outcomes = [Outcome(row.number, label=row.value.label) for row in rows]
        if survey.predict or survey.label_variable is None:
            outcomes = _predicted(outcomes, predict(x))
        # What is explained of a regressor is what increases its output, as for label 1.
        labels = [each.predicted if each.label is None else each.label for each in outcomes]
        labels = np.array([1 if label is None else label for label in labels])
        heatmaps = survey.explain(model, [(LabelScore(labels, width, logits=survey.logits), -1)], x)
        return zip(outcomes, samples, heatmaps, strict=True)

    return ask


def _predicted(outcomes: list[Outcome], prediction: Prediction) -> list[Outcome]:
    """The outcomes with what the model predicts; without labels, a single output without sigmoid is a regressor's."""
    told = []
    for outcome, index, score in zip(outcomes, prediction.classes, prediction.scores, strict=True):
        index, score = int(index), round(float(score), 6)
        if outcome.label is None and prediction.width == 1 and not prediction.probabilities:
            index, score = None, score if index else -score
        told.append(outcome._replace(predicted=index, score=score, probability=prediction.probabilities))
    return told


def _draw(survey: Survey, explained: list[tuple[Outcome, _Sample, np.ndarray]]) -> list[Outcome]:
    """Write the pictures of some rows, each as `<thousands>/<row>.png`."""
    drawn = []
    for outcome, sample, heatmap in explained:
        name = f"{outcome.row // 1000:04d}/{outcome.row}.png"
        image = sample.image or images.read_image(sample.path)
        content = images.encode_png(survey.draw(image, heatmap))
        path = survey.pictures / name
        # No temporary name: until the journal says that it is whole, a picture counts as not written.
        try:
            path.write_bytes(content)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        drawn.append(outcome._replace(picture=f"{survey.pictures.name}/{name}"))
    return drawn


def _noted(journal: Journal) -> Iterator[list[Outcome]]:
    return ([Outcome(*fields) for fields in entry] for entry in journal)


def _finish(survey: Survey, journal: Journal) -> None:
    """Write the CSV files from the journal, row after row."""

    def outcomes() -> Iterator[Outcome]:
        return itertools.chain.from_iterable(_noted(journal))

    survey.errors.unlink(missing_ok=True)
    if any(outcome.error for outcome in outcomes()):
        errors = ((each.row, each.error) for each in outcomes() if each.error)
        tables.write(survey.errors, ["row", "error"], errors)
    if any(outcome.picture for outcome in outcomes()):
        survey.table.write(survey.output, survey.column, (outcome.picture or "" for outcome in outcomes()))
