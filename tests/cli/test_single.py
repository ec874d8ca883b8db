"""`vis saliency`, `smoothgrad` and `gradcam`: pictures for good arguments, one line for bad ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from cli.commands import read, refusal, run
from PIL import Image

from vis import plotting
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


@pytest.fixture
def command(model_path, digit, tmp_path):
    """Runs one of the commands on the seven; gives its output and the picture it wrote."""

    def explain(name, *options):
        output = tmp_path / f"{name}.png"
        size = () if "--size" in options else ("--size", 1)
        code, out, err = run(name, "--model", model_path, "--image", digit[0], "--output", output, *size, *options)
        assert code == 0
        # Where no class was asked for, class 0 is not the seven's.
        asked = any("class" in str(each) for each in options)
        assert err == "" if asked else err.startswith("Explaining class 0 (score ")
        return out, read(output)

    return explain


def test_saliency_is_the_library_s_map_in_colours(command, digit, digit_model):
    out, picture = command("saliency", "--class-index", 3)
    expected = visualize_saliency(digit_model, None, 3, digit[1])
    np.testing.assert_array_equal(picture, plotting.colorize(plotting.clip_brightness(expected)))
    assert re.search(r": class 3, probability \S+; the map explains its logit; pixels as unit\nTop 5: 7 ", out)


def test_saliency_takes_the_library_s_modifiers(command, digit, digit_model):
    _, picture = command("saliency", "--class-index", 7, "--backprop-modifier", "guided", "--grad-modifier", "relu")
    expected = visualize_saliency(digit_model, None, 7, digit[1], backprop_modifier="guided", grad_modifier="relu")
    np.testing.assert_array_equal(picture, plotting.colorize(plotting.clip_brightness(expected)))
    plain = visualize_saliency(digit_model, None, 7, digit[1], grad_modifier="relu")
    assert np.abs(picture - plotting.colorize(plotting.clip_brightness(plain)).astype(int)).mean() > 1


def test_saliency_takes_any_colormap(command, digit, digit_model):
    _, picture = command("saliency", "--colormap", "viridis")
    expected = plotting.clip_brightness(visualize_saliency(digit_model, None, 0, digit[1]))
    np.testing.assert_array_equal(picture, plotting.colorize(expected, "viridis"))


def test_no_logits_asks_for_the_probability(command, digit, digit_model):
    _, picture = command("saliency", "--class-index", 7, "--no-logits")
    expected = visualize_saliency(digit_model, None, 7, digit[1], logits=False)
    np.testing.assert_array_equal(picture, plotting.colorize(plotting.clip_brightness(expected)))


def test_smoothgrad_is_a_gray_map_clipped_at_the_99th_percentile(command, digit, digit_model):
    _, picture = command("smoothgrad", "--class-index", 7, "--num-samples", 6, "--noise-level", 0.2, "--seed", 5)
    options = {"num_samples": 6, "noise_level": 0.2, "seed": 5, "normalize": False}
    expected = smoothgrad(digit_model, None, 7, digit[1], **options)
    expected = np.clip((expected - expected.min()) / (np.percentile(expected, 99) - expected.min()), 0, 1)
    assert picture.ndim == 2
    np.testing.assert_allclose(picture, expected * 255, atol=1)


def test_smoothgrad_is_a_matter_of_its_seed(command):
    first, again, other = (command("smoothgrad", "--num-samples", 3, "--seed", seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("layer", ["conv4", 3])
def test_gradcam_lies_over_the_image(command, digit, digit_model, layer):
    _, picture = command("gradcam", "--class-index", 7, "--layer", layer)
    heatmap = visualize_cam(digit_model, None, 7, digit[1], penultimate_layer_idx=layer, interpolation=None)
    np.testing.assert_array_equal(picture, plotting.heatmap_over(read(digit[0]), heatmap))
    assert heatmap.shape < picture.shape[:2]


def test_a_small_image_gives_a_picture_that_can_be_seen(command, digit, digit_model):
    """Its pixels become squares, and so do those of a map of pixels; a coarser map is interpolated to the picture."""
    squares = np.kron(read(digit[0]), np.ones((8, 8), np.uint8))
    _, picture = command("gradcam", "--class-index", 7, "--size", 224)
    heatmap = visualize_cam(digit_model, None, 7, digit[1], interpolation=None)
    np.testing.assert_array_equal(picture, plotting.heatmap_over(squares, heatmap))
    _, picture = command("saliency", "--class-index", 7, "--size", 100)
    own = command("saliency", "--class-index", 7)[1]
    np.testing.assert_array_equal(picture, own.repeat(4, axis=0).repeat(4, axis=1))


def test_the_default_size_is_that_of_eight_pixels_a_pixel_of_a_digit(model_path, digit, tmp_path):
    output = tmp_path / "a.png"
    assert run("smoothgrad", "--model", model_path, "--image", digit[0], "--output", output)[0] == 0
    assert read(output).shape == (224, 224)


def test_saliency_over_the_image(command, digit, digit_model):
    _, picture = command("saliency", "--class-index", 7, "--overlay")
    expected = plotting.clip_brightness(visualize_saliency(digit_model, None, 7, digit[1]))
    np.testing.assert_array_equal(picture, plotting.heatmap_over(read(digit[0]), expected))
    nothing = expected == 0
    np.testing.assert_array_equal(picture[nothing], read(digit[0])[nothing][:, None].repeat(3, axis=1))


def test_smoothgrad_takes_any_colormap_and_lies_over_the_image(command):
    options = "--class-index", 7, "--num-samples", 3
    gray = command("smoothgrad", *options)[1]
    colors = command("smoothgrad", *options, "--colormap", "viridis")[1]
    np.testing.assert_allclose(colors, plotting.colorize(gray / 255, "viridis"), atol=3)
    assert command("smoothgrad", *options, "--colormap", "viridis", "--overlay")[1].shape == (28, 28, 3)


def test_a_map_of_both_signs_lies_over_the_image_in_gray(command, digit):
    options = "--class-index", 7, "--steps", 5
    alone, over = (command("integrated-gradients", *options, *more)[1].astype(int) for more in ((), ("--overlay",)))
    image = read(digit[0])
    nothing = np.abs(alone - 255).max(axis=-1) == 0
    assert nothing.any()
    np.testing.assert_array_equal(over[nothing], image[nothing][:, None].repeat(3, axis=1))


def test_gradcam_finds_the_last_feature_maps(command):
    np.testing.assert_array_equal(
        command("gradcam", "--class-index", 7)[1], command("gradcam", "--class-index", 7, "--layer", "conv6")[1]
    )


@pytest.mark.parametrize("name", ["saliency", "smoothgrad", "gradcam"])
def test_pictures_have_the_original_image_s_size(model_path, tmp_path, name):
    image = np.random.default_rng(0).integers(0, 256, (150, 230, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.jpg")
    output = tmp_path / "b.webp"
    assert run(name, "--model", model_path, "--image", tmp_path / "a.jpg", "--output", output)[0] == 0
    assert read(output).shape[:2] == (150, 230)


def test_auto_is_the_predicted_class(command):
    out, picture = command("saliency", "--class-index", "auto")
    assert re.search(r": class 7 \(predicted\), probability (0\.9\d\d|1\.000); the map explains its logit;", out)
    np.testing.assert_array_equal(picture, command("saliency", "--class-index", 7)[1])


def test_class_0_is_the_default(command):
    np.testing.assert_array_equal(command("saliency")[1], command("saliency", "--class-index", 0)[1])


def test_underscores(command):
    _, hyphens = command("smoothgrad", "--class-index", 4, "--num-samples", 2, "--noise-level", 0.3)
    _, underscores = command("smoothgrad", "--class_index=4", "--num_samples", 2, "--noise_level=0.3")
    np.testing.assert_array_equal(hyphens, underscores)
    _, hyphens = command("saliency", "--grad-modifier", "small_values", "--backprop-modifier", "guided")
    _, underscores = command("saliency", "--grad_modifier", "small_values", "--backprop_modifier", "guided")
    np.testing.assert_array_equal(hyphens, underscores)


@pytest.fixture
def saved(tmp_path):
    """Saves a model and makes an image; gives the first arguments of a command."""

    def arguments(model, name="a.keras"):
        model.save(tmp_path / name)
        pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        files = "--model", tmp_path / name, "--image", tmp_path / "a.png", "--output", tmp_path / "map.png"
        return *files, "--size", 1

    return arguments


def regressor(shape=(12, 16, 3), **options):
    return keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Conv2D(
                4, 3, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=1), **options
            ),
            keras.layers.GlobalAveragePooling2D(**options),
            keras.layers.Dense(1, kernel_initializer="ones"),
        ]
    )


@pytest.mark.parametrize("name", ["saliency", "smoothgrad", "gradcam"])
def test_a_regressor_has_the_one_output_0(saved, tmp_path, name):
    code, out, err = run(name, *saved(regressor()))
    assert (code, err) == (0, "")
    assert ": the output is 1.285; pixels as unit\n" in out
    assert read(tmp_path / "map.png").std() > 0


def test_a_model_of_any_size_gets_the_image_s_own(saved, tmp_path):
    arguments = saved(model := regressor((None, None, 3)))
    assert run("saliency", *arguments)[0] == 0
    pixels = read(tmp_path / "a.png") / np.float32(255)
    expected = plotting.colorize(plotting.clip_brightness(visualize_saliency(model, None, 0, pixels)))
    np.testing.assert_allclose(read(tmp_path / "map.png"), expected, atol=2)


@pytest.mark.parametrize("name", ["saliency", "smoothgrad", "gradcam"])
def test_images_without_a_channel_axis(saved, tmp_path, name):
    layers = [keras.Input((12, 16)), keras.layers.Reshape((12, 16, 1)), *regressor((12, 16, 1)).layers]
    code, _, err = run(name, *saved(keras.Sequential(layers)))
    assert (code, err) == (0, "")
    assert read(tmp_path / "map.png").shape[:2] == (12, 16)


def test_preprocess(saved, tmp_path):
    arguments = saved(model := regressor())
    pixels = read(tmp_path / "a.png").astype(np.float32)
    for name, sample in {
        "raw": pixels,
        "unit": pixels / 255,
        "tf": pixels / 127.5 - 1,
        "caffe": keras.applications.vgg16.preprocess_input(pixels.copy()),
        "raw:124,116,104:58": (pixels - np.array([124, 116, 104], np.float32)) / 58,
    }.items():
        _, out, _ = run("saliency", *arguments, "--preprocess", name)
        assert float(out.split()[-1]) == pytest.approx(float(np.asarray(model(sample[None])).item()), rel=1e-3)


def test_warnings_are_one_line_that_names_an_option(saved, tmp_path):
    model = regressor()
    model.layers[-1].set_weights([-np.ones((4, 1), np.float32), np.zeros(1, np.float32)])
    code, _, err = run("gradcam", *saved(model))
    assert code == 0
    assert err.startswith("Warning: ")
    assert err.count("\n") == 1
    assert "negative everywhere" in err


# Bad arguments


def test_no_model_file(digit, tmp_path):
    line = refusal("saliency", "--model", tmp_path / "none.keras", "--image", digit[0])
    assert "--model" in line
    assert "none.keras" in line


def test_a_model_file_that_is_no_model(digit):
    line = refusal("saliency", "--model", digit[0], "--image", digit[0])
    assert "--model" in line
    assert "must be a Keras model" in line


def test_a_model_that_needs_a_custom_object(saved):
    class Mystery(keras.layers.Layer):
        def call(self, x):
            return x

    line = refusal("saliency", *saved(keras.Sequential([keras.Input((12, 16, 3)), Mystery(), keras.layers.Flatten()])))
    assert "--custom-objects must have 'Mystery', which" in line


def test_a_model_that_takes_no_image(saved):
    line = refusal("saliency", *saved(keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)])))
    assert "--model" in line
    assert "must take images, not an input of shape (5,)" in line


def test_a_model_of_several_inputs(saved):
    inputs = [keras.Input((12, 16, 3)), keras.Input((12, 16, 3))]
    model = keras.Model(inputs, keras.layers.Flatten()(keras.layers.add(inputs)))
    assert refusal("saliency", *saved(model)).startswith("Error: --model must take one image, not 2 inputs")


def test_a_model_of_several_outputs(saved):
    x = keras.Input((12, 16, 3))
    y = keras.layers.Flatten()(x)
    line = refusal("saliency", *saved(keras.Model(x, [keras.layers.Dense(2)(y), keras.layers.Dense(3)(y)])))
    assert "--model" in line
    assert "2 outputs" in line


def test_no_image(model_path, tmp_path):
    line = refusal("gradcam", "--model", model_path, "--image", tmp_path / "none.png")
    assert "--image" in line
    assert "none.png does not exist" in line


def test_an_image_that_is_none(model_path, tmp_path):
    (tmp_path / "text.png").write_text("hello")
    line = refusal("gradcam", "--model", model_path, "--image", tmp_path / "text.png")
    assert "--image" in line
    assert "text.png is not an image" in line


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("10", "10 is out of range, the model has 10 outputs: give 0 to 9 or auto"),
        ("-1", "-1 is negative"),
        ("cat", "'cat' is not a whole number"),
        ("1.5", "'1.5' is not a whole number"),
    ],
)
@pytest.mark.parametrize("name", ["saliency", "smoothgrad", "gradcam"])
def test_class_index(model_path, digit, tmp_path, name, index, message):
    output = tmp_path / "map.png"
    line = refusal(name, "--model", model_path, "--image", digit[0], "--class-index", index, "--output", output)
    assert "--class-index" in line
    assert message in line
    assert not output.exists()


def test_class_index_of_a_regressor(saved):
    assert "one output: give 0" in refusal("saliency", *saved(regressor()), "--class-index", 1)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("map.xyz", "map.xyz"),
        ("map", "must end in .png"),
        ("nowhere/map.png", "must be in an existing folder"),
        ("seven.png", "is the image itself"),
    ],
)
def test_output(model_path, digit, tmp_path, output, message):
    before = sorted(os.listdir(tmp_path)), digit[0].read_bytes()
    line = refusal("saliency", "--model", model_path, "--image", digit[0], "--output", tmp_path / output)
    assert "--output" in line
    assert message in line
    assert (sorted(os.listdir(tmp_path)), digit[0].read_bytes()) == before


@pytest.mark.parametrize(
    ("name", "options", "messages"),
    [
        ("gradcam", ["--layer", "conv66"], ["--layer", "conv66", "conv6"]),
        ("gradcam", ["--layer", "99"], ["--layer", "99"]),
        ("gradcam", ["--layer", "predictions"], ["--layer", "predictions"]),
        ("saliency", ["--grad-modifier", "squared"], ["--grad-modifier", "squared", "absolute", "small_values"]),
        ("saliency", ["--backprop-modifier", "misguided"], ["--backprop-modifier", "misguided", "guided", "rectified"]),
        ("smoothgrad", ["--noise-level", "1.5"], ["--noise-level", "1.5"]),
        ("smoothgrad", ["--noise-level", "-0.1"], ["--noise-level", "-0.1"]),
        ("smoothgrad", ["--noise-level", "loud"], ["--noise-level must be a number, not 'loud'"]),
        ("smoothgrad", ["--num-samples", "2.5"], ["--num-samples must be a whole number, not '2.5'"]),
        ("saliency", ["--preprocess", "foo"], ["Error: --preprocess must be one of unit, raw, tf, ", "not 'foo'"]),
        (
            "saliency",
            ["--preprocess", "caffe"],
            ["Error: --preprocess must be unit, raw or tf", "a model that takes 1 channel"],
        ),
        ("saliency", ["--colormap", "foo"], ["Error: --colormap must be the name of a matplotlib colormap"]),
        ("smoothgrad", ["--num-samples", "0"], ["--num-samples", "0"]),
        ("smoothgrad", ["--aggregate", "median"], ["--aggregate", "median", "mean", "absolute", "square", "var"]),
        ("saliency", ["--preprocess", "imagenet"], ["--preprocess", "imagenet", "unit", "caffe"]),
        ("saliency", ["--preprocess", "unit:0.5:0"], ["Error: --preprocess must have numbers", "above 0"]),
        ("saliency", ["--preprocess", "unit:1,2,3:1"], ["Error: --preprocess must have one mean", "not 3"]),
        ("smoothgrad", ["--colormap", "rainbow9"], ["Error: --colormap must be", "rainbow9"]),
        ("saliency", ["--size", "0"], ["--size must be at least 1, not 0"]),
        ("saliency", ["--preprocess", "torch"], ["--preprocess", "torch", "three channels"]),
        ("saliency", ["--colormap", "rainbow9"], ["--colormap", "rainbow9", "inferno"]),
        ("saliency", ["--brightness", "9"], ["--brightness"]),
    ],
)
def test_other_options(model_path, digit, tmp_path, name, options, messages):
    output = tmp_path / "map.png"
    line = refusal(name, "--model", model_path, "--image", digit[0], "--output", output, *options)
    for message in messages:
        assert message in line
    assert os.listdir(tmp_path) == ["seven.png"]


def test_options_that_need_no_model_are_refused_before_tensorflow_is_imported(tmp_path):
    (tmp_path / "in.csv").write_text("x,y\na.png,0\n")
    attempts = [
        ["smoothgrad", "--num-samples", "0"],
        ["smoothgrad", "--noise-level", "nan"],
        ["smoothgrad-batch", "--seed", "-1"],
        ["smoothgrad", "--aggregate", "median"],
        ["saliency", "--grad-modifier", "squared"],
        ["gradcam-batch", "--backprop-modifier", "misguided"],
        ["gradcam", "--colormap", "rainbow9"],
        ["smoothgrad", "--colormap", "rainbow9"],
        ["gradcam", "--grad-modifier", "identity"],
        ["gradcam", "--preprocess", "imagenet"],
        ["gradcam-batch", "--preprocess", "unit:0.5:0"],
        ["saliency", "--size", "0"],
        ["saliency-batch", "--size", "big"],
    ]
    code = f"""
import sys
from vis.cli import app
for command, *options in {attempts!r}:
    files = ["--input", "in.csv"] if command.endswith("-batch") else ["--image", "a.png"]
    try:
        app([command, "--model", "m.keras", *files, *options])
    except SystemExit as error:
        assert error.code == 2, error.code
assert "tensorflow" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == len(attempts)
    for line, (_, option, value) in zip(lines, attempts, strict=True):
        assert line.startswith(f"Error: {option} ")
        assert value in line


def test_a_layer_that_the_class_is_not_computed_from(saved):
    scores = [keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((12, 16, 3)), *scores, keras.layers.Softmax(name="last")])
    message = refusal("gradcam", *saved(model), "--layer", "last")
    assert message.startswith("Error: --layer must be something that ")
    assert message.endswith("Give a --layer that the class is computed from.\n")


def test_no_layer_with_a_feature_map(saved, tmp_path):
    model = keras.Sequential([keras.Input((12, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    line = refusal("gradcam", *saved(model))
    assert "--layer" in line
    assert "feature map" in line
    assert not (tmp_path / "map.png").exists()


def test_a_modifier_s_list_has_the_names_of_the_help():
    line = refusal("saliency", "--grad-modifier", "squared", "--model", "a.keras", "--image", "a.png")
    assert "must be one of absolute, invert, negate, relu, small_values, none, not 'squared'" in line
    assert "absolute|invert|negate|relu|small_values|none" in run("saliency", "--help")[1]


def test_missing_option(digit):
    assert "--model" in refusal("saliency", "--image", digit[0])


@pytest.fixture
def digit_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join("zero one two three four five six seven eight nine".split()) + "\n\n")
    return path


def test_classes_are_called_by_their_names(command, digit, digit_model, digit_names):
    out, _ = command("saliency", "--class-index", "auto", "--labels", digit_names)
    scores = digit_model(digit[1][None, ..., None])[0].numpy()
    assert f": class 7 seven (predicted), probability {scores[7]:.3f}; the map explains its logit;" in out
    names = digit_names.read_text().split()
    listed = out.splitlines()[1].removeprefix("Top 5: ").split(", ")
    for each, index in zip(listed, scores.argsort()[::-1], strict=False):
        number, name, probability = each.split()
        assert (int(number), name) == (index, names[index])
        np.testing.assert_allclose(float(probability), scores[index], rtol=0.5, atol=6e-4)
    assert "explains its probability" in command("saliency", "--class-index", 7, "--no-logits")[0]


def test_what_is_explained_of_a_model_of_one_output(digit, tmp_path):
    layers = [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid", name="end")]
    model = keras.Sequential(layers)
    model.layers[-1].kernel.assign(np.full((784, 1), 0.01, np.float32))
    model.save(tmp_path / "sigmoid.keras")
    model.layers[-1].activation = keras.activations.linear
    model.save(tmp_path / "linear.keras")
    value = 0.01 * digit[1].sum()
    probability = 1 / (1 + np.exp(-value))

    def told(name, *options):
        given = ("--model", tmp_path / name, "--image", digit[0], "--output", tmp_path / "a.png", *options)
        code, out, _ = run("saliency", *given)
        assert code == 0
        return out.split(": ", 1)[1]

    assert told("sigmoid.keras", "--class-index", 1).startswith(
        f"class 1 (predicted), probability {probability:.3f}; the map explains its logit"
    )
    assert told("sigmoid.keras", "--class-index", 0).startswith(f"class 0, probability {1 - probability:.3f}; ")
    assert told("linear.keras").startswith(f"the output is {value:.4g}; ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "must be an existing text file"),
        ("", "which is empty"),
        ("a\n\nb\n", "whose line 2 is empty"),
        ("a\nb\n", "must have a name for each of the model's 10 classes, not 2"),
        (b"\xff\xfe", "must be UTF-8 text"),
    ],
)
def test_names_that_will_not_do(model_path, digit, tmp_path, content, reason):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal("saliency", "--model", model_path, "--image", digit[0], "--labels", path)
    assert line.startswith("Error: --labels must ")
    assert reason in line


def test_the_numbers_behind_a_picture(command, digit, digit_model, tmp_path):
    command("gradcam", "--class-index", 7, "--save-map", tmp_path / "map.npy")
    np.testing.assert_allclose(np.load(tmp_path / "map.npy"), visualize_cam(digit_model, None, 7, digit[1]), atol=1e-6)
    line = refusal("gradcam", "--model", tmp_path / "no", "--image", digit[0], "--save-map", tmp_path / "map.txt")
    assert "--save-map must end in .npy" in line
