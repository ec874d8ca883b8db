"""`vis.batch.explain`, and what the batch commands take as their input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import vis.batch
from vis import ArgumentError

ROWS = 12
CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Twelve images in a folder of three classes, and a CSV file of them, in the folder to work in."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 8, 8), np.uint8)
    lines = ["x:image,y:label"]
    for number in range(ROWS):
        path = Path("set", CLASSES[number // 4], f"{number:02d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(path)
        lines.append(f"{path.as_posix()},{number // 4}")
    Path("in.csv").write_text("\n".join([*lines, ""]))
    return tmp_path


def pictures(name):
    return {path.name: path.read_bytes() for path in Path(name, "0000").iterdir()}


def test_it_returns_a_row_per_row_and_writes_what_the_command_writes(model, folder):
    from typer.testing import CliRunner

    from vis.cli import app

    found = vis.batch.explain(model, "in.csv", "a.csv", method="saliency", html=True, progress=False)
    assert list(found.columns) == ["row", "picture", "error", "label", "predicted", "score"]
    assert found["picture"].tolist() == [f"a/0000/{row}.png" for row in range(ROWS)]
    assert found["error"].isna().all()
    assert found["label"].tolist() == [row // 4 for row in range(ROWS)]
    images = np.stack([np.asarray(Image.open(path)) for path in sorted(Path("set").rglob("*.png"))])
    scores = model.predict(images[..., None] / np.float32(255), verbose=0)
    assert found["predicted"].tolist() == scores.argmax(axis=1).tolist()
    np.testing.assert_allclose(found["score"], scores.max(axis=1), atol=1e-5)
    model.save("m.keras")
    line = "saliency-batch --model m.keras --input in.csv --output b.csv --html".split()
    assert CliRunner().invoke(app, line).exit_code == 0
    assert pictures("a") == pictures("b")
    assert Path("a.csv").read_text().replace("a/0", "b/0") == Path("b.csv").read_text()


def test_a_row_without_picture_says_why_and_a_run_goes_on(model, folder, monkeypatch):
    with open("in.csv", "a") as file:
        file.write("none.png,1\n")
    found = vis.batch.explain(model, "in.csv", "a.csv", method="saliency", progress=False)
    assert found["picture"].isna().tolist() == [False] * ROWS + [True]
    assert found["error"][ROWS] == "none.png does not exist. Give the path of an image file."
    assert pd.isna(found["label"][ROWS])
    assert pd.read_csv("a.csv.errors.csv")["row"].tolist() == [ROWS]

    def ask_nothing(rows):
        raise AssertionError("nothing is to be computed again")

    monkeypatch.setattr("vis.batch.run.explainer", lambda *arguments: ask_nothing)
    before = pictures("a")
    again = vis.batch.explain(model, "in.csv", "a.csv", method="saliency", resume=True, progress=False)
    pd.testing.assert_frame_equal(again, found)
    assert pictures("a") == before


def test_another_model_is_not_resumed(model, folder):
    vis.batch.explain(model, "in.csv", "a.csv", method="saliency", progress=False)
    model.layers[-1].bias.assign([1, 0, 0])
    with pytest.raises(ArgumentError, match="resume must continue with the same --model, which has changed"):
        vis.batch.explain(model, "in.csv", "a.csv", method="saliency", resume=True, progress=False)


def test_every_row_bad(model, folder):
    Path("bad.csv").write_text("x,y\nnone.png,1\n")
    with pytest.raises(ArgumentError, match=r"none of the 1 rows could be explained. Row 0 .*none.png does not exist"):
        vis.batch.explain(model, "bad.csv", "a.csv", progress=False)
    assert not Path("a").exists()


def test_a_folder_gives_labels_names_and_a_csv_file(model, folder):
    of_folder = vis.batch.explain(model, "set", "a.csv", method="saliency", html=True, progress=False)
    of_table = vis.batch.explain(model, "in.csv", "b.csv", method="saliency", html=True, progress=False)
    pd.testing.assert_frame_equal(of_folder, of_table.assign(picture=of_table["picture"].str.replace("b/", "a/")))
    assert pictures("a") == pictures("b")
    assert Path("a.csv").read_text() == Path("b.csv").read_text().replace("b/0", "a/0")
    assert '"2": "2 owl"' in Path("a.html").read_text()
    assert "owl" not in Path("b.html").read_text().replace("set/owl", "")
    Image.new("L", (8, 8)).save("set/cat/13.png")
    with pytest.raises(ArgumentError, match="--input, which has changed"):
        vis.batch.explain(model, "set", "a.csv", method="saliency", html=True, resume=True, progress=False)


def test_a_folder_of_other_classes_than_the_model_s_is_refused(model, folder):
    Path("set/emu").mkdir()
    with pytest.raises(
        ArgumentError, match="must have a sub-folder for each of the model's 3 classes, not 4 as set has"
    ):
        vis.batch.explain(model, "set", "a.csv", progress=False)
    assert not Path("a").exists()
    found = vis.batch.explain(model, "set", "a.csv", method="saliency", label_variable="none", progress=False)
    assert found["label"].isna().all()
    assert found["predicted"].notna().all()


def test_pictures_do_not_go_into_the_folder_of_images(model, folder):
    with pytest.raises(ArgumentError, match="output must not put its pictures into set, the folder of images"):
        vis.batch.explain(model, "set", "set/a.csv", progress=False)
    Path("empty").mkdir()
    with pytest.raises(ArgumentError, match="input must have rows to explain, but empty has no images"):
        vis.batch.explain(model, "empty", "a.csv", progress=False)


def test_a_parquet_file_gives_a_parquet_file(model, folder):
    pytest.importorskip("pyarrow")
    table = pd.read_csv("in.csv").assign(boxes=[[number] for number in range(ROWS)])
    table.to_parquet("in.parquet")
    found = vis.batch.explain(model, "in.parquet", "a.parquet", method="saliency", progress=False)
    written = pd.read_parquet("a.parquet")
    assert written["saliency"].tolist() == found["picture"].tolist() == [f"a/0000/{row}.png" for row in range(ROWS)]
    pd.testing.assert_frame_equal(written[table.columns], pd.read_parquet("in.parquet"))
    with pytest.raises(ArgumentError, match=r"output must end in \.parquet, not a\.csv"):
        vis.batch.explain(model, "in.parquet", "a.csv", progress=False)
    from typer.testing import CliRunner

    from vis.cli import app

    model.save("m.keras")
    result = CliRunner().invoke(app, "saliency-batch --model m.keras --input in.parquet".split())
    assert "saliency.parquet: 12 of 12 rows explained" in result.stdout
    assert pictures("saliency").keys() >= {f"{row}.png" for row in range(ROWS)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "gradcams"}, "method must be one of saliency, .*, not 'gradcams'"),
        ({"options": {"depth": 3}}, "options must be of .*layer.* for gradcam, not 'depth'"),
        ({"options": {"method": "cam"}}, "method must be one of gradcam, .* not 'cam'"),
        ({"executor": "dask"}, "executor must be one of 'local', 'ray', not 'dask'"),
        ({"address": "auto"}, "address must be None for the executor 'local', not 'auto'"),
        ({"input": "none.csv"}, "input must be an existing CSV or Parquet file, or a folder of images, not none.csv"),
        ({"input_variable": "z"}, "input_variable must be a column of in.csv, not 'z'"),
        ({"label_variable": "z"}, "label_variable must be a column of in.csv, not 'z'"),
        ({"class_index": 1, "label_variable": "y"}, "class_index must be None if label_variable is given"),
        ({"class_index": 3}, "class_index must be one of the model's 3 classes, from 0, not 3"),
        ({"preprocess": "torch"}, "preprocess must .*three channels"),
        ({"output": "a.txt"}, "output must end in .csv, not a.txt"),
    ],
)
def test_refusals(model, folder, changes, message):
    arguments = {"input": "in.csv", "output": "a.csv", "progress": False, **changes}
    with pytest.raises(ArgumentError, match=message):
        vis.batch.explain(model, **arguments)
    assert not list(Path().glob("a.*"))
