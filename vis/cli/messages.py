"""How the `vis` command speaks: mistakes in one line that names an option, and no chatter from below."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NoReturn

import typer
from typer.core import TyperGroup

from vis import VisWarning

# Typer exports this class's child only, and has its own copy of click or not, by version.
UsageError = typer.BadParameter.__base__

# What arguments of the library are called on the command line, for its messages to name what was typed: by those
# commands that explain an image. Others tell the functions below what they have.
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
            typer.echo(f"Error: {_one_line(_mistake(error))}", err=True)
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)


def refuse(option: str, message: str) -> NoReturn:
    """Give up on the command because of what an option was given."""
    raise typer.BadParameter(message, param_hint=option)


@contextlib.contextmanager
def option(name: str) -> Iterator[None]:
    """Lay a mistake found inside at the door of an option."""
    try:
        yield
    except OSError as error:  # a name that is too long, for example
        reason = f"{error.filename} {error.strerror}" if error.filename else error
        raise typer.BadParameter(f"{reason}.", param_hint=name) from error
    except ValueError as error:
        message = _in_options(str(error), {name.removeprefix("--").replace("-", "_"): name})
        if message.startswith(name):
            raise UsageError(message) from error
        raise typer.BadParameter(message, param_hint=name) from error


@contextlib.contextmanager
def library_messages(names: Mapping[str, str] = IMAGE_OPTIONS) -> Iterator[None]:
    """Give the library's errors and warnings as lines that name options instead of Python arguments.

    Args:
        names: the arguments, and what the command calls them; those of one ordinary word count only where a message
            gives their value.
    """
    import tensorflow as tf

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        try:
            yield
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UsageError(_in_options(str(error), names)) from error
    for warning in caught:
        if issubclass(warning.category, VisWarning):
            _show(str(warning.message), names)


@contextlib.contextmanager
def gathered_messages(names: Mapping[str, str] = IMAGE_OPTIONS) -> Iterator[None]:
    """As `library_messages`, for many calls: warnings that differ only in numbers are shown once, and counted."""
    import tensorflow as tf

    first: dict[str, str] = {}
    times: Counter[str] = Counter()

    def note(message, category, *place, **more):
        if issubclass(category, VisWarning):
            kind = re.sub(r"[-+]?\d[\d.e+-]*", "#", str(message))
            first.setdefault(kind, str(message))
            times[kind] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always", VisWarning)
        warnings.showwarning = note
        try:
            yield
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UsageError(_in_options(str(error), names)) from error
        finally:
            for kind, message in first.items():
                more = times[kind] - 1
                _show(message + (f" (and so {more} time{'s' * (more > 1)} more)" if more else ""), names)


def _show(warning: str, names: Mapping[str, str]) -> None:
    typer.echo(f"Warning: {_one_line(_in_options(warning, names))}", err=True)


def _in_options(message: str, names: Mapping[str, str]) -> str:
    """A message of the library, with options in place of Python arguments."""
    telling = sorted((name for name in names if "_" in name), key=len, reverse=True)
    ordinary = [name for name in names if "_" not in name]
    patterns = [rf"{name.replace('_', '[_ ]')}\b" for name in telling]
    if ordinary:
        patterns.append(
            rf"(?<!the )(?<!this )(?<!a )(?:{'|'.join(ordinary)})(?==| is\b| must\b| takes\b| holds\b| has\b|:)"
        )
    spaced = {name.replace("_", " "): option for name, option in names.items()}
    return re.sub(rf"(?<![\w.'-])(?:{'|'.join(patterns)})", lambda match: spaced[match[0].replace("_", " ")], message)


def _mistake(error) -> str:
    """What is wrong with the command line, in words that say what was given."""
    message = error.format_message()
    # Newer releases of Typer have values checked by pydantic and quote what it says.
    details = getattr(error.__cause__, "errors", None)
    if details is not None:
        detail = details()[0]
        message = message.replace(error.message, _unfit(detail["type"], detail["input"], detail))
    return re.sub(r"^Invalid value for '(--[\w-]+)'", r"Invalid value for \1", message)


def _unfit(kind: str, given, detail: dict) -> str:
    limits = detail.get("ctx", {})
    if kind in ("greater_than_equal", "less_than_equal"):
        limit, side = (limits["ge"], "less") if "ge" in limits else (limits["le"], "more")
        return f"{given} is {side} than {limit}."
    kind, _, _ = kind.partition("_")
    if kind in _KINDS:
        return f"{given!r} is not {_KINDS[kind]}."
    said = str(limits.get("error", detail["msg"]))
    return said if str(given) in said else f"{given!r}: {said}"


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
