"""The messages of the `vis` command: one line per mistake, naming the option, and no output of other libraries."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from vis.utils.errors import ArgumentError, VisWarning, sentence

# Typer exports only a subclass of this class, and by version bundles click or not.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_USAGE_ERROR = 2  # the exit code

# The option for an argument of the library, in commands that explain images. Other arguments are shown by name.
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
# Remedies for the shell, where the library's remedy is for Python: keyed by an error's argument and kind, or by a
# warning's code.
Remedies = Mapping[tuple[str, str] | str, str]
IMAGE_REMEDIES: Remedies = {
    ("penultimate_layer_idx", "disconnected"): "Give a --layer that the class is computed from",
    "class_token_only": "Choose a layer before the last attention by --layer",
    "negative_map": "--grad-modifier negate shows what speaks against it",
    "not_the_output": "Give another --layer",
    "saturated": "Leave --logits on",
    "single_position": "Choose an earlier layer by --layer",
}
_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false"}


class OneLineErrors(TyperGroup):
    """Prints errors as one line, which a log or another program can quote, and exits with 2."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; with `standalone_mode=False` errors are raised, as in click."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        try:
            sys.exit(super().main(args, prog_name, complete_var, False, windows_expand_args, **extra))
        except UsageError as error:
            typer.echo(f"Error: {_one_line(_usage(error))}", err=True)
            sys.exit(_USAGE_ERROR)
        except typer.Abort:
            sys.exit(1)


def refuse(option: str, message: str) -> NoReturn:
    """Exit with an error about the value of an option."""
    raise typer.BadParameter(message, param_hint=option)


@contextlib.contextmanager
def option(name: str, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Report errors raised inside as errors of an option.

    Args:
        name: The option, whichever argument the error is about.
        remedies: Remedies for the shell, as in `library_messages`.
    """
    try:
        yield
    except OSError as error:  # for example, a name that is too long
        reason = f"{error.filename} {error.strerror}" if error.filename else error
        raise typer.BadParameter(f"{reason}.", param_hint=name) from error
    except ArgumentError as error:
        raise UsageError(_refusal(error, name, remedies)) from error
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=name) from error


@contextlib.contextmanager
def library_messages(names: Mapping[str, str] = IMAGE_OPTIONS, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Print the library's errors and warnings as lines of the command.

    Args:
        names: The option for each argument.
        remedies: Remedies for the shell, in place of the library's, by an error's argument and kind or by a warning's
            code. A warning without a remedy keeps none, because none would help.
    """
    with shown_warnings(remedies), _errors(names, remedies):
        yield


@contextlib.contextmanager
def shown_warnings(remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Print the library's warnings, but not its errors, as lines of the command; needs no TensorFlow."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        yield
    for each in caught:
        if isinstance(each.message, VisWarning):
            _show(each.message, remedies)


@contextlib.contextmanager
def gathered_messages(names: Mapping[str, str] = IMAGE_OPTIONS, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Do as `library_messages` for many calls: print the first warning of each code, and count the others."""
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
def argument_errors(names: Mapping[str, str] = IMAGE_OPTIONS, remedies: Remedies = IMAGE_REMEDIES) -> Iterator[None]:
    """Refuse an option for an argument that the library refuses, as `library_messages`; it needs no TensorFlow."""
    try:
        yield
    except ArgumentError as error:
        raise UsageError(_refusal(error, names.get(error.argument, error.argument), remedies)) from error


@contextlib.contextmanager
def _errors(names: Mapping[str, str], remedies: Remedies) -> Iterator[None]:
    """Report the library's argument errors as errors of options, and any other error unchanged."""
    import tensorflow as tf

    try:
        with argument_errors(names, remedies):
            yield
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise UsageError(str(error)) from error


def _refusal(error: ArgumentError, name: str, remedies: Remedies) -> str:
    return sentence(f"{name} {error.problem}", remedies.get((error.argument, error.kind), error.remedy))


def _show(warning: VisWarning, remedies: Remedies, more: int = 0) -> None:
    remedy = remedies.get(warning.code, warning.remedy) if warning.remedy else ""
    repeated = f" (repeated {more} more time{'s' * (more > 1)})" if more else ""
    typer.echo(f"Warning: {_one_line(sentence(warning.problem, remedy))}{repeated}", err=True)


def _usage(error) -> str:
    """Return in one line what is wrong with the command line."""
    # Newer releases of Typer check values with pydantic, which reports errors as data.
    if getattr(error, "param", None) is None or not hasattr(error.__cause__, "errors"):
        return error.format_message()
    detail, name = error.__cause__.errors()[0], error.param.opts[0]
    limits = detail.get("ctx", {})
    problem = _problem(detail["type"], detail["input"], limits)
    return f"{name} {problem}." if problem else f"Invalid value for {name}: {limits.get('error', detail['msg'])}"


def _problem(kind: str, came, limits: Mapping) -> str | None:
    """Describe what is wrong with a value, by pydantic's type of error; None for unknown types."""
    if kind == "greater_than_equal":
        return f"must be at least {limits['ge']:g}, not {came}"
    if kind == "less_than_equal":
        return f"must be at most {limits['le']:g}, not {came}"
    wanted = _KINDS.get(kind.partition("_")[0])
    return wanted and f"must be {wanted}, not {came!r}"


def _one_line(message: str) -> str:
    return " ".join(message.split())


def import_tensorflow() -> None:
    """Import TensorFlow without the lines about CPUs and CUDA that it prints before its log level can be set.

    C++ code writes them to the standard error of the process, so they have to be caught there. They are shown if the
    import fails, or with TF_CPP_MIN_LOG_LEVEL=0.
    """
    if "tensorflow" in sys.modules:
        return
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    stderr = os.dup(2)
    # Garbage collection takes a sixth of the import, among millions of objects that all stay alive.
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
