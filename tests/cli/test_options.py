"""Options that several commands share."""

from __future__ import annotations

import pytest

from vis import ArgumentError


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
