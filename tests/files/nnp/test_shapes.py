"""Functions that change the shape, beside NumPy on nnabla's axes."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import run, single


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
    np.testing.assert_allclose(run(model, x)[0], expected(x), rtol=1e-4, atol=1e-6)
