"""`vis influence` and `vis influence-tabular`: CSV files in, ranked CSV files out."""

from __future__ import annotations

import errno
import json

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from cli.commands import run
from keras import layers
from PIL import Image

from benchmarks.influence import tumours
from vis.batch import influence_trials
from vis.influence import influence_functions, rank, record_training, sgd_influence, tracin

OWN = ("loss", "self_influence")  # the columns after Neural Network Console's


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """40 training and 30 validation digits as files, their CSVs, and two models, one compiled."""
    folder = tmp_path_factory.mktemp("influence")
    (folder / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name, x, y, count in (
        ("train", digits.x_train, digits.y_train, 40),
        ("val", digits.x_test, digits.y_test, 30),
    ):
        lines = ["x:image,y:label,note"]
        for number, row in enumerate(rng.permutation(len(x))[:count]):
            path = f"pictures/{name}{number}.png"
            Image.fromarray(np.round(x[row, ..., 0] * 255).astype(np.uint8)).save(folder / path)
            lines.append(f'{path},{y[row]},"kept, or not"')
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(2, 5, strides=4, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=1)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        ]
    )
    model.save(folder / "plain.keras")
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    model.save(folder / "compiled.keras")
    model.save(folder / "compiled.h5")
    return folder


@pytest.fixture(scope="module")
def table_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tabular")
    for name, (x, y) in zip(("train", "val"), tumours(0), strict=True):
        frame = pd.DataFrame(x[:60, :4], columns=["x__0:radius", "x__1:texture", "x__2:perimeter", "x__3:area"])
        frame["y:label"] = y[:60]
        frame.to_csv(folder / f"{name}.csv", index=False)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(1, activation="sigmoid", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
        ]
    )
    model.save(folder / "model.keras")
    return folder


def arrays(folder, name):
    table = pd.read_csv(folder / f"{name}.csv")
    x = np.stack([np.asarray(Image.open(folder / path), np.float32)[..., None] / 255 for path in table["x:image"]])
    return x, table["y:label"].to_numpy()


def files(folder, output, model="plain.keras"):
    return (
        "--model", folder / model, "--input-train", folder / "train.csv", "--input-val", folder / "val.csv",
        "--output", output,
    )  # fmt: skip


def test_images_are_ranked_by_the_library_s_scores(folder, tmp_path):
    output = tmp_path / "influence.csv"
    code, out, _ = run(
        "influence",
        *files(folder, output),
        "--batch-size",
        16,
        "--n-trials",
        2,
        "--seed",
        3,
        "--epochs",
        2,
        "--learning-rate",
        0.05,
    )
    assert code == 0
    assert "40 rows, the most harmful first" in out
    model = keras.saving.load_model(folder / "plain.keras", compile=False)
    scores = []
    for seed in (3, 4):
        recorded = record_training(
            model,
            *arrays(folder, "train"),
            optimizer=keras.optimizers.SGD(0.05),
            epochs=2,
            batch_size=16,
            seed=seed,
            progress=False,
        )
        scores.append(sgd_influence(recorded, *arrays(folder, "val"), progress=False))
    written = pd.read_csv(output)
    assert list(written.columns) == ["x:image", "y:label", "influence", "datasource_index", *OWN]
    expected = rank(scores)
    np.testing.assert_allclose(written["influence"], expected["influence"], rtol=1e-4, atol=1e-8)
    assert written["datasource_index"].tolist() == expected["datasource_index"].tolist()
    assert (written["influence"].diff().dropna() >= 0).all()
    paths = [f"../{folder.name}/pictures/train{i}.png" for i in written["datasource_index"]]
    assert written["x:image"].tolist() == paths


@pytest.mark.parametrize("model", ["compiled.keras", "compiled.h5"])
def test_the_model_file_s_optimizer_is_used(model, folder, tmp_path):
    outputs = [tmp_path / "own.csv", tmp_path / "given.csv", tmp_path / "other.csv"]
    run("influence", *files(folder, outputs[0], model), "--n-trials", 1)
    run("influence", *files(folder, outputs[1]), "--n-trials", 1, "--optimizer", "adam", "--learning-rate", 0.01)
    run("influence", *files(folder, outputs[2]), "--n-trials", 1, "--learning-rate", 0.05)
    own, given, other = (pd.read_csv(output)["influence"] for output in outputs)
    np.testing.assert_allclose(own, given, rtol=1e-4, atol=1e-9)
    assert not np.allclose(own, other)


@pytest.mark.parametrize("method", ["tracin", "hessian"])
def test_other_methods(method, table_folder, tmp_path):
    code, _, _ = run(
        "influence-tabular",
        *files(table_folder, tmp_path / "a.csv", "model.keras"),
        "--method",
        method,
        "--learning-rate",
        0.001,
    )
    assert code == 0
    written = pd.read_csv(tmp_path / "a.csv")
    training, validation = (pd.read_csv(table_folder / f"{name}.csv") for name in ("train", "val"))
    model = keras.saving.load_model(table_folder / "model.keras", compile=False)
    data = [part for t in (training, validation) for part in (t.iloc[:, :4].to_numpy("float32"), t["y:label"])]
    if method == "hessian":
        expected = influence_functions(model, *data, l2=0.001, progress=False)
    else:
        runs = [
            record_training(
                model,
                *data[:2],
                optimizer=keras.optimizers.SGD(0.001),
                batch_size=64,
                seed=seed,
                l2=0.001,
                progress=False,
            )
            for seed in range(6)
        ]
        expected = np.mean([tracin(each, *data[2:], progress=False) for each in runs], axis=0)
    np.testing.assert_allclose(written["influence"], np.sort(expected), rtol=1e-3, atol=1e-9)


def test_a_learning_rate_is_found_where_none_is_given_and_told(table_folder, tmp_path):
    given = files(table_folder, tmp_path / "a.csv", "model.keras")
    code, out, err = run("influence-tabular", *given, "--n-trials", 3)
    assert code == 0
    made = json.loads((tmp_path / "a.json").read_text())
    rate = made["optimizer"]["config"]["learning_rate"]
    found = "the largest at which two shuffles rank the examples alike"
    assert f"Trained with SGD at the learning rate {rate:g}, {found}\n" in out
    assert f"Looking for a learning rate: {rate:g}" in err
    assert f"Stability {made['stability']:.2f}: rank agreement between trials" in out
    assert made["stability"] > 0.5
    assert (made["n_trials"], made["learning_rate"]) == (3, "auto")

    options = ("--n-trials", 3, "--learning-rate", rate, "--resume")
    other = files(table_folder, tmp_path / "b.csv", "model.keras")
    assert f"Trained with SGD at the learning rate {rate:g}\n" in run("influence-tabular", *other, *options)[1]
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_scores_that_are_mostly_noise_come_with_advice(table_folder, tmp_path, monkeypatch):
    noise = np.random.default_rng(0)
    monkeypatch.setattr(influence_trials, "sgd_influence", lambda run, *_, **__: noise.normal(size=len(run)))
    given = files(table_folder, tmp_path / "a.csv", "model.keras")
    code, out, _ = run("influence-tabular", *given, "--n-trials", 3, "--learning-rate", 0.01)
    assert code == 0
    advice = (
        "These scores are mostly noise: two shuffles rank the examples differently. Use a smaller --learning-rate, "
    )
    assert advice in out
    assert advice not in run("influence-tabular", *given, "--n-trials", 1, "--learning-rate", 0.01)[1], (
        "one trial tells nothing"
    )
    assert json.loads((tmp_path / "a.json").read_text())["stability"] is None


def test_a_table_keeps_its_columns_behind_the_scores(table_folder, tmp_path):
    output = tmp_path / "sgd_influence_tabular.csv"
    code, _, _ = run(
        "influence-tabular", *files(table_folder, output, "model.keras"), "--n_trials", 2, "--weights", "final"
    )
    assert code == 0
    written, training = (pd.read_csv(path, dtype=str) for path in (output, table_folder / "train.csv"))
    assert list(written.columns) == [
        "index",
        "influence",
        "datasource_index",
        *training.columns,
        "loss",
        "self_influence",
    ]
    assert written["index"].tolist() == written["datasource_index"].tolist()
    assert sorted(map(int, written["index"])) == list(range(60))
    order = written["datasource_index"].astype(int)
    pd.testing.assert_frame_equal(
        written[training.columns], training.iloc[order].reset_index(drop=True), check_dtype=False
    )
    again = tmp_path / "again.csv"
    run("influence-tabular", *files(table_folder, again, "model.keras"), "--n-trials", 2, "--weights", "final")
    assert again.read_bytes() == output.read_bytes()


def test_bad_rows_are_left_out_and_named(folder, tmp_path):
    lines = (folder / "train.csv").read_text().splitlines()
    lines[3] = "pictures/missing.png,1,"
    lines[6] = "pictures/train5.png,many,"
    broken = folder / "broken.csv"
    broken.write_text("\n".join(lines) + "\n")
    output = tmp_path / "a.csv"
    arguments = list(files(folder, output))
    arguments[3] = broken
    code, out, err = run("influence", *arguments, "--n-trials", 1)
    assert code == 1
    assert "broken.csv, row 2: " in err
    assert "broken.csv, row 5: 'many' is not a number" in err
    assert "38 rows, the most harmful first; 2 rows were left out" in out
    assert sorted(pd.read_csv(output)["datasource_index"]) == [i for i in range(40) if i not in (2, 5)]


def test_html_shows_the_extremes(folder, tmp_path):
    code, out, _ = run("influence", *files(folder, tmp_path / "a.csv"), "--n-trials", 1, "--html")
    assert code == 0
    assert f"Open {tmp_path / 'a.html'}" in out
    page = (tmp_path / "a.html").read_text()
    assert page.count("data:image/png;base64,") == 40
    assert page.index("Most harmful") < page.index("Most helpful")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--input-train", "nothing.csv"), "nothing.csv"),
        (("--label-variable", "z"), "'z'"),
        (("--output", "a.txt"), "a.txt"),
        (("--optimizer", "ftrl"), "Ftrl"),
        (("--optimizer", "foo"), "'foo'"),
        (("--n-trials", "0"), "Error: --n-trials must be at least 1, not 0."),
        (("--learning-rate", "-1"), "--learning-rate"),
        (("--model", "nothing.keras"), "--model"),
    ],
)
def test_bad_options_are_refused_in_a_line(folder, tmp_path, change, words):
    code, _, err = run("influence", *files(folder, tmp_path / "a.csv"), *change)
    assert code == 2
    assert words in err.splitlines()[-1]
    assert not (tmp_path / "a.csv").exists()


def refused_at_once(*arguments):
    """The one line in which a command refuses, before any row is read, of which a progress bar would tell."""
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    (line,) = err.splitlines()
    return line


def test_a_savedmodel_is_refused_at_once(folder, tmp_path):
    keras.saving.load_model(folder / "plain.keras").export(tmp_path / "saved", verbose=False)
    line = refused_at_once("influence", *files(folder, tmp_path / "a.csv", tmp_path / "saved"))
    assert line == (
        f"Error: --model must be a file, not {tmp_path / 'saved'}, a SavedModel folder, which cannot be trained. Give "
        "the .keras or .h5 file of the model, compiled with its loss."
    )


@pytest.mark.parametrize("command", ["influence", "influence-tabular"])
def test_a_model_that_tells_of_no_loss_is_refused_at_once(command, folder, table_folder, tmp_path):
    inputs = keras.Input((28, 28, 1) if command == "influence" else (4,))
    outputs = layers.Dense(10, "tanh", name="end")(layers.Flatten()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "tanh.keras")
    data = folder if command == "influence" else table_folder
    line = refused_at_once(command, *files(data, tmp_path / "a.csv", tmp_path / "tanh.keras"))
    assert line == (
        "Error: --model must be compiled with a Keras loss, as its last layer implies none. Compile it with one and "
        "save it again as .keras."
    )


def test_a_model_of_another_loss_than_keras_has_is_refused_at_once(folder, tmp_path):
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(10)])
    model.compile("sgd", "mse")
    model.save(tmp_path / "own.h5")
    with h5py.File(tmp_path / "own.h5", "a") as file:
        file.attrs["training_config"] = file.attrs["training_config"].replace('"mse"', '"own_loss"')
    line = refused_at_once("influence", *files(folder, tmp_path / "a.csv", tmp_path / "own.h5"))
    assert line.startswith("Error: --model must be compiled with a Keras loss, not with 'own_loss'. Compile it with ")


def test_a_loss_that_is_a_function_is_told_by_its_name(folder, tmp_path):
    model = keras.saving.load_model(folder / "plain.keras")

    def own(y_true, y_pred):
        return y_pred[:, 0]

    for name, loss in (("function", keras.losses.sparse_categorical_crossentropy), ("own", own)):
        model.compile("sgd", loss)
        model.save(tmp_path / f"{name}.keras")
    code, _, err = run("influence", *files(folder, tmp_path / "a.csv", tmp_path / "function.keras"), "--n-trials", 1)
    assert code == 0, err
    line = refused_at_once("influence", *files(folder, tmp_path / "b.csv", tmp_path / "own.keras"))
    assert line.startswith("Error: --model must be compiled with a Keras loss, not with 'own'. ")


def test_a_model_of_several_outputs_is_refused_at_once(folder, tmp_path):
    inputs = keras.Input((28, 28, 1))
    flat = layers.Flatten()(inputs)
    keras.Model(inputs, [layers.Dense(10, "softmax")(flat), layers.Dense(1)(flat)]).save(tmp_path / "two.keras")
    line = refused_at_once("influence", *files(folder, tmp_path / "a.csv", tmp_path / "two.keras"))
    assert "--model" in line
    assert "2" in line


@pytest.mark.parametrize("command", ["influence", "influence-tabular"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--optimizer", "foo"), "'foo'"),
        (("--optimizer", "ftrl"), "Ftrl"),
        (("--learning-rate", "0"), "Error: --learning-rate must be a finite number above 0, not 0."),
        (("--learning-rate", "inf"), "Error: --learning-rate must be a finite number above 0, not inf."),
        (("--learning-rate", "fast"), "Error: --learning-rate must be a number above 0 or auto, not 'fast'."),
    ],
)
def test_what_no_training_could_go_by_is_refused_at_once(command, options, words, folder, table_folder, tmp_path):
    data = files(folder, "a.csv") if command == "influence" else files(table_folder, "a.csv", "model.keras")
    assert words in refused_at_once(command, *data, *options)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4,), "Error: --model must take images, not rows of 4 numbers. Use vis influence-tabular."),
        ((3, 8, 8, 1), "(3, 8, 8, 1)"),
        ((8, 8, 5), "(8, 8, 5)"),
    ],
)
def test_a_model_of_something_else_is_referred_to_what_takes_it(shape, words, folder, tmp_path):
    keras.Sequential([keras.Input(shape), layers.Flatten(), layers.Dense(10, "softmax")]).save(tmp_path / "other.keras")
    line = refused_at_once("influence", *files(folder, tmp_path / "a.csv", tmp_path / "other.keras"))
    assert "--model" in line
    assert words in line
    assert " Use vis" in line


def test_warnings_name_options(table_folder, tmp_path):
    arguments = list(files(table_folder, tmp_path / "a.csv", "model.keras"))
    arguments[5] = arguments[3]
    code, _, err = run("influence-tabular", *arguments, "--n-trials", 1)
    assert code == 0
    assert "Warning: the validation examples are the training examples: " in err


def test_advice_on_influence_functions_names_what_the_shell_has(table_folder, tmp_path):
    drawn = keras.initializers.RandomNormal(0, 3, seed=1)
    ends = [layers.Dense(8, "tanh", kernel_initializer=drawn), layers.Dense(1, "sigmoid", kernel_initializer=drawn)]
    keras.Sequential([keras.Input((4,)), *ends]).save(tmp_path / "untrained.keras")
    data = files(table_folder, tmp_path / "a.csv", tmp_path / "untrained.keras")
    code, _, err = run("influence-tabular", *data, "--method", "hessian")
    assert code == 0
    assert err.splitlines()[-1].endswith("not at a minimum; the solution found so far is used. Use --method sgd.")


def test_a_run_that_diverges_is_told(table_folder, tmp_path):
    arguments = files(table_folder, tmp_path / "a.csv", "model.keras")
    options = ("--n-trials", 3, "--batch-size", 10, "--optimizer", "sgd", "--learning-rate", 1e6)
    code, _, err = run("influence-tabular", *arguments, *options)
    assert code == 0
    assert "Warning: the training loss rose from " in err
    assert "Lower the --learning-rate. (repeated 2 more times)" in err


def test_a_label_out_of_range_leaves_its_row_out(folder, tmp_path):
    text = (folder / "train.csv").read_text().replace("train7.png,", "train7.png,1", 1)
    (folder / "high.csv").write_text(text)
    arguments = list(files(folder, tmp_path / "a.csv"))
    arguments[3] = folder / "high.csv"
    code, _, err = run("influence", *arguments, "--n-trials", 1)
    assert code == 1
    assert "high.csv, row 7: the label " in err
    assert " 0 to 9" in err
    assert 7 not in pd.read_csv(tmp_path / "a.csv")["datasource_index"].to_numpy()


def test_without_a_row_that_can_be_used_it_refuses(folder, tmp_path):
    lines = (folder / "train.csv").read_text().splitlines()
    lines[1:] = [line.replace(".png,", ".png,7", 1) for line in lines[1:]]
    (folder / "all_high.csv").write_text("\n".join(lines) + "\n")
    arguments = list(files(folder, tmp_path / "a.csv"))
    arguments[3] = folder / "all_high.csv"
    code, _, err = run("influence", *arguments)
    assert code == 2
    assert "--input-train" in err.splitlines()[-1]
    words = "Error: --input-train must have at least 2 usable rows, not 0 of the 40 rows of "
    assert err.splitlines()[-1].startswith(f"{words}{folder / 'all_high.csv'}. Row 0: ")
    assert " 0 to 9" in err.splitlines()[-1]
    assert err.count(" 0 to 9") == 1, "every row is listed"
    assert not err.splitlines()[-1].endswith("..")


def test_a_table_of_images_is_referred_to_the_other_command(folder, tmp_path):
    code, _, err = run("influence-tabular", *files(folder, tmp_path / "a.csv"))
    assert code == 2
    (line,) = err.splitlines()
    assert line.startswith("Error: --input-train must have numbers in 'x', not 'pictures/train0.png' and the like in ")
    assert line.endswith("train.csv. For images use vis influence.")


@pytest.mark.parametrize(("name", "position"), [("--input-train", 3), ("--input-val", 5)])
def test_a_model_of_other_columns_is_refused_before_training(name, position, table_folder, tmp_path):
    pd.read_csv(table_folder / "train.csv").drop(columns="x__3:area").to_csv(tmp_path / "three.csv", index=False)
    arguments = list(files(table_folder, tmp_path / "a.csv", "model.keras"))
    arguments[position] = tmp_path / "three.csv"
    code, _, err = run("influence-tabular", *arguments)
    assert code == 2
    (line,) = err.splitlines()
    columns = "must have 4 columns of 'x', as the model takes, not 3 as "
    assert line == f"Error: {name} {columns}{tmp_path / 'three.csv'} has."


@pytest.fixture
def killed(monkeypatch):
    """Makes a run end by an error of a kind in a trial."""

    def die(trial, error):
        score, trials = influence_trials.sgd_influence, iter(range(100))

        def dying(*arguments, **options):
            if next(trials) == trial:
                raise error
            return score(*arguments, **options)

        monkeypatch.setattr(influence_trials, "sgd_influence", dying)

    return die


def test_an_interrupted_run_goes_on_with_the_next_trial(table_folder, tmp_path, killed, monkeypatch):
    whole, output = tmp_path / "whole.csv", tmp_path / "a.csv"
    options = ("--n-trials", 3, "--epochs", 2)
    assert run("influence-tabular", *files(table_folder, whole, "model.keras"), *options)[0] == 0
    given = ("influence-tabular", *files(table_folder, output, "model.keras"), *options)
    killed(2, KeyboardInterrupt())
    code, _, err = run(*given)
    assert code != 0
    assert "Interrupted after 2 of 3 trials. Continue with --resume.\n" in err
    assert not output.exists()
    monkeypatch.undo()
    assert "must continue with the same --seed, 0, not 1." in run(*given, "--resume", "--seed", 1)[2]
    code, _, err = run(*given, "--resume")
    assert code == 0
    assert "Trial 3 of 3" in err
    assert "Trial 2 of 3" not in err
    assert output.read_text() == whole.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.csv", "a.json", "whole.csv", "whole.json"]


def test_a_full_disk_leaves_the_trials_that_are_done(folder, tmp_path, killed, monkeypatch):
    output = tmp_path / "a.csv"
    given = ("influence", *files(folder, output), "--n-trials", 2)
    killed(1, OSError(errno.ENOSPC, "No space left on device"))
    _, _, err = run(*given)
    problem = f"--output {output} cannot be written: No space left on device."
    assert err.endswith(f"Error: {problem} Continue with --resume once there is space.\n")
    monkeypatch.undo()
    code, _, err = run(*given, "--resume")
    assert code == 0
    assert "Trial 1 of 2" not in err


def test_where_there_is_nothing_to_resume_a_run_starts(table_folder, tmp_path):
    output = tmp_path / "a.csv"
    given = ("influence-tabular", *files(table_folder, output, "model.keras"), "--n-trials", 1, "--learning-rate", 0.01)
    code, out, err = run(*given, "--resume")
    assert code == 0
    assert f"There is no run of {output} to resume: starting with the first trial." in out
    assert "Trial 1 of 1" in err


def test_classes_are_called_by_their_names_on_the_page(folder, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("\n".join("zero one two three four five six seven eight nine".split()))
    output = tmp_path / "a.csv"
    assert run("influence", *files(folder, output), "--n-trials", 1, "--html", "--labels", names)[0] == 0
    label = pd.read_csv(output)["y:label"][0]
    assert f"{label} {names.read_text().split()[label]}" in (tmp_path / "a.html").read_text()
