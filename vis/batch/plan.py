"""The plan of a run over a data set, and the outcome of each of its rows."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vis.files.columns import Columns
from vis.methods import Method


class Survey(NamedTuple):
    """What to explain in every row of a data set, and how.

    Attributes:
        table: The data set.
        output: The table to write, `<name>.csv`, or `<name>.parquet` for a Parquet file. Pictures are written into the
            folder `<name>`.
        column: The header of the column to add.
        input_variable: The name of the column of images.
        label_variable: The name of the column of labels, or None to explain the predicted class.
        preprocess: The scale of pixel values, as in `vis.images.to_model_input`.
        method: The method, an entry of the method table.
        options: The values of the method's options, by name.
        predict: Whether to record the prediction of every row.
        settings: Everything else that the pictures depend on; a run can be resumed only with the same settings.
        class_index: The class to explain in every row, whatever its label, or None.
        names: The names of the classes by class index, for the gallery, or None.
        save_maps: Whether to write the values of each map beside its picture.
        size: The smallest number of pixels of a picture's longer side.
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
        """The CSV file that lists the rows that could not be explained."""
        return Path(f"{self.output}.errors.csv")

    @property
    def journal(self) -> Path:
        """The file in which a run records the rows that are done."""
        return self.pictures / "journal.jsonl"

    @property
    def page(self) -> Path:
        """The gallery."""
        return self.output.with_suffix(".html")


class Outcome(NamedTuple):
    """The outcome of one row.

    Attributes:
        row: The row's number, from 0.
        picture: The path of its picture, relative to the table, or None.
        error: The reason why there is no picture, or None.
        label: The row's label, or None.
        predicted: The predicted class, or None if it was not asked for or the model is a regressor.
        score: The model's output for the predicted class, or a regressor's output, or None.
        probability: Whether the score is a probability.
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
        """Whether the predicted class differs from the label; False if one of them is unknown."""
        return None not in (self.label, self.predicted) and self.label != self.predicted

    @property
    def predicted_picture(self) -> str | None:
        """The path of the picture that explains the predicted class of a misclassified row, or None."""
        if self.picture is None or not self.misclassified:
            return None
        return str(PurePosixPath(self.picture).with_suffix(".predicted.png"))
