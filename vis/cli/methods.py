"""Make commands from the table of methods: what `vis NAME` and `vis NAME-batch` share."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli.app import app
from vis.cli.messages import Remedies, import_tensorflow, library_messages, option, refuse
from vis.cli.options import AUTO, CommandWithRay
from vis.methods import Method, Option, resolve

if TYPE_CHECKING:
    import keras

    from vis.images import InputLayout, Scale


# The options for the arguments of `vis.models.load_model`, and remedies for the shell.
_LOADING = {
    "model": "--model",
    "path": "--model",
    "network": "--model",
    "custom_objects": "--custom-objects",
    "unsafe": "--unsafe",
    "output_variable": "--output-variable",
}
_LOADING_REMEDIES: Remedies = {
    "other_outputs": "Choose another with --output-variable",
    ("custom_objects", "missing"): "Give --custom-objects module:NAME, or register it with "
    "@keras.saving.register_keras_serializable()",
    ("unsafe", "lambda"): "Give --unsafe only if you trust the file",
    ("unsafe", "operations"): "Give --unsafe only if you trust the file",
}


def command(
    name: str,
    short_help: str,
    method: Method,
    use: Callable,
    default_output: str,
    *,
    annotations: Mapping[str, Any] | None = None,
    unused: Mapping[str, Any] | None = None,
) -> None:
    """Add a command to `vis` that uses a method in one way, with the options of both.

    Args:
        name: The command's name.
        short_help: Its line in the list of commands.
        method: A row of the table.
        use: A function `(method, options, **others)`: `options` maps the names of the method's options to values, and
            the others are the function's keyword-only parameters.
        default_output: The default of `--output`.
        annotations: Annotations of parameters that differ from those of `use`.
        unused: Annotations of options that the command accepts, so that scripts run, but ignores.
    """
    annotations, unused = annotations or {}, unused or {}
    parameters = [
        parameter.replace(
            default=Path(default_output) if parameter.name == "output" else parameter.default,
            annotation=annotations.get(parameter.name, parameter.annotation),
        )
        for parameter in inspect.signature(use, eval_str=True).parameters.values()
        if parameter.kind == parameter.KEYWORD_ONLY
    ]
    parameters += [
        inspect.Parameter(each, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for each, annotation in unused.items()
    ]
    parameters += map(_parameter, method.options)

    def run(**typed: Any) -> None:
        for each in unused:
            typed.pop(each)
        options = {each.name: _value(each, typed.pop(each.name)) for each in method.options}
        use(method, options, **typed)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # it is read by inspect.signature
    run.__doc__ = (
        f"{method.line}: {method.description}. It needs {method.needs}, and costs about {method.cost} per image.\n\n"
        f"{use.__doc__}"
    )
    app.command(name, short_help=short_help, cls=CommandWithRay)(run)


def flags(method: Method) -> dict[str, str]:
    """Return the option for each argument of a method's function, for messages of the library."""
    return {each.keyword: each.flag for each in method.options}


def _parameter(each: Option) -> inspect.Parameter:
    """Return an option of the table as a parameter for Typer."""
    names = [each.flag, each.short] if each.short else [each.flag]
    kind: Any = each.type if isinstance(each.type, type) else str
    default = each.spelled(each.default)
    details: dict[str, Any] = {"help": f"{each.help}{f' ({each.range})' if each.range else ''}."}
    if each.choices:
        details["metavar"] = "|".join(map(each.spelled, each.choices))
    if kind is bool:
        names = [f"{each.flag}/{each.flag.replace('--', '--no-', 1)}"]
    if each.read_by:
        details["metavar"] = "PATH"
    if default is None:
        kind, details["show_default"] = kind | None, False
    annotation = Annotated[kind, typer.Option(*names, **details)]
    return inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _value(each: Option, typed: Any) -> Any:
    """Return the value of an option from the typed text, or refuse it."""
    if typed is None or (None in each.choices and typed.lower() == "none"):
        return None
    value = each.type(typed)
    if value != each.default:
        with option(each.flag):
            each.check(value)
    return value


def read_files(method: Method, options: Mapping[str, Any], layout: InputLayout, preprocess: str) -> dict[str, Any]:
    """Return the options of a method, with files replaced by their contents."""
    values = dict(options)
    for each in method.options:
        if each.read_by:
            with option(each.flag):
                values[each.name] = resolve(each.read_by)(values[each.name], layout, preprocess, method.copies(options))
    return values


def load(model: Path, custom_objects: list[str], unsafe: bool, **of_project: Any) -> keras.Model:
    """Load the model of `--model`, with the objects of `--custom-objects`.

    Args:
        model: The file.
        custom_objects: The values of `--custom-objects`.
        unsafe: Whether code in the file may run.
        **of_project: The output or network of an `.nnp` file, as in `vis.models.load_model`.
    """
    from vis import models

    with option("--model"):
        models.check_file(model)
    objects = objects_named(custom_objects)
    import_tensorflow()
    with library_messages(_LOADING, _LOADING_REMEDIES):
        return models.load_model(model, custom_objects=objects, unsafe=unsafe, **of_project)


def objects_named(custom_objects: list[str]) -> dict[str, Any]:
    """Return the objects of `--custom-objects` by name.

    Args:
        custom_objects: The values of the option, such as `module:Name`.
    """
    return dict(map(_custom_object, custom_objects))


def scale(requested: str, model: Path, network: keras.Model) -> Scale:
    """Return the scale of pixel values to use: the requested one, or that of the model file.

    Args:
        requested: The value of `--preprocess`; if the model file says otherwise, a warning is printed.
        model: The file of the model.
        network: The model.
    """
    from vis import models
    from vis.images import Scale

    own = models.scale_of(model, network)
    if requested == AUTO:
        return own
    if own.reason and own.name != requested:
        problem = f"--preprocess {requested} is used, but the model asks for {own.name}, because {own.reason}"
        typer.echo(f"Warning: {problem}.", err=True)
    return Scale(requested)


def chosen_scale(requested: str, taken: Scale) -> str:
    """Describe a scale of pixel values that was chosen automatically."""
    if requested != AUTO:
        return ""
    return f"pixels as {taken.name}" + (f", because {taken.reason}" if taken.reason else "")


def _custom_object(text: str) -> tuple[str, Any]:
    """Return the name and the object for `module:Name`, importing the module."""
    module, _, name = text.partition(":")
    if not (module and name):
        refuse("--custom-objects", f"{text!r} is not of the form module:Name, such as my_layers:Attention.")
    import_tensorflow()
    sys.path.insert(0, "")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module runs any code
        refuse("--custom-objects", f"the module {module!r} cannot be imported: {type(error).__name__}: {error}.")
    finally:
        sys.path.remove("")
    found = getattr(imported, name, None)
    if not callable(found):
        what = f"no {name!r}" if found is None else f"{name!r}, but it is {found!r}, neither a class nor a function"
        refuse("--custom-objects", f"{module!r} has {what}.")
    return name, found
