"""`vis influence` and `vis influence-tabular`: which rows of a training set helped, and which did harm."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis.cli import methods
from vis.cli.app import app
from vis.cli.messages import option, refuse
from vis.cli.options import CustomObjectsOption, ModelOption, Preprocess, PreprocessOption, UnsafeOption
from vis.cli.trials import Examples, Training, label_check, score

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from vis.images import InputLayout
    from vis.tables import Table

_ERRORS_SHOWN = 20
_ROWS_LOOKED_AT = 10
_SHOWN = 100  # examples of each kind on the page


class Init(str, Enum):
    """Where training starts."""

    weights = "weights"
    fresh = "fresh"


class Weights(str, Enum):
    """At whose weights the steps are differentiated."""

    exact = "exact"
    epoch = "epoch"
    final = "final"


class Scoring(str, Enum):
    """How examples are scored."""

    sgd = "sgd"
    tracin = "tracin"
    hessian = "hessian"


TrainOption = Annotated[Path, typer.Option(help="A CSV file of the training data.", show_default=False)]
ValOption = Annotated[Path, typer.Option(help="A CSV file of validation data, as --input-train.", show_default=False)]
BatchSizeOption = Annotated[int, typer.Option(min=1, help="Examples a training step.")]
EpochsOption = Annotated[int, typer.Option(min=1, help="How often each example is trained on.")]
TrialsOption = Annotated[int, typer.Option(min=1, help="Over how many shuffles of the data the scores are averaged.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of the first shuffle; the next ones have the next seeds.")]
InitOption = Annotated[Init, typer.Option(help="Train on from the model's weights, or from newly drawn ones.")]
OptimizerOption = Annotated[
    str | None, typer.Option(help="SGD, Adam, AdamW or RMSprop; the model file's, else SGD.", show_default=False)
]
RateOption = Annotated[
    float | None,
    typer.Option(
        help="The learning rate; the model file's, else 0.05 for images and 0.001 for tables.", show_default=False
    ),
]
WeightsOption = Annotated[
    Weights, typer.Option(help="Differentiate at each step's weights, at each epoch's, or at the final ones.")
]
MethodOption = Annotated[
    Scoring, typer.Option(help="SGD influence, TracIn, or influence functions (hessian: without any training).")
]
InputVariableOption = Annotated[str, typer.Option(help="The column, or columns x__0, x__1, ..., of the inputs.")]
LabelVariableOption = Annotated[str, typer.Option(help="The column, or columns, of the labels.")]


@app.command(short_help="Which training images helped, which harm.")
def influence(
    model: ModelOption,
    input_train: TrainOption,
    input_val: ValOption,
    output: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("influence.csv"),
    batch_size: BatchSizeOption = 32,
    epochs: EpochsOption = 1,
    n_trials: TrialsOption = 6,
    seed: SeedOption = 0,
    init: InitOption = Init.weights,
    optimizer: OptimizerOption = None,
    learning_rate: RateOption = None,
    weights: WeightsOption = Weights.exact,
    method: MethodOption = Scoring.sgd,
    preprocess: PreprocessOption = Preprocess.unit,
    input_variable: InputVariableOption = "x",
    label_variable: LabelVariableOption = "y",
    html: Annotated[
        bool, typer.Option("--html", help="Write a page of the most harmful and the most helpful images, too.")
    ] = False,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Score every training image: the change of the validation loss if it had been left out; harmful ones first."""
    from vis import images, ranked_page

    tables = _tables(input_train, input_val, output, input_variable, label_variable)
    _check_rate(learning_rate)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        if len(table.positions(input_variable)) > 1:
            refuse(name, f"{input_variable!r} is a vector in {table.path}, not images. Use vis influence-tabular.")
    network = _trainable(model, custom_objects, unsafe)
    with option("--model"):
        layout = _layout(network)
        if None in (layout.height, layout.width):
            raise ValueError("the model takes images of any size; for training they must be of one. Give it a size.")
    with option("--preprocess"):
        images.check_preprocess(preprocess.value, layout)

    def read(table, cells):
        from vis import datasets

        image = images.read_image(datasets.image_path(table.folder, cells[0]))
        return images.to_model_input(image, layout, preprocess.value)

    _check_optimizer(optimizer)
    check = _label_check(network, model, tables[0], label_variable)
    training, validation = (
        _read(name, table, read, check, input_variable, label_variable)
        for name, table in zip(("--input-train", "--input-val"), tables, strict=True)
    )
    settings = Training(
        batch_size, epochs, n_trials, seed, init.value, optimizer, learning_rate, weights.value, method.value
    )
    ranked = score(network, model, training, validation, settings, default_rate=0.05, l2=0.0)
    positions = [*training.table.positions(input_variable), *training.table.positions(label_variable)]
    names = [training.table.header[position] for position in positions]
    _write(output, ranked[[*names, "influence", "datasource_index"]])
    if html:
        page = output.with_suffix(".html")
        with option("--output"):
            ranked_page.write(page, ranked, training.table.folder, names[0], names[1], shown=_SHOWN)
        typer.echo(f"Open {page}")
    _finish(output, training, validation)


@app.command("influence-tabular", short_help="Which training rows helped, which harm.")
def influence_tabular(
    model: ModelOption,
    input_train: TrainOption,
    input_val: ValOption,
    output: Annotated[Path, typer.Option(help="The CSV file to write.")] = Path("sgd_influence_tabular.csv"),
    batch_size: BatchSizeOption = 64,
    epochs: EpochsOption = 1,
    n_trials: TrialsOption = 6,
    seed: SeedOption = 0,
    init: InitOption = Init.weights,
    optimizer: OptimizerOption = None,
    learning_rate: RateOption = None,
    weights: WeightsOption = Weights.exact,
    method: MethodOption = Scoring.sgd,
    input_variable: InputVariableOption = "x",
    label_variable: LabelVariableOption = "y",
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Score every training row: the change of the validation loss if it had been left out; harmful ones first."""
    from vis import datasets

    tables = _tables(input_train, input_val, output, input_variable, label_variable)
    _check_rate(learning_rate)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        _check_numbers(name, table, input_variable)
    network = _trainable(model, custom_objects, unsafe)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        _check_columns(name, table, input_variable, network)
    _check_optimizer(optimizer)
    check = _label_check(network, model, tables[0], label_variable)
    training, validation = (
        _read(name, table, lambda _, cells: datasets.vector(cells), check, input_variable, label_variable)
        for name, table in zip(("--input-train", "--input-val"), tables, strict=True)
    )
    settings = Training(
        batch_size, epochs, n_trials, seed, init.value, optimizer, learning_rate, weights.value, method.value
    )
    ranked = score(network, model, training, validation, settings, default_rate=0.001, l2=0.001)
    ranked.insert(0, "index", range(len(ranked)))
    _write(output, ranked)
    _finish(output, training, validation)


def _tables(input_train: Path, input_val: Path, output: Path, *variables: str) -> list[Table]:
    """The two tables, after all checks that need no model."""
    from vis.tables import Table

    found = []
    for name, path in (("--input-train", input_train), ("--input-val", input_val)):
        with option(name):
            table = Table(path)
            for variable in variables:
                table.positions(variable)
            if table.count() < 2:
                raise ValueError(f"{path} has fewer than two rows.")
            found.append(table)
    with option("--output"):
        if output.suffix.lower() != ".csv" or output.is_dir():
            raise ValueError(f"{output} is not the name of a CSV file. Give one that ends in .csv.")
        if not output.parent.is_dir():
            raise ValueError(f"the folder {output.parent} does not exist. Make it first, or give another.")
        if output.exists() and (output.samefile(input_train) or output.samefile(input_val)):
            raise ValueError(f"{output} is an input itself. Give another name.")
    return found


def _check_rate(rate: float | None) -> None:
    if rate is not None and not 0 < rate < math.inf:
        refuse("--learning-rate", f"{rate} is not a finite number above 0.")


def _check_optimizer(name: str | None) -> None:
    from vis.influence.update_rules import update_rule

    if name is not None:
        with option("--optimizer"):
            update_rule(name)


def _trainable(path: Path, custom_objects: list[str], unsafe: bool) -> keras.Model:
    """The model of a file, if it can be trained by one loss."""
    from vis import models

    with option("--model"):
        models.check_file(path)
        if path.is_dir():
            raise ValueError(
                f"{path} is a SavedModel folder, which cannot be trained. Give the .keras or .h5 file of the model, "
                "compiled with its loss."
            )
    network = methods.load(path, custom_objects, unsafe)
    from vis.influence.examples import check_one_output

    with option("--model"):
        check_one_output(network)
    return network


def _layout(network: keras.Model) -> InputLayout:
    """What image a model takes; a model of something else is referred to what does for it."""
    from vis import images

    try:
        return images.input_layout(network)
    except ValueError as error:
        shape = getattr(network, "input_shape", None)
        is_table = isinstance(shape, tuple) and len(shape) == 2
        better = "vis influence-tabular." if is_table else "vis.influence in Python."
        raise ValueError(str(error).replace("vis.visualization in Python.", better)) from error


def _label_check(network: keras.Model, path: Path, table: Table, variable: str) -> Callable:
    """What refuses a row's label. A model that does not tell its loss is refused at once, whatever the label."""
    import numpy as np

    from vis.influence.examples import UnknownLossError

    check = label_check(network, path)
    count = len(table.positions(variable))
    try:
        # Any label will do: a wrong one is told with its row.
        check(np.zeros(count) if count > 1 else np.float64(0))
    except UnknownLossError as error:
        reason = error.reason.removeprefix("loss is not given, ")
        advice = "Compile it with a loss of Keras and save it again as .keras."
        refuse("--model", f"{path} tells of no loss to go by: {reason}. {advice}")
    except ValueError:
        pass
    return check


def _check_numbers(name: str, table: Table, variable: str) -> None:
    """Refuse a table whose first rows all have something else than numbers, such as images."""
    from vis import datasets

    columns = table.positions(variable)
    cells = next(table.rows(_ROWS_LOOKED_AT)).iloc[:, columns].to_numpy(dtype=object).tolist()
    errors = []
    for row in cells:
        try:
            datasets.vector(row)
        except ValueError as error:
            errors.append(str(error))
    if len(errors) == len(cells):
        images = " For images use vis influence." if len(columns) == 1 else ""
        refuse(
            name, f"the first {len(cells)} rows of {table.path} have no numbers in {variable!r}: {errors[0]}.{images}"
        )


def _check_columns(name: str, table: Table, variable: str, network: keras.Model) -> None:
    """Refuse a table of more or fewer columns than the model takes."""
    shape = getattr(network, "input_shape", None)
    count = len(table.positions(variable))
    if not isinstance(shape, tuple) or None in shape[1:] or shape[1:] == (count,):
        return
    takes = shape[1] if len(shape) == 2 else f"an input of shape {shape[1:]}"
    columns = "1 column" if count == 1 else f"{count} columns"
    refuse(name, f"{table.path} has {columns} of {variable!r}, but the model takes {takes}.")


def _read(name: str, table: Table, sample, check, input_variable: str, label_variable: str) -> Examples:
    """All rows of a table that can be read and whose label is one of the model's; the others are named."""
    import numpy as np
    from tqdm import tqdm

    from vis import datasets

    inputs, labels = table.positions(input_variable), table.positions(label_variable)

    def example(cells):
        y = datasets.vector([cells[position] for position in labels])
        y = y[0] if len(labels) == 1 else y
        check(y)
        return sample(table, [cells[position] for position in inputs]), y

    rows, x, y, errors = [], [], [], []
    with tqdm(total=table.count(), desc=table.path.name, unit=" rows") as bar:
        for some in datasets.read(table, example, 64):
            for row in some:
                if row.error:
                    errors.append(f"{table.path}, row {row.number}: {row.error}")
                else:
                    rows.append(row.number)
                    x.append(row.value[0])
                    y.append(row.value[1])
            bar.update(len(some))
    if not rows:
        refuse(name, f"none of the {len(errors)} rows of {table.path} can be used. {errors[0].rstrip('.')}.")
    for error in errors[:_ERRORS_SHOWN]:
        typer.echo(error, err=True)
    if len(errors) > _ERRORS_SHOWN:
        typer.echo(f"... and {len(errors) - _ERRORS_SHOWN} rows more", err=True)
    if len(rows) < 2:
        refuse(name, f"only row {rows[0]} of {table.path} can be used. Two are needed at least.")
    return Examples(table, rows, np.stack(x), np.stack(y), len(errors))


def _write(output: Path, ranked: pd.DataFrame) -> None:
    from vis.tables import replacing

    try:
        with replacing(output) as file:
            ranked.to_csv(file, index=False, lineterminator="\n")
    except OSError as error:
        refuse("--output", f"{output} cannot be written: {error.strerror or error}.")


def _finish(output: Path, training: Examples, validation: Examples) -> None:
    failed = training.failed + validation.failed
    typer.echo(
        f"{output}: {len(training.rows):,} rows, the most harmful first"
        + (f"; {failed:,} rows were left out" if failed else "")
    )
    if failed:
        raise typer.Exit(1)
