"""Baselines, the lines from them to the samples, and the points on these."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentError
from vis.engine.evaluate import Objective
from vis.engine.inputs import prepare
from vis.losses import weighted
from vis.utils.arrays import blur
from vis.visualization.baselines import averaged, lines_of, points, toward


@pytest.mark.parametrize(("quadrature", "steps", "degree"), [("gausslegendre", 3, 5), ("midpoint", 4, 1)])
def test_polynomials_up_to_a_degree_are_integrated_exactly(quadrature, steps, degree):
    places, weights = points(quadrature, steps)
    assert places.dtype == np.float32
    for power in range(degree + 1):
        assert weights @ places.astype(float) ** power == pytest.approx(1 / (power + 1), abs=1e-6)
    assert abs(weights @ places.astype(float) ** (degree + 1) - 1 / (degree + 2)) > 1e-4


def test_an_unknown_quadrature_is_refused():
    with pytest.raises(ArgumentError, match="quadrature must be 'gausslegendre' or 'midpoint', not 'simpson'"):
        points("simpson", 3)


def test_points_on_the_way():
    value = tf.constant([[2.0, 4.0], [10.0, 0.0]])
    alpha = tf.constant([0.25, 1.0])
    at, way = toward(value, tf.constant([[1.0, 0.0]]), alpha)
    assert at.numpy().tolist() == [[1.25, 1.0], [10.0, 0.0]]
    assert way.numpy().tolist() == [[1.0, 4.0], [9.0, 0.0]]
    of_number, _ = toward(value, tf.constant([2.0]), alpha)
    assert of_number.numpy().tolist() == [[2.0, 2.5], [10.0, 0.0]]


@pytest.fixture(scope="module")
def model():
    picture, table = keras.Input((2, 3, 1), name="picture"), keras.Input((2,), name="table")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(picture), table])
    return keras.Model([picture, table], keras.layers.Dense(1)(joined))


X = [np.arange(12, dtype=np.float32).reshape(2, 2, 3, 1), np.ones((2, 2), np.float32)]


def bases_of(model, baseline):
    """For each line where it begins, an array per input."""
    objective = Objective(model, weighted([(lambda output: output[:, 0], 1)]))
    lines = lines_of(baseline, objective, prepare(model, X), [None], None)
    assert all(line.numbers == (0, 1) for line in lines)
    return [line.bases for line in lines]


def test_a_baseline_is_a_number_an_array_or_several_of_them(model):
    ((picture, table),) = bases_of(model, 3.0)
    assert picture.tolist() == table.tolist() == [3, 3]
    ((picture, table),) = bases_of(model, {"table": np.array([5.0, 6.0]), "picture": X[0] - 1})
    np.testing.assert_array_equal(picture, X[0] - 1)
    assert table.tolist() == [[5, 6]] * 2
    first, second = bases_of(model, [[0.0, 1.0], 7.0])
    assert [each.tolist() for each in (*first, *second)] == [[0, 0], [7, 7], [1, 1], [7, 7]]


def test_a_blurred_picture_is_blurred_along_its_positions(model):
    ((picture, _),) = bases_of(model, ["blur", 0.0])
    np.testing.assert_allclose(picture, blur(X[0], [1, 2]), rtol=1e-6)


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ({"picture": 0}, r"baseline must have the keys \['picture', 'table'\], not \['picture'\]"),
        ([0, 0, 0], r"baseline must have one value per input \(picture, table\), not 3"),
        ([[0, 1], [0, 1, 2]], "baseline must have one baseline per input, or the same number of them, not 2, 3"),
        ([[], 0], "baseline must hold at least one baseline, not an empty list"),
        (["white", 0], "baseline must be a number, an array, 'blur' or a list of these, not 'white'"),
        ([None, 0], "baseline must be a number, an array, 'blur' or a list of these, not None"),
        ([np.nan, 0], "baseline must be finite, not NaN or infinite"),
        ([0, np.zeros(3)], r"of shape \(2,\) or \(2, 2\) for 'table', not of shape \(3,\)"),
    ],
)
def test_refusals(model, baseline, message):
    with pytest.raises(ArgumentError, match=message):
        bases_of(model, baseline)


def test_maps_of_several_baselines_are_averaged():
    one, other = [[np.array([0.0, 2.0])], [np.array([4.0]), np.array([6.0])]], [[np.ones(2)], [np.ones(1), np.ones(1)]]
    assert [[call.tolist() for call in calls] for calls in averaged([one, other])] == [[[0.5, 1.5]], [[2.5], [3.5]]]
