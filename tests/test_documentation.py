"""Every code block of the README and of the documentation runs, as a reader would run it, from top to bottom."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from nnp_files import lenet
from PIL import Image

from vis import VisWarning

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    return [code for found, code in BLOCK.findall(page.read_text("utf-8")) if found == language]


def commands(page: Path) -> list[str]:
    """The lines of the blocks without a language that call `vis`, but for the demo, which has a test of its own."""
    lines = [line for code in blocks(page, "") for line in code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("vis ") and not line.startswith("vis demo")]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, digit_model, digits):
    """A folder with what the examples speak of: the demo's model, a model of photographs, a picture, tables."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "vis-demo").mkdir()
    digit_model.save(folder / "vis-demo" / "digits.keras")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(8, 7, 4), keras.layers.Conv2D(8, 5, 4, activation="relu", name="features")]
    ends = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.Input((224, 224, 3)), *layers, *ends])
    model.layers[-1].kernel.assign(np.abs(model.layers[-1].kernel))
    model.save(folder / "model.keras")
    lenet(folder / "results.nnp")
    from skimage import data

    Image.fromarray(data.chelsea()).save(folder / "cat.png")
    _write_images(folder, digits, {"output_result": range(12), "train": range(12, 112), "val": range(112, 132)})
    _write_table(folder)
    return folder


def _write_images(folder, digits, tables):
    (folder / "digits").mkdir()
    for name, rows in tables.items():
        lines = ["x:image,y:label"]
        for row in rows:
            path = f"digits/{row}.png"
            Image.fromarray(np.uint8(255 * digits.x_train[row, ..., 0])).save(folder / path)
            lines.append(f"{path},{digits.y_train[row]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def _write_table(folder):
    from sklearn.datasets import load_iris

    x, y = load_iris(return_X_y=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
    model.save(folder / "table.keras")
    header = ",".join([*(f"x__{i}" for i in range(4)), "y"])
    lines = [",".join([*(f"{value:.1f}" for value in row), str(label)]) for row, label in zip(x, y, strict=True)]
    (folder / "table_train.csv").write_text("\n".join([header, *lines[::2]]) + "\n")
    (folder / "table_val.csv").write_text("\n".join([header, *lines[1::2]]) + "\n")


@pytest.fixture(scope="module")
def namespace():
    """What the README speaks of without making it."""
    layers = [keras.layers.Embedding(50, 4, name="embedding"), keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(2)]
    return {
        "text_model": keras.Sequential([keras.Input((6,), dtype="int32"), *layers]),
        "tokens": np.arange(6),
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page, desk, namespace, monkeypatch):
    monkeypatch.chdir(desk)
    names = dict(namespace)
    for number, code in enumerate(blocks(page, "python"), start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VisWarning)  # of a model that a page has not trained
            exec(compile(code, f"{page.name}, block {number}", "exec"), names)


# What several pages have runs once; the folds of label errors end by themselves on a page, and sooner here.
LINES = list(dict.fromkeys(" ".join(line.split()) for page in PAGES for line in commands(page)))
SOONER = {"label-errors": ("--epochs", "2")}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[:40])
def test_the_commands_of_the_pages_run(line, desk, monkeypatch):
    from typer.testing import CliRunner

    from vis.cli import app

    monkeypatch.chdir(desk)
    name, *options = shlex.split(line)[1:]
    result = CliRunner().invoke(app, [name, *options, *SOONER.get(name, ())])
    assert result.exit_code == 0, result.output
    output = Path(re.search(r"(?:--output|-o|convert \S+) (\S+)", line)[1])
    assert output.exists()


def test_pictures_and_pages_that_are_pointed_at_are_there():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points at {target}"
