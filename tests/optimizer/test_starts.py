"""Where an optimization starts, for a model that takes images of any size."""

from __future__ import annotations

import numpy as np
import pytest

from vis.images import InputLayout
from vis.optimizer.starts import noise, regularizer_weights


@pytest.mark.parametrize("parameterization", ["pixels", "fourier"])
def test_noise_is_the_same_in_every_layout(parameterization):
    options = {"input_range": (np.array([0.0, -2, 0]), np.array([1.0, 2, 255])), "parameterization": parameterization}
    last = noise(InputLayout(8, 6, 3, -1), 2, seed=3, **options)
    first = noise(InputLayout(8, 6, 3, 0), 2, seed=3, **options)
    assert last.shape == (2, 8, 6, 3)
    np.testing.assert_array_equal(np.moveaxis(first, 1, -1), last)
    np.testing.assert_allclose(last.mean(axis=(0, 1, 2)), [0.5, 0, 127.5], atol=1)
    assert noise(InputLayout(8, 6, 1, None), 2, (0, 1), parameterization=parameterization, seed=3).shape == (2, 8, 6)


def test_noise_is_a_matter_of_its_seed():
    layout = InputLayout(8, 6, 1, -1)
    first, again, other = (noise(layout, 1, (0, 1), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_regularizers_weigh_alike_in_every_range():
    """A term that grows with the values, or with their square, is the same of an image in units of the range."""
    image = np.random.default_rng(0).random((8, 8))
    unit = regularizer_weights((0, 1))
    for extent in (2, 255):
        weights = regularizer_weights((-extent / 2, extent / 2))
        np.testing.assert_allclose(
            weights["lp_norm_weight"] * extent * image.max(), unit["lp_norm_weight"] * image.max()
        )
        np.testing.assert_allclose(
            weights["tv_weight"] * np.square(extent * image).sum(), unit["tv_weight"] * np.square(image).sum()
        )
