"""Influence scores of a model file as it was compiled, in several trainings."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

from vis.batch import influence_trials
from vis.batch.compiled import Compiled, training_of
from vis.batch.influence_trials import Scores, margins, score
from vis.influence import example_losses, record_training, self_influence, sgd_influence
from vis.utils.errors import ArgumentError, VisWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3)).astype(np.float32)
Y = RNG.integers(0, 2, 12)


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])


def test_scores_are_those_of_trainings_with_one_seed_after_the_other(model):
    compiled = Compiled("sparse_categorical_crossentropy")
    told = []
    training = training_of(compiled, learning_rate=0.05, batch_size=4, epochs=2)
    scores = score(
        model, compiled, X, Y, X[:5], Y[:5], training=training, n_trials=2, seed=7, tell=told.append, progress=False
    )
    expected = []
    for seed in (7, 8):
        run = record_training(
            model, X, Y, optimizer=keras.optimizers.SGD(0.05), batch_size=4, epochs=2, seed=seed, progress=False
        )
        expected.append(sgd_influence(run, X[:5], Y[:5], progress=False))
    np.testing.assert_allclose(scores.influence, expected, rtol=1e-5, atol=1e-9)
    assert told == ["Trial 1 of 2", "Trial 2 of 2"]
    assert (scores.influence[0] != scores.influence[1]).any()
    first = record_training(
        model, X, Y, optimizer=keras.optimizers.SGD(0.05), batch_size=4, epochs=2, seed=7, progress=False
    )
    np.testing.assert_allclose(scores.loss, example_losses(first, progress=False)[-1], rtol=1e-5)
    np.testing.assert_allclose(scores.self_influence, self_influence(first, progress=False), rtol=1e-4)
    assert scores.agreement == pytest.approx(spearmanr(*scores.influence)[0])


class Shuffles:
    """Trials whose scores agree below a learning rate, and are noise above it."""

    def __init__(self, limit):
        self.limit = limit
        self.asked = []

    def __call__(self, *arguments, training, seed, **options):
        self.asked.append((training.learning_rate, seed))
        warnings.warn(VisWarning("rate", f"trained at {training.learning_rate:g}"), stacklevel=1)
        if training.learning_rate > 10 * self.limit:
            raise ValueError("the training diverges")
        noise = np.random.default_rng([seed, round(1e6 * training.learning_rate)]).normal(size=len(X))
        scores = np.arange(len(X)) if training.learning_rate <= self.limit else noise
        return {"influence": scores.tolist(), "loss": [1.0] * len(X), "self_influence": [2.0] * len(X)}


@pytest.mark.parametrize(("limit", "found"), [(1.0, 0.1), (0.003, 0.002), (0.002, 0.002), (2e-6, 1e-5)])
def test_the_largest_rate_at_which_two_shuffles_agree_is_found(model, limit, found, monkeypatch):
    trials = Shuffles(limit)
    monkeypatch.setattr(influence_trials, "one_trial", trials)
    with pytest.warns(VisWarning) as caught:
        scores = score(model, Compiled("sparse_categorical_crossentropy"), X, Y, X[:5], Y[:5], seed=3, progress=False)
    assert {str(each.message) for each in caught} == {f"trained at {found:g}."}, "a rate that is not taken is heard of"
    assert scores.training.learning_rate == found
    assert len(set(trials.asked)) == len(trials.asked), "a trial is done twice"
    assert len({rate for rate, _ in trials.asked}) <= 5
    assert [seed for rate, seed in trials.asked if rate == found] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(("correlation", "trials", "noise"), [(0.1, 6, True), (0.2, 6, False), (0.3, 2, True)])
def test_scores_are_noise_where_less_than_half_of_them_is_not(correlation, trials, noise):
    rng = np.random.default_rng(0)
    common = rng.normal(size=4000)
    influence = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=(trials, 4000))
    scores = Scores(influence, common, common, None)
    assert scores.agreement == pytest.approx(correlation, abs=0.03)
    assert scores.is_noise == noise
    # The formula of Spearman and Brown: the squared correlation of the mean with what is no noise.
    reliability = np.corrcoef(influence.mean(axis=0), common)[0, 1] ** 2
    assert (reliability < 0.5) == noise


def test_class_numbers_serve_for_rows_of_probabilities(model):
    training = training_of(Compiled(), learning_rate=0.05)
    numbers, rows = (
        score(
            model,
            Compiled("categorical_crossentropy"),
            X,
            y,
            X[:5],
            Y[:5],
            training=training,
            n_trials=1,
            progress=False,
        )
        for y in (Y, np.eye(2)[Y])
    )
    np.testing.assert_allclose(numbers.influence, rows.influence, rtol=1e-5)


def test_an_unknown_method_is_refused(model):
    with pytest.raises(ArgumentError, match="^method must be one of 'sgd', 'tracin', 'hessian', not 'foo'"):
        score(model, Compiled(), X, Y, X, Y, method="foo")


@pytest.mark.parametrize("trials", [2, 3, 6, 10])
def test_one_of_twenty_scores_that_are_noise_is_beyond_its_margin(trials):
    noise = np.random.default_rng(1).normal(size=(trials, 40_000))
    beyond = np.abs(noise.mean(axis=0)) >= margins(noise)
    assert beyond.mean() == pytest.approx(0.05, abs=0.004)


def test_a_margin_is_half_of_the_interval_of_the_mean():
    scores = np.array([[1.0], [2.0], [6.0]])
    # The mean is 3, the deviation sqrt(7), and t(0.975, 2) = 4.302653.
    np.testing.assert_allclose(margins(scores), 4.302653 * np.sqrt(7 / 3), rtol=1e-4)
    many = np.random.default_rng(1).normal(size=(40, 20_000))
    assert 0.02 < (np.abs(many.mean(axis=0)) >= margins(many)).mean() < 0.05, "wider, never narrower"


def test_a_single_trial_has_no_margin():
    assert np.isnan(margins(np.ones((1, 3)))).tolist() == [True] * 3
