"""What holds for the package as a whole."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import vis

ROOT = Path(__file__).parent.parent
HEAVY = ("tensorflow", "keras", "matplotlib", "pandas", "PIL", "jinja2")


def python(*arguments: str) -> subprocess.CompletedProcess:
    """A fresh interpreter that sees this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=600)


def heavy_imports(result: subprocess.CompletedProcess) -> set[str]:
    """The heavy packages among those that `python -X importtime` reports."""
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"\|\s+(\w+)$", result.stderr, re.MULTILINE)) & set(HEAVY)


def test_import_times_are_reported_by_name():
    assert heavy_imports(python("-X", "importtime", "-c", "import PIL")) == {"PIL"}


def test_import_vis_imports_nothing_heavy():
    assert heavy_imports(python("-X", "importtime", "-c", "import vis; dir(vis)")) == set()


def test_help_imports_nothing_heavy():
    result = python("-X", "importtime", "-m", "vis", "--help")
    assert "gradcam" in result.stdout
    assert heavy_imports(result) == set()


def test_submodules_are_loaded_when_used():
    result = python("-c", "import vis; print(vis.grad_modifiers.__name__, vis.utils.__name__)")
    assert result.stdout.split() == ["vis.grad_modifiers", "vis.utils"]


def test_every_submodule_is_reachable_and_listed():
    folder = Path(vis.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    public = {name for name in modules if not name.startswith("_")}
    assert {"visualization", "losses", "models"} <= public <= set(dir(vis))
    for name in public:
        assert getattr(vis, name).__name__ == f"vis.{name}"


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="'vis' has no attribute 'saliencies'"):
        vis.saliencies  # noqa: B018


def test_version_is_the_distribution_s_and_in_the_changelog():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["metadata"]["version"] == "attr: vis.__version__"
    assert re.search(rf"^## {re.escape(vis.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_warnings_of_vis_are_user_warnings():
    assert issubclass(vis.VisWarning, UserWarning)


def test_a_warning_is_at_the_line_of_the_caller():
    import keras
    import numpy as np

    from vis.visualization import visualize_cam

    layers = [keras.layers.Conv2D(2, 8), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    batches = iter([np.ones((2, 8, 8, 1))])
    for seed_input in (np.ones((8, 8, 1)), batches):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(visualize_cam(model, -1, 0, seed_input, model.layers[0]))
        assert {warning.filename for warning in caught} == {__file__}
        assert "has a single position" in str(caught[0].message)


def test_type_marker_is_there():
    assert (Path(vis.__file__).parent / "py.typed").exists()


def test_only_the_public_api_of_keras_is_used():
    private = [
        path.relative_to(ROOT).as_posix()
        for folder in ("vis", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(?:from|import) keras\.src", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert private == []
