"""Activations by their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import run, single


def elu(x, alpha):
    return np.where(x > 0, x, alpha * np.expm1(x))


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("CELU", "celu_param { alpha: 0.5 axis: 1 }", lambda x: np.concatenate([elu(x, 0.5), elu(-x, 0.5)], 1)),
        ("GELU", "", lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))),
        ("LogSoftmax", "log_softmax_param { axis: 1 }", lambda x: x - np.log(np.exp(x).sum(1, keepdims=True))),
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
    ],
)
def test_functions_by_their_formulas(kind, options, expected, tmp_path):
    model, _ = single(tmp_path, kind, options, (2, 3, 4), (2, 3, 4))
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x)[0], expected(x), rtol=1e-4, atol=1e-6)
