"""What is left of an augmentation once its random part is left out."""

from __future__ import annotations

import numpy as np
import pytest
from nnp_files import run, shape, single


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
