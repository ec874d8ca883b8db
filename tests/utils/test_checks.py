"""Checks of arguments: what passes, and what is said of what does not."""

import numpy as np
import pytest

from vis.utils import checks
from vis.utils.errors import ArgumentError, ArgumentTypeError


@pytest.mark.parametrize("value", [20, 20.0, np.int64(20), np.float32(20)])
def test_whole_numbers_of_any_type(value):
    number = checks.whole_number("max_iter", value)
    assert number == 20
    assert type(number) is int


@pytest.mark.parametrize("value", [0, 2.5, np.nan, np.inf, True, "3", None, [3]])
def test_what_is_no_whole_number(value):
    with pytest.raises(ArgumentError, match="^max_iter must be a whole number of at least 1, not ") as caught:
        checks.whole_number("max_iter", value)
    assert caught.value.argument == "max_iter"
    assert caught.value.problem.endswith(f"not {value!r}")


def test_no_number_where_none_is_needed():
    assert checks.whole_number("seed", None, 0, or_none=True) is None
    with pytest.raises(ArgumentError, match="seed must be a whole number of at least 0, or None, not -1"):
        checks.whole_number("seed", -1, 0, or_none=True)


@pytest.mark.parametrize("value", ["1", b"1", None, [1, 2]])
def test_what_is_no_number(value):
    with pytest.raises(ArgumentTypeError, match="^min_delta must be a number, not ") as caught:
        checks.real_number("min_delta", value)
    assert caught.value.argument == "min_delta"


def test_a_number_that_is_part_of_an_argument():
    assert checks.real_number("losses", 2, "have a number as the weight of 'TV'") == 2.0
    with pytest.raises(ArgumentTypeError, match="^losses must have a number as the weight of 'TV', not 'a'"):
        checks.real_number("losses", "a", "have a number as the weight of 'TV'")


def test_a_modifier_s_result_has_the_gradients_shape():
    gradients = np.array([[1.0, -2.0]])
    np.testing.assert_array_equal(checks.modified(gradients, np.abs), [[1, 2]])
    assert isinstance(checks.modified(gradients, lambda each: each.tolist()), np.ndarray)
    for modify, came in ((lambda each: None, "None"), (np.sum, r"an array of shape \(\)")):
        with pytest.raises(ArgumentError, match=rf"gradients' shape, \(1, 2\), not {came}\. Correct the function"):
            checks.modified(gradients, modify)


def test_a_modifier_s_result_is_finite_where_the_gradients_are():
    def inverse(gradients):
        return np.where(gradients == 0, np.inf, gradients)

    with pytest.raises(ArgumentError, match="grad_modifier must return finite numbers.*'inverse'"):
        checks.modified(np.zeros(2), inverse)
    unknown = np.array([np.nan, 1.0])  # which is reported as the gradient's own
    np.testing.assert_array_equal(checks.modified(unknown, inverse), unknown)


def test_an_axis_is_counted_from_the_front():
    assert [checks.axis("channel_axis", value, 3) for value in (0, 2, -1, -3, np.int64(1), None)] == [
        0,
        2,
        2,
        0,
        1,
        None,
    ]
    for value in (3, -4, 1.0, True, "last"):
        with pytest.raises(
            ArgumentError, match=r"channel_axis must be an axis of a sample \(-3 to 2\), None or 'auto'"
        ):
            checks.axis("channel_axis", value, 3)
