"""Wrong labels among the rows of a table: the same whatever was done before, and only where a model tells classes."""

from __future__ import annotations

import json

import keras
import numpy as np
import pandas as pd
import pytest

from vis import ArgumentError
from vis.batch import label_errors
from vis.batch.compiled import Compiled
from vis.files.journal import Journal
from vis.influence import fold_files
from vis.influence.classes import Classifier

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)).astype(np.float32) + np.repeat([[-2, 0], [2, 0]], 30, axis=0)
Y = np.repeat([0, 1], 30)
Y[7] = 1
OPTIONS = {"folds": 3, "epochs": 3, "progress": False}


def classifier(units=2, activation="softmax"):
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(units, activation, kernel_initializer="zeros")])


def found(**options):
    return label_errors.find(classifier(), Compiled(), Classifier(2), X, Y, **{**OPTIONS, **options})


def test_folds_that_are_done_are_not_done_again(tmp_path):
    whole, trained = found(on_fold=None), []
    path = tmp_path / "journal"
    with Journal(path, {}, resume=False) as journal:
        pd.testing.assert_frame_equal(found(directory=tmp_path, journal=journal, on_fold=trained.append), whole)
    assert trained == [0, 1, 2]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], ""]))  # as after a kill during the last fold
    with Journal(path, {}, resume=True) as journal:
        assert journal.done == 2
        pd.testing.assert_frame_equal(found(directory=tmp_path, journal=journal, on_fold=trained.append), whole)
    assert trained == [0, 1, 2, 2]
    fold_files.path_of(tmp_path, 1).unlink()
    with Journal(path, {}, resume=True) as journal:
        pd.testing.assert_frame_equal(found(directory=tmp_path, journal=journal, on_fold=trained.append), whole)
    assert trained == [0, 1, 2, 2, 1]
    assert [json.loads(line) for line in path.read_text().splitlines()[1:]] == [0, 1, 2]
    assert whole["datasource_index"][0] == 7


def test_how_a_model_tells_classes_is_known_before_any_row_is_read():
    assert label_errors.classifier_of(classifier(3), Compiled(), (2,)) == Classifier(3)
    assert label_errors.classifier_of(classifier(1, "sigmoid"), Compiled(), (2,)) == Classifier(1)
    compiled = Compiled(loss="mean_squared_error")
    with pytest.raises(ArgumentError, match="model must be a classifier, .* trained by 'mean_squared_error'"):
        label_errors.classifier_of(classifier(1, None), compiled, (2,))


def test_a_label_is_checked_as_it_is_read():
    check = label_errors.label_check(Classifier(3))
    check(np.float32(2))
    check(np.array([0, 1, 0]))
    with pytest.raises(ValueError, match="the label must be a class from 0 to 2, not 3"):
        check(np.float32(3))
    with pytest.raises(ValueError, match="exactly one 1 in each one-hot row"):
        check(np.array([0, 1, 1]))
