"""What is asked about a data set, and what came of a row."""

from __future__ import annotations

from pathlib import Path

from vis.batch.plan import Outcome, Survey


def test_only_a_row_of_another_prediction_has_a_second_picture():
    whole = Outcome(3, picture="gradcam/0000/3.png", label=1, predicted=2)
    assert whole.predicted_picture == "gradcam/0000/3.predicted.png"
    for change in ({"predicted": 1}, {"label": None}, {"predicted": None}, {"picture": None}):
        assert whole._replace(**change).predicted_picture is None


def test_files_are_named_after_the_output():
    survey = Survey(None, Path("out/a.parquet"), "saliency", "x", "y", "unit", None, {}, False, {})
    assert (survey.pictures, survey.errors) == (Path("out/a"), Path("out/a.parquet.errors.csv"))
    assert (survey.journal, survey.page) == (Path("out/a/journal.jsonl"), Path("out/a.html"))


def test_a_row_is_misclassified_where_label_and_prediction_are_known_and_differ():
    assert Outcome(0, label=0, predicted=1).misclassified
    for label, predicted in ((1, 1), (None, 1), (0, None), (None, None)):
        assert not Outcome(0, label=label, predicted=predicted).misclassified
