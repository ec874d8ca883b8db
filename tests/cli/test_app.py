"""The `vis` command as a whole, and as people run it."""

from __future__ import annotations

import os

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
