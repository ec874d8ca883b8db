"""Each row of the first table of `docs/migrating.md`: a call of keras-vis runs here, and gives what the row says."""

from __future__ import annotations

import importlib
import re

import keras
import numpy as np
import pytest
from migrating_cases import KERAS_VIS, code, correlations, gradient, keras_vis_cam, tables

from vis import grad_modifiers
from vis.input_modifiers import InputModifier
from vis.losses import ActivationMaximization, Loss
from vis.optimizer.callbacks import OptimizerCallback
from vis.utils import utils
from vis.visualization import (
    visualize_activation,
    visualize_cam,
    visualize_saliency,
    visualize_saliency_with_losses,
)

TABLE = tables(KERAS_VIS)[0]
ROWS = {row.key: row for row in TABLE}
TESTED = set()


def row(key: str):
    """Mark a test as that of a row: the one whose first code is, or begins with, `key`."""
    (found,) = {each for each in ROWS if each == key} or {each for each in ROWS if each.startswith(key)}
    TESTED.add(found)
    return pytest.mark.parametrize("row", [ROWS[found]], ids=[key])


@pytest.fixture
def old(names, model, images) -> dict:
    """The arguments of a keras-vis script, by the names that the rows give them."""
    arguments = {
        "layer_idx": utils.find_layer_idx(model, "digit"),
        "filter_indices": 3,
        "seed_input": images[:1],
        "wrt_tensor": None,
        "penultimate_layer_idx": utils.find_layer_idx(model, "conv2"),
        "backprop_modifier": None,
        "grad_modifier": "absolute",
        "keepdims": False,
        "input_range": (0.0, 1.0),
        "losses": [(ActivationMaximization(model.layers[-1], 3), -1)],
    }
    return names | arguments


@row("visualize_saliency(")
def test_saliency(row, old, model, images):
    maps = eval(row.key, old)
    expected = np.abs(gradient(model, images[:1], lambda logits: logits[:, 3])[1]).max(axis=-1)[0]
    np.testing.assert_allclose(maps, utils.normalize(expected), atol=1e-5)


@row("visualize_cam(")
def test_cam_by_index_name_or_path(row, old, model, images):
    maps = eval(row.key, old | {"grad_modifier": None})
    assert min(correlations(maps[None], keras_vis_cam(model, images[:1], "conv2", 3)[None])) > 0.95
    by_name = eval(row.key, old | {"grad_modifier": None, "layer_idx": "digit", "penultimate_layer_idx": "conv2"})
    np.testing.assert_array_equal(maps, by_name)


@row("visualize_activation(")
def test_activation(row, old, model):
    image = eval(row.key, old | {"seed_input": None})
    assert image.shape == (28, 28, 1)
    assert model.predict(image[None], verbose=0).argmax() == 3


@row("model.layers[-1].activation = keras.activations.linear")
def test_the_softmax_is_not_in_the_way(row, old, model, images):
    scores = visualize_saliency(model, -1, 3, images)
    softmax = visualize_saliency(model, -1, 3, images, **eval(f"dict({code(row.here)[0]})"))
    assert np.abs(scores - softmax).max() > 0.01
    for statement in code(row.there):
        exec(statement, old)
    np.testing.assert_allclose(visualize_saliency(old["model"], -1, 3, images), scores, atol=1e-6)
    np.testing.assert_allclose(visualize_saliency(old["model"], -1, 3, images, logits=False), scores, atol=1e-6)


@row('backprop_modifier="guided"')
def test_backprop_modifiers_reach_relu_layers(row, images):
    maps = {}
    for separate in (False, True):
        keras.utils.set_random_seed(1)
        convolution = keras.layers.Conv2D(4, 3, activation=None if separate else "relu")
        layers = [convolution, *([keras.layers.ReLU()] if separate else []), keras.layers.Conv2D(2, 3)]
        model = keras.Sequential([keras.Input((28, 28, 1)), *layers, keras.layers.GlobalAveragePooling2D()])
        for name in re.findall(r'"(\w+)"', row.there):
            maps[name, separate] = visualize_saliency(model, -1, 1, images, backprop_modifier=name)
    assert {name for name, _ in maps} == {"guided", "relu", "rectified", "deconv"}
    for name in ("guided", "rectified"):
        np.testing.assert_allclose(maps[name, True], maps[name, False], atol=1e-6)
    np.testing.assert_array_equal(maps["relu", True], maps["rectified", True])
    np.testing.assert_array_equal(maps["deconv", True], maps["rectified", True])
    assert np.abs(maps["guided", True] - maps["rectified", True]).max() > 0.01


@row('grad_modifier="negate"')
def test_grad_modifiers(row, model, images):
    slopes = gradient(model, images, lambda logits: logits[:, 3])[1]
    slopes[0, 0, 0] = 0
    formulas = {
        "negate": lambda g: -g,
        "absolute": np.abs,
        "invert": lambda g: 1 / (g + 1e-7),
        "relu": lambda g: np.where(g < 0, 0, g),
        "small_values": lambda g: np.abs(1 / (g + 1e-7)),
    }
    assert re.findall(r'"(\w+)"', row.there) == list(formulas)
    for name, formula in formulas.items():
        np.testing.assert_allclose(grad_modifiers.get(name)(slopes), formula(slopes), rtol=1e-5)
        assert np.isfinite(grad_modifiers.get(name)(np.float32([-1e-7, 0]))).all()
        assert np.isfinite(visualize_saliency(model, -1, 3, images, grad_modifier=name)).all()


@row("visualize_saliency_with_losses(model.input")
def test_the_model_in_place_of_its_input(row, old):
    np.testing.assert_array_equal(eval(row.key, old), eval(code(row.here)[0], old))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    with pytest.raises(AttributeError, match="input"):
        _ = model.input
    losses = [(ActivationMaximization(model.layers[-1], 1), -1)]
    maps = eval(
        code(row.here)[0][:-1] + ", normalize=False)",
        {**old, "model": model, "losses": losses, "seed_input": np.ones(4)},
    )
    np.testing.assert_allclose(maps, np.abs(model.layers[-1].kernel[:, 1]), rtol=1e-6)


@row("TotalVariation(model.input)")
def test_regularizers(row, old, images):
    for there, here in zip(code(row.there), code(row.here), strict=True):
        np.testing.assert_array_equal(eval(there, old).of(images), eval(here, old).of(images))
    eval("LPNorm(model)", old | {"model": keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])})


@row("build_loss")
def test_a_loss_of_one_s_own(row, model, images):
    class Margin(Loss):
        def __init__(self, layer):
            self.layer = layer

        def build_loss(self):
            return keras.ops.mean(self.layer.output[:, 3] - self.layer.output[:, 5])

    maps = visualize_saliency_with_losses(model.input, [(Margin(model.layers[-1]), 1)], images[:1])
    losses = [(lambda output: output[:, 3] - output[:, 5], 1)]
    np.testing.assert_allclose(visualize_saliency_with_losses(model, losses, images[:1]), maps, atol=1e-5)


@row("regularizers.normalize(self.img, value)")
def test_a_regularizer_of_one_s_own(row, model, images):
    from vis import regularizers

    class Brightness(Loss):
        def __init__(self, img_input):
            self.img = img_input

        def build_loss(self):
            value = keras.ops.sum(self.img**2)
            return eval(row.key, {"self": self, "value": value, "regularizers": regularizers})

    options = {"grad_modifier": None, "keepdims": True, "normalize": False}
    maps = visualize_saliency_with_losses(model.input, [(Brightness(model.input), 1)], images[:1], **options)
    np.testing.assert_allclose(maps, 2 * images[0] / images[0].size, rtol=1e-5)


@row("seed_input")
def test_one_sample_with_or_without_its_axis_and_batches(row, model, images):
    alone = visualize_saliency(model, -1, 3, images[:1])
    np.testing.assert_array_equal(visualize_saliency(model, -1, 3, images[0]), alone)
    np.testing.assert_allclose(visualize_saliency(model, -1, 3, images)[0], alone, atol=1e-6)


@row("K.image_data_format()")
def test_the_image_data_format_does_not_matter(row, model, images):
    expected = visualize_cam(model, -1, 3, images)
    keras.config.set_image_data_format("channels_first")
    try:
        np.testing.assert_array_equal(visualize_cam(model, -1, 3, images), expected)
    finally:
        keras.config.set_image_data_format("channels_last")


@row("utils.find_layer_idx(")
def test_a_layer_s_name_in_place_of_its_index(row, old, model, images):
    index = eval(row.key, old)
    assert model.layers[index].name == "digit"
    np.testing.assert_array_equal(
        visualize_saliency(model, index, 3, images), visualize_saliency(model, "digit", 3, images)
    )


@row("utils.normalize")
def test_helpers_have_their_old_names(row):
    assert all(callable(eval(name)) or name == "utils.slicer" for name in code(row.there))
    assert {name.removeprefix("utils.") for name in code(row.there)} | {"find_layer_idx", "apply_modifications"} == {
        *importlib.import_module("vis.utils.utils").__all__
    }


@row("utils.set_random_seed(1337)")
def test_seeds(row, model):
    eval(code(row.here)[0])
    options = {"input_range": (0.0, 1.0), "max_iter": 3, "seed": 1}
    image = visualize_activation(model, -1, 3, **options)
    np.testing.assert_array_equal(visualize_activation(model, -1, 3, **options), image)


@row("backend.modify_model_backprop(")
def test_a_model_with_another_backprop(row, old, model, images):
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vis.backend")
    maps = visualize_saliency(eval(code(row.here)[0], old), -1, 3, images)
    np.testing.assert_array_equal(maps, visualize_saliency(model, -1, 3, images, backprop_modifier="guided"))


@row("Jitter(0.05)")
def test_input_modifiers(row, old, model):
    class Count(InputModifier):
        before = after = 0

        def pre(self, img):
            self.before += 1
            return img

        def post(self, img):
            self.after += 1
            return img

    count = Count()
    modifiers = [eval(row.key, old), count]
    visualize_activation(model, -1, 3, input_range=(0.0, 1.0), max_iter=5, input_modifiers=modifiers)
    assert (count.before, count.after) == (5, 5)


@row("Print()")
def test_callbacks(row, old, model, capsys):
    class Steps(OptimizerCallback):
        def on_begin(self, max_iter):
            self.seen = []

        def callback(self, i, named_losses, overall_loss, grads, wrt_value):
            self.seen.append((i, wrt_value.shape))

        def on_end(self):
            self.seen.append("end")

    steps = Steps()
    visualize_activation(model, -1, 3, input_range=(0.0, 1.0), max_iter=2, callbacks=[eval(row.key, old), steps])
    assert steps.seen == [(0, (1, 28, 28, 1)), (1, (1, 28, 28, 1)), "end"]
    assert "Iteration: 2" in capsys.readouterr().out


def test_every_row_has_a_test():
    assert len(TABLE) == len(ROWS)
    assert set(ROWS) == TESTED
