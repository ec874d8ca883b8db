"""Each function of nnabla against what nnabla 1.39.0 computed: outputs, and gradients with respect to the input."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from nnp_files import drawn, executor, function, network, shape, variable, write

from vis.models import load_model

FOLDER = Path(__file__).parent / "references"
REFERENCES = np.load(FOLDER / "references.npz")
NAMES = sorted({name.partition(".")[0] for name in REFERENCES})
# Whoever saved these called a function with base_axis 2 or 3, but `nnabla.utils.save` writes base_axis 1 and the shape
# of an input whose first axes are flattened: what the file describes is the same map of rows.
FLATTENED = {"affine_base2": 4}


WIDER = [(0, 0), (0, 0), (0, 0), (1, 2)]


def last(x: np.ndarray) -> np.ndarray:
    """Channels last, as the models have them."""
    return np.moveaxis(x, 1, -1) if x.ndim in (4, 5) else x


def first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1) if x.ndim in (4, 5) else x


def run(model, x, g=None):
    """A model's output for an input of nnabla's, and the gradient of its product with `g`."""
    x = tf.constant(last(x))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=False)
        score = tf.reduce_sum(y * (1.0 if g is None else last(g)))
    return first(y.numpy()), first(tape.gradient(score, x).numpy())


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


def single(tmp_path, kind, options, sizes, output, parameters=()):
    """A model of one function, of inputs and outputs of some shapes."""
    weights = drawn(**dict(parameters))
    items = [
        variable("x", -1, *sizes),
        variable("y", -1, *output),
        *(variable(name, *value.shape, kind="Parameter") for name, value in weights.items()),
        function(kind, ["x", *weights], "y", options),
    ]
    path = write(tmp_path / "a.nnp", network("n", *items, batch_size=2) + executor("n", ["x"], ["y"]), weights)
    return load_model(path), weights


def test_a_transposed_convolution_of_signals(tmp_path):
    options = f"deconvolution_param {{ base_axis: 1 pad: {shape(1)} stride: {shape(3)} dilation: {shape(1)} group: 1 }}"
    model, weights = single(tmp_path, "Deconvolution", options, (4, 7), (5, 18), {"W": (4, 5, 2)}.items())
    x = np.random.default_rng(1).normal(size=(2, 4, 7)).astype(np.float32)
    expected = np.zeros((2, 5, 20))
    for i in range(7):
        expected[:, :, 3 * i : 3 * i + 2] += np.einsum("nc,cok->nok", x[:, :, i], weights["W"])
    # nnabla's output has (n - 1) * stride + kernel positions less the padding of both ends.
    np.testing.assert_allclose(run(model, x)[0], expected[:, :, 1:-1], atol=1e-5)


def test_a_part_of_an_image_is_resized_and_cut_out(tmp_path):
    options = (
        f"image_augmentation_param {{ shape: {shape(1, 4, 5)} pad: {shape(1, 0)} min_scale: 0.5 max_scale: 0.5 "
        "aspect_ratio: 1 contrast: 1 contrast_center: 0.5 seed: -1 }"
    )
    with pytest.warns(match=r"the random part of 'y' \(ImageAugmentation\) is left out"):
        model, _ = single(tmp_path, "ImageAugmentation", options, (1, 9, 12), (1, 4, 5))
    x = np.random.default_rng(1).normal(size=(2, 1, 9, 12)).astype(np.float32)
    # By nnabla's formula with the middle of the random range: (i + margin / 2) / scale - pad, clipped to the image.
    rows = np.clip((np.arange(4) + (11 * 0.5 - 4) / 2) / 0.5 - 1, 0, 8)
    columns = np.clip((np.arange(5) + (12 * 0.5 - 5) / 2) / 0.5, 0, 11)
    expected = np.empty((2, 1, 4, 5))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            a, b = int(r), int(c)
            window = x[:, :, [a, min(a + 1, 8)]][:, :, :, [b, min(b + 1, 11)]]
            expected[:, :, i, j] = np.einsum("ncrs,r,s->nc", window, [1 + a - r, r - a], [1 + b - c, c - b])
    np.testing.assert_allclose(run(model, x)[0], expected, atol=1e-5)


def test_a_transposition(tmp_path):
    options = "transpose_param { axes: 0 axes: 3 axes: 1 axes: 2 }"
    model, _ = single(tmp_path, "Transpose", options, (2, 3, 4), (4, 2, 3))
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(run(model, x)[0], x.transpose(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("Mean", lambda x: x.mean((1, 3))),
        ("Min", lambda x: x.min((1, 3))),
        ("Prod", lambda x: x.prod((1, 3))),
    ],
)
def test_reductions(kind, expected, tmp_path):
    model, _ = single(tmp_path, kind, f"{kind.lower()}_param {{ axes: 1 axes: 3 }}", (2, 3, 4), (3,))
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x)[0], expected(x), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("CELU", "celu_param { alpha: 0.5 axis: 1 }", lambda x: np.concatenate([elu(x, 0.5), elu(-x, 0.5)], 1)),
        ("GELU", "", lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        ("LogSoftmax", "log_softmax_param { axis: 1 }", lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
        ("Exp", "", np.exp),
        ("Sin", "", np.sin),
        ("Cos", "", np.cos),
        ("Abs", "", np.abs),
        ("Log", "", np.log),
        ("SoftSign", "", lambda x: x / (1 + np.abs(x))),
        ("ReLU", "relu_param { inplace: True }", lambda x: np.maximum(x, 0)),
        ("ReLU6", "", lambda x: np.clip(x, 0, 6)),
        ("LeakyReLU", "leaky_relu_param { alpha: 0.2 }", lambda x: np.where(x > 0, x, 0.2 * x)),
        ("ELU", "elu_param { alpha: 0.7 }", lambda x: elu(x, 0.7)),
        ("CReLU", "crelu_param { axis: 1 }", lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], 1)),
        ("Mish", "", lambda x: x * np.tanh(np.log1p(np.exp(x)))),
        ("Swish", "", lambda x: x / (1 + np.exp(-x))),
        ("LogSigmoid", "", lambda x: -np.log1p(np.exp(-x))),
        ("TanhShrink", "", lambda x: x - np.tanh(x)),
        ("HardTanh", "", lambda x: np.clip(x, -1, 1)),
        ("HardSigmoid", "", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("SoftPlus", "softplus_param { beta: 1 }", lambda x: np.log1p(np.exp(x))),
        ("SoftPlus", "softplus_param { beta: 2 }", lambda x: np.log1p(np.exp(2 * x)) / 2),
        ("MulScalar", "mul_scalar_param { val: 0.3 }", lambda x: 0.3 * x),
        ("AddScalar", "add_scalar_param { val: 0.3 }", lambda x: x + 0.3),
        ("RSubScalar", "r_sub_scalar_param { val: 0.3 }", lambda x: 0.3 - x),
        ("RPowScalar", "r_pow_scalar_param { val: 1.7 }", lambda x: 1.7**x),
        ("MaximumScalar", "maximum_scalar_param { val: -0.5 }", lambda x: np.maximum(x, -0.5)),
        ("MinimumScalar", "minimum_scalar_param { val: 0.5 }", lambda x: np.minimum(x, 0.5)),
        ("Flip", "flip_param { axes: 1 axes: 3 }", lambda x: x[:, ::-1, :, ::-1]),
        (
            "Pad",
            "pad_param { mode: 'reflect' pad_width: 1 pad_width: 2 }",
            lambda x: np.pad(x, [(0, 0)] * 3 + [(1, 2)], "reflect"),
        ),
    ],
)
def test_functions_by_their_formulas(kind, options, expected, tmp_path):
    model, _ = single(tmp_path, kind, options, (2, 3, 4), (2, 3, 4))
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    x = np.abs(x) if kind == "Log" else x
    np.testing.assert_allclose(run(model, x)[0], expected(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("AddN", "", np.add),
        ("Mul2", "", np.multiply),
        ("Maximum2", "", np.maximum),
        ("Minimum2", "", np.minimum),
        ("Div2", "", np.divide),
        ("Concatenate", "concatenate_param { axis: 1 }", lambda a, b: np.concatenate([a, b], 1)),
    ],
)
@pytest.mark.parametrize("sizes", [(2, 3, 4), (2, 1, 1)])
def test_functions_of_two_tensors(kind, options, expected, sizes, tmp_path):
    if kind == "Concatenate" and sizes == (2, 1, 1):
        options, expected = "concatenate_param { axis: 2 }", lambda a, b: np.concatenate([a, b], 2)
        sizes = (2, 5, 4)
    items = [
        variable("a", -1, 2, 3, 4), variable("b", -1, *sizes), variable("y", -1, 2, 3, 4),
        function(kind, ["a", "b"], "y", options),
    ]  # fmt: skip
    model = load_model(write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["a", "b"], ["y"])))
    a, b = (np.random.default_rng(1).uniform(1, 2, (2, *each)).astype(np.float32) for each in ((2, 3, 4), sizes))
    np.testing.assert_allclose(first(model([last(a), last(b)]).numpy()), expected(a, b), rtol=1e-6)


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(x))


@pytest.mark.parametrize(("kind", "expected"), [("Add2", np.add), ("Sub2", np.subtract), ("Pow2", np.power)])
def test_a_parameter_is_broadcast_as_nnabla_does(kind, expected, tmp_path):
    model, weights = single(tmp_path, kind, "", (2, 3, 4), (2, 3, 4), {"w": (2, 1, 1)}.items())
    x = np.random.default_rng(1).uniform(1, 2, size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x)[0], expected(x, weights["w"]), rtol=1e-5)


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
