"""`vis NAME-batch` for each method of the table: a CSV file of images in, one of pictures out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.messages import IMAGE_OPTIONS, gathered_messages, option, refuse
from vis.cli.options import (
    AUTO,
    CustomObjectsOption,
    LabelsOption,
    ModelOption,
    OutputVariableOption,
    PreprocessOption,
    SizeOption,
    UnsafeOption,
)
from vis.cli.single import parse_class_index
from vis.methods import METHODS, Method

if TYPE_CHECKING:
    import keras

    from vis.batch.plan import Outcome, Survey
    from vis.files.journal import Journal

_OPTIONS = {
    **IMAGE_OPTIONS,
    "seed_input": "--input",
    "filter_indices": "--label-variable",
    "class_index": "--class-index",
}
_ERRORS_SHOWN = 20


def every_row(
    method: Method,
    options: dict[str, Any],
    *,
    model: ModelOption = None,
    input: Annotated[  # noqa: A002 - the option's name
        Path,
        typer.Option("--input", "-i", help="A CSV file of images, such as Neural Network Console's output_result.csv."),
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
        Path, typer.Option("--output", "-o", help="The CSV file to write; pictures go to a folder of its name.")
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
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """For every row of a CSV file: the CSV file again, with the paths of the pictures in a column more."""
    from vis import images, models
    from vis.batch import run
    from vis.batch.plan import Survey
    from vis.files import names, outputs
    from vis.files.journal import fingerprint
    from vis.files.tables import Table

    with option("--class-index"):
        index = None if class_index is None else parse_class_index(class_index)
        if class_index is not None and label_variable is not None:
            raise ValueError("Give either --class-index or --label-variable: both say which class to explain.")
    with option("--labels"):
        class_names = None if labels is None else names.read(labels)
    with option("--input"):
        table = Table(input)
        count = table.count()
        if not count:
            raise ValueError(f"{input} has a header but no rows.")
        taken = {cell.partition(":")[0].strip() for cell in table.header}
        for column in [method.column, *(["map"] if save_map else [])]:
            if column in taken:
                raise ValueError(f"{input} has a column {column!r} already. Rename it, or take it out.")
    with option("--input-variable"):
        columns = table.positions(input_variable)
        if len(columns) > 1:
            raise ValueError(f"{input_variable!r} is a vector of {len(columns)} columns in {input}, not images.")
    with option("--label-variable"):
        variable = None if class_index is not None else _label_variable(table, label_variable)
    with option("--model"):
        models.check_file(model)
    survey = Survey(
        table=table,
        output=output,
        column=method.column,
        input_variable=input_variable,
        label_variable=variable,
        class_index=index,
        preprocess=preprocess,
        method=method,
        options=options,
        predict=html,
        names=class_names,
        save_maps=save_map,
        size=size,
        settings={
            "method": method.name,
            "--model": fingerprint(model),
            "--input": fingerprint(input),
            "--input-variable": input_variable,
            "--label-variable": variable,
            "--class-index": index,
            "--preprocess": preprocess,
            "--output-variable": output_variable,
            "--html": html,
            "--save-map": save_map,
            "--size": size,
            "--custom-objects": sorted(custom_objects),
            **{each.flag: each.spelled(options[each.name]) for each in method.options},
            **{each.flag: fingerprint(Path(options[each.name])) for each in method.options if each.read_by},
        },
    )
    with option("--output"):
        outputs.check_output(output, (".csv",))
        run.check_output(survey)
    network = methods.load(model, custom_objects, unsafe, output_variable=output_variable)
    with option("--model"):
        layout = images.input_layout(network)
    scale = methods.scale(preprocess, model, network)
    with option("--preprocess"):
        images.check_preprocess(scale.name, layout)
    survey = survey._replace(
        preprocess=scale.name,
        options=methods.read_files(method, options, layout, scale.name),
        settings={**survey.settings, "--preprocess": scale.name},
    )
    taken = methods.told(preprocess, scale)
    with option("--labels"):
        if class_names is not None:
            names.check(class_names, _classes(network) or len(class_names))
    told = [_explained(survey, input, asked=class_index is not None or label_variable is not None)]
    told += [f"{output}: {taken}"] if taken else []
    _run(survey, network, count, resume, html, told, _OPTIONS | methods.flags(method))


for _method in METHODS.values():
    methods.command(
        f"{_method.name}-batch",
        f"{_method.name} for every row of a CSV file.",
        _method,
        every_row,
        f"{_method.name}.csv",
    )


def _classes(network: keras.Model) -> int | None:
    """How many classes a model tells apart, or None where it does not say: a single output tells two."""
    outputs = getattr(network, "outputs", None) or []
    width = outputs[0].shape[-1] if len(outputs) == 1 else None
    return width and max(width, 2)


def _explained(survey: Survey, table: Path, *, asked: bool) -> str:
    """Return in one line what the maps explain."""
    from vis.files.names import named

    if survey.class_index is not None:
        what = f"Class {named(survey.class_index, survey.names)} is explained in every row"
    elif survey.label_variable is not None:
        what = f"The class of each row, in column {survey.label_variable!r}, is explained"
    else:
        what = "The predicted class is explained"
        if not asked:
            what = f"{table} has no labels to explain: the predicted class is explained"
    score = "its score before a final softmax or sigmoid" if survey.options.get("logits", True) else "its output"
    return f"{what}, by {score}."


def _label_variable(table, given: str | None) -> str | None:
    """The variable of the labels, or None; only the default may be missing."""
    from vis.files.columns import NoSuchColumnError

    if given is not None and given.strip().lower() in ("", "none"):
        return None
    try:
        table.positions(given or "y")
    except NoSuchColumnError:
        if given is not None:
            raise
        return None
    return given or "y"


def _run(
    survey: Survey, network: keras.Model, count: int, resume: bool, html: bool, told: list[str], names: dict[str, str]
) -> None:
    from vis.batch import run

    begin = time.monotonic()
    if resume and not survey.journal.exists():
        typer.echo(f"There is no run of {survey.output} to resume: starting from the first row.")
    failed: list[Outcome] = []
    done = 0
    try:
        with option("--resume" if resume else "--output"):
            journal = run.journal_of(survey, network, resume=resume)
        with journal:
            resumed = journal.done
            with gathered_messages(names), _progress(survey.column, count) as bar:
                for number, some in enumerate(run.explain(survey, network, journal)):
                    if number < resumed:
                        bar.initial += len(some)
                    bar.update(len(some))
                    failed += [outcome for outcome in some if outcome.error]
                    done += sum(outcome.picture is not None for outcome in some)
                    if told and done:  # while there is time to stop
                        bar.write("\n".join(told))
                        told = []
            if not done:
                journal.clear()  # there is nothing to go on with
                first = failed[0]
                advice = " To explain the predicted class, give --label-variable none." * ("label" in first.error)
                refuse(
                    "--input",
                    f"none of the {count} rows could be explained. Row {first.row} (from 0, below the header): "
                    f"{first.error.rstrip('.')}.{advice} See {survey.errors}",
                )
            if html:
                _write_gallery(survey, journal, done, len(failed))
    except OSError as error:
        advice = " Go on with --resume when there is room." if done or failed else ""
        refuse("--output", f"{survey.output} cannot be written: {error.strerror or error}.{advice}")
    except KeyboardInterrupt:
        if done or failed:
            typer.echo(f"Interrupted after {done + len(failed):,} of {count:,} rows. Go on with --resume.", err=True)
        raise

    if failed:
        typer.echo("Rows are counted from 0, below the header.", err=True)
    for outcome in failed[:_ERRORS_SHOWN]:
        typer.echo(f"Row {outcome.row}: {outcome.error}", err=True)
    if len(failed) > _ERRORS_SHOWN:
        typer.echo(f"... and {len(failed) - _ERRORS_SHOWN} rows more: see {survey.errors}", err=True)
    typer.echo(
        f"{survey.output}: {done:,} of {count:,} rows explained in {time.monotonic() - begin:.0f} s"
        + (f"; {len(failed):,} could not be, see {survey.errors}" if failed else "")
    )
    if failed:
        raise typer.Exit(1)


def _write_gallery(survey: Survey, journal: Journal, done: int, failed: int) -> None:
    from vis.batch import run
    from vis.files.names import named
    from vis.pages import gallery

    explained = "true label" if survey.label_variable is not None else "predicted class"
    explained = explained if survey.class_index is None else f"class {named(survey.class_index, survey.names)}"
    rows = "1 row" if failed == 1 else f"{failed:,} rows"
    finished = gallery.write(
        survey.page,
        run.cards(survey, journal),
        title=survey.output.name,
        explained=f"Each map ({survey.column}) explains the score of the {explained}."
        + (f" {rows} could not be explained: see {survey.errors.name}." if failed else ""),
        probabilities=any(outcome.probability for outcome in run.outcomes(journal)),
        names=survey.names,
    )
    try:
        with _progress("gallery", done) as bar:
            for some in finished:
                bar.update(some)
    except OSError as error:
        refuse("--html", f"{survey.page} cannot be written: {error.strerror or error}. Go on with --resume.")
    typer.echo(f"Open {survey.page}")


def _progress(name: str, count: int):
    from tqdm import tqdm

    # In a log file, where each state is kept, few of them will do.
    return tqdm(total=count, unit=" rows", desc=name, mininterval=0.1 if sys.stderr.isatty() else 10)
