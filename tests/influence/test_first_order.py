"""How far back a first-order approximation of training holds."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

from vis.influence import check_first_order, counterfactual_influence, record_training, sgd_influence
from vis.utils.errors import ArgumentError, VisWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6)).astype("float32")
Y = ((X @ RNG.normal(size=6)) > 0).astype("int64")
Y[:4] = 1 - Y[:4]
VALIDATION = X[30:], Y[30:]


def recorded(optimizer, epochs, units=()):
    hidden = [keras.layers.Dense(each, "relu", kernel_initializer=keras.initializers.HeNormal(1)) for each in units]
    end = keras.layers.Dense(2, "softmax", kernel_initializer=keras.initializers.GlorotUniform(2))
    model = keras.Sequential([keras.Input((6,)), *hidden, end])
    return record_training(model, X, Y, optimizer=optimizer, epochs=epochs, batch_size=10, progress=False)


@pytest.fixture(scope="module")
def gentle():
    return recorded(keras.optimizers.SGD(0.05), 8)


@pytest.fixture(scope="module")
def violent():
    """Steps so large that leaving out an example sends the training elsewhere."""
    return recorded(keras.optimizers.SGD(1.2), 16, (16, 16))


def test_a_run_that_is_nearly_linear_is_trusted_as_a_whole(gentle):
    found = check_first_order(gentle, *VALIDATION, progress=False)
    assert found.epochs == 8
    assert list(found.agreement) == [1, 2, 4, 8]
    assert min(found.agreement.values()) > 0.99
    assert found.growth.shape == (8,)


def test_a_run_that_is_not_is_trusted_less_far(violent):
    found = check_first_order(violent, *VALIDATION, progress=False)
    assert found.epochs < 16
    assert found.agreement[16] < 0.5


def test_agreement_is_that_with_training_without_each_example(gentle):
    scores = sgd_influence(gentle, *VALIDATION, progress=False)
    order = np.argsort(scores)
    others = np.random.default_rng(0).permutation(order[1:39])[:2]
    chosen = [order[0], order[39], *others]
    true = counterfactual_influence(gentle, *VALIDATION, indices=chosen, progress=False)
    cosine = scores[chosen] @ true / np.linalg.norm(scores[chosen]) / np.linalg.norm(true)
    found = check_first_order(gentle, *VALIDATION, examples=4, progress=False)
    assert found.agreement[8] == pytest.approx(cosine, abs=1e-5)


def test_growth_is_that_of_the_adjoint():
    run = recorded(keras.optimizers.SGD(0.5), 2)
    one, two = (check_first_order(run, *VALIDATION, epochs=epochs, progress=False).growth for epochs in (1, 2))
    assert one[0] == pytest.approx(two[0])

    # A bowl: a step multiplies by 1 - rate * curvature, four steps an epoch.
    bowl = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    x = np.ones((8, 1), "float32")
    run = record_training(
        bowl, x, 3 * x[:, 0], loss="mse", optimizer=keras.optimizers.SGD(0.05), batch_size=2, epochs=3, progress=False
    )
    growth = check_first_order(run, x[:2], 4 * x[:2, 0], progress=False).growth
    np.testing.assert_allclose(growth, (1 - 0.05 * 2) ** 4, rtol=1e-4)


def test_scores_that_go_back_too_far_come_with_a_warning(violent, gentle):
    with pytest.warns(
        VisWarning, match="the scores go back 16 epochs, but a first-order approximation holds only for "
    ) as w:
        sgd_influence(violent, *VALIDATION, progress=False)
    assert [each.message.code for each in w] == ["past_first_order"]
    assert "Give epochs=" in str(w[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sgd_influence(violent, *VALIDATION, check=False, progress=False)
        sgd_influence(violent, *VALIDATION, epochs=1, progress=False)
        sgd_influence(gentle, *VALIDATION, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epochs": 9}, "epochs must be at most 8, as many as the run has, not 9"),
        ({"examples": 3}, "examples must be a whole number of at least 4, not 3"),
        ({"examples": 41}, "examples must be at most 40, as many as the run has, not 41"),
    ],
)
def test_numbers_out_of_range_are_refused(gentle, options, words):
    with pytest.raises(ArgumentError, match=words):
        check_first_order(gentle, *VALIDATION, progress=False, **options)
