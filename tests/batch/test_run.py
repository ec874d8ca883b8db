"""A job over a data set: what it draws for a page."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from vis.batch import run
from vis.batch.plan import Survey
from vis.files.tables import Table
from vis.methods import METHODS

ROWS = 40
METHOD = METHODS["saliency"]


@pytest.fixture
def model():
    classifier = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="relu", kernel_initializer=keras.initializers.HeNormal(seed=1)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="softmax", kernel_initializer=keras.initializers.HeNormal(seed=2)),
        ]
    )
    x = np.random.default_rng(0).random((ROWS, 8, 8, 1))
    scores = classifier.predict(x, verbose=0)
    classifier.layers[-1].set_weights([classifier.layers[-1].get_weights()[0] * 50, -50 * np.log(scores.mean(axis=0))])
    return classifier


@pytest.fixture
def folder(tmp_path):
    x = np.random.default_rng(0).random((ROWS, 8, 8))
    for number, pixels in enumerate(x):
        Image.fromarray(np.round(255 * pixels).astype(np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def survey_of(folder, name, labels, **changes):
    """A survey of all images with these labels, for a page unless it is said otherwise."""
    table = folder / f"{name}.in.csv"
    table.write_text("\n".join(["x,y", *(f"{row}.png,{label}" for row, label in enumerate(labels)), ""]))
    settings = {
        "table": Table(table),
        "output": folder / f"{name}.csv",
        "column": METHOD.column,
        "input_variable": "x",
        "label_variable": "y",
        "class_index": None,
        "preprocess": "unit",
        "method": METHOD,
        "options": {each.name: each.default for each in METHOD.options},
        "predict": True,
        "settings": {},
    }
    return Survey(**{**settings, **changes})


def done(survey, model, resume=False):
    """The outcomes of a run, and the cards of its page."""
    with run.journal_of(survey, model, resume=resume) as journal:
        outcomes = [outcome for some in run.explain(survey, model, journal) for outcome in some]
        return outcomes, list(run.cards(survey, journal))


def pictures(survey):
    return {path.name: path.read_bytes() for path in (survey.pictures / "0000").iterdir()}


def test_the_second_picture_of_a_misclassified_row_explains_what_is_predicted(model, folder):
    survey = survey_of(folder, "labels", [row % 3 for row in range(ROWS)])
    outcomes, cards = done(survey, model)
    wrong = [outcome.row for outcome in outcomes if outcome.label != outcome.predicted]
    assert 5 < len(wrong) < ROWS - 5
    drawn = pictures(survey)
    assert set(drawn) == {f"{row}.png" for row in range(ROWS)} | {f"{row}.predicted.png" for row in wrong}
    other = survey_of(folder, "other", [outcome.predicted for outcome in outcomes])
    _, without = done(other, model)
    of_predicted = pictures(other)
    assert set(of_predicted) == {f"{row}.png" for row in range(ROWS)}
    for row in wrong:
        assert drawn[f"{row}.predicted.png"] == of_predicted[f"{row}.png"] != drawn[f"{row}.png"]
    second = {card.row: card.predicted_picture for card in cards if card.predicted_picture}
    assert second == {row: survey.pictures / "0000" / f"{row}.predicted.png" for row in wrong}
    assert not any(card.predicted_picture for card in without)


@pytest.mark.parametrize(
    "changes", [{"predict": False}, {"label_variable": None}, {"label_variable": None, "class_index": 1}]
)
def test_without_page_or_labels_each_row_is_explained_once(model, folder, changes):
    asked = []

    def counted(self, model, target, x, options, **more):
        asked.append(len(x))
        return METHOD.explain(model, target, x, options, **more)

    method = type("Counted", (type(METHOD),), {"__slots__": (), "explain": counted})(*METHOD)
    survey = survey_of(folder, "labels", [row % 3 for row in range(ROWS)], method=method, **changes)
    done(survey, model)
    assert sum(asked) == ROWS
    assert set(pictures(survey)) == {f"{row}.png" for row in range(ROWS)}


def test_a_second_picture_that_is_gone_is_drawn_again(model, folder):
    survey = survey_of(folder, "labels", [row % 3 for row in range(ROWS)])
    outcomes, _ = done(survey, model)
    before = pictures(survey)
    last = max(outcome.row for outcome in outcomes if outcome.misclassified)
    (survey.pictures / "0000" / f"{last}.predicted.png").unlink()
    assert done(survey, model, resume=True)[0] == outcomes
    assert pictures(survey) == before
