"""`vis NAME-batch` for each method of the table: explain a data set of images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.messages import IMAGE_OPTIONS, IMAGE_REMEDIES, Remedies, argument_errors, gathered_messages, option, refuse
from vis.cli.options import (
    AUTO,
    DEFAULT_MODEL,
    CustomObjectsOption,
    LabelsOption,
    ModelOption,
    OutputVariableOption,
    PreprocessOption,
    RayOption,
    SizeOption,
    UnsafeOption,
)
from vis.cli.single import parse_class_index
from vis.methods import METHODS, Method

if TYPE_CHECKING:
    import keras

    from vis.batch.executors import Executor
    from vis.batch.model_files import ModelFile
    from vis.batch.plan import Outcome, Survey
    from vis.files.journal import Journal

_OPTIONS = {
    **IMAGE_OPTIONS,
    "seed_input": "--input",
    "filter_indices": "--label-variable",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("input", "input_variable", "label_variable", "class_index", "labels", "output", "resume")
    },
    "executor": "--ray",
    "address": "--ray",
}
_REMEDIES: Remedies = {
    **IMAGE_REMEDIES,
    ("input", "classes"): "Add empty ones for classes without images, or give --label-variable none",
}
_ERRORS_SHOWN = 20


def every_row(
    method: Method,
    options: dict[str, Any],
    *,
    model: ModelOption = DEFAULT_MODEL,
    input: Annotated[  # noqa: A002 - the option's name
        Path,
        typer.Option(
            "--input",
            "-i",
            help="A CSV file of image paths, such as Neural Network Console's output_result.csv; a Parquet file; or a "
            "folder of images, whose sub-folders are the classes.",
        ),
    ] = Path("output_result.csv"),
    input_variable: Annotated[
        str, typer.Option("--input-variable", "-v1", help="The column of the image paths, such as x or x:image.")
    ] = "x",
    label_variable: Annotated[
        str | None,
        typer.Option(
            "--label-variable",
            "-v2",
            help="The column of the class to explain, or 'none' for the predicted class. The default is y, or the "
            "predicted class if there is no column y.",
            show_default=False,
        ),
    ] = None,
    class_index: Annotated[
        str | None,
        typer.Option(
            "--class-index",
            "-c",
            help="The class to explain in every row, counted from 0, in place of the row's label; 'auto' for the "
            "predicted class.",
            metavar="INTEGER|auto",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The table to write; the pictures go to a folder of the same name.")
    ],
    size: SizeOption = 1,
    preprocess: PreprocessOption = AUTO,
    output_variable: OutputVariableOption = None,
    labels: LabelsOption = None,
    save_map: Annotated[
        bool,
        typer.Option(
            "--save-map", help="Also write the array behind each picture, as .npy; its path is in a column map."
        ),
    ] = False,
    html: Annotated[bool, typer.Option("--html", help="Also write a page for browsing the pictures.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run; finished rows are kept.")
    ] = False,
    ray: RayOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Explain every row of a data set, and write the table with the paths of the pictures in a new column."""
    from vis.batch import executors, model_files, surveys

    if output == Path(f"{method.name}.csv") and input.suffix.lower() in (".parquet", ".pq"):
        output = output.with_suffix(".parquet")
    with option("--class-index"):
        index = None if class_index is None else parse_class_index(class_index)
        if class_index is not None and label_variable is not None:
            raise ValueError("Give either --class-index or --label-variable: both say which class to explain.")
    names = _OPTIONS | methods.flags(method)
    with argument_errors(names, _REMEDIES):
        executor = executors.executor_named("local" if ray is None else "ray", ray or None)
        survey = surveys.plan(
            model,
            input,
            output,
            method=method,
            options=options,
            input_variable=input_variable,
            label_variable=label_variable,
            class_index=AUTO if class_index is not None and index is None else index,
            preprocess=preprocess,
            html=html,
            labels=labels,
            save_map=save_map,
            size=size,
            settings={"--output-variable": output_variable, "--custom-objects": sorted(custom_objects)},
        )
    network = methods.load(model, custom_objects, unsafe, output_variable=output_variable)
    scale = methods.scale(preprocess, model, network)
    with argument_errors(names, _REMEDIES):
        survey, _ = surveys.for_model(survey, network, scale)
    file = None
    if executor.is_remote:
        objects = methods.objects_named(custom_objects)
        file = model_files.packed(model, custom_objects=objects, unsafe=unsafe, output_variable=output_variable)
    taken = methods.chosen_scale(preprocess, scale)
    notes = [_explained(survey, input, requested=class_index is not None or label_variable is not None)]
    notes += [f"{survey.output}: {taken}"] if taken else []
    _run(survey, network, executor, file, resume, html, notes, names)


for _method in METHODS.values():
    methods.command(
        f"{_method.name}-batch",
        f"{_method.name} for every row of a data set.",
        _method,
        every_row,
        f"{_method.name}.csv",
    )


def _explained(survey: Survey, table: Path, *, requested: bool) -> str:
    """Return in one line what the maps explain."""
    from vis.files.names import named

    if survey.class_index is not None:
        what = f"Class {named(survey.class_index, survey.names)} is explained in every row"
    elif survey.label_variable is not None:
        what = f"The class of each row, in column {survey.label_variable!r}, is explained"
    else:
        what = "The predicted class, or the output of a regressor, is explained"
        if not requested:
            what = f"{table} has no labels to explain: the predicted class, or the output of a regressor, is explained"
    score = "its score before a final softmax or sigmoid" if survey.options.get("logits", True) else "its output"
    return f"{what}, by {score}."


def _run(
    survey: Survey,
    network: keras.Model,
    executor: Executor,
    file: ModelFile | None,
    resume: bool,
    html: bool,
    notes: list[str],
    names: dict[str, str],
) -> None:
    from vis.batch import run
    from vis.batch.data_sets import progress_bar

    begin, count = time.monotonic(), survey.table.count()
    if resume and not survey.journal.exists():
        typer.echo(f"There is no run of {survey.output} to resume: starting from the first row.")
    failed: list[Outcome] = []  # the first of them
    done = wrong = 0
    try:
        with option("--resume" if resume else "--output"):
            journal = run.journal_of(survey, network, resume=resume)
        with journal:
            resumed = journal.done
            with gathered_messages(names, _REMEDIES), executor, progress_bar(survey.column, count) as bar:
                for number, some in enumerate(run.explain(survey, network, journal, executor, file)):
                    if number < resumed:
                        bar.initial += len(some)
                    bar.update(len(some))
                    errors = [outcome for outcome in some if outcome.error]
                    failed += errors[: _ERRORS_SHOWN - len(failed)]
                    wrong += len(errors)
                    done += len(some) - len(errors)
                    if notes and done:  # while there is time to stop
                        bar.write("\n".join(notes))
                        notes = []
            if not done:
                journal.clear()  # there is nothing to resume
                first, reason = failed[0].row, failed[0].error or ""
                advice = " To explain the predicted class, give --label-variable none." * ("label" in reason)
                refuse(
                    "--input",
                    f"none of the {count} rows could be explained. Row {first} (from 0, below the header): "
                    f"{reason.rstrip('.')}.{advice} See {survey.errors}",
                )
            if html:
                _write_gallery(survey, journal, done, wrong)
    except OSError as error:
        advice = " Continue with --resume once there is space." if done or wrong else ""
        refuse("--output", f"{survey.output} cannot be written: {error.strerror or error}.{advice}")
    except KeyboardInterrupt:
        if done or wrong:
            typer.echo(f"Interrupted after {done + wrong:,} of {count:,} rows. Continue with --resume.", err=True)
        raise

    if failed:
        typer.echo("Rows are counted from 0, below the header.", err=True)
    for outcome in failed:
        typer.echo(f"Row {outcome.row}: {outcome.error}", err=True)
    if wrong > len(failed):
        typer.echo(f"... and {wrong - len(failed)} more rows: see {survey.errors}", err=True)
    typer.echo(
        f"{survey.output}: {done:,} of {count:,} rows explained in {time.monotonic() - begin:.0f} s"
        + (f"; {wrong:,} could not be, see {survey.errors}" if wrong else "")
    )
    if failed:
        raise typer.Exit(1)


def _write_gallery(survey: Survey, journal: Journal, done: int, failed: int) -> None:
    from vis.batch import run
    from vis.batch.data_sets import progress_bar

    try:
        with progress_bar("gallery", done) as bar:
            for some in run.write_page(survey, journal, failed):
                bar.update(some)
    except OSError as error:
        refuse("--html", f"{survey.page} cannot be written: {error.strerror or error}. Continue with --resume.")
    typer.echo(f"Open {survey.page}")
