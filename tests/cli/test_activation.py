"""`vis activation`: pictures for good arguments, one line for bad ones."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
import zoo
from cli.commands import read, refusal, run
from PIL import Image

from vis.input_modifiers import Jitter
from vis.plotting.sheets import pictures
from vis.visualization import visualize_activation


@pytest.fixture(scope="module")
def model():
    return zoo.functional()


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def test_the_picture_is_the_library_s_grid(model, saved, tmp_path):
    output = tmp_path / "grid.png"
    code, out, err = run("activation",
        "--model", saved, "--layer", "conv2", "--filters", "0,2-3", "--output", output, "--steps", 12, "--seed", 4
    )  # fmt: skip
    assert code == 0
    assert out == f"{output}: 3 filters of conv2, 12 steps; pixels as unit\n"
    assert "12/12" in err  # the progress bar
    expected = visualize_activation(
        model, "conv2", [[0], [2], [3]], input_range=(0.0, 1.0), max_iter=12, seed=4, parameterization="fourier",
        input_modifiers=[Jitter(0.02)],
    )  # fmt: skip
    picture = read(output)
    for i, tile in enumerate(pictures(expected, (0, 1))):
        height, width = tile.shape[:2]
        shown = picture[20 : 20 + height, i * (width + 5) : i * (width + 5) + width]
        assert np.abs(shown.astype(int) - tile).mean() < 2


def test_a_class_by_pixels_and_an_animation(saved, tmp_path):
    output, gif = tmp_path / "one.png", tmp_path / "one.gif"
    options = ["--model", saved, "--filters", 1, "--parameterization", "pixels", "--steps", 130]
    code, out, _ = run("activation", *options, "--output", output, "--gif", gif)
    assert code == 0
    assert out == f"{output}: 1 filter of the output, 130 steps; pixels as unit\n"
    with Image.open(gif) as animation:
        assert 40 < animation.n_frames <= 64
        assert animation.size == read(output).shape[1::-1]
    assert sorted(os.listdir(tmp_path)) == ["model.keras", "one.gif", "one.png"]


def test_it_is_a_matter_of_its_seed(saved, tmp_path):
    found = []
    for seed in (1, 1, 2):
        run(
            "activation", "--model", saved, "--filters", 1, "--steps", 3, "--seed", seed, "--output", tmp_path / "a.png"
        )
        found.append(read(tmp_path / "a.png"))
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize(("preprocess", "wanted"), [("caffe", 0), ("torch", 2), ("raw", 2), ("tf", 2)])
def test_colours_are_shown_as_the_model_was_trained_to_see_them(tmp_path, preprocess, wanted):
    """A class that wants the model's last channel alone: red for models that take blue, green, red; else blue."""
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inputs)))
    model.layers[-1].set_weights([np.array([[-9.0, 0], [-9, 0], [9, 0]]), np.zeros(2)])
    model.save(tmp_path / "model.keras")
    options = ["--preprocess", preprocess, "--parameterization", "pixels", "--output", tmp_path / "a.png"]
    assert run("activation", "--model", tmp_path / "model.keras", *options)[0] == 0
    brightness = read(tmp_path / "a.png").mean(axis=(0, 1))
    assert brightness[wanted] > 250
    assert sum(brightness) - brightness[wanted] < 10


@pytest.mark.parametrize("layout", ["any size", "channels first", "no channels"])
def test_images_of_every_layout(tmp_path, layout):
    layers = keras.layers
    shape = {"any size": (None, None, 1), "channels first": (3, 10, 12), "no channels": (10, 12)}[layout]
    inputs = keras.Input(shape)
    if layout == "no channels":
        x = layers.Flatten()(inputs)
    else:
        data_format = "channels_first" if layout == "channels first" else "channels_last"
        x = layers.GlobalAveragePooling2D(data_format=data_format)(inputs)
    keras.Model(inputs, layers.Dense(2, "softmax")(x)).save(tmp_path / "model.keras")
    options = ["--steps", 4, "--output", tmp_path / "a.png", "--gif", tmp_path / "a.gif"]
    options += ["--size", 140] if layout == "any size" else []
    code, _, err = run("activation", "--model", tmp_path / "model.keras", *options)
    assert code == 0, err
    expected = {"any size": (140, 140), "channels first": (130, 156, 3), "no channels": (130, 156)}
    assert read(tmp_path / "a.png").shape == expected[layout]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--filters", "0,x"], "--filters must be filters from 0, not '0,x'. Give for example 0,1,2 or 0-9."),
        (["--filters", "3-1"], "--filters must be filters from 0, not '3-1'"),
        (["--filters", "0-200"], "--filters must be at most 100 filters, not 0-200. Give fewer."),
        (["--filters", "7"], "7"),
        (["--layer", "conv9"], "'conv9'"),
        (["--output", "a.txt"], "a.txt"),
        (["--gif", "a.png"], "a.png"),
        (["--gif", "nowhere/a.gif"], "nowhere"),
        (["--size", "64"], "--size must be 16 by 16 for this model, not 64. Leave --size out."),
        (["--size", "10000"], "--size must be at most 4096, not 10000."),
        (["--jitter", "inf"], "--jitter must be at most 16 pixels for images of 16 by 16, not inf. Give fewer"),
        (["--jitter", "64"], "--jitter must be at most 16 pixels for images of 16 by 16, not 64. Give fewer"),
        (["--steps", "0"], "--steps must be at least 1, not 0."),
        (["--steps", "few"], "--steps must be a whole number, not 'few'."),
        (["--seed", "-1"], "--seed must be at least 0, not -1."),
        (["--model", "nothing.keras"], "nothing.keras"),
    ],
)
def test_bad_arguments_are_one_line(saved, tmp_path, options, message):
    code, out, err = run("activation", "--model", saved, "--steps", 3, "--output", tmp_path / "a.png", *options)
    assert code == 2
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert message in err
    assert os.listdir(tmp_path) == ["model.keras"]


def test_the_size_that_the_model_takes_is_no_mistake(tmp_path):
    keras.Sequential([keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(2)]).save(tmp_path / "a.keras")
    options = ["--size", 9, "--steps", 2, "--output", tmp_path / "a.png"]
    assert run("activation", "--model", tmp_path / "a.keras", *options)[0] == 0


def test_images_too_small_for_the_layers_are_refused(tmp_path):
    layers = [keras.layers.Conv2D(2, 5, strides=4), keras.layers.Conv2D(2, 5), keras.layers.GlobalMaxPooling2D()]
    keras.Sequential([keras.Input((None, None, 1)), *layers]).save(tmp_path / "deep.keras")
    options = ["--size", 16, "--steps", 2, "--output", tmp_path / "a.png"]
    assert refusal("activation", "--model", tmp_path / "deep.keras", *options) == (
        "Error: --size must be one that the model's layers can compute, not 16 by 16. Give a larger one.\n"
    )


def test_a_model_of_whole_numbers_is_refused(tmp_path):
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(2)]
    keras.Sequential([keras.Input((8, 8, 1), dtype="uint8"), *layers]).save(tmp_path / "whole.keras")
    line = refusal("activation", "--model", tmp_path / "whole.keras", "--output", tmp_path / "a.png")
    assert "integers" in line


def test_a_filter_that_is_never_active_is_a_warning(tmp_path):
    inputs = keras.Input((8, 8, 1))
    layer = keras.layers.Conv2D(2, 3, activation="relu", bias_initializer=keras.initializers.Constant(-99), name="dead")
    keras.Model(inputs, layer(inputs)).save(tmp_path / "model.keras")
    options = ["--layer", "dead", "--steps", 3, "--output", tmp_path / "a.png"]
    code, _, err = run("activation", "--model", tmp_path / "model.keras", *options)
    assert code == 0
    assert "Warning: ActivationMax Loss: the activation is 0 for image 0" in err


def test_classes_are_called_by_their_names(model_path, tmp_path):
    names, output = tmp_path / "names.txt", tmp_path / "a.png"
    names.write_text("\n".join("zero one two three four five six seven eight nine".split()))
    given = ("activation", "--model", model_path, "--output", output, "--steps", 2, "--labels", names)
    code, out, _ = run(*given, "--filters", "1,3")
    assert code == 0
    assert out == f"{output}: 2 filters of the output (1 one, 3 three), 2 steps; pixels as unit\n"
    assert "must be left out with --layer" in refusal(*given, "--layer", "conv2")
    names.write_text("zero\none")
    assert "--labels must have a name for each of the model's 10 classes, not 2" in refusal(*given)
