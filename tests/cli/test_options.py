"""Options that several commands share."""

from __future__ import annotations

import inspect

import pytest
import typer
from cli.commands import refusal
from typer.testing import CliRunner

from vis import ArgumentError
from vis.cli import options


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (["--ray"], ("ray", None)),
        (["--ray", "--html"], ("ray", None)),
        (["--ray", "127.0.0.1:6379", "--html"], ("ray", "127.0.0.1:6379")),
        (["--ray=auto"], ("ray", "auto")),
        ([], ("local", None)),
    ],
)
def test_ray_is_an_option_with_a_value_or_without(given, asked, monkeypatch):
    from typer.testing import CliRunner

    from vis.batch import executors
    from vis.cli import app

    found = []

    def stop(name, address):
        found.append((name, address))
        raise ArgumentError("executor", "must stop here, not go on")

    monkeypatch.setattr(executors, "executor_named", stop)
    for command in ("saliency-batch", "influence"):
        tables = ["--input-train", "t", "--input-val", "v"] if command == "influence" else []
        assert "--ray must stop here" in CliRunner().invoke(app, [command, "--model", "m", *tables, *given]).stderr
    assert found == [asked] * 2


def command_of(**annotations):
    """A command of some shared options, that prints what it got."""
    own = typer.Typer()
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in annotations.items()
    ]

    def show(**given):
        print(*given.values())

    show.__signature__ = inspect.Signature(parameters)
    own.command(cls=options.CommandWithRay)(show)
    return lambda *line: CliRunner().invoke(own, list(line))


def test_the_model_is_the_console_s_where_none_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = command_of(model=(options.ModelOption, None))
    for flag in ("--model", "-m"):
        assert command(flag, "a.keras").stdout == "a.keras\n"
    words = "Missing option '--model'. It may be left out if there is a file results.nnp."
    for name in ("gradcam", "gradcam-batch"):
        assert refusal(name) == f"Error: {words}\n"
    (tmp_path / "results.nnp").touch()
    assert command().stdout == "results.nnp\n"


def test_pixels_are_checked_before_a_model_is_read():
    command = command_of(preprocess=(options.PreprocessOption, "auto"))
    for text in ("auto", "unit", "raw:124,116,104:58,57,57"):
        assert command("--preprocess", text).stdout == f"{text}\n"
    assert "--preprocess must be " in command("--preprocess", "bgr").stderr


def test_ray_alone_is_a_cluster_of_this_machine():
    command = command_of(ray=(options.RayOption, None), page=(bool, False))
    for line, expected in (
        (["--ray"], " False"),
        (["--ray", "--page"], " True"),
        (["--page", "--ray", "10.0.0.1:6379"], "10.0.0.1:6379 True"),
        (["--page"], "None True"),
    ):
        assert command(*line).stdout == f"{expected}\n"
