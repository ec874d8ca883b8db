"""The share of wrong labels that a score finds, and the images that it is measured with."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import mislabels


def test_the_share_found_counts_wrong_labels_among_the_largest_scores():
    scores = np.array([0.1, 0.9, 0.8, 0.2, 0.7, 0.3, 0.0, 0.4, 0.5, 0.6])
    assert mislabels.share_found(scores, np.array([1, 2, 6]), 0.1) == pytest.approx(1 / 3)
    assert mislabels.share_found(scores, np.array([1, 2, 6]), 0.2) == pytest.approx(2 / 3)
    assert mislabels.share_found(scores, np.array([1, 2, 6]), 1.0) == 1


@pytest.mark.skipif(not mislabels.FOLDER.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_a_tenth_of_the_labels_is_wrong_and_no_image_is_in_two_parts():
    data = mislabels.load_flipped(300, seed=0)
    assert data.x.shape == (300, 28, 28, 1)
    assert len(set(data.wrong)) == 30
    right = mislabels.load_flipped(300, seed=0)
    np.testing.assert_array_equal(data.y, right.y)
    images = [image.tobytes() for part in (data.x, data.validation[0], data.test[0]) for image in part]
    assert len(set(images)) == len(images) == 6300
