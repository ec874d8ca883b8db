"""The benchmark `label-errors`: what it says where its data are missing, and what it makes of them where they are."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import label_errors


def test_without_fashion_mnist_it_says_in_a_line_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(label_errors, "FOLDER", tmp_path / "nothing")
    assert list(label_errors.label_errors(quick=True)) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert "dataset-fashion-mnist" in line


@pytest.mark.skipif(not label_errors.FOLDER.is_dir(), reason=label_errors.MISSING)
def test_every_tenth_label_is_flipped():
    x, y, wrong = label_errors.flipped(seed=1, count=500)
    rows = np.random.default_rng(1).permutation(60000)[:500]
    images, classes = label_errors.fashion()
    np.testing.assert_array_equal(x, images[rows])
    assert np.flatnonzero(y != classes[rows]).tolist() == sorted(wrong)
    assert len(wrong) == 50
