"""Calls that overlap give what calls in turn give."""

from __future__ import annotations

import threading

import pytest

from vis.utils.threads import overlapped


def test_results_come_in_the_order_of_the_arguments():
    second = threading.Event()

    def call(number):
        if number == 0:
            assert second.wait(10)  # which only the next call sets, so both are computed at the same time
        second.set()
        return number

    assert list(overlapped(call, range(5), 2)) == [0, 1, 2, 3, 4]


def test_no_more_are_begun_than_may_wait():
    begun = []
    results = overlapped(lambda number: begun.append(number) or number, range(100), 3)
    assert next(results) == 0
    assert len(begun) <= 3
    results.close()
    assert len(begun) <= 3


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_comes_in_its_place_and_ends_the_rest(at_once):
    begun = []

    def call(number):
        begun.append(number)
        return 1 / (number - 2)

    results = overlapped(call, range(50), at_once)
    assert [next(results), next(results)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert len(begun) <= 2 + 2 * at_once


def test_one_call_needs_no_thread():
    assert list(overlapped(lambda _: threading.current_thread(), [0], 2)) == [threading.current_thread()]
