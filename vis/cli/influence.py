"""`vis influence` and `vis influence-tabular`: which rows of a training set helped, and which did harm."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis.cli import trials
from vis.cli.app import app
from vis.cli.examples import check_columns, check_numbers, open_tables, read_examples
from vis.cli.messages import option, refuse
from vis.cli.options import CustomObjectsOption, ModelOption, Preprocess, PreprocessOption, UnsafeOption

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from vis.cli.examples import Examples
    from vis.images import InputLayout

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
    from vis import images
    from vis.pages import ranking

    tables = open_tables(input_train, input_val, output, input_variable, label_variable)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        if len(table.positions(input_variable)) > 1:
            refuse(name, f"{input_variable!r} is a vector in {table.path}, not images. Use vis influence-tabular.")
    network = trials.trainable(model, custom_objects, unsafe)
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

    settings = trials.Training(
        batch_size, epochs, n_trials, seed, init.value, optimizer, learning_rate, weights.value, method.value
    )
    trials.check(model, settings)
    check = trials.label_check(network, model, len(tables[0].positions(label_variable)))
    training, validation = (
        read_examples(name, table, read, check, input_variable, label_variable)
        for name, table in zip(("--input-train", "--input-val"), tables, strict=True)
    )
    ranked = trials.score(network, model, training, validation, settings, default_rate=0.05, l2=0.0)
    positions = [*training.table.positions(input_variable), *training.table.positions(label_variable)]
    names = [training.table.header[position] for position in positions]
    _write(output, ranked[[*names, "influence", "datasource_index"]])
    if html:
        page = output.with_suffix(".html")
        with option("--output"):
            ranking.write(page, ranked, training.table.folder, names[0], names[1], shown=_SHOWN)
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

    tables = open_tables(input_train, input_val, output, input_variable, label_variable)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        check_numbers(name, table, input_variable)
    network = trials.trainable(model, custom_objects, unsafe)
    for name, table in zip(("--input-train", "--input-val"), tables, strict=True):
        check_columns(name, table, input_variable, network)
    settings = trials.Training(
        batch_size, epochs, n_trials, seed, init.value, optimizer, learning_rate, weights.value, method.value
    )
    trials.check(model, settings)
    check = trials.label_check(network, model, len(tables[0].positions(label_variable)))
    training, validation = (
        read_examples(name, table, lambda _, cells: datasets.vector(cells), check, input_variable, label_variable)
        for name, table in zip(("--input-train", "--input-val"), tables, strict=True)
    )
    ranked = trials.score(network, model, training, validation, settings, default_rate=0.001, l2=0.001)
    ranked.insert(0, "index", range(len(ranked)))
    _write(output, ranked)
    _finish(output, training, validation)


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


def _write(output: Path, ranked: pd.DataFrame) -> None:
    from vis.files.outputs import replacing

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
