"""Segments: which positions are switched on and off together."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import zoo

from vis import ArgumentError
from vis.visualization import lime
from vis.visualization.perturbation import Subject
from vis.visualization.segments import Fit, masking

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def halves(scale=1):
    """Two segments, of any numbers."""
    segments = np.full((16, 16), -3)
    segments[:, 8:] = 7 * scale
    return segments


def test_segments_of_one_s_own():
    model, x = zoo.functional(), zoo.images(2)
    thirds = halves()
    thirds[:5] = 4
    both = np.stack([halves(2), thirds])
    maps = lime(model, -1, 2, x, segments=both, num_samples=30, **RAW)
    assert [len(np.unique(each)) for each in maps] == [2, 3]
    for i, segments in enumerate(both):
        alone = lime(model, -1, 2, x[i], segments=segments, num_samples=30, **RAW)
        np.testing.assert_allclose(alone, maps[i], atol=1e-5)


def test_superpixels():
    segmentation = pytest.importorskip("skimage.segmentation")
    model = zoo.functional()
    smooth = np.kron(RNG.random((4, 4, 3)), np.ones((4, 4, 1))).astype("float32")
    maps = lime(model, -1, 0, smooth, segments="slic", num_samples=50, **RAW)
    unit = (smooth - smooth.min()) / np.ptp(smooth)
    expected = segmentation.slic(unit, n_segments=64, channel_axis=2)
    np.testing.assert_array_equal(
        maps, lime(model, -1, 0, smooth, segments=expected, num_samples=50, **RAW)
    )  # fmt: skip


def test_superpixels_need_scikit_image(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ValueError, match=r"Install it: pip install keras3-vis\[slic\]"):
        lime(zoo.functional(), -1, 0, zoo.images(1), segments="slic")


def maps_of(subject, segments=None):
    """The maps of values 0, 1, 2, ... of the segments of each sample."""
    found = masking(subject, segments, lambda count: Fit(np.ones((1, count), np.uint8), lambda scores: scores), None)
    counts = [switched.shape[1] for switched in found.rows[0]]
    return [found.to_map(row, np.arange(count), 0) for row, count in enumerate(counts)]


def test_a_picture_has_eight_by_eight_squares_and_a_table_a_segment_for_each_feature():
    (picture,) = maps_of(Subject(0, "x", np.zeros((1, 16, 24, 3)), 2))
    expected = (np.arange(16) // 2)[:, None] * 8 + np.arange(24) // 3
    np.testing.assert_array_equal(picture, expected)
    (small,) = maps_of(Subject(0, "x", np.zeros((1, 2, 3, 1)), 2))
    np.testing.assert_array_equal(small, np.arange(6).reshape(2, 3))
    (volume,) = maps_of(Subject(0, "x", np.zeros((1, 8, 8, 8, 1)), 3))
    assert len(np.unique(volume)) == 64
    np.testing.assert_array_equal(volume[:2, :2, :2], np.zeros((2, 2, 2)))
    for table in maps_of(Subject(0, "x", np.zeros((2, 100)), None)):
        np.testing.assert_array_equal(table, np.arange(100))


def test_segments_of_any_numbers_count_from_zero():
    series = Subject(0, "x", np.zeros((2, 4, 1)), 1)
    for one in maps_of(series, np.array([-3, 9, 9, 5])):
        assert one.tolist() == [0, 2, 2, 1]
    each = maps_of(series, {"x": np.array([[7, 7, 7, 7], [1, 0, 1, 0]])})
    assert [one.tolist() for one in each] == [[0, 0, 0, 0], [1, 0, 1, 0]]


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        (np.zeros(4), "segments must be of whole numbers, not float64"),
        (np.zeros((3, 4), int), r"must have the shape of the positions of 'x', \(4,\), or \(2, 4\), not \(3, 4\)"),
        ("slic", "segments must be an int array or None for 'x', which is no picture"),
        ("felzenszwalb", "segments must be an int array, 'slic' or None, not 'felzenszwalb'"),
    ],
)
def test_refusals(segments, message):
    with pytest.raises(ArgumentError, match=message):
        maps_of(Subject(0, "x", np.zeros((2, 4, 1)), 1), segments)
