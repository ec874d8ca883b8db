"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import textwrap
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


def test_a_part_that_needs_keras_on_tensorflow_says_so():
    """In a process where Keras says that it runs on JAX, which is not installed with `vis`."""
    source = """
        import keras
        keras.backend.backend = lambda: "jax"
        import vis, vis.utils, vis.plotting, vis.grad_modifiers
        for part in ("visualization", "influence", "optimizer", "backprop_modifiers"):
            try:
                getattr(vis, part)
            except ImportError as error:
                print(error)
        import vis.visualization
    """
    result = python("-c", textwrap.dedent(source))
    message = (
        "vis needs Keras on TensorFlow, but Keras runs on 'jax'. Set KERAS_BACKEND=tensorflow before Keras is imported."
    )
    assert result.stdout.splitlines() == [message] * 4
    assert result.stderr.splitlines()[-1] == f"ImportError: {message}"


# Modules without logic of their own: types, names of fields, and `python -m vis`, which `tests/cli/test_app.py` runs.
UNTESTED = {"vis/__main__.py", "vis/engine/types.py", "vis/files/nnp/schema.py"}


def test_the_tests_of_each_module_are_where_it_is():
    modules = [path for path in (ROOT / "vis").rglob("*.py") if path.name != "__init__.py"]
    tests = {path: ROOT / "tests" / path.parent.relative_to(ROOT / "vis") / f"test_{path.name}" for path in modules}
    assert {path.relative_to(ROOT).as_posix() for path, test in tests.items() if not test.exists()} == UNTESTED


def test_type_marker_is_there():
    assert (Path(vis.__file__).parent / "py.typed").exists()


# The private attributes of Keras that `vis.engine.keras_internals` stands before.
WRAPPED = frozenset(
    "_keras_history _inbound_nodes _outbound_nodes _nodes_by_depth _functional _layers _keras_mask _learning_rate "
    "_exclude_from_weight_decay _exclude_from_weight_decay_pattern _moments _outputs_struct _trainable_variables "
    "_non_trainable_variables _remat_mode _momentums _velocities _velocity_hats _average_gradients _inputs "
    "_reshuffle_each_iteration _deterministic".split()
)
INTERNALS = "vis/engine/keras_internals.py"
# Private names of Python's own (named tuples, frames) and of another object of the same class.
NOT_KERAS = frozenset("_replace _asdict _getframe _functions".split())
# Looks into classes of the user's own, whose code may read anything.
OF_USERS = {"vis/engine/keys.py"}


def python_files(*folders: str) -> dict[str, str]:
    """The source of every Python file of some folders."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def private_names(source: str, tests: bool = False) -> set[str]:
    """What a file reads or sets of objects that are not its own: private attributes, and `vars(...)`.

    A wrapped name counts wherever it stands, on `self` and in a string too. In tests only these count: a test may look
    into `vis`.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            private = node.attr.startswith("_") and not node.attr.startswith("__") and node.attr not in NOT_KERAS
            if node.attr in WRAPPED or (not tests and ((private and not mine) or node.attr == "__dict__")):
                found.add(node.attr)
        elif isinstance(node, ast.Constant) and node.value in WRAPPED:
            found.add(node.value)
        elif isinstance(node, ast.Name) and node.id == "vars" and not tests:
            found.add("vars")
    return found


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x.y._layers", {"_layers"}),
        ("self._layers = 3", {"_layers"}),
        ("getattr(x, '_keras_mask', None)", {"_keras_mask"}),
        ("f(x)._unknown", {"_unknown"}),
        ("vars(layer)['call'] = f", {"vars"}),
        ("layer.__dict__['call']", {"__dict__"}),
        ("self._mine + row._replace(a=1) + x.__name__", set()),
    ],
)
def test_private_names_are_found(source, names):
    assert private_names(source) == names


def test_private_attributes_of_keras_stand_in_one_file():
    """So that what a new Keras changes is changed here in one place, whose tests notice it."""
    library = python_files("vis", "applications", "benchmarks", "examples")
    assert private_names(library.pop(INTERNALS)) == {*WRAPPED, "vars"}
    tests = python_files("tests")
    tests.pop("tests/test_package.py")
    touching = {path for path, source in library.items() if private_names(source)}
    touching |= {path for path, source in tests.items() if private_names(source, tests=True)}
    assert touching == OF_USERS


def test_no_module_of_keras_s_own_source_is_imported():
    files = python_files("vis", "tests", "applications", "benchmarks", "examples")
    importing = re.compile(r"^\s*(?:from|import) keras\.src", re.MULTILINE)
    assert [path for path, source in files.items() if importing.search(source)] == []
