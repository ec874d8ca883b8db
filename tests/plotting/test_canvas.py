"""Pictures on a figure: lines of text, pixels and numbers of every form."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from vis import ArgumentError
from vis.plotting import canvas
from vis.plotting.canvas import Panel, as_map, as_picture, draw, wrap


def test_lines_are_broken_between_words_and_no_text_is_lost():
    assert wrap("a b", 5) == "a b"
    long = "the gradient of 'Leonberger' and of a_very_long_identifier_without_any_space $x^2"
    assert wrap(long, 1.0).replace("\n", "").replace(" ", "") == long.replace(" ", "")
    assert wrap(None, 1.0) == ""


def test_a_word_that_is_too_long_is_broken_where_the_line_ends():
    lines = wrap("Donaudampfschifffahrtsgesellschaft it is", 1.0).split("\n")
    assert "".join(lines).replace(" ", "") == "Donaudampfschifffahrtsgesellschaftitis"
    widths = [canvas._text_width(line) for line in lines]
    assert max(widths) <= 1.0
    for line, following in itertools.pairwise(lines):
        assert canvas._text_width(line + following[0]) > 1.0 or " " in line


def test_line_breaks_stay():
    assert wrap("a\nb c", 5) == "a\nb c"


@pytest.mark.parametrize(
    ("image", "row"),
    [
        (np.uint8([[0, 51, 255]]), [0, 51, 255]),
        (np.array([[[0.0], [0.2], [1.0]]]), [0, 51, 255]),
        (np.array([[0.0, 51.0, 255.0]]), [0, 51, 255]),
        (np.array([[0.0, 0.2, 0.2]]), [0, 51, 51]),
        (np.array([[-1.0, -0.6, 1.0]]), [0, 51, 255]),
        (np.array([[100.0, 200.0, 600.0]]), [0, 51, 255]),
        (np.array([[7.0, 7.0]]), [7, 7]),
        (np.array([[-7.0, -7.0]]), [0, 0]),
        (Image.fromarray(np.uint8([[0, 51, 255]])), [0, 51, 255]),
    ],
)
def test_pixels_in_any_of_the_usual_units(image, row):
    found = as_picture(image)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.repeat(np.array(row)[None, :, None], 3, axis=2))


@pytest.mark.parametrize(
    ("convert", "given", "message"),
    [
        (as_picture, np.zeros((2, 2, 4)), r"image must have the shape .*, not \(2, 2, 4\)"),
        (as_picture, np.zeros((0, 2)), r"not \(0, 2, 1\)"),
        (as_picture, np.array([[np.inf]]), "image must be finite, not NaN or infinite"),
        (as_map, np.zeros((2, 2, 2)), r"heatmap must have the shape \(height, width\), not \(2, 2, 2\)"),
        (as_map, [[np.nan]], "heatmap must be finite"),
    ],
)
def test_what_cannot_be_drawn(convert, given, message):
    with pytest.raises(ArgumentError, match=message):
        convert(given)


def test_rows_have_the_height_of_their_tallest_panel():
    wide, tall = Panel(np.zeros((2, 4, 3), np.uint8)), Panel(heatmap=np.zeros((6, 3)))
    assert (wide.ratio, tall.ratio, tall.size) == (0.5, 2.0, (6, 3))
    options = {"alpha": None, "colormap": None, "colorbar": False, "width": 2}
    widths, heights = zip(
        *(draw([(None, row)], **options).get_size_inches() for row in ([wide], [wide, tall])), strict=True
    )
    assert heights[1] - heights[0] == pytest.approx(2 * (2 - 0.5))
    assert widths[1] - widths[0] == pytest.approx(2 + 0.1)
    with pytest.raises(ArgumentError, match="width must be above 0, not 0"):
        draw([(None, [wide])], **{**options, "width": 0})
