"""Explain a data set: read a CSV file, a Parquet file or a folder of images; write pictures and a table of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis import models
from vis.batch import model_files, run, surveys
from vis.batch.executors import executor_named
from vis.batch.plan import Survey
from vis.batch.surveys import AUTO
from vis.files.journal import Journal
from vis.methods import METHODS
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras
    import pandas as pd


def explain(
    model: keras.Model | str | Path,
    input: str | Path,  # noqa: A002 - as the command's option
    output: str | Path,
    *,
    method: str = "gradcam",
    options: Mapping[str, Any] | None = None,
    input_variable: str | None = None,
    label_variable: str | None = None,
    class_index: int | str | None = None,
    preprocess: str = AUTO,
    html: bool = False,
    resume: bool = False,
    executor: str = "local",
    address: str | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Explain every row of a data set: draw one picture per row, and write the table with a column of their paths.

    A row that cannot be explained has no picture; `<output>.errors.csv` lists it with the reason. Pictures go into the
    folder `<output without its extension>`, as `<thousands>/<row>.png`. The picture of a misclassified row explains its
    label; a second picture, `<row>.predicted.png`, explains the predicted class.

    Args:
        model: A Keras model, or the path of a model file.
        input: A CSV file, a Parquet file (requires pyarrow), or a folder of images, whose sub-folders are the classes
            0, 1, ... in the order of their names.
        output: The table to write: a Parquet file for a Parquet file, else a CSV file.
        method: A name of `vis.methods.METHODS`.
        options: Values of the method's options by name; the others keep their defaults.
        input_variable: The column of the image paths; None for `x`.
        label_variable: The column of the labels; None for `y`, if there is one; `"none"` explains the predicted class.
        class_index: The class to explain in every row instead, or `"auto"` for the predicted class.
        preprocess: The scale of pixel values: `"unit"` for [0, 1], `"raw"` for [0, 255], `"tf"`, `"caffe"` or `"torch"`
            for those of `keras.applications`, or one with a mean and a standard deviation, such as `"unit:0.5:0.25"`;
            `"auto"` follows the model.
        html: Whether to also write a page for browsing the pictures.
        resume: Whether to continue an interrupted run; it may have used the other executor.
        executor: `"local"` for this process, or `"ray"` for the processes of a Ray cluster; the results are the same.
        address: The address of the Ray cluster, such as `"10.0.0.1:6379"`; None starts Ray on this machine.
        progress: Whether to show a progress bar.

    Returns:
        One row per row of the data set: `row`, its number from 0; `picture`, the path of its picture relative to the
        output's folder; `error`, the reason why there is none; `label`; `predicted`, the predicted class; and `score`,
        the model's output for that class. A value that a row does not have is missing.

    Raises:
        ArgumentError: An argument is invalid, or no row can be explained.
        OSError: The output cannot be written.

    Warns:
        VisWarning: A map may mislead, such as one that is negative everywhere.

    Example:
        >>> import keras, numpy as np, tempfile, vis.batch
        >>> from PIL import Image
        >>> layers = [keras.layers.Conv2D(2, 3, activation="relu"), keras.layers.GlobalAveragePooling2D()]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers, keras.layers.Dense(2, "softmax")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(folder + "/a.png")
        ...     _ = Path(folder, "in.csv").write_text("x,y\\na.png,1\\nb.png,0\\n")
        ...     table = vis.batch.explain(
        ...         model, folder + "/in.csv", folder + "/out.csv", method="saliency", progress=False
        ...     )
        >>> table["picture"][0], "b.png does not exist" in table["error"][1]
        ('out/0000/0.png', True)
    """
    if method not in METHODS:
        raise ArgumentError("method", f"must be one of {', '.join(METHODS)}, not {method!r}")
    chosen = executor_named(executor, address)
    is_path = isinstance(model, str | Path)
    survey = surveys.plan(
        Path(model) if is_path else model,
        Path(input),
        Path(output),
        method=METHODS[method],
        options=surveys.checked_options(METHODS[method], options or {}),
        input_variable="x" if input_variable is None else input_variable,
        label_variable=label_variable,
        class_index=class_index,
        preprocess=preprocess,
        predict=True,
        html=html,
    )
    network = models.load_model(model) if is_path else model
    file = model_files.packed(Path(model)) if is_path and chosen.is_remote else None
    survey, _ = surveys.for_model(survey, network, surveys.scale(preprocess, Path(model) if is_path else None, network))
    count = survey.table.count()
    with chosen, run.journal_of(survey, network, resume=resume) as journal:
        with progress_bar(survey.column, count, progress) as bar:
            for some in run.explain(survey, network, journal, chosen, file):
                bar.update(len(some))
        found = _outcome_table(journal)
        if not found["picture"].notna().any():
            journal.clear()
            raise none_explained(survey, count, int(found["row"][0]), found["error"][0])
        if html:
            done = int(found["picture"].notna().sum())
            with progress_bar("gallery", done, progress) as bar:
                for number in run.write_page(survey, journal, count - done):
                    bar.update(number)
    return found


def none_explained(survey: Survey, count: int, row: int, error: str) -> ArgumentError:
    """Return the error of a run in which every row failed.

    Args:
        survey: The plan of the run.
        count: The number of rows.
        row: The number of the first row.
        error: Why that row failed.

    Returns:
        The error, to be raised; its kind is `"labels"` if the label was the reason.
    """
    problem = (
        f"must have rows that can be explained, but none of the {count} rows could be explained. Row {row} (from 0, "
        f"below the header): {error.rstrip('.')}"
    )
    return ArgumentError("input", problem, f"See {survey.errors}", kind="labels" if "label" in error else "")


def progress_bar(name: str, count: int, shown: bool = True):
    """Return a progress bar over rows.

    Args:
        name: The text before the bar.
        count: The number of rows.
        shown: Whether to show the bar.

    Returns:
        A `tqdm` bar.

    Example:
        >>> with progress_bar("rows", 2, shown=False) as bar:
        ...     _ = bar.update(2)
    """
    from tqdm import tqdm

    # A log file keeps every state of the bar, so it gets few of them.
    return tqdm(total=count, unit=" rows", desc=name, mininterval=0.1 if sys.stderr.isatty() else 10, disable=not shown)


def _outcome_table(journal: Journal) -> pd.DataFrame:
    import pandas as pd

    fields = ["row", "picture", "error", "label", "predicted", "score"]
    rows = [[getattr(each, field) for field in fields] for each in run.outcomes(journal)]
    found = pd.DataFrame(rows, columns=fields)
    kinds = {"row": "int64", "label": "Int64", "predicted": "Int64", "score": "float64"}
    return found.astype(kinds)
