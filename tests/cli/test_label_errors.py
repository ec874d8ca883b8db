"""`vis label-errors`: a model file and a CSV file in, the rows with the surest label errors first."""

from __future__ import annotations

import errno
import signal
import time

import keras
import numpy as np
import pandas as pd
import pytest
from cli.commands import run, start
from keras import layers
from PIL import Image

from vis.influence import fold_files, label_errors

RNG = np.random.default_rng(0)
OPTIONS = ("--epochs", 4, "--seed", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images that are bright on one side, six of 90 with a wrong label; a table of their sides; a model for each."""
    folder = tmp_path_factory.mktemp("label_errors")
    x, y = images()
    lines = ["x:image,y:label,note"]
    for number, (pixels, label) in enumerate(zip(x, y, strict=True)):
        Image.fromarray(np.uint8(255 * pixels[..., 0])).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{label},kept")
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    pd.DataFrame({"x__0:a": x[:, :, :4].mean((1, 2, 3)), "x__1:b": x[:, :, 4:].mean((1, 2, 3)), "y": y}).to_csv(
        folder / "table.csv", index=False
    )
    zeros = {"kernel_initializer": "zeros"}
    keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(2, "softmax", **zeros)]).save(
        folder / "images.keras"
    )
    keras.Sequential([keras.Input((2,)), layers.Dense(1, "sigmoid", **zeros)]).save(folder / "table.keras")
    regressor = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    regressor.compile("sgd", "mse")
    regressor.save(folder / "regressor.keras")
    return folder


def images():
    rng = np.random.default_rng(3)
    y = np.arange(90) % 2
    x = (
        np.round(255 * (0.4 * rng.random((90, 8, 8, 1)) + 0.5 * ((np.arange(8) >= 4) == y[:, None])[:, None, :, None]))
        / 255
    )
    y[[5, 16, 27, 38, 49, 60]] ^= 1
    return x.astype("float32"), y


def images_of(folder, output, *more):
    return (
        "label-errors",
        "--model",
        folder / "images.keras",
        "--input-train",
        folder / "train.csv",
        "--output",
        output,
        *more,
    )


def table_of(folder, output, *more):
    return (
        "label-errors",
        "--model",
        folder / "table.keras",
        "--input-train",
        folder / "table.csv",
        "--output",
        output,
        *more,
    )


def test_images_are_ranked_by_the_library_s_scores(folder, tmp_path):
    output = tmp_path / "errors.csv"
    code, out, err = run(
        *images_of(folder, output, *OPTIONS, "--folds", 4, "--batch-size", 16, "--learning-rate", 0.02)
    )
    assert code == 0, err
    written = pd.read_csv(output)
    model = keras.saving.load_model(folder / "images.keras", compile=False)
    expected = label_errors(
        model,
        *images(),
        epochs=4,
        seed=2,
        folds=4,
        batch_size=16,
        optimizer=keras.optimizers.Adam(0.02),
        progress=False,
    )
    pd.testing.assert_frame_equal(written[expected.columns], expected, rtol=1e-4, atol=1e-6)
    errors = expected["is_error"].sum()
    assert f"{output}: 90 rows, about {errors} of them with a wrong label, the most likely first" in out
    paths = [f"../{folder.name}/{row}.png" for row in expected["datasource_index"]]
    assert written["x:image"].tolist() == paths
    assert set(written["note"]) == {"kept"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["errors.csv"]


def test_a_table_and_one_sigmoid_output(folder, tmp_path):
    output = tmp_path / "errors.csv"
    code, out, _ = run(*table_of(folder, output, "--learning-rate", 0.1, "--html"))
    assert code == 0
    written = pd.read_csv(output)
    assert set(written["datasource_index"][:6]) == {5, 16, 27, 38, 49, 60}
    assert (written["suggested_label"][:6] == 1 - written["y"][:6]).all()
    cells = pd.read_csv(folder / "table.csv").iloc[written["datasource_index"]].reset_index(drop=True)
    pd.testing.assert_frame_equal(written[["x__0:a", "x__1:b", "y"]], cells, check_dtype=False)
    page = (tmp_path / "errors.html").read_text("utf-8")
    assert f"Open {tmp_path / 'errors.html'}" in out
    assert "<dt>x__0:a</dt>" in page
    assert "<img" not in page


def test_the_model_file_s_optimizer_and_loss_are_used(folder, tmp_path):
    model = keras.saving.load_model(folder / "images.keras")
    model.compile(keras.optimizers.SGD(0.3), "categorical_crossentropy")
    model.save(tmp_path / "compiled.keras")
    run(*images_of(folder, tmp_path / "own.csv", *OPTIONS, "--model", tmp_path / "compiled.keras"))
    given = ("--optimizer", "sgd", "--learning-rate", 0.3)
    run(*images_of(folder, tmp_path / "given.csv", *OPTIONS, *given))
    own, given = (pd.read_csv(tmp_path / f"{name}.csv")["score"] for name in ("own", "given"))
    np.testing.assert_allclose(own, given, rtol=1e-4)


def test_the_page_shows_the_images_by_name(folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("left\nright\n")
    code, _, _ = run(*images_of(folder, tmp_path / "a.csv", "--learning-rate", 0.02, "--html", "--labels", names))
    assert code == 0
    page = (tmp_path / "a.html").read_text("utf-8")
    errors = int(pd.read_csv(tmp_path / "a.csv")["is_error"].sum())
    assert errors >= 6
    assert page.count("data:image/png;base64,") == errors + min(60, 90 - errors)
    assert "1 right" in page


def test_bad_rows_are_left_out_and_named(folder, tmp_path):
    lines = (folder / "train.csv").read_text().splitlines()
    lines[3], lines[6], lines[9] = "missing.png,1,", "5.png,many,", "8.png,2,"
    (folder / "broken.csv").write_text("\n".join(lines) + "\n")
    code, out, err = run(*images_of(folder, tmp_path / "a.csv", *OPTIONS, "--input-train", folder / "broken.csv"))
    assert code == 1
    assert "broken.csv, row 2: " in err
    assert "broken.csv, row 5: 'many' is not a number" in err
    assert "broken.csv, row 8: the label must be a class from 0 to 1, not 2." in err
    assert "87 rows, about " in out
    assert "3 rows were left out" in out
    assert sorted(pd.read_csv(tmp_path / "a.csv")["datasource_index"]) == [i for i in range(90) if i not in (2, 5, 8)]


def refused(*arguments):
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    return err.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--input-train", "nothing.csv"), "Error: --input-train must be an existing CSV file, not nothing.csv."),
        (("--label-variable", "z"), "'z'"),
        (("--output", "a.txt"), "a.txt"),
        (("--folds", 1), "Error: --folds must be at least 2, not 1."),
        (("--folds", 46), "Error: --input-train must name every class at least 46 times for 46 folds, not class 0 45 "),
        (("--epochs", 0), "Error: --epochs must be at least 1, not 0."),
        (("--optimizer", "ftrl"), "Error: --optimizer must be one of "),
        (("--learning-rate", 0), "Error: --learning-rate must be a finite number above 0, not 0."),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(folder, tmp_path, change, words):
    assert words in refused(*table_of(folder, tmp_path / "a.csv", *change))
    assert list(tmp_path.iterdir()) == []


def test_a_regressor_is_refused_before_any_row_is_read(folder, tmp_path):
    code, out, err = run(*table_of(folder, tmp_path / "a.csv", "--model", folder / "regressor.keras"))
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line == (
        "Error: --model must be a classifier, which ends in a softmax or sigmoid or is trained by a cross entropy, not "
        "a regressor trained by 'mean_squared_error'. If it is a classifier, compile it with a Keras cross entropy "
        "and save it again."
    )


def test_a_table_that_the_model_does_not_take_is_refused(folder, tmp_path):
    line = refused(*images_of(folder, tmp_path / "a.csv", "--model", folder / "table.keras"))
    assert line.startswith(
        "Error: --input-train must have numbers in 'x', not '0.png' and the like in the first 10 rows"
    )
    line = refused(*table_of(folder, tmp_path / "a.csv", "--model", folder / "images.keras"))
    assert line.startswith("Error: --input-train must have one column 'x' of images, not a vector of 2 as ")


def test_names_of_another_number_of_classes_are_refused(folder, tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\nthree\n")
    line = refused(*table_of(folder, tmp_path / "a.csv", "--labels", tmp_path / "names.txt"))
    assert line == "Error: --labels must have a name for each of the model's 2 classes, not 3."


@pytest.fixture
def dying(monkeypatch):
    """Makes a run end by an error once some folds are written."""

    def die(after, error):
        write, count = fold_files.write, iter(range(100))

        def dying_write(*arguments):
            if next(count) == after:
                raise error
            write(*arguments)

        monkeypatch.setattr(fold_files, "write", dying_write)

    return die


def test_an_interrupted_run_goes_on_with_the_next_fold(folder, tmp_path, dying, monkeypatch):
    output, whole = tmp_path / "a.csv", tmp_path / "whole.csv"
    assert run(*table_of(folder, whole, *OPTIONS))[0] == 0
    dying(2, KeyboardInterrupt())
    code, _, err = run(*table_of(folder, output, *OPTIONS))
    assert code != 0
    assert "Interrupted after 2 of 3 folds. Continue with --resume.\n" in err
    assert not output.exists()
    monkeypatch.undo()
    assert "must continue with the same --folds, 3, not 4." in refused(
        *table_of(folder, output, *OPTIONS, "--folds", 4, "--resume")
    )
    code, _, err = run(*table_of(folder, output, *OPTIONS, "--resume"))
    assert code == 0
    assert "Fold 3 of 3" in err
    assert "Fold 2 of 3" not in err
    assert output.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "whole.csv"]


def test_a_full_disk_leaves_the_folds_that_are_done(folder, tmp_path, dying, monkeypatch):
    output = tmp_path / "a.csv"
    dying(1, OSError(errno.ENOSPC, "No space left on device"))
    line = refused(*table_of(folder, output, *OPTIONS))
    problem = f"Error: --output {output} cannot be written: No space left on device."
    assert line == f"{problem} Continue with --resume once there is space."
    monkeypatch.undo()
    code, _, err = run(*table_of(folder, output, *OPTIONS, "--resume"))
    assert code == 0
    assert "Fold 1 of 3" not in err


def test_where_there_is_nothing_to_resume_a_run_starts(folder, tmp_path):
    code, out, _ = run(*table_of(folder, tmp_path / "a.csv", *OPTIONS, "--resume"))
    assert code == 0
    assert f"There is no run of {tmp_path / 'a.csv'} to resume: starting with the first fold." in out


def test_a_run_that_is_killed_is_taken_up_again(folder, tmp_path):
    options = ("--epochs", 150, "--folds", 5)
    output, whole = tmp_path / "a.csv", tmp_path / "whole.csv"
    process = start(*table_of(folder, output, *options), folder=tmp_path)
    journal = tmp_path / "a.csv.folds" / "journal.jsonl"
    while not (journal.exists() and journal.stat().st_size and fold_files.path_of(journal.parent, 0).exists()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not output.exists()
    code, _, err = run(*table_of(folder, output, *options, "--resume"))
    assert code == 0
    assert "Fold 1 of 5" not in err
    assert run(*table_of(folder, whole, *options))[0] == 0
    assert output.read_text() == whole.read_text()
    assert not journal.parent.exists()
