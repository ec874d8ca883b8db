"""The plan of a run over a data set: what to explain about each row, how to draw it, and what came of a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from vis.files.tables import Table


class Survey(NamedTuple):
    """What is asked of the model about every row.

    Attributes:
        table: the data set.
        output: the CSV file to write, `<name>.csv`; the pictures go into the folder `<name>`.
        column: the header cell of the column to be added.
        input_variable: the name of the column of images.
        label_variable: the name of the column of labels, or None to explain the predicted class.
        preprocess: the scale of pixel values, as in `vis.images.to_model_input`.
        explain: `(model, labels, width, x) -> maps` of each sample's own label, of a batch of images of one size, with
            the sample axis; `width` is the number of the model's outputs.
        draw: `(image, map) -> picture`, uint8.
        copies: of how many noisy copies of an image a map is made.
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
    copies: int
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
        """Where a run notes what it has done."""
        return self.pictures / "journal.jsonl"

    @property
    def page(self) -> Path:
        """The gallery."""
        return self.output.with_suffix(".html")


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
