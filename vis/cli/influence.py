"""`vis influence` and `vis influence-tabular`: score which training rows help and which harm."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

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
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from vis.batch.compiled import Compiled, Training
    from vis.batch.executors import Executor
    from vis.batch.influence_trials import Scores
    from vis.batch.training_rows import TrainingRows
    from vis.files.journal import Journal
    from vis.files.tables import Table

_TABLES = ("--input-train", "--input-val")
_OPTIONS = {
    "x": "--input-train",
    "y": "--input-train",
    "x_val": "--input-val",
    "y_val": "--input-val",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("model", "optimizer", "epochs", "seed", "batch_size", "learning_rate", "init", "weights")
    },
}
_REMEDIES: Remedies = {
    ("table", "images"): "For images use vis influence",
    "diverging_run": "Lower the --learning-rate",
    "past_first_order": "Give fewer --epochs, or lower the --learning-rate",
    "negative_curvature": "Use --method sgd",
    "not_converged": "Use --method sgd",
    "trained_otherwise": "Give another --optimizer or --learning-rate",
}
_SHOWN = 100  # examples of each kind on the page
_EXAMPLE_COLUMNS = ("loss", "self_influence")  # columns about the example itself


class Init(StrEnum):
    """The weights that training starts from."""

    weights = "weights"
    fresh = "fresh"


class Weights(StrEnum):
    """The weights at which the steps are differentiated."""

    exact = "exact"
    epoch = "epoch"
    final = "final"


class Scoring(StrEnum):
    """The method that scores the examples."""

    sgd = "sgd"
    tracin = "tracin"
    hessian = "hessian"


ValOption = Annotated[
    Path,
    typer.Option(
        "--input-val",
        "-v",
        help="A CSV file of validation data, with the columns of --input-train.",
        show_default=False,
    ),
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="The CSV file to write.")]
BatchSizeOption = Annotated[int, typer.Option("--batch-size", "-bs", min=1, help="Examples per training step.")]
EpochsOption = Annotated[int, typer.Option(min=1, help="Epochs per trial.")]
TrialsOption = Annotated[
    int, typer.Option("--n-trials", "-nt", min=1, help="Trainings with different shuffles; their scores are averaged.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of the first shuffle; the others use the seeds after it.")]
InitOption = Annotated[Init, typer.Option(help="Start from the model's weights, or from freshly initialized ones.")]
OptimizerOption = Annotated[
    str | None,
    typer.Option(help="SGD, Adam, AdamW or RMSprop; by default that of the model file, or SGD.", show_default=False),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        help="The learning rate; by default that of the model file, or auto: the largest at which two shuffles rank "
        "the data alike.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    Weights, typer.Option(help="Differentiate at the weights of each step, of each epoch, or at the final ones.")
]
MethodOption = Annotated[
    Scoring, typer.Option(help="SGD influence, TracIn, or influence functions (hessian; needs no training).")
]
ResumeOption = Annotated[bool, typer.Option("--resume", help="Continue an interrupted run; finished trials are kept.")]


@app.command(cls=CommandWithRay, short_help="Score which training images help and which harm.")
def influence(
    *,
    model: ModelOption = DEFAULT_MODEL,
    input_train: TrainOption,
    input_val: ValOption,
    output: OutputOption = Path("influence.csv"),
    batch_size: BatchSizeOption = 32,
    epochs: EpochsOption = 1,
    n_trials: TrialsOption = 6,
    seed: SeedOption = 0,
    init: InitOption = Init.weights,
    optimizer: OptimizerOption = None,
    learning_rate: RateOption = None,
    weights: WeightsOption = Weights.exact,
    method: MethodOption = Scoring.sgd,
    preprocess: PreprocessOption = AUTO,
    input_variable: InputVariableOption = "x",
    label_variable: LabelVariableOption = "y",
    html: Annotated[
        bool, typer.Option("--html", help="Also write a page of the most harmful and the most helpful images.")
    ] = False,
    labels: LabelsOption = None,
    resume: ResumeOption = False,
    ray: RayOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Score each training image by the change in validation loss if it had been left out, most harmful first."""
    from vis.files import names as names_of_classes
    from vis.files.paths import moving

    with option("--labels"):
        class_names = None if labels is None else names_of_classes.read(labels)
    executor = training_data.executor_of(ray)
    tables = _open_tables(input_train, input_val, output, input_variable, label_variable)
    for name, table in zip(_TABLES, tables, strict=True):
        training_data.check_one_column(name, table, input_variable, "Use vis influence-tabular")
    network = training_data.trainable(model, custom_objects, unsafe)
    from vis.batch import influence_trials
    from vis.batch.compiled import predicted_classes
    from vis.pages import ranking

    layout, scale = training_data.image_inputs(network, model, preprocess)
    compiled, settings = _training(
        model, optimizer, learning_rate, 0.0, batch_size=batch_size, epochs=epochs, init=init.value
    )
    training, validation = _read(
        tables,
        lambda table: training_data.image_reader(table, layout, scale.name),
        network,
        compiled,
        input_variable,
        label_variable,
    )
    if note := methods.chosen_scale(preprocess, scale):
        typer.echo(f"{model.name}: {note}")
    run_settings = _settings_of(settings, method, weights, seed, input_variable, label_variable)
    run_settings["--preprocess"] = scale.name
    positions = [*training.table.positions(input_variable), *training.table.positions(label_variable)]
    names = [training.table.header[position] for position in positions]
    with _journal(output, resume, (model, input_train, input_val), run_settings, n_trials) as journal:
        ranked, order, scores = _ranked(
            network, compiled, training, validation, settings, method, weights, n_trials, seed, journal, executor
        )
        found = ranked[[*names, "influence", "datasource_index", *_example_columns(ranked)]].copy()
        found[names[0]] = found[names[0]].map(moving(training.table.folder, output.parent))
        _write(output, found, scores, run_settings)
    if html:
        page = output.with_suffix(".html")
        predicted = predicted_classes(network, compiled, training.x)
        with option("--output"):
            ranking.write(
                page,
                ranked,
                training.table.folder,
                names[0],
                names[1:],
                shown=_SHOWN,
                predicted=None if predicted is None else predicted[order],
                margins=influence_trials.margins(scores.influence)[order],
                summary=_summary(scores),
                names=class_names,
            )
        typer.echo(f"Open {page}")
    _finish(output, training, validation)


@app.command("influence-tabular", cls=CommandWithRay, short_help="Score which training rows help and which harm.")
def influence_tabular(
    *,
    model: ModelOption = DEFAULT_MODEL,
    input_train: TrainOption,
    input_val: ValOption,
    output: OutputOption = Path("sgd_influence_tabular.csv"),
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
    resume: ResumeOption = False,
    ray: RayOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Score each training row by the change in validation loss if it had been left out, the most harmful first."""
    from vis import datasets
    from vis.batch import training_rows

    executor = training_data.executor_of(ray)
    tables = _open_tables(input_train, input_val, output, input_variable, label_variable)
    for name, table in zip(_TABLES, tables, strict=True):
        with option(name, _REMEDIES):
            training_rows.check_numbers(table, input_variable)
    network = training_data.trainable(model, custom_objects, unsafe)
    for name, table in zip(_TABLES, tables, strict=True):
        with option(name, _REMEDIES):
            training_rows.check_columns(table, input_variable, network)
    compiled, settings = _training(
        model, optimizer, learning_rate, 0.001, batch_size=batch_size, epochs=epochs, init=init.value
    )
    training, validation = _read(
        tables, lambda table: datasets.vector, network, compiled, input_variable, label_variable
    )
    run_settings = _settings_of(settings, method, weights, seed, input_variable, label_variable)
    with _journal(output, resume, (model, input_train, input_val), run_settings, n_trials) as journal:
        ranked, _, scores = _ranked(
            network, compiled, training, validation, settings, method, weights, n_trials, seed, journal, executor
        )
        # Neural Network Console's name for the row of the training table.
        ranked.insert(0, "index", ranked["datasource_index"])
        _write(output, ranked, scores, run_settings)
    _finish(output, training, validation)


def _open_tables(
    input_train: Path, input_val: Path, output: Path, input_variable: str, label_variable: str
) -> list[Table]:
    """Open the two tables and run all checks that need no model."""
    paths = [input_train, input_val]
    tables = [
        training_data.open_table(name, path, input_variable, label_variable)
        for name, path in zip(_TABLES, paths, strict=True)
    ]
    training_data.check_output(output, paths)
    return tables


def _training(
    path: Path, optimizer: str | None, learning_rate: str | None, default_l2: float, **settings
) -> tuple[Compiled, Training]:
    """Return what the model file was compiled with, and how to train the model."""
    from vis.batch.compiled import compiled_with, training_of

    with option("--learning-rate"):
        rate = _rate(learning_rate)
    with gathered_messages(_OPTIONS, _REMEDIES):
        compiled = compiled_with(path)
        return compiled, training_of(
            compiled,
            optimizer=optimizer,
            learning_rate=rate,
            default_l2=default_l2,
            **settings,
        )


def _rate(typed: str | None) -> float | Literal["auto"] | None:
    """Parse a learning rate: a number, or auto."""
    if typed is None:
        return None
    if typed == AUTO:
        return AUTO
    try:
        return float(typed)
    except ValueError as error:
        raise ArgumentError("learning_rate", f"must be a number above 0 or {AUTO}, not {typed!r}") from error


def _read(
    tables: list[Table], reader, network: keras.Model, compiled: Compiled, input_variable: str, label_variable: str
) -> list[TrainingRows]:
    """Read the usable rows of both tables and report the others."""
    from vis.batch.compiled import label_check

    with option("--model", _REMEDIES):
        check = label_check(network, compiled, len(tables[0].positions(label_variable)))
    return [
        training_data.read_rows(name, table, reader(table), check, input_variable, label_variable)
        for name, table in zip(_TABLES, tables, strict=True)
    ]


def _ranked(
    network: keras.Model,
    compiled: Compiled,
    training: TrainingRows,
    validation: TrainingRows,
    settings: Training,
    method: Scoring,
    weights: Weights,
    n_trials: int,
    seed: int,
    journal: Journal,
    executor: Executor,
) -> tuple[pd.DataFrame, np.ndarray, Scores]:
    """Return the table of `vis.influence.rank` with the cells of the training table and the columns about the examples
    themselves, the index of each of its rows among the training examples, and the scores.
    """
    import numpy as np
    import pandas as pd

    from vis.batch import influence_trials
    from vis.influence import rank

    with gathered_messages(_OPTIONS, _REMEDIES), executor:
        scores = influence_trials.score(
            network,
            compiled,
            training.x,
            training.y,
            validation.x,
            validation.y,
            training=settings,
            method=method.value,
            weights=weights.value,
            n_trials=n_trials,
            seed=seed,
            tell=lambda line: typer.echo(line, err=True),
            journal=journal,
            executor=executor,
        )
    cells = pd.concat(list(training.table.rows())).loc[training.rows]
    cells.columns = training.table.header
    ranked = rank(scores.influence, cells, indices=training.rows)
    order = np.searchsorted(training.rows, ranked["datasource_index"])
    for name in _EXAMPLE_COLUMNS:
        values = getattr(scores, name)
        if values is not None:
            ranked[name] = values[order]
    return ranked, order, scores


def _example_columns(ranked: pd.DataFrame) -> list[str]:
    """Return the columns about the examples themselves: influence functions have no self-influence."""
    return [name for name in _EXAMPLE_COLUMNS if name in ranked]


def _summary(scores: Scores) -> list[str]:
    """Describe the scores as a whole, in lines."""
    import math

    training = scores.training
    if scores.self_influence is None:  # influence functions train nothing
        return []
    rate, found = training.learning_rate, training.found_rate
    lines = [f"Trained with {training.optimizer['class_name']}"]
    if isinstance(rate, float):
        lines[0] += f" at the learning rate {rate:g}"
    if found:
        lines[0] += ", the largest at which two shuffles rank the examples alike"
    if not math.isnan(scores.agreement):
        what = "rank agreement between trials (1 is the same order, 0 is chance)"
        lines.append(f"Stability {scores.agreement:.2f}: {what}")
    return lines


def _settings_of(settings: Training, method: Scoring, weights: Weights, seed: int, x: str, y: str) -> dict[str, Any]:
    """Return the settings that scores depend on, but not the files or the number of trials, which may grow later."""
    return {
        "--optimizer": settings.optimizer,
        "--learning-rate": AUTO if settings.finds_rate else settings.learning_rate,
        "--batch-size": settings.batch_size,
        "--epochs": settings.epochs,
        "--init": settings.init,
        "--method": method.value,
        "--weights": weights.value,
        "--seed": seed,
        "--input-variable": x,
        "--label-variable": y,
    }


def _journal(output: Path, resume: bool, files: tuple[Path, ...], settings: dict[str, Any], n_trials: int):
    """Keep the journal of a run's trials."""
    path = output.with_name(f"{output.name}.trials.jsonl")
    by_option = dict(zip(("--model", *_TABLES), files, strict=True))
    return journal_of(path, output, by_option, settings, resume=resume, unit="trial", total=n_trials)


def _write(output: Path, ranked: pd.DataFrame, scores: Scores, run_settings: dict[str, Any]) -> None:
    """Write the table and, beside it, how the scores were computed, and print the latter."""
    import json
    import math

    from vis.files.outputs import replacing

    training_data.write(output, ranked)
    stability = None if math.isnan(scores.agreement) else scores.agreement
    record = {
        "stability": stability,
        "n_trials": len(scores.influence),
        **run_settings,
        "--optimizer": scores.training.optimizer,
    }
    with replacing(output.with_suffix(".json")) as file:
        json.dump(
            {name.lstrip("-").replace("-", "_"): value for name, value in record.items()},
            file,
            indent=1,
            default=_schedule_config,
        )
    for line in _summary(scores):
        typer.echo(line)
    if scores.is_noise:
        typer.echo(
            "These scores are mostly noise: two shuffles rank the examples differently. Use a smaller --learning-rate, "
            "such as the one that --learning-rate auto finds, or more --n-trials."
        )


def _schedule_config(value: Any) -> Any:
    """Return what JSON can hold of a schedule of the learning rate."""
    import keras

    return keras.optimizers.schedules.serialize(value)


def _finish(output: Path, training: TrainingRows, validation: TrainingRows) -> None:
    failed = len(training.errors) + len(validation.errors)
    typer.echo(
        f"{output}: {len(training.rows):,} rows, the most harmful first"
        + (f"; {failed:,} rows were left out" if failed else "")
    )
    if failed:
        raise typer.Exit(1)
