"""Who computes: by name, and in order."""

from __future__ import annotations

import sys

import pytest

from vis import ArgumentError
from vis.batch.executors import LOCAL, executor_named


def test_without_ray_a_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ArgumentError, match=r"executor needs Ray.*pip install 'keras3-vis\[ray\]'"):
        executor_named("ray")
    from typer.testing import CliRunner

    from vis.cli import app

    result = CliRunner().invoke(app, ["saliency-batch", "--model", "m.keras", "--input", "in.csv", "--ray"])
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: --ray needs Ray, which is not installed. Install it with pip install 'keras3-vis[ray]'.\n"
    )


def test_this_process_works_on_one_piece_after_the_other():
    drawn = []

    def pieces():
        for piece in (3, 1, 2):
            drawn.append(piece)
            yield piece

    with executor_named("local") as executor:
        assert executor is LOCAL
        assert not executor.is_remote
        assert executor.pieces_at_once(1000) == 1
        results = executor.map(pow, 2, pieces())
        assert next(results) == 8
        assert drawn == [3]
        assert list(results) == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dask",), "executor must be one of 'local', 'ray', not 'dask'"),
        (("local", "auto"), "address must be None for the executor 'local', not 'auto'"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        executor_named(*arguments)
