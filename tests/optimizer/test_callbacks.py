"""Callbacks: what is printed, and what a callback has to have."""

from __future__ import annotations

import numpy as np
import pytest

from vis.callbacks import OptimizerCallback, Print


def test_print_rounds(capsys):
    Print().callback(9, [("a", 1 / 3), ("b", 2.0)], 7 / 3, None, None)
    Print().callback(0, [("a", np.array([0.5, 0.25]))], np.array([0.5, 0.25]), None, None)
    assert capsys.readouterr().out.splitlines() == [
        "Iteration: 10, losses: a 0.333333, b 2, overall loss: 2.33333",
        "Iteration: 1, losses: a [0.5, 0.25], overall loss: [0.5, 0.25]",
    ]


def test_a_callback_that_does_nothing_says_so():
    with pytest.raises(TypeError, match=r"must override callback\(\)"):
        OptimizerCallback().callback(0, [], 0.0, None, None)
