"""Arithmetic beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import executor, first, function, last, network, run, single, variable, write

from vis.models import load_model


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


@pytest.mark.parametrize(("kind", "expected"), [("Add2", np.add), ("Sub2", np.subtract), ("Pow2", np.power)])
def test_a_parameter_is_broadcast_as_nnabla_does(kind, expected, tmp_path):
    model, weights = single(tmp_path, kind, "", (2, 3, 4), (2, 3, 4), {"w": (2, 1, 1)}.items())
    x = np.random.default_rng(1).uniform(1, 2, size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x)[0], expected(x, weights["w"]), rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("Exp", "", np.exp),
        ("Sin", "", np.sin),
        ("Cos", "", np.cos),
        ("Abs", "", np.abs),
        ("Log", "", np.log),
        ("MulScalar", "mul_scalar_param { val: 0.3 }", lambda x: 0.3 * x),
        ("AddScalar", "add_scalar_param { val: 0.3 }", lambda x: x + 0.3),
        ("RSubScalar", "r_sub_scalar_param { val: 0.3 }", lambda x: 0.3 - x),
        ("RPowScalar", "r_pow_scalar_param { val: 1.7 }", lambda x: 1.7**x),
        ("MaximumScalar", "maximum_scalar_param { val: -0.5 }", lambda x: np.maximum(x, -0.5)),
        ("MinimumScalar", "minimum_scalar_param { val: 0.5 }", lambda x: np.minimum(x, 0.5)),
    ],
)
def test_functions_by_their_formulas(kind, options, expected, tmp_path):
    model, _ = single(tmp_path, kind, options, (2, 3, 4), (2, 3, 4))
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    x = np.abs(x) if kind == "Log" else x
    np.testing.assert_allclose(run(model, x)[0], expected(x), rtol=1e-4, atol=1e-6)
