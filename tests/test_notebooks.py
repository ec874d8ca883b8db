"""Every notebook runs from its first cell to its last, on a small setting, and is committed with its outputs.

These tests take minutes, so `pytest` leaves them out. Run them with `pytest -m notebooks tests/test_notebooks.py`.
"""

from __future__ import annotations

import asyncio
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(path for folder in ("examples", "applications") for path in (ROOT / folder).rglob("*.ipynb"))
NOTEBOOKS = [path for path in NOTEBOOKS if ".ipynb_checkpoints" not in path.parts]

pytestmark = pytest.mark.notebooks


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=[str(path.relative_to(ROOT)) for path in NOTEBOOKS])
def notebook(request):
    return request.param


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Each notebook's run, in a folder of its own; two at a time, as a kernel takes long to begin."""
    folder = tmp_path_factory.mktemp("notebooks")
    # The notebooks look at VIS_SMALL, and train less where it is set.
    settings = {"VIS_SMALL": "1", "PYTHONWARNINGS": "default", "IPYTHONDIR": str(folder)}
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **settings, "PYTHONPATH": paths}

    def run(path):
        cells = nbformat.read(path, as_version=4)
        own = folder / str(NOTEBOOKS.index(path))
        own.mkdir()
        resources = {"metadata": {"path": own}}
        limits = {"timeout": 1800, "startup_timeout": 600}  # on a busy machine a kernel takes a minute to begin
        client = nbclient.NotebookClient(cells, kernel_name="python3", resources=resources, **limits)
        asyncio.run(client.async_execute(env=environment))  # with a loop of its own, which it closes
        return cells

    with ThreadPoolExecutor(2) as pool:
        yield {path: pool.submit(run, path) for path in NOTEBOOKS}


def test_it_runs(notebook, runs):
    cells = runs[notebook].result()
    errors = [output for cell in cells.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not errors
    assert "VisWarning" not in "".join(
        output.text for cell in cells.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"
    )


def test_it_is_committed_with_its_outputs_and_nothing_of_a_machine(notebook):
    assert notebook.stat().st_size < 200_000
    content = nbformat.read(notebook, as_version=4)
    nbformat.validate(content)
    cells = [cell for cell in content.cells if cell.cell_type == "code" and cell.source.strip()]
    assert all(cell.execution_count == i for i, cell in enumerate(cells, start=1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    text = "\n".join(
        "".join([output.get("text", ""), *(data for kind, data in output.get("data", {}).items() if "text" in kind)])
        for output in outputs
    )
    assert not re.search(r"/(?:home|root|opt|tmp|work|Users)/|[A-Z]:\\| at 0x[0-9a-f]+", text)


def test_each_is_shown_once(notebook):
    """A figure is a cell's result or displayed, not both."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        pictures = [o["data"]["image/png"] for o in cell.get("outputs", []) if "image/png" in o.get("data", {})]
        assert len(pictures) == len(set(pictures))
