"""Rows of a survey: what is read of them, and what the model is requested about them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from vis import ArgumentError, images
from vis.batch import rows
from vis.batch.plan import Survey
from vis.datasets import Row
from vis.files.tables import Table
from vis.methods import METHODS
from vis.visualization import gradient_times_input, visualize_saliency

LAYOUT = images.InputLayout(4, 4, 1, -1)
X = np.random.default_rng(0).random((6, 4, 4, 1)).astype(np.float32)


@pytest.fixture
def survey(tmp_path):
    (tmp_path / "in.csv").write_text("y__0,x:image,more,y__1\n0,a.png,?,1\n")
    Image.fromarray(np.full((4, 4), 51, np.uint8)).save(tmp_path / "a.png")
    method = METHODS["saliency"]
    options = {each.name: each.default for each in method.options}
    table = Table(tmp_path / "in.csv")
    return Survey(table, tmp_path / "out.csv", "saliency", "x", "y", "unit", method, options, True, {})


def sample(x, label=None):
    return rows.Sample(None, "a.png", x, label)


def model_of(units=3, activation="softmax"):
    layers = [keras.layers.Flatten(), keras.layers.Dense(units, activation)]
    return keras.Sequential([keras.Input((4, 4, 1)), *layers])


def test_the_image_s_column_comes_before_those_of_the_label(survey):
    assert rows.columns(survey) == [1, 0, 3]
    assert rows.columns(survey._replace(label_variable=None)) == [1]


def test_a_row_is_an_image_and_a_label(survey, tmp_path):
    read = rows.reader(survey, LAYOUT, 8)
    found = read(["a.png", "0", "1"])
    np.testing.assert_allclose(found.x, np.full((4, 4, 1), 0.2))
    assert (found.label, found.path) == (1, tmp_path / "a.png")
    assert found.image.size == (4, 4)
    assert rows.reader(survey, LAYOUT, 200_000)(["a.png", "0", "1"]).image is None, "so many are read again"
    with pytest.raises(ValueError, match="has no unique maximum"):
        read(["a.png", "0", "0"])


def test_each_row_is_explained_by_its_label_and_the_wrong_ones_by_what_is_predicted(survey):
    model = model_of()
    predicted = model.predict(X, verbose=0).argmax(axis=1)
    labels = (predicted + np.arange(6) % 2) % 3  # every second one is another
    found, failed = rows.explainer(survey, model)([Row(i, sample(x, int(labels[i]))) for i, x in enumerate(X)])
    assert failed == []
    assert [each.outcome.predicted for each in found] == predicted.tolist()
    assert [each.outcome.label for each in found] == labels.tolist()
    scores = model.predict(X, verbose=0).max(axis=1)
    np.testing.assert_allclose([each.outcome.score for each in found], scores, atol=1e-6)
    for i, each in enumerate(found):
        np.testing.assert_allclose(each.heatmap, visualize_saliency(model, None, int(labels[i]), X[i]), atol=1e-5)
        assert (each.predicted_heatmap is None) == (i % 2 == 0)
        assert each.numbers is None
    np.testing.assert_allclose(
        found[1].predicted_heatmap, visualize_saliency(model, None, int(predicted[1]), X[1]), atol=1e-5
    )


def test_rows_that_fail_do_not_stop_the_others(survey):
    model = model_of()
    bad = X[2].copy()
    bad[0, 0] = 3e38  # the score overflows
    model.layers[-1].kernel.assign(10 * np.ones((16, 3)))
    requested = [
        Row(4, sample(X[0], 1)),
        Row(5, error="it cannot be read"),
        Row(6, sample(X[1], 3)),
        Row(7, sample(bad, 1)),
    ]
    found, failed = rows.explainer(survey, model)(requested)
    assert [each.outcome.row for each in found] == [4]
    reasons = {outcome.row: outcome.error for outcome in failed}
    assert reasons[5] == "it cannot be read"
    assert "3" in reasons[6]
    assert "model must give finite numbers" in reasons[7]


def test_images_of_different_sizes_are_asked_about_by_their_shapes(survey):
    layers = [keras.layers.Conv2D(2, 2), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((None, None, 1)), *layers])
    shapes = [(4, 4, 1), (5, 6, 1), (4, 4, 1)]
    found, _ = rows.explainer(survey, model)([Row(i, sample(np.ones(s, np.float32), 0)) for i, s in enumerate(shapes)])
    assert {each.outcome.row: each.heatmap.shape for each in found} == {0: (4, 4), 1: (5, 6), 2: (4, 4)}


@pytest.mark.parametrize("predict", [True, False])
def test_an_image_too_small_for_the_layers_does_not_stop_the_others(survey, predict):
    layers = [keras.layers.Conv2D(2, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((None, None, 1)), *layers])
    shapes = [(4, 4, 1), (1, 6, 1), (5, 6, 1)]
    explain = rows.explainer(survey._replace(predict=predict), model)
    found, failed = explain([Row(i, sample(np.ones(s, np.float32), 0)) for i, s in enumerate(shapes)])
    assert [each.outcome.row for each in found] == [0, 2]
    assert [(each.row, each.error) for each in failed] == [
        (1, "a.png has a size that the model's layers cannot compute: 6 by 1 pixels")
    ]


def test_a_regressor_has_a_score_and_no_class(survey):
    model = model_of(1, None)
    survey = survey._replace(label_variable=None)
    found, _ = rows.explainer(survey, model)([Row(i, sample(x)) for i, x in enumerate(X)])
    assert [each.outcome.predicted for each in found] == [None] * 6
    np.testing.assert_allclose([each.outcome.score for each in found], model(X).numpy()[:, 0], atol=1e-5)


def test_one_class_for_all_has_to_be_one_of_the_model(survey):
    survey = survey._replace(label_variable=None, class_index=2)
    model = model_of()
    found, _ = rows.explainer(survey, model)([Row(0, sample(X[0]))])
    np.testing.assert_allclose(found[0].heatmap, visualize_saliency(model, None, 2, X[0]), atol=1e-6)
    with pytest.raises(ArgumentError, match="class_index must be one of the model's 2 classes, from 0, not 2"):
        rows.explainer(survey, model_of(1, "sigmoid"))([Row(0, sample(X[0]))])


def test_the_class_index_of_a_regressor_stands_for_its_output(survey):
    model, method = model_of(1, None), METHODS["gradient-times-input"]
    options = {each.name: each.default for each in method.options}
    survey = survey._replace(label_variable=None, class_index=0, method=method, options=options)
    found, _ = rows.explainer(survey, model)([Row(i, sample(x)) for i, x in enumerate(X)])
    for x, each in zip(X, found, strict=True):
        np.testing.assert_allclose(each.heatmap, gradient_times_input(model, None, 0, x), atol=1e-5)
    with pytest.raises(ArgumentError, match="class_index must be 0 for a model of one output without a sigmoid, not 1"):
        rows.explainer(survey._replace(class_index=1), model)([Row(0, sample(X[0]))])
