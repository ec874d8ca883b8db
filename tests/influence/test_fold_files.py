"""The results of folds in files, which another run takes up where they are its own and whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from influence.networks import BLOB_LABELS, BLOBS, linear

from vis import ArgumentError, VisWarning
from vis.influence import fold_files, label_errors
from vis.influence.folds import FoldScores


def test_a_damaged_fold_is_trained_again(tmp_path):
    whole = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=2, directory=tmp_path, progress=False)
    path = fold_files.path_of(tmp_path, 1)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.warns(VisWarning, match=r"fold_1\.npz is damaged: fold 1 is trained again"):
        again = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=2, directory=tmp_path, progress=False)
    pd.testing.assert_frame_equal(whole, again)


@pytest.mark.parametrize(
    ("change", "name"), [({"seed": 1}, "seed"), ({"folds": 4}, "folds"), ({"y": BLOB_LABELS[::-1]}, "x or y")]
)
def test_a_folder_of_other_folds_is_refused(tmp_path, change, name):
    given = {"model": linear(), "x": BLOBS, "y": BLOB_LABELS, "epochs": 1, "directory": tmp_path, "progress": False}
    label_errors(**given)
    with pytest.raises(ArgumentError, match=f"directory must be a folder without other folds, .* differ in {name}"):
        label_errors(**{**given, **change})


def test_a_result_comes_back_as_it_was(tmp_path):
    held, trained = np.array([4, 0]), np.array([1, 2, 3])
    numbers = np.random.default_rng(0).random((3, 3))
    scores = FoldScores(held, np.float32([[0.25, 0.75], [1, 0]]), trained, *numbers, np.array(7))
    assert fold_files.read(tmp_path, 2) is None
    fold_files.write(tmp_path, 2, scores)
    again = fold_files.read(tmp_path, 2)
    for name, array in scores._asdict().items():
        np.testing.assert_array_equal(getattr(again, name), array)
        assert getattr(again, name).dtype == array.dtype
    assert [path.name for path in tmp_path.iterdir()] == ["fold_2.npz"]


def test_a_folder_is_prepared_once_for_one_thing(tmp_path):
    settings = {"checksum": 5, "examples": 90, "seed": 1, "adapted": ((1, 2),)}
    for _ in range(2):
        assert fold_files.prepare(tmp_path / "folds", settings) == tmp_path / "folds"
    with pytest.raises(ArgumentError, match="whose folds differ in x or y, seed"):
        fold_files.prepare(tmp_path / "folds", {**settings, "checksum": 6, "examples": 91, "seed": 2})
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="directory must be a folder that can be written to, not .*file"):
        fold_files.prepare(tmp_path / "file", settings)
