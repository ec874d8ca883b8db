"""Each function of nnabla against what nnabla 1.39.0 computed: outputs, and gradients with respect to the input."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from nnp_files import run, shape, single

from vis.models import load_model

FOLDER = Path(__file__).parent / "references"
REFERENCES = np.load(FOLDER / "references.npz")
NAMES = sorted({name.partition(".")[0] for name in REFERENCES})
# Whoever saved these called a function with base_axis 2 or 3, but `nnabla.utils.save` writes base_axis 1 and the shape
# of an input whose first axes are flattened: what the file describes is the same map of rows.
FLATTENED = {"affine_base2": 4}


def difference(found, expected) -> float:
    """The largest difference, relative to the largest value."""
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_are_nnabla_s(name):
    x, y, g, gx = (REFERENCES[f"{name}.{part}"] for part in ("x", "y", "g", "gx"))
    if name in FLATTENED:
        x, y, g, gx = (each.reshape(-1, each.shape[-1]) for each in (x, y, g, gx))
    found, gradient = run(load_model(FOLDER / f"{name}.nnp"), x, g)
    assert difference(found, y) <= 2e-5
    assert difference(gradient, gx) <= 2e-4


def test_a_network_with_dropout_runs_without_it():
    path = FOLDER / "py_mlp_dropout"
    expected = np.load(f"{path}.npz")
    model = load_model(f"{path}.nnp")
    x = tf.constant(expected["x"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=False)
        score = tf.reduce_sum(y[:, 0])
    assert difference(y.numpy(), expected["y"]) <= 2e-5
    assert difference(tape.gradient(score, x).numpy(), expected["dy0_dx"]) <= 2e-4


def test_layers_stay_layers_under_the_file_s_names():
    model = load_model(FOLDER / "fused_bn.nnp")
    kinds = {layer.name: type(layer).__name__ for layer in model.layers}
    assert kinds["n.FusedBatchNormalization"] == "BatchNormalization"
    assert kinds["n.FusedBatchNormalization.relu"] == "ReLU"
    assert isinstance(load_model(FOLDER / "conv_even.nnp").get_layer("n.Convolution"), keras.layers.Conv2D)


def test_a_model_comes_back_from_a_keras_file(tmp_path):
    for name in ("slice_3", "avgpool_border_pad_nopad", "pad", "mean_sub", "slice_neg"):
        model = load_model(FOLDER / f"{name}.nnp")
        model.save(tmp_path / "a.keras")
        x = REFERENCES[f"{name}.x"]
        np.testing.assert_array_equal(run(load_model(tmp_path / "a.keras"), x)[0], run(model, x)[0])


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("Unlink", "", "must be a network of supported functions, not with 'y' of type Unlink. Supported are Abs, "),
        ("Affine", "affine_param { base_axis: 0 }", "'y' of type Affine, with base_axis 0 for an input of 4 axes"),
        (
            "Convolution",
            "convolution_param { base_axis: 1 channel_last: true }",
            "type Convolution, with channel_last",
        ),
        (
            "Convolution",
            f"convolution_param {{ base_axis: 1 stride: {shape(2, 2)} dilation: {shape(2, 2)} }}",
            "of type Convolution, with both strides (2, 2) and dilation (2, 2)",
        ),
        ("Flip", "flip_param { axes: 0 }", "of type Flip, of the batch axis"),
        (
            "Pad",
            "pad_param { mode: 'reflect' pad_width: 4 pad_width: 0 }",
            "of type Pad, by [(4, 0)] of an input of shape",
        ),
        ("Pad", "pad_param { pad_width: -1 pad_width: 0 }", "of type Pad, by [(-1, 0)]"),
        (
            "MaxPooling",
            f"max_pooling_param {{ kernel: {shape(2**40, 2)} }}",
            "MaxPooling, with [1099511627776, 2] for 2 axes",
        ),
        ("Sum", "sum_param { axes: 0 axes: 1 }", "of type Sum, over the batch axis"),
        ("Reshape", f"reshape_param {{ shape: {shape(24, 1)} }}", "of type Reshape, to a first axis of 24"),
    ],
)
def test_what_is_not_supported_is_refused_by_name_and_type(kind, options, reason, tmp_path):
    parameters = {"Affine": {"W": (24, 2)}, "Convolution": {"W": (2, 2, 2, 2)}}.get(kind, {})
    with pytest.raises(ValueError, match="path must be") as caught:
        single(tmp_path, kind, options, (2, 3, 4), (2, 3, 4), parameters.items())
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "Supported are Abs, Add2, " in str(caught.value)
