"""Maps as pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vis import plotting
from vis.plotting.pictures import interpolate


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


def test_a_map_grows_to_width_and_height_by_cubic_interpolation_within_its_range():
    heatmap = np.random.default_rng(0).random((7, 5)).astype("float32") * 0.8
    cubic = np.asarray(Image.fromarray(heatmap).resize((50, 63), Image.Resampling.BICUBIC))
    assert cubic.min() < heatmap.min() < heatmap.max() < cubic.max()
    expected = np.round(255 * np.clip(cubic, heatmap.min(), heatmap.max()))
    np.testing.assert_array_equal(plotting.grayscale(heatmap, size=(50, 63)), expected)


def test_a_peak_is_no_star():
    peak = np.zeros((7, 7), np.float32)
    peak[3, 3] = 1
    cubic = interpolate(peak, (224, 224))[112, 96:128]
    linear = np.asarray(Image.fromarray(peak).resize((224, 224), Image.Resampling.BILINEAR))[112, 96:128]
    # The kink on top, from which the rays of a star start.
    assert np.abs(np.diff(linear, 2)).max() > 5 * np.abs(np.diff(cubic, 2)).max()


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
    opacity = 0.25 * heatmap[..., None]
    expected = (1 - opacity) * np.asarray(image, float) + opacity * plotting.colorize(heatmap)
    np.testing.assert_allclose(picture, expected, atol=1)
    assert plotting.heatmap_over(image, np.ones((3, 2))).shape == (30, 50, 3)


def test_where_nothing_matters_the_image_is_seen():
    image = np.full((1, 3), 77, np.uint8)
    heatmap = np.array([[0.0, 0.5, 1.0]])
    assert plotting.heatmap_over(image, heatmap, alpha=0).tolist() == [[[77] * 3] * 3]
    nothing, half, most = plotting.heatmap_over(image, heatmap, alpha=1)[0]
    assert nothing.tolist() == [77] * 3
    np.testing.assert_allclose(half, (77.0 + plotting.colorize(heatmap)[0, 1]) / 2, atol=1)
    assert most.tolist() == plotting.colorize(heatmap)[0, 2].tolist()


def test_of_a_map_of_both_signs_the_middle_is_transparent():
    image = np.full((1, 3), 77, np.uint8)
    heatmap = np.array([[0.0, 0.5, 1.0]])
    less, nothing, more = plotting.heatmap_over(image, heatmap, 1, "blue_white_red", zero=0.5)[0].tolist()
    assert nothing == [77] * 3
    assert [less, more] == plotting.colorize(heatmap, "blue_white_red")[0, ::2].tolist()


def test_heatmap_over_refuses_alpha_out_of_range():
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, not 2"):
        plotting.heatmap_over(np.zeros((4, 4), np.uint8), np.zeros((4, 4)), alpha=2)


def test_a_batch_of_maps_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 4, 4\)"):
        plotting.grayscale(np.zeros((2, 4, 4)))
