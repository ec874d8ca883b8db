"""The plan of a run over a data set: what to explain about each row, how to draw it, and what came of a row."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vis.files.columns import Columns
from vis.methods import Method


class Survey(NamedTuple):
    """What is asked of the model about every row.

    Attributes:
        table: the data set.
        output: the table to write, `<name>.csv` or, of a Parquet file, `<name>.parquet`; pictures go into `<name>`.
        column: the header cell of the column to be added.
        input_variable: the name of the column of images.
        label_variable: the name of the column of labels, or None to explain the predicted class.
        preprocess: the scale of pixel values, as in `vis.images.to_model_input`.
        method: a row of the table of methods.
        options: values of its options, by name.
        predict: whether every prediction is wanted, too.
        settings: what else the pictures depend on, for a run that is resumed to be of the same kind.
        class_index: the class to explain in every row, whatever its label, or None.
        names: the classes' names by class index, for the gallery, or None.
        save_maps: whether the numbers of each map are written, too, beside its picture.
        size: the fewest pixels that a picture's longer side shall have.
    """

    table: Columns
    output: Path
    column: str
    input_variable: str
    label_variable: str | None
    preprocess: str
    method: Method
    options: dict
    predict: bool
    settings: dict
    class_index: int | None = None
    names: tuple[str, ...] | None = None
    save_maps: bool = False
    size: int = 1

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

    @property
    def misclassified(self) -> bool:
        """Whether another class than the label is predicted; never where one of them is not known."""
        return None not in (self.label, self.predicted) and self.label != self.predicted

    @property
    def predicted_picture(self) -> str | None:
        """The path of a second picture, which explains the predicted class: of a misclassified row only."""
        if self.picture is None or not self.misclassified:
            return None
        return str(PurePosixPath(self.picture).with_suffix(".predicted.png"))
