"""Models of Neural Network Console in every command: the maps and scores are the library's for the Keras model."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
from cli.commands import read, refusal, run
from nnp_files import ADAM, ADAMW, drawn, executor, function, lenet, network, shape, table, variable, write
from PIL import Image

from vis import VisWarning, plotting
from vis.batch.compiled import compiled_with
from vis.influence import rank, record_training, sgd_influence, tracin
from vis.models import load_model
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """LeNet as a project, 24 training and 12 validation digits as files, and their tables."""
    folder = tmp_path_factory.mktemp("console")
    lenet(folder / "results.nnp")
    lenet(folder / "raw.nnp", flag="no_image_normalization: true")
    for name, x, y, count in (("train", digits.x_train, digits.y_train, 24), ("val", digits.x_test, digits.y_test, 12)):
        lines = ["x:image,y:label"]
        for number in range(count):
            row = number * len(x) // count
            Image.fromarray(np.round(x[row, ..., 0] * 255).astype(np.uint8)).save(folder / f"{name}{number}.png")
            lines.append(f"{name}{number}.png,{y[row]}")
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return folder


def pictures(folder, name) -> tuple[np.ndarray, np.ndarray]:
    """The images of a table from 0 to 255, and their labels."""
    rows = pd.read_csv(folder / f"{name}.csv")
    x = np.stack([np.asarray(Image.open(folder / path), np.float32)[..., None] for path in rows["x:image"]])
    return x, rows["y:label"].to_numpy()


def single(name, folder, tmp_path, *options, model="results.nnp"):
    output = tmp_path / "map.png"
    code, out, err = run(
        name,
        "--model",
        folder / model,
        "--image",
        folder / "val3.png",
        "--output",
        output,
        "--class-index",
        5,
        "--size",
        1,
        *options,
    )
    assert code == 0, err
    return out, err, read(output)


def test_gradcam(folder, tmp_path):
    out, err, picture = single("gradcam", folder, tmp_path, "--layer", "Convolution_2")
    x = pictures(folder, "val")[0][3] / 255
    model = load_model(folder / "results.nnp")
    heatmap = visualize_cam(model, None, 5, x, penultimate_layer_idx="Convolution_2", interpolation=None)
    np.testing.assert_array_equal(picture, plotting.heatmap_over(read(folder / "val3.png"), heatmap))
    score = f"{model(x[None])[0, 5].numpy():.3f}"
    reason = "because the executor in results.nnp does not set no_image_normalization"
    what = f"class 5, probability {score}; the map explains its logit; pixels as unit, {reason}"
    assert out.startswith(f"{tmp_path / 'map.png'}: {what}\nTop 5: ")
    assert err == ""


def test_smoothgrad(folder, tmp_path):
    _, err, picture = single("smoothgrad", folder, tmp_path, "--num-samples", 4, "--seed", 1)
    x = pictures(folder, "val")[0][3] / 255
    model = load_model(folder / "results.nnp")
    expected = smoothgrad(model, None, 5, x, num_samples=4, seed=1, normalize=False)
    expected = np.clip((expected - expected.min()) / (np.percentile(expected, 99) - expected.min()), 0, 1)
    np.testing.assert_allclose(picture, expected * 255, atol=1)
    assert err == ""


def test_guided_backpropagation_finds_the_relu_layers(folder, tmp_path):
    _, err, picture = single("saliency", folder, tmp_path, "--backprop-modifier", "guided")
    x = pictures(folder, "val")[0][3] / 255
    expected = visualize_saliency(load_model(folder / "results.nnp"), None, 5, x, backprop_modifier="guided")
    np.testing.assert_array_equal(picture, plotting.colorize(plotting.clip_brightness(expected)))
    assert err == ""


def test_pixels_go_in_as_the_file_says(folder, tmp_path):
    out, err, _ = single("saliency", folder, tmp_path, model="raw.nnp")
    x = pictures(folder, "val")[0][3]
    model = load_model(folder / "raw.nnp")
    probability = f"{model(x[None])[0, 5].numpy():.3f}"
    assert (
        f"probability {probability}; the map explains its logit; pixels as raw, because the executor in raw.nnp " in out
    )
    assert err == ""
    out, err, _ = single("saliency", folder, tmp_path, "--preprocess", "unit", model="raw.nnp")
    probability = f"{model(x[None] / 255)[0, 5].numpy():.3f}"
    assert out.startswith(
        f"{tmp_path / 'map.png'}: class 5, probability {probability}; the map explains its logit\nTop "
    )
    assert err == (
        "Warning: --preprocess unit is used, but the model asks for raw, because the executor in raw.nnp sets "
        "no_image_normalization.\n"
    )
    assert single("saliency", folder, tmp_path, "--preprocess", "raw", model="raw.nnp")[1] == ""


def test_pixels_go_into_a_keras_model_as_it_begins(folder, tmp_path):
    model = load_model(folder / "results.nnp")
    scaled = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(1 / 255, name="scaled"), model])
    scaled.save(folder / "scaled.keras")
    out, err, picture = single("saliency", folder, tmp_path, model="scaled.keras")
    assert "; pixels as raw, because the model begins with 'scaled', which multiplies by 0.00392\n" in out
    assert err == ""
    np.testing.assert_allclose(picture, single("saliency", folder, tmp_path)[2], atol=1)


@pytest.mark.parametrize("name", ["gradcam", "smoothgrad"])
def test_batches(name, folder, tmp_path):
    options = {"gradcam": ("--layer", "Convolution_2"), "smoothgrad": ("--num-samples", 3)}[name]
    arguments = ("--model", folder / "results.nnp", "--input", folder / "val.csv", *options)
    code, out, _ = run(f"{name}-batch", *arguments, "--output", tmp_path / "maps.csv")
    assert code == 0
    assert f"\n{tmp_path / 'maps.csv'}: pixels as unit, because the executor in results.nnp does not set " in out
    written = pd.read_csv(tmp_path / "maps.csv")
    _, labels = pictures(folder, "val")
    assert written["y:label"].tolist() == labels.tolist()
    for row in (0, 7):
        image = folder / written["x:image"][row]
        alone = (
            "--image",
            image,
            "--class-index",
            labels[row],
            *options,
            "--size",
            1,
            "--output",
            tmp_path / "alone.png",
        )
        run(name, "--model", folder / "results.nnp", *alone)
        picture = read(tmp_path / written[{"gradcam": "gradcam", "smoothgrad": "SmoothGrad"}[name]][row])
        np.testing.assert_allclose(picture.astype(int), read(tmp_path / "alone.png"), atol=2)


def test_activation(folder, tmp_path):
    arguments = ("--model", folder / "raw.nnp", "--filters", 2, "--steps", 3, "--output", tmp_path / "a.png")
    code, out, _ = run("activation", *arguments)
    assert code == 0
    assert out.endswith("3 steps; pixels as raw, because the executor in raw.nnp sets no_image_normalization\n")


# Influence


def influence(command, folder, tmp_path, *options, model="results.nnp"):
    output = tmp_path / "influence.csv"
    data = ("--input-train", folder / "train.csv", "--input-val", folder / "val.csv", "--output", output)
    code, _, err = run(command, "--model", folder / model, *data, *options)
    assert code == 0, err
    return pd.read_csv(output), [line for line in err.splitlines() if line.startswith("Warning")]


def recorded(path, data, seed=0, **options):
    compiled = compiled_with(path)
    options = {"optimizer": compiled.optimizer, "loss": compiled.loss, "l2": compiled.l2, **options}
    model = load_model(path, training=True)
    return record_training(model, *data, seed=seed, progress=False, **options)


def test_influence_trains_the_file_s_network_with_its_dropout_by_its_solver(folder, tmp_path):
    written, warnings = influence("influence", folder, tmp_path, "--n-trials", 1, "--seed", 3, "--batch-size", 8)
    (x, y), (x_val, y_val) = (pictures(folder, name) for name in ("train", "val"))
    run_of_it = recorded(folder / "results.nnp", (x / 255, y), seed=3, batch_size=8)
    assert "Dropout" in {layer.name for layer in run_of_it.model().layers}
    expected = rank([sgd_influence(run_of_it, x_val / 255, y_val, progress=False)])
    np.testing.assert_allclose(written["influence"], expected["influence"], rtol=1e-3, atol=1e-7)
    assert written["datasource_index"].tolist() == expected["datasource_index"].tolist()
    assert warnings == []


@pytest.fixture(scope="module")
def iris(tmp_path_factory):
    """Irises as tables, and projects that classify them."""
    from sklearn.datasets import load_iris

    folder = tmp_path_factory.mktemp("iris")
    x, y = load_iris(return_X_y=True)
    write_tables(folder, x, y)
    decaying = ADAM.replace("weight_decay: 0", "weight_decay: 0.01")
    table(folder / "results.nnp", 4, 3, solver=decaying)
    table(folder / "lars.nnp", 4, 3, solver='type: "Lars" lars_param { lr: 0.1 }')
    return folder


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    """Credits, drawn, as tables, and a project with dropout that tells good ones from bad ones."""
    folder = tmp_path_factory.mktemp("credit")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 20))
    write_tables(folder, x, (x[:, 0] + rng.normal(size=80) > 0).astype(int))
    table(folder / "results.nnp", 20, 2, solver=ADAMW, dropout=0.5)
    return folder


def write_tables(folder, x, y):
    frame = pd.DataFrame(x.round(3), columns=[f"x__{i}" for i in range(x.shape[1])])
    frame["y"] = y
    frame[::2].to_csv(folder / "train.csv", index=False)
    frame[1::2].to_csv(folder / "val.csv", index=False)


def rows(folder, name):
    frame = pd.read_csv(folder / f"{name}.csv")
    return frame.iloc[:, :-1].to_numpy(np.float32), frame["y"].to_numpy()


@pytest.mark.parametrize("name", ["iris", "credit"])
def test_influence_of_tables(name, request, tmp_path):
    folder = request.getfixturevalue(name)
    options = ("--n-trials", 2, "--batch-size", 16)
    written, warnings = influence("influence-tabular", folder, tmp_path, *options)
    data, validation = rows(folder, "train"), rows(folder, "val")
    scores = []
    for seed in (0, 1):
        run_of_it = recorded(folder / "results.nnp", data, seed=seed, batch_size=16)
        assert run_of_it.l2 == (0.01 if name == "iris" else 0)
        scores.append(sgd_influence(run_of_it, *validation, progress=False))
    expected = rank(scores)
    np.testing.assert_allclose(written["influence"], expected["influence"], rtol=1e-3, atol=1e-8)
    assert written["datasource_index"].tolist() == expected["datasource_index"].tolist()
    assert warnings == []


def test_a_solver_that_has_no_update_rule_is_replaced_and_that_is_said(iris, tmp_path):
    options = ("--n-trials", 1, "--method", "tracin", "--learning-rate", 0.001)
    written, warnings = influence("influence-tabular", iris, tmp_path, *options, model="lars.nnp")
    assert warnings == [
        "Warning: the solver of lars.nnp, Lars, has no update rule here; SGD is used instead. "
        "Give another --optimizer or --learning-rate."
    ]
    optimizer = keras.optimizers.SGD(0.001)
    with pytest.warns(VisWarning, match="Lars"):
        run_of_it = recorded(iris / "lars.nnp", rows(iris, "train"), batch_size=64, optimizer=optimizer, l2=0.001)
    expected = rank([tracin(run_of_it, *rows(iris, "val"), progress=False)])
    np.testing.assert_allclose(written["influence"], expected["influence"], rtol=1e-3, atol=1e-9)


def test_a_model_that_says_nothing_of_its_training_is_refused(folder, tmp_path):
    text = network("n", variable("Input", -1, 4), variable("y", -1, 4), function("Tanh", ["Input"], "y"))
    path = write(tmp_path / "a.nnp", text + executor("n", outputs=["y"]))
    data = ("--input-train", folder / "train.csv", "--input-val", folder / "val.csv")
    line = refusal("influence", "--model", path, *data, "--output", tmp_path / "a.csv")
    assert line.startswith("Error: --model must say how it was trained, not only how it is executed as ")


# Several outputs, and what cannot be read


@pytest.fixture
def several(tmp_path):
    """A project with feature maps, probabilities and scores as outputs."""
    weights = drawn(W=(3, 1, 3, 3), A=(3 * 26 * 26, 4))
    items = [
        variable("x", -1, 1, 28, 28), variable("c", -1, 3, 26, 26), variable("z", -1, 4), variable("p", -1, 4),
        *(variable(name, *value.shape, kind="Parameter") for name, value in weights.items()),
        function("Convolution", ["x", "W"], "c", f"convolution_param {{ base_axis: 1 pad: {shape(0, 0)} }}"),
        function("Affine", ["c", "A"], "z", "affine_param { base_axis: 1 }"),
        function("Softmax", ["z"], "p", "softmax_param { axis: 1 }"),
    ]  # fmt: skip
    return write(tmp_path / "several.nnp", network("n", *items) + executor("n", ["x"], ["z", "p"]), weights)


def test_an_output_is_chosen(several, folder, tmp_path):
    arguments = ("saliency", "--model", several, "--image", folder / "val3.png", "--output", tmp_path / "a.png")
    code, out, err = run(*arguments, "--class-index", 0)
    assert code == 0
    assert err == (
        "Warning: several.nnp has 2 outputs, of which p is explained; the others are z (y'). "
        "Choose another with --output-variable.\n"
    )
    x = pictures(folder, "val")[0][3:4] / 255
    for name, kind, form in (("z", "score", ".4g"), ("p", "probability", ".3f")):
        code, out, err = run(*arguments, "--output-variable", name, "--class-index", 1)
        assert (code, err) == (0, "")
        assert f"{kind} {load_model(several, output_variable=name)(x)[0, 1].numpy():{form}}" in out
    line = refusal(*arguments, "--output-variable", "q")
    assert line.startswith("Error: --output-variable must be an output of ")
    assert line.endswith(" not 'q'. It has z (y'), p (y').\n")


def test_a_function_that_is_not_supported_is_named(folder, tmp_path):
    items = [variable("x", -1, 1, 4, 4), variable("y", -1, 4), function("OneHot", ["x"], "y", name="Coded")]
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]))
    line = refusal("saliency", "--model", path, "--image", folder / "val3.png", "--output", tmp_path / "a.png")
    assert line.startswith(
        "Error: --model must be a network of supported functions, not with 'Coded' of type OneHot. Supported are Abs, "
    )


def test_a_damaged_archive_is_refused_before_anything_else(folder, tmp_path):
    (tmp_path / "a.nnp").write_bytes((folder / "results.nnp").read_bytes()[:3000])
    line = refusal("gradcam", "--model", tmp_path / "a.nnp", "--image", folder / "val3.png")
    assert "Error: --model must be a complete .nnp file, not " in line
