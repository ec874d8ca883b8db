"""Scores are near to training again: a short case of the benchmark `influence-fidelity`."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import fidelity
from vis.influence import counterfactual_influence, sgd_influence


@pytest.fixture(scope="module")
def trained():
    run, (x, y) = fidelity.train(fidelity.PROTOCOLS["logistic regression"]._replace(epochs=1))
    x, y = x[:10], y[:10]
    return run, x, y, fidelity.truth(run, x, y), fidelity.influences(run, x, y)


def test_scores_of_a_logistic_regression_agree_with_training_again(trained):
    *_, found, scores = trained
    measured = fidelity.fidelity(scores, found)
    assert measured.lds >= 0.80
    assert measured.pearson >= 0.88
    assert measured.spearman >= 0.88
    # The scores of other queries do not.
    assert fidelity.fidelity(scores[::-1], found).lds < 0.6


def test_many_queries_at_once_are_scored_as_one_after_another(trained):
    run, x, y, _, scores = trained
    once = sgd_influence(run, x[1:2], y[1:2], progress=False)
    np.testing.assert_allclose(scores[1], once, rtol=1e-4, atol=1e-9)


def test_leaving_out_one_example_changes_what_counterfactual_influence_says(trained):
    run, x, y, found, _ = trained
    expected = counterfactual_influence(run, x, y, indices=found.left_out[:8], progress=False)
    np.testing.assert_allclose(found.of_left_out[:8].mean(axis=1), expected, atol=2e-7)
