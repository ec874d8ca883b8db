"""`vis methods`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from cli.commands import run

from vis.methods import METHODS


def test_it_lists_every_method_with_its_cost_and_what_it_needs():
    code, out, err = run("methods")
    assert (code, err) == (0, "")
    header, *rows = out.partition("\n\n")[0].splitlines()
    assert header.split() == ["METHOD", "SHOWS", "PASSES", "NEEDS"]
    assert [row.split()[0] for row in rows] == list(METHODS)
    for row, method in zip(rows, METHODS.values(), strict=True):
        assert method.line in row
        assert row.endswith(method.needs)
    by_name = dict(zip(METHODS, rows, strict=True))
    assert "  1 gradient  " in by_name["saliency"]
    assert "  25 gradients (--num-samples)  " in by_name["smoothgrad"]
    assert "  1 forward pass  " in by_name["gradcam"]


def test_it_imports_no_tensorflow():
    code = "from vis.cli import app\ntry: app(['methods'])\nfinally: import sys; assert 'tensorflow' not in sys.modules"
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, timeout=120).returncode == 0
