"""`vis demo`, where it cannot run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cli.commands import refusal


def test_without_mlxtend_the_extra_is_named(tmp_path):
    code = "import sys; sys.modules['mlxtend'] = None; from vis.cli import main; sys.argv = ['vis', 'demo']; main()"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert 'pip install "keras3-vis[demo]"' in result.stderr


def test_an_output_that_cannot_be_a_folder(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert refusal("demo", "--output", tmp_path / "file").startswith(
        f"Error: --output {tmp_path / 'file'} cannot be created"
    )
    assert (tmp_path / "file").read_text() == "in the way"
