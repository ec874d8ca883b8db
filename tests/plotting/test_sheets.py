"""Images of one size as one picture."""

from __future__ import annotations

import numpy as np
import pytest

from vis.plotting.sheets import pictures, sheet


def test_pictures_take_channels_first_and_a_range_a_channel():
    image = np.zeros((1, 3, 130, 130))
    image[:, 1] = 5
    (picture,) = pictures(image, ([0, 0, 0], [10, 5, 10]))
    assert picture.shape == (130, 130, 3)
    assert picture[0, 0].tolist() == [0, 255, 0]


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (6, (2, 3)), (10, (2, 5))])
def test_a_sheet_is_nearly_square_and_leaves_few_places(count, shape):
    rows, columns = shape
    picture = sheet(np.zeros((count, 20, 20), np.uint8))
    assert picture.shape == (rows * 25 - 5, columns * 25 - 5)


@pytest.mark.parametrize("colors", [(), (3,)])
def test_pictures_go_from_left_to_right_and_the_rest_is_gray(colors):
    values = np.arange(1, 11, dtype=np.uint8).reshape(10, 1, 1, *[1] * len(colors))
    picture = sheet(np.broadcast_to(values, (10, 2, 3, *colors))[:7])
    rows = [picture[0], picture[7]]
    assert [row[::8].reshape(4, -1)[:, 0].tolist() for row in rows] == [[1, 2, 3, 4], [5, 6, 7, 128]]
    assert (picture[2:7] == 128).all()
