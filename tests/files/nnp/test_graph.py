"""Graphs: loops unrolled, functions in order, names that TensorFlow allows."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from nnp_files import executor, function, network, variable, write

from vis.files import nnp
from vis.files.nnp.graph import fit_name
from vis.models import load_model
from vis.visualization import visualize_saliency

AFFINE = "affine_param { base_axis: 1 }"


def loop(tmp_path, times=3, shared=False):
    """x, then three times `tanh(W[i] x) + x`, the functions in reverse order; W is one for all rounds if shared."""
    name = "W" if shared else "W{R}"
    inner = "" if shared else "R"
    items = [
        f'repeat_info {{ id: "R" times: {times} }}',
        variable("x", -1, 4),
        variable(name, 4, 4, kind="Parameter", loop=inner),
        *(variable(each, -1, 4, loop="R") for each in ("start", "affine", "tanh", "sum")),
        variable("y'", -1, 4),
        *reversed([
            function("RepeatStart", ["x", "sum"], "start", 'repeat_param { repeat_id: "R" times: 3 }', loop="R"),
            function("Affine", ["start", name], "affine", AFFINE, loop="R"),
            function("Tanh", ["affine"], "tanh", loop="R"),
            function("Add2", ["tanh", "start"], "sum", loop="R"),
            function("RepeatEnd", ["sum"], "y'", 'repeat_param { repeat_id: "R" times: 3 }'),
        ]),
    ]  # fmt: skip
    weights = np.random.default_rng(0).normal(size=(times, 4, 4)).astype(np.float32)
    parameters = {"W": weights[0]} if shared else {f"W[{i}]": weight for i, weight in enumerate(weights)}
    write(tmp_path / "loop.nnp", network("n", *items) + executor("n", ["x"], ["y'"]), parameters)
    return tmp_path / "loop.nnp", [weights[0]] * times if shared else weights


@pytest.mark.parametrize("shared", [False, True])
def test_a_loop_is_unrolled(tmp_path, shared):
    path, weights = loop(tmp_path, shared=shared)
    x = expected = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)
    for weight in weights:
        expected = np.tanh(expected @ weight) + expected
    model = load_model(path)
    np.testing.assert_allclose(model(x), expected, rtol=1e-5)
    # What rounds have in common is one layer, so that training changes it for all of them.
    assert len(model.trainable_variables) == (1 if shared else 3)
    assert ("affine_R.2" in {layer.name for layer in model.layers}) != shared
    assert "tanh_R.2" in {layer.name for layer in model.layers}
    assert visualize_saliency(model, None, 1, x[0]).shape == (4,)


def test_a_loop_without_an_end_is_refused(tmp_path):
    path, _ = loop(tmp_path, times=1)
    text = network("n", 'repeat_info { id: "R" times: 1000000000 }', variable("a", -1, 1, loop="R"))
    with pytest.raises(ValueError, match="must have at most 50,000 functions and variables, not 1,000,000,000"):
        load_model(write(path, text + executor("n", ["a"], ["a"])))


def test_a_circle_is_refused(tmp_path):
    items = [
        *(variable(name, -1, 4) for name in ("x", "a", "b", "y")),
        function("Add2", ["x", "b"], "a"), function("Tanh", ["a"], "b"), function("Tanh", ["b"], "y"),
    ]  # fmt: skip
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]))
    with pytest.raises(ValueError, match="must have no cycle of functions, but '.' is part of one"):
        load_model(path)


def test_a_variable_that_is_nowhere_described_is_refused(tmp_path):
    text = network("n", variable("x", -1, 4), function("Tanh", ["z"], "x"))
    with pytest.raises(ValueError, match="must describe every variable, but does not describe 'z'"):
        nnp.read(write(tmp_path / "a.nnp", text))


def test_functions_that_the_output_does_not_need_are_not_looked_at(tmp_path):
    items = [
        *(variable(name, -1, 4) for name in ("x", "y", "z")),
        function("Tanh", ["x"], "y"), function("Unlink", ["y"], "z"),
    ]  # fmt: skip
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]))
    np.testing.assert_allclose(load_model(path)(np.ones((1, 4))), np.tanh(np.ones((1, 4))), rtol=1e-6)


def test_a_deep_network_is_put_in_order(tmp_path):
    names = [f"v{i}" for i in range(3000)]
    items = [
        *(variable(name, -1, 4) for name in names),
        *map(lambda a, b: function("Identity", [a], b), names, names[1:]),
    ]
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["v0"], ["v2999"]))
    graph = nnp.read(path).network("n")
    assert [each.outputs[0] for each in graph.before("v2999")] == names[1:]


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("Unit/ReLU_RepeatStart[0]", "Unit.ReLU_RepeatStart.0"),
        ("y'", "y_"),
        ("@runtime/Affine", "runtime.Affine"),
        ("_hidden", "hidden"),
        ("畳み込み", "Convolution"),
        ("Convolution", "Convolution"),
    ],
)
def test_names_fit_a_scope(name, fitted):
    taken = set()
    assert fit_name(name, "Convolution", taken) == fitted
    assert fit_name(name, "Convolution", taken) == f"{fitted}_2"
    with tf.name_scope(fitted):
        pass
