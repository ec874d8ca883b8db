"""Affine maps, convolutions and normalizations beside sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import run, shape, single


def test_a_transposed_convolution_of_signals(tmp_path):
    options = f"deconvolution_param {{ base_axis: 1 pad: {shape(1)} stride: {shape(3)} dilation: {shape(1)} group: 1 }}"
    model, weights = single(tmp_path, "Deconvolution", options, (4, 7), (5, 18), {"W": (4, 5, 2)}.items())
    x = np.random.default_rng(1).normal(size=(2, 4, 7)).astype(np.float32)
    expected = np.zeros((2, 5, 20))
    for i in range(7):
        expected[:, :, 3 * i : 3 * i + 2] += np.einsum("nc,cok->nok", x[:, :, i], weights["W"])
    # nnabla's output has (n - 1) * stride + kernel positions less the padding of both ends.
    np.testing.assert_allclose(run(model, x)[0], expected[:, :, 1:-1], atol=1e-5)


def test_an_affine_map_of_an_image_reads_its_rows_in_the_order_of_channels_first(tmp_path):
    model, weights = single(
        tmp_path, "Affine", "affine_param { base_axis: 1 }", (2, 3, 4), (5,), {"W": (24, 5)}.items()
    )
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(run(model, x)[0], x.reshape(2, 24) @ weights["W"], rtol=1e-4, atol=1e-6)


def test_a_convolution_of_signals_in_groups(tmp_path):
    options = f"convolution_param {{ base_axis: 1 pad: {shape(1)} stride: {shape(2)} dilation: {shape(1)} group: 2 }}"
    model, weights = single(tmp_path, "Convolution", options, (4, 7), (6, 4), {"W": (6, 2, 3)}.items())
    x = np.random.default_rng(1).normal(size=(2, 4, 7)).astype(np.float32)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1)])
    expected = np.empty((2, 6, 4))
    for out in range(6):
        group = padded[:, 2 * (out // 3) : 2 * (out // 3) + 2]  # three outputs of the first two channels, three others
        for i in range(4):
            expected[:, out, i] = (group[:, :, 2 * i : 2 * i + 3] * weights["W"][out]).sum((1, 2))
    np.testing.assert_allclose(run(model, x)[0], expected, rtol=1e-4, atol=1e-6)


def test_strides_and_dilation_do_not_go_together(tmp_path):
    options = f"depthwise_convolution_param {{ base_axis: 1 stride: {shape(2, 2)} dilation: {shape(2, 2)} }}"
    with pytest.raises(ValueError, match=r"DepthwiseConvolution, with both strides \(2, 2\) and dilation \(2, 2\)"):
        single(tmp_path, "DepthwiseConvolution", options, (2, 6, 6), (2, 2, 2), {"W": (2, 2, 2)}.items())
