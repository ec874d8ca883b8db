"""`vis label-errors`: find the training rows with a wrong label, and suggest a better one."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods, training_data
from vis.cli.app import app
from vis.cli.messages import Remedies, gathered_messages, option
from vis.cli.options import (
    AUTO,
    DEFAULT_MODEL,
    CommandWithRay,
    CustomObjectsOption,
    LabelsOption,
    ModelOption,
    PreprocessOption,
    RayOption,
    UnsafeOption,
)
from vis.cli.resuming import journal_of
from vis.cli.training_data import InputVariableOption, LabelVariableOption, TrainOption

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import numpy as np
    import pandas as pd

    from vis.batch.compiled import Compiled
    from vis.batch.executors import Executor
    from vis.batch.training_rows import TrainingRows
    from vis.files.journal import Journal
    from vis.files.tables import Table
    from vis.influence.classes import Classifier

_OPTIONS = {
    "x": "--input-train",
    "y": "--input-train",
    "table": "--input-train",
    "executor": "--ray",
    "address": "--ray",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("model", "optimizer", "epochs", "seed", "batch_size", "learning_rate", "folds")
    },
}
_REMEDIES: Remedies = {
    ("model", "regressor"): "If it is a classifier, compile it with a Keras cross entropy and save it again",
    ("model", "logits"): "Compile it with a loss of from_logits=True, or end it in a softmax, and save it again",
    ("table", "images"): "For images, give a model that takes images",
    "nothing_learned": "Give another --learning-rate, more --epochs, or a model that can learn these data",
    ("y", "rare_class"): "Use fewer --folds, or remove the rows of that class",
}

OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")]
FoldsOption = Annotated[int, typer.Option(min=2, help="The number of folds: each training leaves one of them out.")]
EpochsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Epochs per fold; by default, until the predictions of the left-out rows stop improving.",
        show_default=False,
    ),
]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-bs", min=1, help="Examples per training step.")]
OptimizerOption = Annotated[
    str | None,
    typer.Option(help="SGD, Adam, AdamW or RMSprop; by default that of the model file, or Adam.", show_default=False),
]
RateOption = Annotated[
    float | None,
    typer.Option(help="The learning rate; by default that of the model file or of the optimizer.", show_default=False),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the folds, the weights, the order and dropout.")]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; finished folds are kept.")]


@app.command("label-errors", cls=CommandWithRay, short_help="Find the training rows with a wrong label.")
def label_errors(
    *,
    model: ModelOption = DEFAULT_MODEL,
    input_train: TrainOption,
    output: OutputOption = Path("label_errors.csv"),
    folds: FoldsOption = 3,
    epochs: EpochsOption = None,
    batch_size: BatchSizeOption = 32,
    optimizer: OptimizerOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = 0,
    preprocess: PreprocessOption = AUTO,
    input_variable: InputVariableOption = "x",
    label_variable: LabelVariableOption = "y",
    html: Annotated[bool, typer.Option("--html", help="Also write a page of the most likely errors.")] = False,
    labels: LabelsOption = None,
    resume: ResumeOption = False,
    ray: RayOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Find the training images or rows with a wrong label, the most likely first, and estimate how many there are.

    Trains freshly initialized copies of the model, each without one fold of the rows, which it then predicts.
    """
    from vis.files import names as names_of_classes
    from vis.files.paths import moving

    with option("--labels"):
        class_names = None if labels is None else names_of_classes.read(labels)
    executor = training_data.executor_of(ray)
    table = training_data.open_table("--input-train", input_train, input_variable, label_variable)
    training_data.check_output(output, [input_train])
    network = training_data.trainable(model, custom_objects, unsafe)
    from vis.batch import label_errors as folds_of

    shape = getattr(network, "input_shape", None)
    is_image = not (isinstance(shape, tuple) and len(shape) == 2)
    reader, shape, scale, scale_note = _reader(table, network, model, preprocess, input_variable, is_image)
    with gathered_messages(_OPTIONS, _REMEDIES):
        compiled, chosen, l2 = _training(model, optimizer, learning_rate)
        classifier = folds_of.classifier_of(network, compiled, shape, len(table.positions(label_variable)))
    with option("--labels"):
        names_of_classes.check(class_names, classifier.classes)
    training = _read(table, reader, classifier, input_variable, label_variable)
    if scale_note:
        typer.echo(f"{model.name}: {scale_note}")
    typed = {
        "--folds": folds,
        "--epochs": epochs,
        "--batch-size": batch_size,
        "--optimizer": chosen,
        "--seed": seed,
        "--input-variable": input_variable,
        "--label-variable": label_variable,
        "--preprocess": scale,
    }
    settings = {"folds": folds, "epochs": epochs, "batch_size": batch_size, "seed": seed, "optimizer": chosen, "l2": l2}
    with _journal(output, resume, (model, input_train), typed, folds) as (directory, journal):
        found = _found(network, compiled, classifier, training, settings, directory, journal, executor)
        inputs = [table.header[position] for position in table.positions(input_variable)]
        written = found.copy()
        if is_image:
            written[inputs[0]] = found[inputs[0]].map(moving(table.folder, output.parent))
        training_data.write(output, written)
    if html:
        _write_page(output.with_suffix(".html"), found, table, inputs, is_image, class_names)
    _finish(output, training, int(found["is_error"].sum()))


def _reader(
    table: Table, network: keras.Model, model: Path, preprocess: str, input_variable: str, is_image: bool
) -> tuple[Callable[[list[str]], np.ndarray], tuple[int, ...], str | None, str]:
    """Return a function that reads the input of a row, its shape, the scale of pixels, and a line about the scale."""
    from vis import datasets
    from vis.batch import training_rows

    if not is_image:
        with option("--input-train", _REMEDIES):
            training_rows.check_numbers(table, input_variable)
            training_rows.check_columns(table, input_variable, network)
        return datasets.vector, (len(table.positions(input_variable)),), None, ""
    remedy = "Give a model of rows of numbers, or name the column of the images"
    training_data.check_one_column("--input-train", table, input_variable, remedy)
    layout, scale = training_data.image_inputs(network, model, preprocess)
    read = training_data.image_reader(table, layout, scale.name)
    return read, network.input_shape[1:], scale.name, methods.chosen_scale(preprocess, scale)


def _training(model: Path, optimizer: str | None, learning_rate: float | None) -> tuple[Compiled, dict, float]:
    """Return what the model file was compiled with, and the optimizer and weight decay to train with."""
    from vis.batch.compiled import compiled_with, training_of

    compiled = compiled_with(model)
    if optimizer is None and compiled.optimizer is None:
        optimizer = "adam"
    training = training_of(compiled, optimizer=optimizer, learning_rate=learning_rate)
    return compiled, training.optimizer, training.l2


def _read(table: Table, reader, classifier: Classifier, input_variable: str, label_variable: str) -> TrainingRows:
    """Read the usable rows and report the others."""
    from vis.batch import label_errors as folds_of

    return training_data.read_rows(
        "--input-train", table, reader, folds_of.label_check(classifier), input_variable, label_variable
    )


def _found(
    network: keras.Model,
    compiled: Compiled,
    classifier: Classifier,
    training: TrainingRows,
    settings: dict[str, Any],
    directory: Path,
    journal: Journal,
    executor: Executor,
) -> pd.DataFrame:
    """Return the table of `vis.influence.label_errors` with the cells of the training table."""
    import pandas as pd

    from vis.batch import label_errors as folds_of

    settings |= {"directory": directory, "journal": journal, "executor": executor}
    with gathered_messages(_OPTIONS, _REMEDIES), executor:
        found = folds_of.find(network, compiled, classifier, training.x, training.y, **settings)
    cells = pd.concat(list(training.table.rows())).loc[training.rows]
    cells.columns = training.table.header
    order = found["datasource_index"].to_numpy()
    found["datasource_index"] = [training.rows[place] for place in order]
    return pd.concat([found, cells.iloc[order].reset_index(drop=True)], axis=1)


@contextlib.contextmanager
def _journal(output: Path, resume: bool, files: tuple[Path, ...], settings: dict[str, Any], folds: int):
    """Keep the folds and a journal of them: an interrupted run leaves both, a finished one removes them."""
    from vis.influence import fold_files

    directory = output.with_name(f"{output.name}.folds")
    by_option = dict(zip(("--model", "--input-train"), files, strict=True))
    with journal_of(
        directory / "journal.jsonl",
        output,
        by_option,
        settings,
        resume=resume,
        unit="fold",
        total=folds,
        still_there=lambda fold: fold_files.path_of(directory, fold).exists(),
    ) as journal:
        yield directory, journal
        for fold in range(folds):
            fold_files.path_of(directory, fold).unlink(missing_ok=True)


def _write_page(
    page: Path, found: pd.DataFrame, table: Table, inputs: list[str], is_image: bool, names: tuple[str, ...] | None
) -> None:
    from vis.pages import label_errors as errors_page

    with option("--output"):
        errors_page.write(
            page,
            found,
            table.folder,
            image=inputs[0] if is_image else None,
            columns=() if is_image else inputs,
            names=names,
        )
    typer.echo(f"Open {page}")


def _finish(output: Path, training: TrainingRows, errors: int) -> None:
    failed = len(training.errors)
    typer.echo(
        f"{output}: {len(training.rows):,} rows, about {errors:,} of them with a wrong label, the most likely first"
        + (f"; {failed:,} rows were left out" if failed else "")
    )
    if failed:
        raise typer.Exit(1)
