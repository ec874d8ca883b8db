"""What the commands that train a model on a table have in common: its options, its checks, and reading its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis.cli import methods
from vis.cli.messages import UsageError, argument_errors, option
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from vis.batch.executors import Executor
    from vis.batch.training_rows import TrainingRows
    from vis.files.tables import Table
    from vis.images import InputLayout, Scale

_ERRORS_SHOWN = 20

TrainOption = Annotated[
    Path, typer.Option("--input-train", "-t", help="A CSV file of the training data.", show_default=False)
]
InputVariableOption = Annotated[str, typer.Option(help="The column, or columns x__0, x__1, ..., of the inputs.")]
LabelVariableOption = Annotated[str, typer.Option(help="The column, or columns, of the labels.")]


def executor_of(ray: str | None) -> Executor:
    """Return the executor that trains: this process, or a cluster."""
    from vis.batch import executors

    with argument_errors({"executor": "--ray", "address": "--ray"}):
        return executors.executor_named("local" if ray is None else "ray", ray or None)


def open_table(name: str, path: Path, input_variable: str, label_variable: str) -> Table:
    """Open a table that an option names, and check that it has the columns."""
    from vis.batch import training_rows

    with option(name):
        table = training_rows.open_table(path)
    with option("--input-variable"):
        table.positions(input_variable)
    with option("--label-variable"):
        table.positions(label_variable)
    return table


def check_output(output: Path, inputs: list[Path]) -> None:
    """Refuse an output that cannot be written, or is an input itself."""
    from vis.files import outputs

    with option("--output"):
        outputs.check_output(output, (".csv",))
        if output.exists() and any(output.samefile(path) for path in inputs):
            raise ArgumentError("output", f"must not be {output}, which is an input itself", "Give another name")


def check_one_column(name: str, table: Table, input_variable: str, remedy: str) -> None:
    """Refuse a vector of several columns in the table that an option names, where a column of images is due."""
    count = len(table.positions(input_variable))
    with option(name):
        if count > 1:
            problem = f"must have one column {input_variable!r} of images, not a vector of {count} as {table.path} has"
            raise ArgumentError("table", problem, remedy)


def trainable(path: Path, custom_objects: list[str], unsafe: bool) -> keras.Model:
    """Load a model that can be trained with a single loss."""
    from vis import models

    with option("--model"):
        models.check_file(path)
        if path.is_dir():
            problem = f"must be a file, not {path}, a SavedModel folder, which cannot be trained"
            raise ArgumentError("model", problem, "Give the .keras or .h5 file of the model, compiled with its loss")
    network = methods.load(path, custom_objects, unsafe, training=True)
    from vis.influence.examples import check_one_output

    with option("--model"):
        check_one_output(network)
    return network


def image_inputs(network: keras.Model, path: Path, preprocess: str) -> tuple[InputLayout, Scale]:
    """Return the layout of the images that a model takes, and their scale, typed or that of the model file."""
    from vis import images

    with option("--model"):
        layout = _layout_of(network)
    scale = methods.scale(preprocess, path, network)
    with option("--preprocess"):
        images.check_preprocess(scale.name, layout)
    return layout, scale


def image_reader(table: Table, layout: InputLayout, preprocess: str) -> Callable[[list[str]], np.ndarray]:
    """Return a function that reads the image of a row's cells as the input of a model."""
    from vis import images
    from vis.files.paths import image_path

    def read(cells):
        image = images.read_image(image_path(table.folder, cells[0]))
        return images.to_model_input(image, layout, preprocess)

    return read


def read_rows(name: str, table: Table, reader, check_label, input_variable: str, label_variable: str) -> TrainingRows:
    """Read the usable rows of a table and report the others.

    Args:
        name: The option that names the table.
        table: The table.
        reader: As `read_input` of `vis.batch.training_rows.read`.
        check_label: Likewise.
        input_variable: Likewise.
        label_variable: Likewise.
    """
    from tqdm import tqdm

    from vis.batch import training_rows

    with tqdm(total=table.count(), desc=table.path.name, unit=" rows") as bar:
        try:
            read = training_rows.read(
                table,
                reader,
                input_variable=input_variable,
                label_variable=label_variable,
                check_label=check_label,
                on_rows=bar.update,
            )
        except training_rows.TooFewRowsError as error:
            first = "".join(f" Row {row.number}: {row.error}" for row in error.errors[:1])
            raise UsageError(f"{name} {error.problem}.{first}") from error
    if read.errors:
        typer.echo("Rows are counted from 0, below the header.", err=True)
    for row in read.errors[:_ERRORS_SHOWN]:
        typer.echo(f"{table.path}, row {row.number}: {row.error}", err=True)
    if len(read.errors) > _ERRORS_SHOWN:
        typer.echo(f"... and {len(read.errors) - _ERRORS_SHOWN} more rows", err=True)
    return read


def write(output: Path, ranked: pd.DataFrame) -> None:
    """Write a table as a CSV file, completely or not at all."""
    from vis.files.outputs import replacing

    with replacing(output) as file:
        ranked.to_csv(file, index=False, lineterminator="\n")


def _layout_of(network: keras.Model) -> InputLayout:
    """Return the image layout of a model; for other models, raise an error that names the right command."""
    from vis import images

    shape = getattr(network, "input_shape", None)
    if isinstance(shape, tuple) and len(shape) == 2:
        raise ArgumentError("model", f"must take images, not rows of {shape[1]} numbers", "Use vis influence-tabular")
    try:
        layout = images.input_layout(network)
    except ArgumentError as error:
        raise ArgumentError("model", error.problem, "Use vis.influence in Python") from error
    if None in (layout.height, layout.width):
        raise ArgumentError("model", "must take images of one size for training, not of any size", "Give it a size")
    return layout
