"""Maps as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vis import plotting


def test_clip_brightness_cuts_off_the_brightest_hundredth():
    array = np.arange(1001, dtype=np.float32).reshape(7, 143) + 5
    clipped = plotting.clip_brightness(array)
    np.testing.assert_allclose(clipped, np.minimum((array - 5) / 990, 1), rtol=1e-6)
    assert (clipped == 1).sum() == 11


def test_clip_brightness_keeps_a_lone_point():
    array = np.zeros((20, 20))
    array[3, 4] = 0.5
    clipped = plotting.clip_brightness(array)
    assert clipped[3, 4] == 1
    assert clipped.sum() == 1


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_clip_brightness_of_a_constant_is_dark(value):
    np.testing.assert_array_equal(plotting.clip_brightness(np.full((4, 4), value)), np.zeros((4, 4)))


@pytest.mark.parametrize("percentile", [0, -1, 100.5])
def test_clip_brightness_refuses_a_percentile_out_of_range(percentile):
    with pytest.raises(ValueError, match="percentile"):
        plotting.clip_brightness(np.eye(3), percentile)


def test_grayscale_is_linear():
    np.testing.assert_array_equal(plotting.grayscale(np.linspace(0, 1, 256)[None]), np.arange(256)[None])


def test_a_map_grows_by_linear_interpolation_to_width_and_height():
    picture = plotting.grayscale(np.array([[0.0, 1.0]]), size=(4, 3))
    assert picture.tolist() == [[0, 64, 191, 255]] * 3


def test_colorize_is_matplotlib_s_map():
    from matplotlib import colormaps

    heatmap = np.random.default_rng(0).random((5, 6))
    expected = np.round(colormaps["viridis"](heatmap)[..., :3] * 255)
    np.testing.assert_array_equal(plotting.colorize(heatmap, "viridis"), expected)


def test_default_colours_get_lighter_with_the_value():
    colors = plotting.colorize(np.linspace(0, 1, 32)[None])[0].astype(float)
    luminance = colors @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_unknown_colormap():
    with pytest.raises(ValueError, match=r"colormap must be .*'viridis', not 'rainbow9'"):
        plotting.colorize(np.eye(2), "rainbow9")


def test_heatmap_over_blends_at_the_image_s_size():
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8))
    heatmap = np.random.default_rng(2).random((30, 50))
    picture = plotting.heatmap_over(image, heatmap, alpha=0.25)
    expected = 0.75 * np.asarray(image, float) + 0.25 * plotting.colorize(heatmap)
    np.testing.assert_allclose(picture, expected, atol=0.51)
    assert plotting.heatmap_over(image, np.ones((3, 2))).shape == (30, 50, 3)


@pytest.mark.parametrize("alpha", [0, 1])
def test_heatmap_over_at_the_ends(alpha):
    image = np.full((8, 9), 77, np.uint8)
    heatmap = np.random.default_rng(3).random((8, 9))
    expected = plotting.colorize(heatmap) if alpha else np.full((8, 9, 3), 77)
    np.testing.assert_array_equal(plotting.heatmap_over(image, heatmap, alpha=alpha), expected)


def test_heatmap_over_refuses_alpha_out_of_range():
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, not 2"):
        plotting.heatmap_over(np.zeros((4, 4), np.uint8), np.zeros((4, 4)), alpha=2)


def test_a_batch_of_maps_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\)"):
        plotting.grayscale(np.zeros((2, 4, 4)))
