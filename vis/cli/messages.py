"""How the `vis` command speaks: mistakes in one line that names an option, and no chatter from below."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NoReturn

import typer
from typer.core import TyperGroup

from vis.utils.errors import ArgumentError, VisWarning, sentence

# Typer exports this class's child only, and has its own copy of click or not, by version.
UsageError = typer.BadParameter.__base__

# The option that stands for an argument of the library, in those commands that explain images. An argument that no
# option stands for is shown as it is.
IMAGE_OPTIONS = {
    "seed_input": "--image",
    "filter_indices": "--class-index",
    "penultimate_layer_idx": "--layer",
    "penultimate_layer": "--layer",
    "wrt_tensor": "--layer",
    "backprop_modifier": "--backprop-modifier",
    "grad_modifier": "--grad-modifier",
    "noise_level": "--noise-level",
    "num_samples": "--num-samples",
    **{name: f"--{name}" for name in ("model", "aggregate", "seed", "preprocess", "colormap")},
}
# What to do about it in the shell, where the library's remedy is one for Python: of an error by its argument and kind,
# of a warning by its code.
Remedies = Mapping[tuple[str, str] | str, str]
IMAGE_REMEDIES: Remedies = {
    "class_token_only": "Choose a layer before the last attention by --layer",
    "negative_map": "--grad-modifier negate shows what speaks against it",
    "not_the_output": "Give another --layer",
    "saturated": "Leave --logits on",
    "single_position": "Choose an earlier layer by --layer",
}
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false"}


class OneLineErrors(TyperGroup):
    """Says what is wrong in one line, which a log or another program can quote, and exits with 2."""

    def main(self, *args, standalone_mode: bool = True, **kwargs):
        """Run the command line; with `standalone_mode=False` errors are raised, as click has it."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **kwargs)
        try:
            sys.exit(super().main(*args, standalone_mode=False, **kwargs))
        except UsageError as error:
            typer.echo(f"Error: {_one_line(_usage(error))}", err=True)
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)


def refuse(option: str, message: str) -> NoReturn:
    """Give up on the command because of what an option was given."""
    raise typer.BadParameter(message, param_hint=option)


@contextlib.contextmanager
def option(name: str, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Refuse the value of an option where the library refuses the argument that it was passed as.

    Args:
        name: The option; it stands for whichever argument an error inside is about.
        remedies: What to do in the shell, as `library_messages` has it.
    """
    try:
        yield
    except OSError as error:  # a name that is too long, for example
        reason = f"{error.filename} {error.strerror}" if error.filename else error
        raise typer.BadParameter(f"{reason}.", param_hint=name) from error
    except ArgumentError as error:
        raise UsageError(_refusal(error, name, remedies)) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from error


@contextlib.contextmanager
def library_messages(names: Mapping[str, str] = IMAGE_OPTIONS, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Give the library's errors and warnings as lines of the command.

    Args:
        names: The option that stands for an argument.
        remedies: What to do in the shell, in place of the library's remedy: of an error by its argument and kind, of a
            warning by its code, unless it came without a remedy, as it does where that would not help.
    """
    with shown_warnings(remedies), _errors(names, remedies):
        yield


@contextlib.contextmanager
def shown_warnings(remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Give the library's warnings, and not its errors, as lines of the command; it needs no TensorFlow."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        yield
    for each in caught:
        if isinstance(each.message, VisWarning):
            _show(each.message, remedies)


@contextlib.contextmanager
def gathered_messages(names: Mapping[str, str] = IMAGE_OPTIONS, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """As `library_messages`, for many calls: of the warnings of one code the first is shown, and all are counted."""
    first: dict[str, VisWarning] = {}
    times: Counter[str] = Counter()

    def note(message, category, *place, **more):
        if isinstance(message, VisWarning):
            first.setdefault(message.code, message)
            times[message.code] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always", VisWarning)
        warnings.showwarning = note
        try:
            with _errors(names, remedies):
                yield
        finally:
            for code, warning in first.items():
                _show(warning, remedies, times[code] - 1)


@contextlib.contextmanager
def _errors(names: Mapping[str, str], remedies: Remedies) -> Iterator[None]:
    """Refuse an option for an argument that the library refuses; any other error of a library is shown as it is."""
    import tensorflow as tf

    try:
        yield
    except ArgumentError as error:
        raise UsageError(_refusal(error, names.get(error.argument, error.argument), remedies)) from error
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise UsageError(str(error)) from error


def _refusal(error: ArgumentError, name: str, remedies: Remedies) -> str:
    return sentence(f"{name} {error.problem}", remedies.get((error.argument, error.kind), error.remedy))


def _show(warning: VisWarning, remedies: Remedies, more: int = 0) -> None:
    remedy = remedies.get(warning.code, warning.remedy) if warning.remedy else ""
    repeated = f" (repeated {more} more time{'s' * (more > 1)})" if more else ""
    typer.echo(f"Warning: {_one_line(sentence(warning.problem, remedy))}{repeated}", err=True)


def _usage(error) -> str:
    """What is wrong with the command line, in one line."""
    # Newer releases of Typer have values checked by pydantic, which says as data what is wrong.
    if getattr(error, "param", None) is None or not hasattr(error.__cause__, "errors"):
        return error.format_message()
    detail, name = error.__cause__.errors()[0], error.param.opts[0]
    limits = detail.get("ctx", {})
    problem = _problem(detail["type"], detail["input"], limits)
    return f"{name} {problem}." if problem else f"Invalid value for {name}: {limits.get('error', detail['msg'])}"


def _problem(kind: str, came, limits: Mapping) -> str | None:
    """What is wrong with a value by pydantic's type of error, or None for a type that is not known here."""
    if kind == "greater_than_equal":
        return f"must be at least {limits['ge']:g}, not {came}"
    if kind == "less_than_equal":
        return f"must be at most {limits['le']:g}, not {came}"
    wanted = _KINDS.get(kind.partition("_")[0])
    return wanted and f"must be {wanted}, not {came!r}"


def _one_line(message: str) -> str:
    return " ".join(message.split())


def import_tensorflow() -> None:
    """Import TensorFlow without the lines on CPUs and CUDA it writes before its log level can be set.

    They are written by C++ code to the process's standard error, so that is where they have to be caught. They are
    shown if the import fails, and to anyone who asks for them with TF_CPP_MIN_LOG_LEVEL=0.
    """
    if "tensorflow" in sys.modules:
        return
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    stderr = os.dup(2)
    # A sixth of the time of an import is looking for garbage among millions of objects that all stay.
    gc.disable()
    with tempfile.TemporaryFile() as lines:
        os.dup2(lines.fileno(), 2)
        try:
            import tensorflow as tf

            tf.get_logger().setLevel("ERROR")
            tf.config.list_physical_devices()
        except BaseException:
            os.dup2(stderr, 2)
            lines.seek(0)
            os.write(2, lines.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            gc.freeze()
            gc.enable()
