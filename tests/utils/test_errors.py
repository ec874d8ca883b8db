import pickle
import warnings

import keras
import numpy as np
import pytest

import vis
from vis.utils import errors, utils
from vis.utils.errors import ArgumentError, ArgumentTypeError, VisWarning, warn


def test_a_message_has_a_problem_and_a_remedy():
    error = ArgumentError("alpha", "must be from 0 to 1, not 2", "Divide a percentage by 100")
    assert str(error) == "alpha must be from 0 to 1, not 2. Divide a percentage by 100."


def test_a_message_may_have_no_remedy():
    assert str(ArgumentError("alpha", "must be from 0 to 1, not 2")) == "alpha must be from 0 to 1, not 2."


def test_the_parts_are_attributes():
    error = ArgumentError("alpha", "must be from 0 to 1, not 2", "Divide a percentage by 100", kind="range")
    parts = error.argument, error.problem, error.remedy, error.kind
    assert parts == ("alpha", "must be from 0 to 1, not 2", "Divide a percentage by 100", "range")
    plain = ArgumentError("alpha", "must be from 0 to 1, not 2")
    assert (plain.remedy, plain.kind) == ("", "")


@pytest.mark.parametrize("kind", [ArgumentError, ArgumentTypeError])
def test_about_another_argument_only_the_name_changes(kind):
    error = kind("seed_input", "must be an array, not None", "Give one sample", kind="missing")
    renamed = error.about("x_val")
    assert type(renamed) is kind
    assert str(renamed) == "x_val must be an array, not None. Give one sample."
    assert (renamed.argument, renamed.kind) == ("x_val", "missing")
    assert error.argument == "seed_input"


@pytest.mark.parametrize("kind", [ArgumentError, ArgumentTypeError])
def test_an_error_is_the_same_in_another_process(kind):
    error = kind("alpha", "must be from 0 to 1, not 2", "Divide a percentage by 100", kind="range")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


def test_a_wrong_value_is_a_value_error_and_a_wrong_type_is_both():
    assert isinstance(ArgumentError("alpha", "must be a number, not None"), ValueError)
    assert not isinstance(ArgumentError("alpha", "must be a number, not None"), TypeError)
    for family in (ValueError, TypeError, ArgumentError):
        with pytest.raises(family, match=r"^alpha must be a number, not None\.$"):
            raise ArgumentTypeError("alpha", "must be a number, not None")


def test_the_package_has_them():
    assert (vis.ArgumentError, vis.ArgumentTypeError, vis.VisWarning) == (ArgumentError, ArgumentTypeError, VisWarning)


def test_a_warning_has_a_code_and_parts():
    with pytest.warns(VisWarning) as caught:
        warn("blank_map", "the map is blank", "Choose an earlier layer")
    warning = caught[0].message
    assert str(warning) == "the map is blank. Choose an earlier layer."
    assert (warning.code, warning.problem, warning.remedy) == (
        "blank_map",
        "the map is blank",
        "Choose an earlier layer",
    )
    copy = pickle.loads(pickle.dumps(warning))
    assert vars(copy) == vars(warning)
    assert str(copy) == str(warning)


def test_a_warning_points_at_the_line_that_called_the_library():
    with pytest.warns(VisWarning) as caught:
        utils.draw_text(np.zeros((20, 20), np.uint8), "a", font="NoSuchFont.ttf")
    assert caught[0].filename == __file__
    assert caught[0].message.code == "font_not_found"


def test_warnings_can_be_silenced_alone():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", VisWarning)
        warn("blank_map", "the map is blank")
        warnings.warn("another", UserWarning, stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["another"]


def test_a_sentence_leaves_out_what_is_empty():
    assert errors.sentence("the map is blank") == "the map is blank."


def test_of_an_error_that_keras_reports_only_the_reason_counts():
    class Wrong(keras.layers.Layer):
        def call(self, x):
            raise ValueError("wants\n\nfour axes.")

    with pytest.raises(ValueError, match="Exception encountered") as raised:
        Wrong()(np.ones((1, 2)))
    assert errors.reason_of(raised.value) == "wants four axes"


def test_a_reason_of_any_other_error_is_one_line():
    assert errors.reason_of(ValueError("a\n b.")) == "a b"
    assert errors.reason_of(OSError()) == ""
    assert len(errors.reason_of(ValueError("x" * 1000))) == 200
