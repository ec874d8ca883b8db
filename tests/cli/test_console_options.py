"""What a script written for Neural Network Console's plugins gives to a command, and what it makes of the result."""

from __future__ import annotations

import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from cli.commands import read, refusal, run
from nnp_files import lenet, table
from PIL import Image

from vis.files.tables import Table
from vis.models import load_model


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """A project of the Console, and its tables with comments, in a folder of their own."""
    folder = tmp_path_factory.mktemp("project")
    lenet(folder / "results.nnp")
    (folder / "digits").mkdir()
    lines = ["x:image,y:label,#note"]
    for row in range(16):
        Image.fromarray(np.round(digits.x_test[row * 20, ..., 0] * 255).astype(np.uint8)).save(
            folder / f"digits/{row}.png"
        )
        lines.append(f"digits/{row}.png,{digits.y_test[row * 20]},fine")
        if row == 3:
            lines.append("#digits/left_out.png,3,,,,")
    (folder / "output_result.csv").write_text("\n".join(lines) + "\n")
    for name in ("train", "val"):
        shutil.copy(folder / "output_result.csv", folder / f"{name}.csv")
    return folder


@pytest.fixture
def inside(folder, tmp_path, monkeypatch):
    """A copy of that folder, as the current one."""
    copied = shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(copied)
    return copied


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            "smoothgrad -nl 0.1 -n 3 -i digits/3.png -c 2 -o short.png",
            "smoothgrad --model results.nnp --noise_level 0.1 --num_samples 3 --image digits/3.png --class_index 2 "
            "--output long.png",
        ),
        (
            "gradcam -m results.nnp -i output_result.csv -image digits/3.png -ov y' -c 2 -o short.png",
            "gradcam --model results.nnp --image digits/3.png --output-variable y' --class-index 2 --output long.png",
        ),
        (
            "saliency -i digits/3.png -c auto -o short.png",
            "saliency --image digits/3.png --class-index auto --output long.png",
        ),
    ],
)
def test_short_options_of_one_image(inside, short, long):
    (code, _, err), (other_code, _, other_err) = (run(*line.split()) for line in (short, long))
    assert (code, err) == (other_code, other_err) == (0, err)
    np.testing.assert_array_equal(read("short.png"), read("long.png"))


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            "smoothgrad-batch -m results.nnp -nl 0.1 -n 2 -i output_result.csv -o short.csv -v1 x -v2 y",
            "smoothgrad-batch --noise-level 0.1 --num-samples 2 --output long.csv",
        ),
        (
            "gradcam-batch -i output_result.csv -m results.nnp -v1 x -ov y' -v2 y -o short.csv",
            "gradcam-batch --input-variable x --label-variable y --output long.csv",
        ),
    ],
)
def test_short_options_of_a_data_set(inside, short, long):
    for line in (short, long):
        assert run(*line.split())[0] == 0
    for row in (0, 5):
        one, other = (read(f"{name}/0000/{row}.png") for name in ("short", "long"))
        np.testing.assert_array_equal(one, other)


def test_short_options_of_influence(inside):
    for line in (
        "influence -t train.csv -v val.csv -o short.csv -nt 1 -m results.nnp -bs 8",
        "influence --input-train train.csv --input-val val.csv --output long.csv --n-trials 1 --batch-size 8",
    ):
        assert run(*line.split())[0] == 0
    pd.testing.assert_frame_equal(pd.read_csv("short.csv"), pd.read_csv("long.csv"))


def test_the_model_may_be_left_out_where_there_is_a_results_nnp(inside):
    (inside / "results.nnp").rename("other.nnp")
    assert "Missing option '--model'. It may be left out if there is a file results.nnp." in refusal(
        "saliency", "--image", "digits/3.png"
    )


def test_one_class_for_every_row(inside):
    labelled = "gradcam-batch -c 4 -o four.csv".split()
    code, out, _ = run(*labelled)
    assert code == 0
    assert "Class 4 is explained in every row, by its score" in out
    for row in (0, 5):
        run("gradcam", "-image", f"digits/{row}.png", "-c", 4, "-o", "alone.png", "--size", 1)
        np.testing.assert_array_equal(read(f"four/0000/{row}.png"), read("alone.png"))
    run("gradcam-batch", "-c", "auto", "-o", "auto.csv")
    run("gradcam-batch", "-v2", "none", "-o", "none.csv")
    np.testing.assert_array_equal(read("auto/0000/5.png"), read("none/0000/5.png"))
    assert "--class-index must be one of the model's 10 classes, from 0, not 10." in refused("-c", 10)
    assert "Give either --class-index or --label-variable" in refused("-c", 1, "-v2", "y")


def refused(*options) -> str:
    code, _, err = run("gradcam-batch", "-o", "no.csv", *options)
    assert code == 2
    return err


def test_class_0_is_explained_by_default_and_said_where_another_is_predicted(inside):
    model = load_model("results.nnp")
    predictions = {
        f"digits/{row}.png": model(read(f"digits/{row}.png")[None, ..., None] / np.float32(255))[0].numpy()
        for row in range(16)
    }
    image, scores = next((image, scores) for image, scores in predictions.items() if scores.argmax())
    predicted = scores.argmax()
    line = (
        f"Explaining class 0 (score {scores[0]:.3g}); predicted: {predicted} ({scores[predicted]:.3g}); "
        "use --class-index auto.\n"
    )
    assert run("saliency", "-i", image, "-o", "default.png")[2] == line
    assert run("saliency", "-i", image, "-c", 0, "-o", "zero.png")[2] == ""
    np.testing.assert_array_equal(read("default.png"), read("zero.png"))
    assert run("saliency", "-i", image, "-c", "auto", "-o", "auto.png")[2] == ""


def test_nothing_is_said_where_class_0_is_the_predicted_one(inside):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.layers[-1].bias.assign([50.0, -50.0])
    model.save("zero.keras")
    assert run("saliency", "-m", "zero.keras", "-i", "digits/3.png", "-o", "a.png")[2] == ""


def test_comments_are_skipped(inside):
    rows = Table("output_result.csv")
    assert rows.count() == 16
    assert [cell for frame in rows.rows() for cell in frame[0]] == [f"digits/{row}.png" for row in range(16)]
    assert run("saliency-batch", "-o", "maps.csv")[0] == 0
    written = pd.read_csv("maps.csv")
    assert written["saliency"].tolist() == [f"maps/0000/{row}.png" for row in range(16)]


def test_a_cell_of_several_lines_may_hold_a_line_that_begins_with_a_comment_s_sign(tmp_path):
    (tmp_path / "a.csv").write_text('#first,text\n1,"two\n#lines"\n# left, out, altogether\n2,one\n')
    table = Table(tmp_path / "a.csv")
    assert table.header == ["#first", "text"]
    assert next(table.rows()).to_numpy().tolist() == [["1", "two\n#lines"], ["2", "one"]]


def test_images_are_found_from_another_folder_too(inside, tmp_path):
    (tmp_path / "out").mkdir()
    assert (
        run("influence", "-t", "train.csv", "-v", "val.csv", "-nt", 1, "-o", tmp_path / "out" / "influence.csv")[0] == 0
    )
    written = pd.read_csv(tmp_path / "out" / "influence.csv")
    for cell, row in zip(written["x:image"], written["datasource_index"], strict=True):
        np.testing.assert_array_equal(read(tmp_path / "out" / cell), read(inside / f"digits/{row}.png"))


@pytest.mark.parametrize("one_hot", [False, True])
def test_the_index_of_a_table_is_the_row_of_the_training_data(tmp_path, monkeypatch, one_hot):
    from sklearn.datasets import load_iris

    monkeypatch.chdir(tmp_path)
    table(tmp_path / "results.nnp", columns=4, classes=3)
    x, y = load_iris(return_X_y=True)
    frame = pd.DataFrame(x, columns=[f"x__{i}" for i in range(4)])
    labels = (
        pd.DataFrame(np.eye(3, dtype=int)[y], columns=[f"y__{i}" for i in range(3)])
        if one_hot
        else pd.Series(y, name="y")
    )
    frame = frame.join(labels)
    frame[::3].to_csv("train.csv", index=False)
    frame[1::3].to_csv("val.csv", index=False)
    code, _, err = run("influence-tabular", "-t", "train.csv", "-v", "val.csv", "-nt", 1, "-bs", 16)
    assert code == 0, err
    written = pd.read_csv("sgd_influence_tabular.csv")
    train = pd.read_csv("train.csv")
    assert (written["index"] == written["datasource_index"]).all()
    assert sorted(written["index"]) == list(range(len(train)))
    assert written["influence"].is_monotonic_increasing
    np.testing.assert_allclose(written[train.columns], train.loc[written["index"]])
