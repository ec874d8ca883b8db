"""The `vis` command as a whole, and as people run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli.commands import refusal, run, start

import vis


def test_unknown_command():
    assert "saliences" in refusal("saliences")


def test_version_and_help():
    assert run("--version") == (0, f"vis {vis.__version__}\n", "")
    code, out, _ = run()
    assert code == 0
    assert out == run("--help")[1]
    for name in ("saliency", "smoothgrad", "gradcam", "demo"):
        assert name in out
        assert "--output" in run(name, "--help")[1]


# As people run it


def finish(*arguments, folder) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command in a process of its own."""
    process = start(*arguments, folder=folder)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def test_a_process_writes_its_picture_and_one_line(model_path, digit, tmp_path):
    code, out, err = finish(
        "gradcam", "--model", model_path, "--image", "seven.png", "--class-index", "auto", folder=tmp_path
    )
    assert (code, err) == (0, "")
    assert out.startswith("gradcam.png: class 7 (predicted), probability ")
    assert sorted(os.listdir(tmp_path)) == ["gradcam.png", "seven.png"]


def test_a_process_refuses_in_one_line(model_path, digit, tmp_path):
    code, out, err = finish(
        "saliency", "--model", model_path, "--image", "seven.png", "--class-index", 12, folder=tmp_path
    )
    assert code == 2
    assert out == ""
    assert err == (
        "Error: Invalid value for --class-index: 12 is out of range, the model has 10 outputs: give 0 to 9 or auto.\n"
    )
    assert os.listdir(tmp_path) == ["seven.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["gradcam-batch", "--input", "none.csv"],
        ["influence", "--input-train", "none.csv", "--input-val", "none.csv"],
        ["influence-tabular", "--input-train", "none.csv", "--input-val", "none.csv"],
        ["label-errors", "--input-train", "none.csv"],
    ],
)
def test_a_mistyped_path_is_refused_without_importing_tensorflow(arguments, tmp_path):
    # TensorFlow takes seconds to import, and prints lines about the processor unless the command prevents it.
    code = f"""
import sys
from vis.cli import app
try:
    app([*{arguments!r}, "--model", "model.keras"])
finally:
    assert "tensorflow" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 2
    assert "must be an existing CSV" in result.stderr
    assert result.stderr.endswith(", not none.csv.\n")
    assert result.stderr.count("\n") == 1
