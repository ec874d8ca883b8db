"""Pooling beside loops over windows, in nnabla's order of axes."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import run, shape, single

X = np.random.default_rng(1).normal(size=(2, 3, 5, 6)).astype(np.float32)


def pooled(x, kernel, stride, pad, ignore_border, of):
    """A loop over the windows, each without what is outside of the image."""
    lengths = [
        (size + 2 * p - k) // s + 1 if ignore_border else (size + p - 1) // s + 1
        for size, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True)
    ]
    y = np.empty((*x.shape[:2], *lengths))
    for i in range(lengths[0]):
        for j in range(lengths[1]):
            top, left = i * stride[0] - pad[0], j * stride[1] - pad[1]
            y[:, :, i, j] = of(x[:, :, max(top, 0) : max(top + kernel[0], 0), max(left, 0) : max(left + kernel[1], 0)])
    return y


@pytest.mark.parametrize("pad", [(0, 0), (1, 1)])
@pytest.mark.parametrize("ignore_border", [True, False])
@pytest.mark.parametrize(
    ("kind", "of", "more"),
    [
        ("MaxPooling", lambda window: window.max((2, 3)), ""),
        ("SumPooling", lambda window: window.sum((2, 3)), ""),
        ("AveragePooling", lambda window: window.mean((2, 3)), "including_pad: false"),
    ],
)
def test_windows(kind, of, more, ignore_border, pad, tmp_path):
    kernel, stride = (2, 3), (2, 2)
    expected = pooled(X, kernel, stride, pad, ignore_border, of)
    name = {"MaxPooling": "max_pooling", "SumPooling": "sum_pooling", "AveragePooling": "average_pooling"}[kind]
    options = (
        f"{name}_param {{ kernel: {shape(*kernel)} stride: {shape(*stride)} pad: {shape(*pad)} "
        f"ignore_border: {str(ignore_border).lower()} {more} }}"
    )
    model, _ = single(tmp_path, kind, options, X.shape[1:], expected.shape[1:])
    np.testing.assert_allclose(run(model, X)[0], expected, rtol=1e-5, atol=1e-6)


def test_a_mean_may_count_the_padding(tmp_path):
    ones = np.ones((1, 1, 4, 4), np.float32)
    options = (
        f"average_pooling_param {{ kernel: {shape(2, 2)} stride: {shape(2, 2)} pad: {shape(1, 1)} "
        "ignore_border: true including_pad: true }"
    )
    model, _ = single(tmp_path, "AveragePooling", options, (1, 4, 4), (1, 3, 3))
    expected = np.outer([1, 2, 1], [1, 2, 1]) / 4
    np.testing.assert_allclose(run(model, ones)[0][0, 0], expected, rtol=1e-6)


def test_the_mean_of_all_positions_and_each_value_several_times(tmp_path):
    model, _ = single(tmp_path, "GlobalAveragePooling", "", X.shape[1:], (3, 1, 1))
    np.testing.assert_allclose(run(model, X)[0], X.mean((2, 3), keepdims=True), rtol=1e-5, atol=1e-7)
    options = f"unpooling_param {{ kernel: {shape(2, 3)} }}"
    model, _ = single(tmp_path, "Unpooling", options, X.shape[1:], (3, 10, 18))
    np.testing.assert_array_equal(run(model, X)[0], X.repeat(2, axis=2).repeat(3, axis=3))


def test_windows_of_nothing_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"'y' of type MaxPooling, over windows of \[0, 2\]"):
        single(tmp_path, "MaxPooling", f"max_pooling_param {{ kernel: {shape(0, 2)} }}", (3, 5, 6), (3, 5, 3))
