"""What is asked about a data set is checked before anything is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vis import ArgumentError
from vis.batch import surveys
from vis.images import Scale
from vis.methods import METHODS


def test_an_option_that_has_to_be_given():
    with pytest.raises(ArgumentError, match="options must have 'background' for expected-gradients"):
        surveys.checked_options(METHODS["expected-gradients"], {})


METHOD = METHODS["smoothgrad"]
OPTIONS = {each.name: each.default for each in METHOD.options}


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text("x:image,y:label,v__0,v__1\na.png,0,1,2\n")
    return Path("in.csv")


def planned(model, **changes):
    arguments = {"input": Path("in.csv"), "output": Path("a.csv"), "method": METHOD, "options": OPTIONS, **changes}
    return surveys.plan(model, **arguments)


def test_a_plan_says_what_is_read_and_what_it_depends_on(model, table):
    survey = planned(model, html=True, size=8, settings={"--more": 1})
    assert (survey.label_variable, survey.predict, survey.column, survey.size) == ("y", True, "SmoothGrad", 8)
    json.dumps(survey.settings)
    assert survey.settings["--more"] == 1
    assert survey.settings["--num-samples"] == OPTIONS["num_samples"]
    assert survey.settings["--html"] is True
    other = planned(model, options={**OPTIONS, "num_samples": 3})
    changed = {name for name, value in survey.settings.items() if other.settings.get(name, value) != value}
    assert changed == {"--num-samples", "--html", "--size"}


def test_labels_are_left_out_where_there_are_none_or_none_are_wanted(model, table):
    assert planned(model, label_variable="none").label_variable is None
    assert planned(model, class_index=1).label_variable is None
    table.write_text("x\na.png\n")
    assert planned(model).label_variable is None
    with pytest.raises(ArgumentError, match="label_variable must be a column of in.csv, not 'y'"):
        planned(model, label_variable="y")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_variable": "v"}, "input_variable must be one column of images, but 'v' is a vector of 2 columns"),
        ({"input_variable": "z"}, "input_variable must be a column of in.csv, not 'z'"),
        ({"label_variable": "y", "class_index": 0}, "class_index must be None if label_variable is given"),
        ({"labels": Path("none.txt")}, "labels must be .*none.txt"),
        ({"output": Path("a.parquet")}, "output must end in .csv, not a.parquet"),
    ],
)
def test_refusals(model, table, changes, message):
    with pytest.raises(ArgumentError, match=message):
        planned(model, **changes)


def test_a_column_that_is_to_be_added_is_not_there_yet(model, table):
    table.write_text("x,SmoothGrad\na.png,b.png\n")
    with pytest.raises(ArgumentError, match="input must have no column 'SmoothGrad', but in.csv has a column"):
        planned(model)
    table.write_text("x,y\n")
    with pytest.raises(ArgumentError, match="input must have rows to explain, but in.csv has a header but no rows"):
        planned(model)


def test_names_are_those_of_the_model_s_classes(model, table):
    Path("names.txt").write_text("cat\ndog\nowl\n")
    survey = planned(model, labels=Path("names.txt"))
    found, layout = surveys.for_model(survey, model, Scale("raw"))
    assert found.names == ("cat", "dog", "owl")
    assert (layout.height, layout.width, layout.channels) == (8, 8, 1)
    assert (found.preprocess, found.settings["--preprocess"]) == ("raw", "raw")
    Path("names.txt").write_text("cat\ndog\n")
    with pytest.raises(ArgumentError, match="labels must .* 3"):
        surveys.for_model(planned(model, labels=Path("names.txt")), model, Scale("raw"))
    with pytest.raises(ArgumentError, match="preprocess must .*three channels"):
        surveys.for_model(survey, model, Scale("torch"))


def test_options_of_a_method():
    assert surveys.checked_options(METHOD, {"num_samples": 3}) == {**OPTIONS, "num_samples": 3}
    with pytest.raises(ArgumentError, match="options must be of .*num_samples.* for smoothgrad, not 'depth'"):
        surveys.checked_options(METHOD, {"depth": 3})
    with pytest.raises(ArgumentError, match="num_samples must be "):
        surveys.checked_options(METHOD, {"num_samples": 0})
