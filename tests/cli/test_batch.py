"""The `-batch` commands: a CSV file in, pictures and a CSV file out."""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from cli.commands import read, refusal, run, start
from PIL import Image

from vis import plotting
from vis.files.journal import Journal
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


def lines(path) -> list[str]:
    return Path(path).read_text().splitlines()


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def samples(digits):
    """Twelve digits, uint8, and their labels."""
    return np.round(digits.x_test[::90] * 255).astype(np.uint8), digits.y_test[::90]


@pytest.fixture
def folder(samples, tmp_path, monkeypatch):
    """A folder to work in, with the digits' images and `output_result.csv` in it."""
    (tmp_path / "images").mkdir()
    for number, pixels in enumerate(samples[0]):
        Image.fromarray(pixels[..., 0]).save(tmp_path / "images" / f"{number}.png")
    write(tmp_path, "x:image,y:label", [f"images/{number}.png,{label}" for number, label in enumerate(samples[1])])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, header, rows, name="output_result.csv"):
    (folder / name).write_text("\n".join([header, *rows, ""]))


def age(*paths) -> None:
    """Date files back to 1970, so that whether they are written again does not depend on how finely clocks tick."""
    for path in paths:
        os.utime(path, (0, 0))


def is_old(path) -> bool:
    """Whether a file was not written since `age`."""
    return Path(path).stat().st_mtime_ns == 0


def test_gradcam_of_every_row(model_path, digit_model, samples, folder):
    code, out, err = run("gradcam-batch", "--model", model_path)
    assert code == 0
    assert "gradcam.csv: 12 of 12 rows explained" in out
    assert re.search(r"gradcam: 100%\|.* 12/12 .*rows", err)
    x, y = samples
    assert lines("gradcam.csv") == [
        "x:image,y:label,gradcam",
        *(f"images/{number}.png,{label},gradcam/0000/{number}.png" for number, label in enumerate(y)),
    ]
    heatmaps = visualize_cam(digit_model, None, y[:, None], x / np.float32(255), interpolation=None)
    for number, heatmap in enumerate(heatmaps):
        expected = plotting.heatmap_over(x[number, ..., 0], heatmap)
        np.testing.assert_allclose(read(f"gradcam/0000/{number}.png"), expected, atol=1)
    assert sorted(os.listdir()) == ["gradcam", "gradcam.csv", "images", "output_result.csv"]


def test_pictures_of_a_data_set_are_enlarged_on_request_and_go_on_at_their_size(model_path, folder):
    assert run("saliency-batch", "--model", model_path, "--size", 100)[0] == 0
    large = read("saliency/0000/3.png")
    assert large.shape == (112, 112, 3)
    assert "--size" in refusal("saliency-batch", "--model", model_path, "--resume")
    assert run("saliency-batch", "--model", model_path)[0] == 0
    np.testing.assert_array_equal(large, read("saliency/0000/3.png").repeat(4, axis=0).repeat(4, axis=1))


def test_smoothgrad_of_every_row(model_path, digit_model, samples, folder):
    options = ("--noise-level", 0.2, "--num-samples", 3, "--seed", 5, "--output", "s.csv")
    code, _, _ = run("smoothgrad-batch", "--model", model_path, *options)
    assert code == 0
    assert lines("s.csv")[0] == "x:image,y:label,SmoothGrad"
    x, y = samples
    options = {"noise_level": 0.2, "num_samples": 3, "seed": 5}
    for number, heatmap in enumerate(smoothgrad(digit_model, None, y[:, None], x / np.float32(255), **options)):
        picture = read(f"s/0000/{number}.png")
        assert picture.ndim == 2
        np.testing.assert_allclose(picture, plotting.grayscale(plotting.clip_brightness(heatmap)), atol=1)


def test_saliency_of_every_row(model_path, digit_model, samples, folder):
    code, _, _ = run("saliency-batch", "--model", model_path, "--grad-modifier", "relu", "--colormap", "viridis")
    assert code == 0
    assert lines("saliency.csv")[1].endswith(",saliency/0000/0.png")
    x, y = samples
    heatmaps = visualize_saliency(digit_model, None, y[:, None], x / np.float32(255), grad_modifier="relu")
    for number, heatmap in enumerate(heatmaps):
        expected = plotting.colorize(plotting.clip_brightness(heatmap), "viridis")
        assert (np.abs(read(f"saliency/0000/{number}.png").astype(int) - expected) <= 4).mean() > 0.99


@pytest.mark.parametrize("name", ["gradcam", "smoothgrad", "saliency"])
def test_a_row_s_picture_is_that_of_the_command_for_one_image(model_path, samples, folder, name):
    options = ("--num-samples", 4) if name == "smoothgrad" else ()
    assert run(f"{name}-batch", "--model", model_path, *options)[0] == 0
    arguments = ("--model", model_path, "--image", "images/7.png", "--class-index", samples[1][7], "--size", 1)
    assert run(name, *arguments, *options, "--output", "one.png")[0] == 0
    picture, one = read(f"{name}/0000/7.png").astype(int), read("one.png")
    assert (np.abs(picture - one) <= 4).mean() > 0.99


def test_every_column_stays_as_it_was(model_path, samples, folder):
    label = samples[1][0]
    header = 'index,y\'__0,y:label,"note, if any",x:image,x:image_index'
    row = f'007,1.0,{label}.0,"NA ""x""\nnew line",images\\0.png,null'
    write(folder, header, [row], "in.csv")
    arguments = ("--input", "in.csv", "--output", "out.csv")
    assert run("gradcam-batch", "--model", model_path, *arguments, "--label-variable", "y")[0] == 2  # two columns x
    header = header.replace("x:image_index", "image index")
    write(folder, header, [row], "in.csv")
    assert run("gradcam-batch", "--model", model_path, *arguments)[0] == 0
    assert Path("out.csv").read_text() == f"{header},gradcam\n{row},out/0000/0.png\n"


def test_a_table_in_another_folder_has_its_images_too(model_path, folder):
    write(folder, "x:image,y:label", ["images/0.png,0", f"{folder / 'images' / '1.png'},1"])
    (folder / "elsewhere").mkdir()
    before = "output_result.csv"
    for command in ("gradcam", "saliency"):
        output = f"elsewhere/{command}.csv"
        code, _, err = run(f"{command}-batch", "--model", model_path, "--input", before, "--output", output)
        assert code == 0, err
        before = output
    assert lines("elsewhere/saliency.csv")[1:] == [
        "../images/0.png,0,gradcam/0000/0.png,saliency/0000/0.png",
        f"{folder / 'images' / '1.png'},1,gradcam/0000/1.png,saliency/0000/1.png",
    ]


def test_thousands_in_the_folder(model_path, folder):
    write(folder, "x,y", ["images/0.png,0"] * 1002)
    assert run("saliency-batch", "--model", model_path)[0] == 0
    assert lines("saliency.csv")[-2:] == [
        "images/0.png,0,saliency/0001/1000.png",
        "images/0.png,0,saliency/0001/1001.png",
    ]
    assert len(os.listdir("saliency/0000")) == 1000


def test_without_labels_the_predicted_class_is_explained_and_that_is_said(model_path, digit_model, samples, folder):
    write(folder, "x:image", [f"images/{number}.png" for number in range(12)])
    code, out, _ = run("gradcam-batch", "--model", model_path)
    assert code == 0
    assert "output_result.csv has no labels to explain: the predicted class, or the output of a regressor," in out
    x = samples[0] / np.float32(255)
    classes = digit_model.predict(x, verbose=0).argmax(axis=1)
    for number, heatmap in enumerate(visualize_cam(digit_model, None, classes[:, None], x, interpolation=None)):
        expected = plotting.heatmap_over(samples[0][number, ..., 0], heatmap)
        np.testing.assert_allclose(read(f"gradcam/0000/{number}.png"), expected, atol=1)


def test_labels_may_be_left_out_of_account(model_path, folder):
    assert run("gradcam-batch", "--model", model_path, "--output", "label.csv")[0] == 0
    write(folder, "x:image", [f"images/{number}.png" for number in range(12)], "x.csv")
    assert run("gradcam-batch", "--model", model_path, "--input", "x.csv", "--output", "x_only.csv")[0] == 0
    arguments = ("--label-variable", "none", "--output", "none.csv")
    assert (
        "The predicted class, or the output of a regressor, is explained,"
        in run("gradcam-batch", "--model", model_path, *arguments)[1]
    )
    pictures, expected = contents(folder / "none"), contents(folder / "x_only")
    assert len(pictures) == 12 + 1
    assert pictures.pop("journal.jsonl") != expected.pop("journal.jsonl")
    assert pictures == expected


def binary_model(path, activation="sigmoid"):
    layers = [
        keras.layers.Conv2D(4, 3, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=3)),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=2)),
    ]
    model = keras.Sequential([keras.Input((28, 28, 1)), *layers])
    model.save(path)
    return model


@pytest.mark.filterwarnings("ignore:the class activation map:vis.VisWarning")
@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_label_0_of_a_single_output_explains_its_decrease(samples, folder, activation):
    model = binary_model(folder / "b.keras", activation)
    write(folder, "x,y", [f"images/{number}.png,{number % 2}" for number in range(12)])
    assert run("gradcam-batch", "--model", "b.keras")[0] == 0
    x = samples[0] / np.float32(255)
    for number in range(12):
        modifier = None if number % 2 else "negate"
        heatmap = visualize_cam(model, None, 0, x[number], grad_modifier=modifier, interpolation=None)
        expected = plotting.heatmap_over(samples[0][number, ..., 0], heatmap)
        np.testing.assert_allclose(read(f"gradcam/0000/{number}.png"), expected, atol=1)
    assert len({read(f"gradcam/0000/{number}.png").tobytes() for number in range(12)}) > 6


def test_a_label_that_is_neither_0_nor_1_of_a_single_output(folder):
    binary_model(folder / "b.keras")
    write(folder, "x,y", ["images/0.png,2", "images/1.png,1"])
    code, _, err = run("gradcam-batch", "--model", "b.keras")
    assert code == 1
    assert "Row 0: label must be 0 or 1 for a model of one output, not 2" in err


def test_a_model_of_any_size_takes_images_of_different_sizes(folder):
    layers = [
        keras.layers.Conv2D(2, 3, activation="relu", kernel_initializer="ones"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, kernel_initializer="ones"),
    ]
    keras.Sequential([keras.Input((None, None, 1)), *layers]).save("any.keras")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)).save("images/0.png")
    assert run("saliency-batch", "--model", "any.keras", "--label-variable", "none")[0] == 0
    assert read("saliency/0000/0.png").shape == (40, 30, 3)
    assert read("saliency/0000/1.png").shape == (28, 28, 3)


# Bad rows


def test_bad_rows_do_not_stop_the_run(model_path, samples, folder):
    rows = lines("output_result.csv")[1:]
    rows[2] = "images/none.png,3"
    rows[4] = "text.png,4"
    rows[5] = "images/5.png,10"
    rows[7] = "images/7.png,cat"
    rows[8] = ",8"
    rows[9] = "images/9.png,-1"
    (folder / "text.png").write_text("no image")
    write(folder, "x:image,y:label", rows)
    code, out, err = run("gradcam-batch", "--model", model_path)
    assert code == 1
    assert "6 of 12 rows explained" in out
    reasons = {
        2: "images/none.png does not exist",
        4: "text.png is not an image",
        5: "label must be one of the model's outputs, 0 to 9, not 10",
        7: "the label 'cat' is not a whole number",
        8: "the path of the image is empty",
        9: "label must be one of the model's outputs, 0 to 9, not -1",
    }
    for row, reason in reasons.items():
        assert f"Row {row}: {reason}" in err
    written = lines("gradcam.csv")
    assert written[0] == "x:image,y:label,gradcam"
    for number, row in enumerate(rows):
        assert written[1 + number] == f"{row}," + ("" if number in reasons else f"gradcam/0000/{number}.png")
    errors = lines("gradcam.csv.errors.csv")
    assert errors[0] == "row,error"
    assert [int(line.split(",")[0]) for line in errors[1:]] == list(reasons)
    assert not (folder / "gradcam" / "0000" / "2.png").exists()


def test_errors_of_an_earlier_run_do_not_stay(model_path, folder):
    rows = lines("output_result.csv")
    write(folder, rows[0], [*rows[1:], "none.png,1"])
    assert run("saliency-batch", "--model", model_path)[0] == 1
    assert Path("saliency.csv.errors.csv").exists()
    write(folder, rows[0], rows[1:])
    assert run("saliency-batch", "--model", model_path)[0] == 0
    assert not Path("saliency.csv.errors.csv").exists()


def test_all_rows_bad(model_path, folder):
    assert run("gradcam-batch", "--model", model_path)[0] == 0
    write(folder, "x,y", ["none.png,1", "images/0.png,11"])
    line = refusal("gradcam-batch", "--model", model_path)
    assert "none of the 2 rows could be explained. Row 0 (from 0, below the header): none.png does not exist" in line
    assert not Path("gradcam.csv").exists()
    assert len(lines("gradcam.csv.errors.csv")) == 3


def test_a_run_of_which_every_row_failed_leaves_no_folder(model_path, folder):
    write(folder, "x,y", ["none.png,1", "images/0.png,11"])
    refusal("gradcam-batch", "--model", model_path)
    assert not Path("gradcam").exists()
    write(folder, "x,y", ["images/0.png,1"])
    code, out, _ = run("gradcam-batch", "--model", model_path, "--resume")
    assert code == 0
    assert "There is no run of gradcam.csv to resume: starting from the first row." in out


def test_a_full_disk_says_whether_the_run_can_be_resumed(model_path, folder, monkeypatch):
    rows = lines("output_result.csv")
    write(folder, rows[0], rows[1:] * 6)  # more than one batch
    append = Journal.append

    def full(journal, entry):
        if journal.done == after:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(journal, entry)

    monkeypatch.setattr(Journal, "append", full)
    line = "Error: Invalid value for --output: gradcam.csv cannot be written: No space left on device."
    after = 0
    assert run("gradcam-batch", "--model", model_path)[2].endswith(f"{line}\n")
    after = 1
    assert run("gradcam-batch", "--model", model_path)[2].endswith(
        f"{line} Continue with --resume once there is space.\n"
    )
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert run("gradcam-batch", "--model", model_path, "--resume")[0] == 0


def test_a_regression_s_labels_are_referred_to_the_prediction(folder):
    binary_model(folder / "b.keras", None)
    write(folder, "x,y", ["images/0.png,0.05"] * 2)
    assert "give --label-variable none. See " in refusal("gradcam-batch", "--model", "b.keras")


def test_a_prediction_that_is_not_finite_is_a_bad_row(folder):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    model.set_weights([np.eye(784, 3), np.array([0, np.inf, 0])])
    model.save("inf.keras")
    write(folder, "x,y", ["images/0.png,0"])
    assert "its output is NaN or infinite" in refusal("saliency-batch", "--model", "inf.keras", "--html")


# Bad arguments


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--input", "none.csv"], ["--input", "must be an existing CSV or Parquet file, or a folder", "not none.csv"]),
        (["--input", "empty.csv"], ["--input", "which is empty"]),
        (["--input", "header.csv"], ["--input", "header.csv has a header but no rows"]),
        (
            ["--input-variable", "z"],
            ["--input-variable", "must be a column of output_result.csv, not 'z'", "x:image, y:label"],
        ),
        (["--input", "vector.csv"], ["--input-variable", "'x' is a vector of 2 columns"]),
        (["--label-variable", "z"], ["--label-variable", "must be a column of output_result.csv, not 'z'"]),
        (["--output", "out.txt"], ["--output", "must end in .csv"]),
        (["--output", "no/out.csv"], ["--output", "must be in an existing folder, not in no"]),
        (["--output", "output_result.csv"], ["--output", "is the input itself"]),
        (["--output", "images.csv"], ["--output", "into images, where images to be explained are (images/0.png)"]),
        (["--model", "none.keras"], ["--model", "must be an existing model file, not none.keras"]),
        (["--preprocess", "torch"], ["--preprocess", "three channels"]),
        (["--layer", "conv66"], ["--layer", "conv66"]),
        (["--colormap", "rainbow9"], ["--colormap", "rainbow9"]),
        (["--custom-objects", "Attention"], ["--custom-objects", "module:Name"]),
        (["--custom-objects", "no_such_module:A"], ["--custom-objects", "no_such_module"]),
        (["--custom-objects", "vis.models:Attention"], ["--custom-objects", "'vis.models' has no 'Attention'"]),
    ],
)
def test_refusals(model_path, folder, options, messages):
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("x,y\n")
    (folder / "vector.csv").write_text("x__0,x__1,y\n1,2,0\n")
    before = set(contents(folder))
    line = refusal("gradcam-batch", "--model", model_path, *options)
    for message in messages:
        assert message in line
    assert set(contents(folder)) == before


@pytest.mark.parametrize(
    ("header", "message"), [("x,y,y", "not 2 named 'y'"), ("x,y__0,y__2", "Number its columns y__0 to y__1")]
)
def test_labels_that_cannot_be_told_are_not_left_out(model_path, folder, header, message):
    write(folder, header, ["images/0.png,0,1"])
    line = refusal("saliency-batch", "--model", model_path)
    assert "--label-variable" in line
    assert message in line


def test_a_column_that_is_there_already(model_path, folder):
    write(folder, "x,y,saliency:map", ["images/0.png,0,"])
    assert "has a column 'saliency' already" in refusal("saliency-batch", "--model", model_path)


@pytest.mark.parametrize("source", ["s.csv.errors.csv", "s.html", "s/journal.jsonl"])
def test_nothing_is_written_over_the_input(model_path, folder, source):
    (folder / "s").mkdir()
    write(folder, "x,y", [f"{folder}/images/0.png,0"], source)
    before = contents(folder)
    line = refusal("saliency-batch", "--model", model_path, "--input", source, "--output", "s.csv")
    assert f"--output must not write {source}, which is the input itself" in line
    assert contents(folder) == before


def test_images_in_the_folder_of_the_pictures_are_found_before_any_is_written(model_path, folder):
    (folder / "s" / "0000").mkdir(parents=True)
    shutil.copy(folder / "images" / "3.png", folder / "s" / "0000" / "3.png")
    write(folder, "x,y", ["images/0.png,0"] * 300 + ["s/0000/3.png,0"])
    before = contents(folder)
    assert "(s/0000/3.png)" in refusal("saliency-batch", "--model", model_path, "--output", "s.csv")
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["--input", "--output", "--model"])
def test_names_that_are_too_long(model_path, folder, name):
    line = refusal("saliency-batch", "--model", model_path, name, "a" * 300 + ".csv")
    assert name in line
    assert "File name too long" in line


def test_warnings_are_counted_not_repeated(folder):
    model = binary_model(folder / "b.keras", None)
    model.layers[-1].set_weights([-np.ones((4, 1), np.float32), np.zeros(1, np.float32)])
    model.save("b.keras")
    write(folder, "x,y", ["images/0.png,1"] * 260)
    code, _, err = run("gradcam-batch", "--model", "b.keras")
    assert code == 0
    (warning,) = [line for line in err.splitlines() if line.startswith("Warning: ")]
    assert "negative everywhere" in warning
    assert "(repeated 4 more times)" in warning


# Model files


def test_custom_objects(samples, folder, monkeypatch):
    (folder / "my_layers.py").write_text(
        "import keras\n\n\nclass Tripling(keras.layers.Layer):\n    def call(self, x):\n        return 3 * x\n"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(folder)
        layers = [importlib.import_module("my_layers").Tripling(), keras.layers.Flatten(), keras.layers.Dense(10)]
        patch.delitem(sys.modules, "my_layers")
    keras.Sequential([keras.Input((28, 28, 1)), *layers]).save("m.keras")
    line = refusal("saliency-batch", "--model", "m.keras")
    assert "--custom-objects must have 'Tripling'" in line
    assert "Give --custom-objects module:NAME" in line
    assert run("saliency-batch", "--model", "m.keras", "--custom-objects", "my_layers:Tripling")[0] == 0
    arguments = ("--model", "m.keras", "--custom-objects", "my_layers:Tripling", "--image", "images/0.png")
    assert run("saliency", *arguments, "--class-index", samples[1][0], "--size", 1)[0] == 0
    np.testing.assert_allclose(read("saliency.png"), read("saliency/0000/0.png"), atol=4)


def test_unsafe(folder):
    layers = [keras.layers.Lambda(lambda x: x + 1), keras.layers.Flatten(), keras.layers.Dense(10)]
    keras.Sequential([keras.Input((28, 28, 1)), *layers]).save("m.keras")
    line = refusal("saliency-batch", "--model", "m.keras")
    assert "its Lambda layer runs code from the file" in line
    assert "Give --unsafe only if you trust the file" in line
    assert run("saliency-batch", "--model", "m.keras", "--unsafe")[0] == 0


# Resuming


def test_a_run_that_is_killed_is_resumed_to_the_same_result(model_path, samples, folder):
    rows = [f"images/{i % 12}.png,{samples[1][i % 12]}" for i in range(120)]
    rows[100] = "images/none.png,1"
    write(folder, "x,y", rows)
    arguments = ("smoothgrad-batch", "--model", model_path, "--num-samples", 2)
    whole, killed = (*arguments, "--output", "whole/s.csv"), (*arguments, "--output", "killed/s.csv")
    (folder / "whole").mkdir()
    (folder / "killed").mkdir()
    assert run(*whole)[0] == 1

    os.mkfifo(folder / "images" / "none.png")  # a pipe that nobody writes to: the run waits at row 100 to be killed
    journal = folder / "killed" / "s" / "journal.jsonl"
    deadline = time.monotonic() + 600
    with start(*killed, folder=folder) as process:
        try:
            while not (journal.exists() and len(journal.read_bytes().splitlines()) >= 3):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()
    (folder / "images" / "none.png").unlink()
    assert not (folder / "killed" / "s.csv").exists()

    # A picture that was cut off in the middle of writing, and half a line in the journal.
    (folder / "killed" / "s" / "0000" / "119.png").write_bytes(b"half a picture")
    with journal.open("a") as file:
        file.write('[[96, "s/0000/')
    written = list((folder / "killed" / "s" / "0000").glob("[0-9]*.png"))
    age(*written)
    noted = 8 * (len(journal.read_bytes().splitlines()) - 2)
    assert 8 <= noted < 100

    code, _, err = run(*killed, "--resume")
    assert code == 1
    assert "Row 100: " in err
    expected = contents(folder / "whole")
    assert len(expected) == 119 + 3
    assert contents(folder / "killed") == expected
    assert {path for path in written if is_old(path)} == {path for path in written if int(path.stem) < noted}


def test_an_interrupted_run_says_how_to_go_on(model_path, folder, monkeypatch):
    from vis.batch import run as batch_run

    write(folder, "x,y", ["images/0.png,0"] * 70 + ["none.png,0"] * 2)
    explained = batch_run._explained

    def interrupted(*arguments):
        yield next(explained(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(batch_run, "_explained", interrupted)
    code, _, err = run("gradcam-batch", "--model", model_path)
    assert code == 130
    assert "Interrupted after 64 of 72 rows. Continue with --resume." in err.splitlines()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    code, out, _ = run("gradcam-batch", "--model", model_path, "--resume")
    assert code == 1
    assert "70 of 72 rows explained" in out


def half_a_run(model_path, folder, *options):
    """A journal of a run that was killed after its first batch."""
    write(folder, "x,y", ["images/0.png,0"] * 100)
    arguments = ("saliency-batch", "--model", model_path, *options)
    from vis.batch import run as batch_run

    def interrupted(survey, journal):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_run, "_finish", interrupted)
        assert run(*arguments)[0] == 130
    journal = folder / "saliency" / "journal.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:2]))
    return arguments


def test_another_run_is_not_resumed(model_path, folder):
    arguments = half_a_run(model_path, folder, "--colormap", "viridis")
    line = refusal(*arguments, "--colormap", "jet", "--resume")
    assert "--resume" in line
    assert "the same --colormap, viridis, not jet" in line
    assert run(*arguments, "--resume")[0] == 0


def test_another_method_is_not_resumed(model_path, folder):
    half_a_run(model_path, folder)
    line = refusal("gradcam-batch", "--model", model_path, "--output", "saliency.csv", "--resume")
    assert "the same method, saliency, not gradcam" in line


def test_a_finished_run_is_found_finished(model_path, folder):
    write(folder, "x,y", ["images/0.png,0", "none.png,0", "images/1.png,0"])
    arguments = ("saliency-batch", "--model", model_path, "--html", "--resume")
    assert run(*arguments)[0] == 1
    age("saliency/0000/0.png")
    before = contents(folder)
    again = run(*arguments)
    assert again[0] == 1
    assert "2 of 3 rows explained" in again[1]
    assert "Row 1: none.png does not exist" in again[2]
    assert contents(folder) == before
    assert is_old("saliency/0000/0.png")
    assert "the same --html, True, not False" in refusal(*arguments[:3], "--resume")
    write(folder, "x,y", ["images/4.png,4", "none.png,0", "images/5.png,5"])
    os.utime("output_result.csv", (1, 1))  # of the same size, so that only the time of change can tell
    assert "--resume must continue with the same --input, which has changed" in refusal(*arguments)


def test_a_page_that_was_interrupted_is_written_without_computing_anything_again(model_path, folder, monkeypatch):
    from vis.pages import gallery

    arguments = ("saliency-batch", "--model", model_path, "--html")
    with monkeypatch.context() as patch:

        def interrupted(*arguments, **options):
            raise KeyboardInterrupt

        patch.setattr(gallery, "write", interrupted)
        code, _, err = run(*arguments)
    assert code == 130
    assert "Interrupted after 12 of 12 rows. Continue with --resume." in err
    age("saliency/0000/0.png")
    assert "Open saliency.html" in run(*arguments, "--resume")[1]
    assert is_old("saliency/0000/0.png")


def test_pictures_that_are_gone_are_made_again(model_path, folder):
    arguments = half_a_run(model_path, folder)
    assert run(*arguments, "--resume")[0] == 0
    before = contents(folder)
    Path("saliency/0000/70.png").unlink()
    age("saliency/0000/0.png", "saliency/0000/99.png")
    assert run(*arguments, "--resume")[0] == 0
    assert contents(folder) == before
    assert is_old("saliency/0000/0.png")
    assert not is_old("saliency/0000/99.png")


def test_two_runs_do_not_write_one_output(model_path, folder):
    arguments = half_a_run(model_path, folder)
    with (folder / "saliency" / "journal.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for options in ([], ["--resume"]):
            assert "saliency/journal.jsonl, which another run is writing" in refusal(*arguments, *options)
    assert run(*arguments, "--resume")[0] == 0


def test_a_mistake_leaves_the_journal_of_the_run_before(model_path, folder):
    arguments = half_a_run(model_path, folder)
    before = contents(folder)
    assert "conv66" in refusal("gradcam-batch", *arguments[1:], "--output", "saliency.csv", "--layer", "conv66")
    assert contents(folder) == before


def test_a_changed_input_is_not_resumed(model_path, folder):
    arguments = half_a_run(model_path, folder)
    write(folder, "x,y", ["images/1.png,1"] * 200)
    assert "--resume must continue with the same --input, which has changed" in refusal(*arguments, "--resume")


def test_without_resume_a_run_starts_anew(model_path, folder):
    arguments = half_a_run(model_path, folder)
    age("saliency/0000/0.png")
    assert run(*arguments)[0] == 0
    assert not is_old("saliency/0000/0.png")


def test_resuming_what_never_ran_starts_from_the_first_row(model_path, folder):
    code, out, _ = run("saliency-batch", "--model", model_path, "--resume")
    assert code == 0
    assert "no run of saliency.csv to resume" in out


def test_a_row_for_which_the_model_gives_nan_is_a_bad_row(folder, tmp_path):
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(2, 3, use_bias=False, name="c")])
    model.add(keras.layers.LayerNormalization(axis=[1, 2, 3], epsilon=0))
    model.add(keras.layers.GlobalAveragePooling2D())
    model.add(keras.layers.Dense(10, kernel_initializer="ones", bias_initializer="ones"))
    model.get_layer("c").kernel.assign(np.ones((3, 3, 1, 2)))
    model.save(tmp_path / "nan.keras")
    Image.new("L", (28, 28)).save(folder / "images" / "3.png")  # without variance, 0 / 0
    code, _, err = run("gradcam-batch", "--model", tmp_path / "nan.keras", "--layer", "c")
    assert code == 1
    assert "Row 3: model must give finite numbers, but the target is nan for 1 of 1 samples" in err
    assert [row for row, cell in enumerate(pd.read_csv(folder / "gradcam.csv")["gradcam"].isna()) if cell] == [3]


def test_the_numbers_behind_the_pictures(model_path, digit_model, samples, folder):
    given = ("gradcam-batch", "--model", model_path, "--output", "maps.csv")
    rows = lines("output_result.csv")
    write(folder, rows[0], [*rows[1:], "none.png,1"])
    assert run(*given, "--save-map")[0] == 1
    written = pd.read_csv("maps.csv", keep_default_na=False)
    assert list(written.columns) == ["x:image", "y:label", "gradcam", "map"]
    assert written["map"].tolist() == [*(f"maps/0000/{row}.npy" for row in range(12)), ""]
    x, y = samples
    expected = visualize_cam(digit_model, None, y[:, None], x / np.float32(255))
    for row in range(12):
        np.testing.assert_allclose(np.load(written["map"][row]), expected[row], atol=1e-5)
    write(folder, "x:image,y:label,map", ["images/0.png,1,a"])
    assert "has a column 'map' already" in refusal(*given, "--save-map")


def test_what_is_explained_is_said_and_classes_are_called_by_their_names(model_path, folder):
    Path("names.txt").write_text("\n".join("zero one two three four five six seven eight nine".split()))
    given = ("saliency-batch", "--model", model_path, "--labels", "names.txt")
    score = "by its score before a final softmax or sigmoid.\n"
    _, out, _ = run(*given, "--html")
    assert f"The class of each row, in column 'y', is explained, {score}" in out
    assert "7 seven" in Path("saliency.html").read_text()
    assert f"Class 3 three is explained in every row, {score}" in run(*given, "--class-index", 3)[1]
    assert "The predicted class, or the output of a regressor, is explained, by its output.\n" in run(
        *given, "--label-variable", "none", "--no-logits"
    )[1]  # fmt: skip
    Path("names.txt").write_text("zero\none\n")
    assert "must have a name for each of the model's 10 classes, not 2" in refusal(*given)


def test_an_image_that_is_read_again_to_be_drawn_and_for_the_page_is_warned_about_once(model_path, folder, recwarn):
    frames = [Image.new("L", (400, 300), brightness) for brightness in (0, 255)]
    frames[0].save("images/0.gif", save_all=True, append_images=frames[1:])
    write(folder, "x:image,y:label", ["images/0.gif,3"])
    code, _, err = run("saliency-batch", "--model", model_path, "--html")
    assert code == 0
    assert "Warning: images/0.gif has 2 frames, of which the first is read.\n" in err
    assert err.count("frames") == 1
    assert not [each for each in recwarn if "frames" in str(each.message)]


def test_a_row_that_is_too_long_is_an_error_of_the_input(model_path, folder):
    write(folder, "x:image,y:label", ["images/0.png,3", "images/1.png,3", "images/2.png,3,more"])
    message = refusal("gradcam-batch", "--model", model_path)
    assert message.startswith("Error: --input must have 2 cells in each row, as the header of output_result.csv has, ")
    assert "not 3 as in row 2 " in message
