"""The rows of a CSV file as training examples."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from vis import datasets
from vis.batch import training_rows
from vis.utils.errors import ArgumentError


def table_of(folder, *lines):
    path = folder / "train.csv"
    path.write_text("\n".join(lines) + "\n")
    return training_rows.open_table(path)


def test_bad_rows_are_data(tmp_path):
    rows = ["1,2,0", "1,many,1", "3,4,seven", "5,6,1", "7,8,2"]
    table = table_of(tmp_path, "x__0,x__1,y", *rows)

    def check_label(label):
        if label > 1:
            raise ArgumentError("label", f"must be 0 or 1, not {label:g}")

    told = []
    found = training_rows.read(table, datasets.vector, check_label=check_label, on_rows=told.append)
    assert found.rows == [0, 3]
    np.testing.assert_array_equal(found.x, [[1, 2], [5, 6]])
    np.testing.assert_array_equal(found.y, [0, 1])
    assert [row.number for row in found.errors] == [1, 2, 4]
    assert found.errors[2].error == "label must be 0 or 1, not 2."
    assert sum(told) == 5


def test_labels_of_several_columns_are_vectors(tmp_path):
    table = table_of(tmp_path, "a,b__0,b__1", "1,0,1", "2,1,0")
    found = training_rows.read(table, datasets.vector, input_variable="a", label_variable="b")
    assert found.x.tolist() == [[1], [2]]
    assert found.y.tolist() == [[0, 1], [1, 0]]


def test_fewer_than_two_rows_that_can_be_used_are_refused(tmp_path):
    table = table_of(tmp_path, "x,y", "1,0", "many,1", "2,some")
    with pytest.raises(training_rows.TooFewRowsError) as refused:
        training_rows.read(table, datasets.vector)
    assert refused.value.argument == "table"
    assert "must have at least 2 usable rows, not 1 of the 3 rows of " in str(refused.value)
    assert [row.number for row in refused.value.errors] == [1, 2]


def test_a_table_of_one_row_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="^path must have at least 2 rows, not 1 as "):
        table_of(tmp_path, "x,y", "1,0")


@pytest.mark.parametrize(("header", "cells", "kind"), [("x", "a.png", "images"), ("x__0,x__1", "1,b.png", "")])
def test_a_table_of_other_things_than_numbers_is_refused(tmp_path, header, cells, kind):
    table = table_of(tmp_path, header, cells, cells)
    with pytest.raises(ArgumentError, match=r"^table must have numbers in 'x', not '.\.png'") as refused:
        training_rows.check_numbers(table, "x")
    assert refused.value.kind == kind


def test_one_row_of_numbers_will_do(tmp_path):
    training_rows.check_numbers(table_of(tmp_path, "x", "a.png", "1"), "x")


def test_columns_are_those_of_the_model(tmp_path):
    table = table_of(tmp_path, "x__0,x__1", "1,2", "3,4")
    training_rows.check_columns(table, "x", keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    for shape, problem in (((3,), "must have 3 columns of 'x'"), ((8, 8, 1), r"input of shape \(8, 8, 1\), not")):
        model = keras.Sequential([keras.Input(shape), keras.layers.Dense(1)])
        with pytest.raises(ArgumentError, match=f"^table .*{problem}"):
            training_rows.check_columns(table, "x", model)
