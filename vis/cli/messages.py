"""How the `vis` command speaks: mistakes in one line that names an option, and no chatter from below."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from typing import NoReturn

import typer
from typer.core import TyperGroup

from vis import VisWarning

# Typer exports this class's child only, and has its own copy of click or not, by version.
UsageError = typer.BadParameter.__base__

# What an argument of the library is called on the command line, for its errors to name what was typed. Those that are
# ordinary words too count only where a message gives their value.
_OPTIONS = {
    "seed_input": "--image",
    "filter_indices": "--class-index",
    "penultimate_layer_idx": "--layer",
    "penultimate_layer": "--layer",
    "wrt_tensor": "--layer",
    "backprop_modifier": "--backprop-modifier",
    "grad_modifier": "--grad-modifier",
    "noise_level": "--noise-level",
    "num_samples": "--num-samples",
}
_ORDINARY_WORDS = {name: f"--{name}" for name in ("model", "aggregate", "seed", "preprocess", "colormap")}
_ARGUMENT = re.compile(
    rf"(?<![\w.'-])(?:({'|'.join(name.replace('_', '[_ ]') for name in _OPTIONS)})\b"
    rf"|(?<!the )({'|'.join(_ORDINARY_WORDS)})(?==| is\b| must\b| takes\b|:))"
)


class OneLineErrors(TyperGroup):
    """Says what is wrong in one line, which a log or another program can quote, and exits with 2."""

    def main(self, *args, standalone_mode: bool = True, **kwargs):
        """Run the command line; with `standalone_mode=False` errors are raised, as click has it."""
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **kwargs)
        try:
            sys.exit(super().main(*args, standalone_mode=False, **kwargs))
        except UsageError as error:
            typer.echo(f"Error: {_one_line(error.format_message())}", err=True)
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
    except ValueError as error:
        raise typer.BadParameter(_in_options(str(error)), param_hint=name) from error


@contextlib.contextmanager
def library_messages() -> Iterator[None]:
    """Give the library's errors and warnings as lines that name options instead of Python arguments."""
    import tensorflow as tf

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        try:
            yield
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UsageError(_in_options(str(error))) from error
    for warning in caught:
        if issubclass(warning.category, VisWarning):
            _show(str(warning.message))


@contextlib.contextmanager
def gathered_messages() -> Iterator[None]:
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
            raise UsageError(_in_options(str(error))) from error
        finally:
            for kind, message in first.items():
                _show(message + (f" (and so in {times[kind] - 1} more batches)" if times[kind] > 1 else ""))


def _show(warning: str) -> None:
    typer.echo(f"Warning: {_one_line(_in_options(warning))}", err=True)


def _in_options(message: str) -> str:
    """A message of the library, with options in place of Python arguments."""
    return _ARGUMENT.sub(
        lambda match: _OPTIONS[match[1].replace(" ", "_")] if match[1] else _ORDINARY_WORDS[match[2]], message
    )


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
