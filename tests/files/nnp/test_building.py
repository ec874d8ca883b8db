"""A Keras model of a network: what is built in another way, and what cannot be built."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from nnp_files import ADAM, executor, function, network, optimizer, variable, write

from vis import VisWarning
from vis.models import load_model


def test_statistics_of_the_batch_are_left_out_with_a_warning(tmp_path):
    parameters = {"m": np.full((1, 3), 0.5), "v": np.full((1, 3), 4.0)}
    options = (
        "batch_normalization_param { axes: 1 eps: 0 decay_rate: 0.9 batch_stat: true no_bias: true no_scale: true }"
    )
    items = [
        variable("x", -1, 3), variable("y", -1, 3),
        *(variable(name, 1, 3, kind="Parameter") for name in parameters),
        function("BatchNormalization", ["x", "m", "v"], "y", options),
    ]  # fmt: skip
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]), parameters)
    with pytest.warns(VisWarning, match="'y' and functions like it normalize by the batch in the file"):
        model = load_model(path)
    np.testing.assert_allclose(model(np.full((1, 3), 4.5)), np.full((1, 3), 2.0), rtol=1e-6)


def test_batch_normalization_is_by_the_batch_in_training(tmp_path):
    parameters = {"m": np.zeros((1, 1, 1, 1)), "v": np.ones((1, 1, 1, 1)), "W": np.ones((4, 2))}
    statistics = (
        "batch_normalization_param { axes: 1 eps: 0.001 decay_rate: 0.9 batch_stat: true no_bias: true no_scale: true }"
    )
    items = [
        variable("Input", -1, 1, 2, 2), variable("n", -1, 1, 2, 2), variable("z", -1, 2), variable("Softmax", -1, 2),
        *(variable(name, *value.shape, kind="Parameter") for name, value in parameters.items()),
        function("BatchNormalization", ["Input", "m", "v"], "n", statistics),
        function("Affine", ["n", "W"], "z", "affine_param { base_axis: 1 }"),
        function("Softmax", ["z"], "Softmax", "softmax_param { axis: 1 }"),
        variable("CategoricalCrossEntropy_T", -1, 1), variable("CategoricalCrossEntropy", -1, 1),
        function("CategoricalCrossEntropy", ["Softmax", "CategoricalCrossEntropy_T"], "CategoricalCrossEntropy"),
    ]  # fmt: skip
    runtime = network("MainRuntime", *(each.replace("batch_stat: true", "batch_stat: false") for each in items[:-3]))
    text = network("Main", *items) + runtime + optimizer(ADAM) + executor("MainRuntime")
    path = write(tmp_path / "a.nnp", text, parameters)
    x = 3 + np.random.default_rng(0).normal(size=(8, 2, 2, 1)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = load_model(path, training=True).get_layer("n")
    np.testing.assert_allclose(np.mean(layer(x, training=False)), np.mean(x) / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(np.mean(layer(x, training=True)), 0, atol=1e-5)


def test_shapes_that_do_not_fit_are_told_by_the_function(tmp_path):
    items = [
        variable("x", -1, 4), variable("W", 3, 2, kind="Parameter"), variable("y", -1, 2),
        function("Affine", ["x", "W"], "y", "affine_param { base_axis: 1 }"),
    ]  # fmt: skip
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]), {"W": np.ones((3, 2))})
    with pytest.raises(ValueError, match=r"path must be a network whose shapes fit, not with 'y' \(Affine\): "):
        load_model(path)


def test_inputs_come_in_the_executor_s_order_and_share_a_layer(tmp_path):
    affine = "affine_param { base_axis: 1 }"
    items = [
        variable("a", -1, 2), variable("b", -1, 2), variable("W", 2, 1, kind="Parameter"),
        *(variable(name, -1, 1) for name in ("p", "q", "y")),
        function("Affine", ["a", "W"], "p", affine), function("Affine", ["b", "W"], "q", affine),
        function("Sub2", ["p", "q"], "y"),
    ]  # fmt: skip
    text = network("n", *items) + executor("n", ["b", "a"], ["y"])
    model = load_model(write(tmp_path / "a.nnp", text, {"W": np.array([[1.0], [10.0]])}))
    assert len(model.weights) == 1
    found = model([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])])  # b, a
    np.testing.assert_array_equal(found, [[43.0 - 21.0]])
