"""Explain rows of a data set: all of them in this process, or a shard of them in each process of a cluster.

Each of a few threads takes a batch of rows from its images to its pictures: while the model explains the rows of one,
others are read and decoded, or drawn and written. Only these batches are in memory, however many rows there are.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vis import datasets, images
from vis.batch import model_files
from vis.batch.plan import Outcome, Survey
from vis.batch.rows import Explained, columns, explainer, reader
from vis.files import outputs
from vis.utils.threads import overlapped

# Batches that the model explains at the same time, to use the processor time that one leaves between its operations.
_BATCHES_AT_ONCE = 2


class Shard(NamedTuple):
    """Consecutive rows of a table, with only the cells that a survey reads.

    Attributes:
        start: The number of the first row.
        cells: The cells, one list per row.
    """

    start: int
    cells: list[list[str]]

    def rows(self, size: int, start: int = 0) -> Iterator[pd.DataFrame]:
        """Yield the rows in frames, as a table does; `start` is counted in the table."""
        for first in range(max(start - self.start, 0), len(self.cells), size):
            some = self.cells[first : first + size]
            numbers = pd.RangeIndex(self.start + first, self.start + first + len(some))
            yield pd.DataFrame(some, numbers, dtype=object)

    @property
    def name(self) -> str:
        """The name of the rows in messages."""
        return f"rows {self.start} to {self.start + len(self.cells) - 1}"


class Job(NamedTuple):
    """What a process needs to explain shards of a survey.

    Attributes:
        survey: The plan of the run.
        model: The model, as the content of its file.
        layout: The images that the model takes.
        size: The number of rows per batch.
    """

    survey: Survey
    model: model_files.ModelFile
    layout: images.InputLayout
    size: int


class Cells:
    """All rows of a table, with only the cells that a survey reads."""

    def __init__(self, survey: Survey):
        self._table, self._columns = survey.table, columns(survey)

    def rows(self, size: int, start: int = 0) -> Iterator[pd.DataFrame]:
        """Yield the rows in frames, as the table does, with fewer columns."""
        return (frame[self._columns] for frame in self._table.rows(size, start))

    def shards(self, size: int, start: int = 0) -> Iterator[Shard]:
        """Yield the rows from `start` on in shards of `size` rows; the last one may be smaller."""
        for frame in self.rows(size, start):
            yield Shard(int(frame.index[0]), frame.to_numpy(dtype=object).tolist())


def explain_shard(job: Job, shard: Shard) -> list[list[Outcome]]:
    """Explain the rows of a shard in a process that keeps the model of the last job.

    Args:
        job: The job; the model is loaded only if this is not the same object as in the last call.
        shard: A whole number of batches, except for the last shard of a table.

    Returns:
        The outcomes, batch by batch; their pictures are written.

    Raises:
        ValueError: The model does not run on these images, or a method refuses its options.
        OSError: A picture cannot be written: the disk is full, for example.
    """
    explain = model_files.prepared(job, lambda: explainer(job.survey, model_files.loaded(job.model)))
    return list(explain_rows(job.survey, explain, job.layout, job.size, shard))


def explain_rows(
    survey: Survey, explain, layout: images.InputLayout, size: int, rows: Cells | Shard, start: int = 0
) -> Iterator[list[Outcome]]:
    """Explain rows from `start` on.

    Args:
        survey: The plan of the run.
        explain: The function from `vis.batch.rows.explainer`.
        layout: The images that the model takes.
        size: The number of rows per batch.
        rows: The rows to read.
        start: The number of the first row.

    Yields:
        The outcomes, batch by batch, as soon as their pictures are written.
    """
    threads = os.cpu_count() or 1
    read, explaining = reader(survey, layout, size), threading.BoundedSemaphore(_BATCHES_AT_ONCE)
    # Small images stay in the thread of their batch: handing one to another takes longer than reading or drawing it.
    with ThreadPoolExecutor(threads, "vis-image") as large:

        def explained(frame: pd.DataFrame) -> list[Outcome]:
            first, *others = datasets.numbered(frame)
            samples = [datasets.attempt(read, *first)]
            is_large = samples[0].value is not None and samples[0].value.image is None
            samples += (large.map if is_large else map)(lambda row: datasets.attempt(read, *row), others)
            with explaining:
                found, failed = explain(samples)
            is_large = any(each.sample.image is None for each in found)
            return sorted([*failed, *(large.map if is_large else map)(lambda each: _draw(survey, each), found)])

        yield from overlapped(explained, rows.rows(size, start), threads + 2)


def _draw(survey: Survey, explained: Explained) -> Outcome:
    """Write the pictures of a row, as `<thousands>/<row>.png`."""
    outcome, sample, heatmap, predicted_heatmap, numbers = explained
    image = sample.image or images.read_image(sample.path, warns=False)
    main = f"{survey.pictures.name}/{outcome.row // 1000:04d}/{outcome.row}.png"
    outcome = outcome._replace(picture=main)
    for picture, drawn_map in ((main, heatmap), (outcome.predicted_picture, predicted_heatmap)):
        if picture and drawn_map is not None:
            content = outputs.encode_png(survey.method.picture(image, drawn_map, survey.options, survey.size))
            _write(survey.output.parent / picture, content)
    if numbers is not None:
        saved = io.BytesIO()
        np.save(saved, numbers)
        _write(survey.output.parent / numbers_of(main), saved.getvalue())
    return outcome


def numbers_of(picture: str) -> str:
    """Return the path of the array behind a picture.

    Example:
        >>> numbers_of("gradcam/0000/3.png")
        'gradcam/0000/3.npy'
    """
    return f"{picture.removesuffix('.png')}.npy"


def _write(path: Path, content: bytes) -> None:
    """Write a file directly under its final name: it counts as written only when the journal has its row.

    An existing file is overwritten first and then cut to its new length. If two processes write the same picture,
    because one of them was thought to be dead, neither removes anything that the other has finished.
    """
    try:
        _write_over(path, content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_over(path, content)


def _write_over(path: Path, content: bytes) -> None:
    with open(path, "wb", opener=lambda name, flags: os.open(name, flags & ~os.O_TRUNC, 0o666)) as file:
        file.write(content)
        file.truncate()
