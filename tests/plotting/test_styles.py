"""Styles of pictures: at the image's size, enlarged to squares, and of both signs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vis import plotting
from vis.plotting.styles import STYLES, draw, signed

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)
MAP = np.random.default_rng(1).random((4, 6)).astype(np.float32)


@pytest.mark.parametrize("style", STYLES)
def test_a_map_of_the_image_s_size_becomes_squares_and_a_smaller_one_is_interpolated(style):
    small = draw(style, IMAGE, MAP)
    large = draw(style, IMAGE, MAP, 15)  # three times six is the least that is as large
    np.testing.assert_array_equal(large, small.repeat(3, axis=0).repeat(3, axis=1))
    coarse = draw(style, IMAGE, MAP[:2, :3], 15)
    assert coarse.shape == large.shape
    np.testing.assert_array_equal(coarse, STYLES[style](IMAGE.resize((18, 12), Image.Resampling.NEAREST), MAP[:2, :3]))


def test_a_picture_that_is_large_enough_stays():
    assert draw("colors", IMAGE, MAP, 6).shape == (4, 6, 3)


def test_colours_alone_or_over_the_image():
    clipped = plotting.clip_brightness(MAP)
    np.testing.assert_array_equal(draw("colors", IMAGE, MAP), plotting.colorize(clipped))
    np.testing.assert_array_equal(draw("colors", IMAGE, MAP, overlay=True), plotting.heatmap_over(IMAGE, clipped))
    np.testing.assert_array_equal(draw("grayscale", IMAGE, MAP), plotting.grayscale(clipped))
    np.testing.assert_array_equal(
        draw("grayscale", IMAGE, MAP, colormap="viridis"), plotting.colorize(clipped, "viridis")
    )
    np.testing.assert_array_equal(draw("over_image", IMAGE, MAP), plotting.heatmap_over(IMAGE, MAP))


def test_zero_is_white_and_shows_the_gray_image():
    heatmap = np.array([[-3.0, 0.0, 1.5]])
    blue, white, red = signed(Image.new("RGB", (3, 1)), heatmap, colormap="blue_white_red")[0].astype(int)
    assert white.tolist() == [255, 255, 255]
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    over = signed(Image.new("RGB", (3, 1), (200, 0, 0)), heatmap, overlay=True)[0]
    gray = np.asarray(Image.new("RGB", (1, 1), (200, 0, 0)).convert("L"))[0, 0]
    assert over[1].tolist() == [gray] * 3
    np.testing.assert_array_equal(signed(Image.new("L", (2, 1)), np.zeros((1, 2))), np.full((1, 2, 3), 255))
