"""A run's states in files: round trips, and files that are damaged."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from vis import VisWarning
from vis.influence.storage import Storage, sound_epochs
from vis.influence.training import State

STATE = State(
    (np.array([[1.5, -2.0]], np.float32), np.array([3.0])),
    (np.array([7, 1], np.int64),),
    ((np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)), ()),
)


def assert_equal(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        if isinstance(mine, tuple):
            assert_equal(mine, other)
        else:
            np.testing.assert_array_equal(mine, other)
            assert mine.dtype == other.dtype


def test_a_state_comes_back_as_it_was_with_what_was_noted(tmp_path):
    storage = Storage(tmp_path)
    storage.write_state(3, STATE, rates=[0.1, 0.05], history=[{"loss": 2.0}, {"loss": 1.5}])
    again = Storage(tmp_path)
    assert_equal(again.read_state(3), STATE)
    assert again.read_rates(3) == [0.1, 0.05]
    assert again.read_history(3) == [{"loss": 2.0}, {"loss": 1.5}]
    assert again.recorded() == [3]
    assert again.epochs() == -1, "the state before the first epoch is missing"
    again.write_state(0, STATE)
    assert again.epochs() == 3
    again.discard(1)
    assert again.recorded() == [0]


def test_settings_and_weights_of_examples_come_back(tmp_path):
    storage = Storage(tmp_path / "new" / "folder")
    assert storage.read_settings() is None
    assert storage.read_sample_weight() is None
    storage.check_vacant()
    storage.write_settings({"seed": 3, "batches": None})
    storage.write_sample_weight(np.array([1.0, 0.5]))
    assert storage.read_settings() == {"seed": 3, "batches": None}
    assert storage.read_sample_weight().tolist() == [1.0, 0.5]
    with pytest.raises(ValueError, match="directory must be a folder without a training run, not "):
        storage.check_vacant()


def test_a_copy_has_everything(tmp_path):
    storage = Storage()
    storage.write_state(0, STATE)
    storage.write_state(1, STATE, rates=[0.5])
    storage.write_settings({"seed": 1})
    storage.write_sample_weight(np.ones(2))
    storage.copy_to(tmp_path / "copy")
    copy = Storage(tmp_path / "copy")
    assert (copy.recorded(), copy.read_rates(1), copy.read_settings()) == ([0, 1], [0.5], {"seed": 1})
    assert copy.read_sample_weight().tolist() == [1, 1]
    with pytest.raises(ValueError, match="without a training run"):
        storage.copy_to(tmp_path / "copy")
    copy.copy_to(tmp_path / "copy")  # onto itself


def test_a_temporary_folder_goes_with_its_storage():
    storage = Storage()
    folder = storage.directory
    storage.write_state(0, STATE)
    assert folder.exists()
    del storage
    gc.collect()
    assert not folder.exists()


def test_a_run_ends_before_its_first_damaged_file(tmp_path):
    storage = Storage(tmp_path)
    for epoch in (0, 2, 4, 6):
        storage.write_state(epoch, STATE)
    assert sound_epochs(storage) == 6
    storage.path(4).write_bytes(storage.path(4).read_bytes()[:100])
    with pytest.warns(VisWarning, match=r"epoch_0004\.npz is damaged: the run ends after epoch 2 of 6\. Go on\."):
        assert sound_epochs(storage, "Go on") == 2
    with pytest.raises(ValueError, match=r"epoch_0004\.npz cannot be read as the state of a training run"):
        storage.read_state(4)
    storage.path(0).write_bytes(b"")
    with pytest.warns(VisWarning, match=r"epoch_0000\.npz is damaged: the run has no sound beginning"):
        assert sound_epochs(storage) == -1


def test_a_folder_of_something_else(tmp_path):
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(ValueError, match=r"must be the folder of a training run, not .*, whose run\.json is damaged"):
        Storage(tmp_path).read_settings()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="directory must be a folder that can be created, not .*file"):
        Storage(tmp_path / "file")
