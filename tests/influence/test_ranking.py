"""The table of scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from vis.influence import (
    rank,
)


def test_the_table_is_ascending_and_ties_are_in_row_order():
    table = pd.DataFrame({"y:label": list("abcd"), "x:image": list("pqrs")}, index=[9, 8, 7, 6])
    ranked = rank([0.5, -1, 0.5, -2.5], table)
    assert list(ranked.columns) == ["influence", "datasource_index", "y:label", "x:image"]
    assert ranked["datasource_index"].tolist() == [3, 1, 0, 2]
    assert ranked["y:label"].tolist() == ["d", "b", "a", "c"]
    assert ranked["influence"].tolist() == [-2.5, -1, 0.5, 0.5]


def test_several_runs_are_averaged():
    ranked = rank([[1.0, 0.0], [-3.0, 1.0]], indices=[10, 20])
    assert ranked["influence"].tolist() == [-1, 0.5]
    assert ranked["datasource_index"].tolist() == [10, 20]


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        ([1.0, np.nan], {}, "scores must be finite"),
        ([1.0, 2.0], {"indices": [1]}, "indices must hold one index for each of the 2 scores, not 1"),
        (1.0, {}, r"scores must have the shape .* not \(\)"),
    ],
)
def test_a_table_that_cannot_be_is_refused(scores, options, words):
    with pytest.raises(ValueError, match=words):
        rank(scores, **options)
