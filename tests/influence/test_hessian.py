"""Influence functions beside their closed form, and beside true retraining."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from influence.networks import dense_network, image_network
from keras import layers
from scipy.stats import kendalltau

from vis import VisWarning
from vis.influence import (
    counterfactual_influence,
    influence_functions,
    record_training,
)


@pytest.fixture(scope="module")
def converged(tumours):
    """A logistic regression at the minimum of its loss, with l2 of 0.05, and the run that led there."""
    training, _ = tumours
    run = record_training(
        dense_network(),
        *training,
        optimizer=keras.optimizers.SGD(0.5),
        epochs=300,
        batch_size=200,
        l2=0.05,
        progress=False,
    )
    return run, run.model()


def closed_form(model, x, y, x_val, y_val, l2, damping):
    """Influence functions of logistic regression, in NumPy and float64."""
    theta = np.concatenate([weights.reshape(-1) for weights in model.get_weights()]).astype(np.float64)

    def predicted(inputs):
        design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1).astype(np.float64)
        return design, 1 / (1 + np.exp(-design @ theta))

    design, p = predicted(x)
    hessian = (design * (p * (1 - p))[:, None]).T @ design / len(x) + (l2 + damping) * np.eye(len(theta))
    gradients = design * (p - y)[:, None] + l2 * theta
    design_val, p_val = predicted(x_val)
    return gradients @ np.linalg.solve(hessian, design_val.T @ (p_val - y_val) / len(x_val)) / len(x)


def test_conjugate_gradient_is_the_closed_form(converged, tumours):
    (x, y), (x_val, y_val) = tumours
    scores = influence_functions(
        converged[1], x, y, x_val, y_val, loss="binary_crossentropy", l2=0.05, damping=0.02, progress=False
    )
    expected = closed_form(converged[1], x, y, x_val, y_val, 0.05, 0.02)
    np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


def test_lissa_comes_near_and_is_a_matter_of_its_seed(converged, tumours):
    (x, y), (x_val, y_val) = tumours
    options = {"l2": 0.05, "damping": 0.1, "solver": "lissa", "scale": 20.0, "iterations": 400, "progress": False}
    first, again, other = (
        influence_functions(converged[1], x, y, x_val, y_val, seed=seed, **options) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    expected = closed_form(converged[1], x, y, x_val, y_val, 0.05, 0.1)
    assert np.corrcoef(first, expected)[0, 1] > 0.98
    assert np.std(first) == pytest.approx(np.std(expected), rel=0.2)


def test_influence_functions_agree_with_true_retraining(converged, tumours):
    (x, y), (x_val, y_val) = tumours
    run, model = converged
    truth = counterfactual_influence(run, x_val, y_val, progress=False)
    scores = influence_functions(model, x, y, x_val, y_val, l2=0.05, damping=0.0, progress=False)
    assert kendalltau(truth, scores).statistic > 0.9
    # Retraining keeps the divisor and leaves out the example's share of l2, as the scores do.
    assert np.corrcoef(truth, scores)[0, 1] > 0.97


def test_lissa_says_when_it_does_not_converge(converged, tumours):
    (x, y), validation = tumours
    with pytest.raises(ValueError, match="scale must be above the largest eigenvalue .* not 0.01"):
        influence_functions(converged[1], x, y, *validation, solver="lissa", scale=0.01, iterations=200, progress=False)


def test_negative_curvature_is_told(tumours):
    (x, y), validation = tumours
    model = dense_network([8, 8], seed=3)  # untrained: at no minimum
    with pytest.warns(VisWarning, match="negative eigenvalue"):
        influence_functions(model, x, y, *validation, damping=0.0, progress=False)


def test_too_few_iterations_are_told(converged, tumours):
    (x, y), validation = tumours
    with pytest.warns(VisWarning, match="left a residual of"):
        influence_functions(converged[1], x, y, *validation, damping=0.0, iterations=2, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"solver": "newton"}, "solver must be 'cg' or 'lissa', not 'newton'"),
        ({"damping": -1}, "damping must be at least 0, not -1"),
        ({"damping": float("nan")}, "damping must be at least 0, not nan"),
        ({"damping": "high"}, "damping must be a number, not 'high'"),
        ({"tolerance": -1}, "tolerance must be at least 0, not -1"),
        ({"l2": -0.1}, "l2 must be at least 0, not -0.1"),
        ({"scale": -10}, "scale must be above 0, not -10"),
        ({"iterations": 0}, "iterations must be a whole number of at least 1, or None, not 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"samples": 0}, "samples must be a whole number of at least 1, not 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_bad_options_are_refused(options, words, tumours):
    (x, y), validation = tumours
    with pytest.raises(ValueError, match=words):
        influence_functions(dense_network(), x, y, *validation, **options)


def test_influence_functions_refuse_bilinear_resizing(small_images):
    x, y = small_images
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, activation="tanh"),
            layers.UpSampling2D(interpolation="bilinear", name="larger"),
            layers.Conv2D(2, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    with pytest.raises(ValueError, match="'larger'"):
        influence_functions(model, x[:20], y[:20], x[20:40], y[20:40], progress=False)


@pytest.mark.filterwarnings("ignore::vis.VisWarning")  # an untrained model is at no minimum
def test_influence_functions_leave_the_model_alone(small_images):
    x, y = small_images
    model = image_network()
    before = [variable.numpy() for variable in model.variables]
    influence_functions(model, x[:30], y[:30], x[30:60], y[30:60], damping=5.0, progress=False)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
