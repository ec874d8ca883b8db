"""Explains a data set: a CSV or Parquet file or a folder of images in, the table with a column of pictures out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis import images, models
from vis.batch import model_files, run
from vis.batch.executors import executor_named
from vis.batch.plan import Survey
from vis.files import names as names_of_classes
from vis.files import outputs
from vis.files.columns import Columns, NoSuchColumnError
from vis.files.inputs import open_input
from vis.files.journal import Journal, fingerprint
from vis.images import Scale
from vis.methods import METHODS, REQUIRED, Method, resolve
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras
    import pandas as pd

AUTO = "auto"


def explain(
    model: keras.Model | str | Path,
    input: str | Path,  # noqa: A002 - the command's name of it
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
    """Explain every row of a data set: a picture each, and the table again with their paths in a column more.

    A row that cannot be explained has no picture, and is listed with the reason in `<output>.errors.csv`. Pictures go
    into the folder `<output without its extension>`, each as `<thousands>/<row>.png`; that of a misclassified row
    explains its label, and a second one, `<row>.predicted.png`, the predicted class.

    Args:
        model: A Keras model, or the path of a model file.
        input: A CSV file, a Parquet file (which needs pyarrow), or a folder of images, whose sub-folders are the
            classes 0, 1, ... in the order of their names.
        output: The table to write: a Parquet file for a Parquet file, else a CSV file.
        method: A name of `vis.methods.METHODS`.
        options: Values of the method's options by their names; those that are left out have their defaults.
        input_variable: The column of the images' paths; None for `x`.
        label_variable: The column of the labels; None for `y`, if there is one; `"none"` explains the predicted class.
        class_index: The class to explain in every row instead, or `"auto"` for the predicted one.
        preprocess: The scale of pixel values: `"unit"` for [0, 1], `"raw"` for [0, 255], `"tf"`, `"caffe"` or `"torch"`
            for those of `keras.applications`, or one with a mean and a deviation, such as `"unit:0.5:0.25"`; `"auto"`
            is what the model says.
        html: Whether to write a page to look through the pictures, too.
        resume: Whether to continue a run that was interrupted, whichever executor it had.
        executor: `"local"` for this process, or `"ray"` for the processes of a Ray cluster; the results are the same.
        address: The address of the Ray cluster, such as `"10.0.0.1:6379"`; None starts Ray on this machine.
        progress: Whether to show a progress bar.

    Returns:
        A row per row of the data set: `row`, its number from 0; `picture`, the path of its picture relative to the
        output's folder; `error`, why there is none; `label`; `predicted`, the predicted class, and `score`, the model's
        output for it. What a row does not have is missing.

    Raises:
        ArgumentError: An argument is refused, or no row can be explained.
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
        >>> table["picture"][0], table["error"][1].endswith("b.png does not exist.")
        ('out/0000/0.png', True)
    """
    if method not in METHODS:
        raise ArgumentError("method", f"must be one of {', '.join(METHODS)}, not {method!r}")
    chosen = executor_named(executor, address)
    is_path = isinstance(model, str | Path)
    survey = plan(
        Path(model) if is_path else model,
        Path(input),
        Path(output),
        method=METHODS[method],
        options=checked_options(METHODS[method], options or {}),
        input_variable="x" if input_variable is None else input_variable,
        label_variable=label_variable,
        class_index=class_index,
        preprocess=preprocess,
        predict=True,
        html=html,
    )
    network = models.load_model(model) if is_path else model
    file = model_files.packed(Path(model)) if is_path and chosen.is_remote else None
    survey, _ = for_model(survey, network, scale(preprocess, Path(model) if is_path else None, network))
    count = survey.table.count()
    with chosen, run.journal_of(survey, network, resume=resume) as journal:
        with progress_bar(survey.column, count, progress) as bar:
            for some in run.explain(survey, network, journal, chosen, file):
                bar.update(len(some))
        found = _told(journal)
        if not found["picture"].notna().any():
            journal.clear()
            raise none_explained(survey, count, int(found["row"][0]), found["error"][0])
        if html:
            done = int(found["picture"].notna().sum())
            with progress_bar("gallery", done, progress) as bar:
                for number in run.write_page(survey, journal, count - done):
                    bar.update(number)
    return found


def plan(
    model: keras.Model | Path,
    input: Path,  # noqa: A002
    output: Path,
    *,
    method: Method,
    options: Mapping[str, Any],
    input_variable: str = "x",
    label_variable: str | None = None,
    class_index: int | str | None = None,
    preprocess: str = AUTO,
    predict: bool = False,
    html: bool = False,
    labels: Path | None = None,
    save_map: bool = False,
    size: int = 1,
    settings: Mapping[str, Any] | None = None,
) -> Survey:
    """Check what is asked as far as that needs neither the model nor TensorFlow.

    Args:
        model: The model, or the path of its file.
        input: The data set.
        output: The table to write.
        method: A row of the table of methods.
        options: Values of its options.
        input_variable: The column of images.
        label_variable: As for `explain`, and so is what follows.
        class_index: See there.
        preprocess: See there.
        predict: Whether every prediction is wanted.
        html: Whether a page is wanted.
        labels: A file of the classes' names, or None.
        save_map: Whether the numbers behind each picture are wanted.
        size: The fewest pixels that a picture's longer side shall have.
        settings: What else the result depends on.

    Returns:
        The `Survey`, whose scale of pixel values is still the one asked for.

    Raises:
        ArgumentError: Something is refused; its argument is the one here.
    """
    if class_index is not None and label_variable is not None:
        raise ArgumentError(
            "class_index", "must be None where label_variable is not", "Both say which class to explain"
        )
    with _about("labels"):
        names = None if labels is None else names_of_classes.read(labels)
    with _about("input"):
        table = open_input(input)
        _check_table(table, [method.column, *(["map"] if save_map else [])])
    with _about("input_variable"):
        columns = table.positions(input_variable)
        if len(columns) > 1:
            raise ArgumentError(
                "input_variable",
                f"must be one column of images, but {input_variable!r} is a vector of {len(columns)} columns",
            )
    with _about("label_variable"):
        variable = None if class_index is not None else _label_variable(table, label_variable)
    index = None if class_index is None or isinstance(class_index, str) else int(class_index)
    if isinstance(model, Path):
        with _about("model"):
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
        options=dict(options),
        predict=predict or html,
        names=names or (table.names if labels is None else None),
        save_maps=save_map,
        size=size,
        settings={
            "method": method.name,
            "--model": fingerprint(model) if isinstance(model, Path) else model_files.fingerprint(model),
            "--input": table.fingerprint(),
            "--input-variable": input_variable,
            "--label-variable": variable,
            "--class-index": index,
            "--preprocess": preprocess,
            "--html": predict or html,
            "--save-map": save_map,
            "--size": size,
            **(settings or {}),
            **{each.flag: each.spelled(options[each.name]) for each in method.options},
            **{each.flag: fingerprint(Path(options[each.name])) for each in method.options if each.read_by},
        },
    )
    with _about("output"):
        outputs.check_output(output, (table.extension,))
        run.check_output(survey)
    return survey


def for_model(survey: Survey, network: keras.Model, taken: Scale) -> tuple[Survey, images.InputLayout]:
    """Check what is asked against the model, and read the files that options name.

    Args:
        survey: From `plan`.
        network: The model.
        taken: The scale of its pixel values.

    Returns:
        The `Survey` to run, and the images that the model takes.

    Raises:
        ArgumentError: The model takes no images, or none of that scale, or tells other classes apart than there are
            names or sub-folders.
    """
    with _about("model"):
        layout = images.input_layout(network)
    with _about("preprocess"):
        images.check_preprocess(taken.name, layout)
    values, copies = dict(survey.options), survey.method.copies(survey.options)
    for each in survey.method.options:
        if each.read_by:
            values[each.name] = resolve(each.read_by)(values[each.name], layout, taken.name, copies)
    survey = survey._replace(
        preprocess=taken.name, options=values, settings={**survey.settings, "--preprocess": taken.name}
    )
    classes = _classes(network)
    if survey.names is survey.table.names and survey.names is not None:
        if survey.label_variable is not None and classes not in (None, len(survey.names)):
            raise ArgumentError(
                "input",
                f"must have a sub-folder for each of the model's {classes} classes, not {len(survey.names)} as "
                f"{survey.table.path} has",
                "Add empty ones for those that have no images, or explain the predicted class",
                kind="classes",
            )
        return survey if classes == len(survey.names) else survey._replace(names=None), layout
    with _about("labels"):
        names_of_classes.check(survey.names, classes or len(survey.names or ()))
    return survey, layout


def scale(asked: str, path: Path | None, network: keras.Model) -> Scale:
    """Return the scale of pixel values to take: the one asked for, or what the model or its file says.

    Args:
        asked: A scale, or `"auto"`.
        path: The file of the model, or None.
        network: The model.

    Returns:
        The `vis.images.Scale`.

    Example:
        >>> scale("raw", None, None).name
        'raw'
    """
    if asked != AUTO:
        return Scale(asked)
    return images.scale_of(network) if path is None else models.scale_of(path, network)


def none_explained(survey: Survey, count: int, row: int, error: str) -> ArgumentError:
    """Return the error of a run of which every row failed.

    Args:
        survey: What was asked.
        count: How many rows there are.
        row: The first one.
        error: Why it failed.

    Returns:
        The error, to be raised; its kind is `"labels"` where the label was the reason.
    """
    problem = (
        f"must have rows that can be explained, but none of the {count} rows could be explained. Row {row} (from 0, "
        f"below the header): {error.rstrip('.')}"
    )
    return ArgumentError("input", problem, f"See {survey.errors}", kind="labels" if "label" in error else "")


def checked_options(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options of a method.

    Args:
        method: A row of the table of methods.
        options: Values by the options' names.

    Returns:
        The values, with the defaults of those that are left out.

    Raises:
        ArgumentError: There is no such option, a value is refused, or one that has to be given is missing.

    Example:
        >>> checked_options(METHODS["smoothgrad"], {"num_samples": 3})["num_samples"]
        3
    """
    known = {each.name: each for each in method.options}
    for name, value in options.items():
        if name not in known:
            raise ArgumentError("options", f"must be of {', '.join(known)} for {method.name}, not {name!r}")
        if value != known[name].default:
            known[name].check(value)
    missing = [each.name for each in method.options if each.default is REQUIRED and each.name not in options]
    if missing:
        raise ArgumentError("options", f"must have {missing[0]!r} for {method.name}")
    return {name: options.get(name, each.default) for name, each in known.items()}


def progress_bar(name: str, count: int, shown: bool = True):
    """Return a progress bar over rows.

    Args:
        name: What it is called.
        count: How many rows there are.
        shown: Whether it is shown.

    Returns:
        A bar of `tqdm`.

    Example:
        >>> with progress_bar("rows", 2, shown=False) as bar:
        ...     _ = bar.update(2)
    """
    from tqdm import tqdm

    # In a log file, where each state is kept, few of them will do.
    return tqdm(total=count, unit=" rows", desc=name, mininterval=0.1 if sys.stderr.isatty() else 10, disable=not shown)


@contextlib.contextmanager
def _about(argument: str) -> Iterator[None]:
    """Name the argument of the function here in errors of those that it calls."""
    try:
        yield
    except ArgumentError as error:
        raise error.about(argument) from error
    except OSError as error:  # a name that is too long, for example
        raise ArgumentError(
            argument, f"must name what can be opened, not {error.filename} ({error.strerror or error})"
        ) from error


def _check_table(table: Columns, added: list[str]) -> None:
    if next(table.rows(1), None) is None:
        what = "no images" if table.path.is_dir() else "a header but no rows"
        raise ArgumentError("input", f"must have rows to explain, but {table.path} has {what}")
    taken = {cell.partition(":")[0].strip() for cell in table.header}
    for column in added:
        if column in taken:
            raise ArgumentError(
                "input",
                f"must have no column {column!r}, but {table.path} has a column {column!r} already",
                "Rename it, or take it out",
            )


def _label_variable(table: Columns, given: str | None) -> str | None:
    """The variable of the labels, or None; only the default may be missing."""
    if given is not None and given.strip().lower() in ("", "none"):
        return None
    try:
        table.positions(given or "y")
    except NoSuchColumnError:
        if given is not None:
            raise
        return None
    return given or "y"


def _classes(network: keras.Model) -> int | None:
    """How many classes a model tells apart, or None where it does not say: a single output tells two."""
    outputs = getattr(network, "outputs", None) or []
    width = outputs[0].shape[-1] if len(outputs) == 1 else None
    return width and max(width, 2)


def _told(journal: Journal) -> pd.DataFrame:
    import pandas as pd

    fields = ["row", "picture", "error", "label", "predicted", "score"]
    rows = [[getattr(each, field) for field in fields] for each in run.outcomes(journal)]
    found = pd.DataFrame(rows, columns=fields)
    kinds = {"row": "int64", "label": "Int64", "predicted": "Int64", "score": "float64"}
    return found.astype(kinds)
