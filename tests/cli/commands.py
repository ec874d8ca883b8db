"""Runs the `vis` command, and reads what it wrote."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from vis.cli import app


def run(*arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def refusal(*arguments) -> str:
    """The one line in which a command refuses, after a progress bar or none."""
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    *bar, line = err.splitlines(keepends=True)
    assert all(re.search(r"\d%\|", drawn) or not drawn.strip() for drawn in bar)
    assert line.startswith("Error: ")
    assert line.endswith("\n")
    return line


def start(*arguments, folder, **options) -> subprocess.Popen:
    """Starts a command in a process of its own, as people run it."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    return subprocess.Popen(
        [sys.executable, "-m", "vis", *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def read(path) -> np.ndarray:
    """The pixels of a picture."""
    with Image.open(path) as picture:
        return np.asarray(picture)
