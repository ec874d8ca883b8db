"""Plan a run over a data set, and check it before anything is computed and before TensorFlow is imported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis import images, models
from vis.batch import model_files, run
from vis.batch.plan import Survey
from vis.files import names as names_of_classes
from vis.files import outputs
from vis.files.columns import Columns, NoSuchColumnError
from vis.files.inputs import open_input
from vis.files.journal import fingerprint
from vis.images import Scale
from vis.methods import REQUIRED, Method, resolve
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras

AUTO = "auto"


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
    """Plan a run, with all checks that need neither the model nor TensorFlow.

    Args:
        model: The model, or the path of its file.
        input: The data set.
        output: The table to write.
        method: A row of the table of methods.
        options: Values of its options.
        input_variable: The column of image paths.
        label_variable: As in `explain`.
        class_index: As in `explain`.
        preprocess: As in `explain`.
        predict: Whether to predict every row.
        html: Whether to write a page.
        labels: A file of class names, or None.
        save_map: Whether to write the array behind each picture.
        size: The minimum length of a picture's longer side, in pixels.
        settings: Further settings that the result depends on.

    Returns:
        The `Survey`, with `preprocess` as requested, possibly `"auto"`.

    Raises:
        ArgumentError: An argument is invalid; the error names it.
    """
    if class_index is not None and label_variable is not None:
        raise ArgumentError("class_index", "must be None if label_variable is given", "Both say which class to explain")
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
    with _about("input"):  # whose rows it reads
        run.check_output(survey)
    return survey


def for_model(survey: Survey, network: keras.Model, taken: Scale) -> tuple[Survey, images.InputLayout]:
    """Check a plan against the model, and read the files that options name.

    Args:
        survey: The result of `plan`.
        network: The model.
        taken: The scale of its pixel values.

    Returns:
        The `Survey` to run, and the layout of the images that the model takes.

    Raises:
        ArgumentError: The model takes no images, or none of that scale, or the number of its classes differs from that
            of the names or sub-folders.
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
                "Add empty ones for classes without images, or explain the predicted class",
                kind="classes",
            )
        return survey if classes == len(survey.names) else survey._replace(names=None), layout
    with _about("labels"):
        names_of_classes.check(survey.names, classes or len(survey.names or ()))
    return survey, layout


def scale(requested: str, path: Path | None, network: keras.Model) -> Scale:
    """Return the scale of pixel values to use: the requested one, or that of the model or its file.

    Args:
        requested: A scale, or `"auto"`.
        path: The file of the model, or None.
        network: The model.

    Returns:
        The `vis.images.Scale`.

    Example:
        >>> scale("raw", None, None).name
        'raw'
    """
    if requested != AUTO:
        return Scale(requested)
    return images.scale_of(network) if path is None else models.scale_of(path, network)


def checked_options(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all options of a method.

    Args:
        method: A row of the table of methods.
        options: Values by the names of the options.

    Returns:
        The values of all options, defaults included.

    Raises:
        ArgumentError: There is no such option, a value is invalid, or a required option is missing.

    Example:
        >>> from vis.methods import METHODS
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


@contextlib.contextmanager
def _about(argument: str) -> Iterator[None]:
    """Name an argument of the calling function in errors raised inside, unless they are about the output."""
    try:
        yield
    except ArgumentError as error:
        if error.argument == "output":
            raise
        raise error.about(argument) from error
    except OSError as error:  # a name that is too long, for example
        raise ArgumentError(
            argument, f"must be a path that can be opened, not {error.filename} ({error.strerror or error})"
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
                "Rename or remove it",
            )


def _label_variable(table: Columns, given: str | None) -> str | None:
    """Return the variable of the labels, or None; only the default may be missing."""
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
    """Return the number of classes of a model, two for a single output; None if it does not declare its outputs."""
    outputs = getattr(network, "outputs", None) or []
    width = outputs[0].shape[-1] if len(outputs) == 1 else None
    return width and max(width, 2)
