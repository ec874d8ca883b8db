"""What a model predicts, whatever the form of its output."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from vis.batch.predictions import check_label, output_width, predictor, scorer, scores_of
from vis.utils.errors import ArgumentError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
WEIGHTS = [np.array([[1.0], [-2.0], [0.5], [1.0]]), np.array([0.1])]


def model_of(*end):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1), *end])
    model.layers[0].set_weights(WEIGHTS)
    return model


LOGITS = X @ WEIGHTS[0][:, 0] + WEIGHTS[1]


@pytest.mark.parametrize("end", [list, lambda: [keras.layers.Reshape(())], lambda: [keras.layers.Reshape((1, 1, 1))]])
def test_a_single_output_of_any_rank(end):
    model = model_of(*end())
    prediction = predictor(model)(X)
    assert (prediction.width, output_width(model, X[0])) == (1, 1)
    np.testing.assert_array_equal(prediction.classes, LOGITS >= 0)
    np.testing.assert_allclose(prediction.scores, np.abs(LOGITS), rtol=1e-5)
    assert not prediction.probabilities


def test_a_final_sigmoid_is_a_probability():
    prediction = predictor(model_of(keras.layers.Activation("sigmoid")))(X)
    chances = 1 / (1 + np.exp(-LOGITS))
    np.testing.assert_array_equal(prediction.classes, chances >= 0.5)
    np.testing.assert_allclose(prediction.scores, np.maximum(chances, 1 - chances), rtol=1e-5)
    assert prediction.probabilities


def test_positions_are_averaged():
    inputs = keras.Input((5, 4))
    prediction = predictor(keras.Model(inputs, inputs))(np.arange(40, dtype=np.float32).reshape(2, 5, 4))
    assert prediction.width == 4
    np.testing.assert_array_equal(prediction.scores, [2 * 4 + 3, 20 + 2 * 4 + 3])


def test_several_outputs_are_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(2)(inputs)])
    with pytest.raises(ArgumentError, match="^model must have one output, not 2 outputs to choose from") as refused:
        output_width(model, X[0])
    assert refused.value.argument == "model"


def test_scores_of_all_outputs_are_those_of_the_model():
    model = model_of(keras.layers.Dense(3, "softmax"))
    scores, probabilities = scorer(model)(X)
    np.testing.assert_allclose(scores, model(X), rtol=1e-5)
    assert probabilities


def test_a_model_that_does_not_run_on_a_sample_is_refused():
    with pytest.raises(ArgumentError) as refused:
        scorer(model_of())(X[:, :3])
    assert refused.value.argument == "model"
    assert refused.value.problem.startswith("does not run on an image of shape (3,): ")


def test_a_model_that_fails_without_being_compiled_is_refused_too():
    layers = [keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((None, None, 1)), *layers])
    with pytest.raises(ArgumentError) as refused:
        scores_of(model, np.ones((1, 1, 6, 1), np.float32))
    assert refused.value.argument == "model"
    assert refused.value.problem.startswith("does not run on an image of shape (1, 6, 1): ")


@pytest.mark.parametrize(("label", "width"), [(-1, 3), (3, 3), (2, 1)])
def test_a_label_without_an_output_is_refused(label, width):
    with pytest.raises(ArgumentError, match=f"^label must be .*, not {label}"):
        check_label(label, width)
