"""The validation loss beside Keras's, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, record

from vis import VisWarning
from vis.influence.validation import ValidationLoss


@pytest.fixture(scope="module")
def regression(tumours):
    """A step of logistic regression, with the loss of 200 validation examples, in batches of 128."""
    training, validation = tumours
    run = record(dense_network(), *training)
    return run, ValidationLoss.of_run(run, *validation)


def test_it_is_the_mean_over_examples_whatever_the_batches(regression, tumours):
    run, loss = regression
    x, y = tumours[1]
    kernel, bias = (weights.astype(np.float64) for weights in run.state(1).weights)
    margins = (x @ kernel + bias)[:, 0] * (2 * y - 1)
    assert loss(run.state(1)) == pytest.approx(np.log1p(np.exp(-margins)).mean(), rel=1e-5)


def test_its_gradient_is_that_of_logistic_regression(regression, tumours):
    run, loss = regression
    x, y = tumours[1]
    kernel, bias = run.state(1).weights
    off = 1 / (1 + np.exp(-(x @ kernel + bias)[:, 0])) - y
    (of_kernel, of_bias), buffers = loss.gradient(run.state(1))
    np.testing.assert_allclose(of_kernel[:, 0], x.T @ off / len(x), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(of_bias, [off.mean()], rtol=1e-4)
    assert buffers == []


def test_dropout_is_off_and_moving_averages_have_a_derivative(run, images):
    x, y = images
    loss, state = ValidationLoss.of_run(run, x[:20] + 0.01, y[:20]), run.state(1)
    assert loss(state) == loss(state)
    _, buffers = loss.gradient(state)
    assert [buffer is None for buffer in buffers] == [np.asarray(each).dtype.kind != "f" for each in state.buffers]
    place = next(i for i, buffer in enumerate(buffers) if buffer is not None)

    def moved(shift):
        values = list(state.buffers)
        values[place] = values[place] + np.float32(shift)
        return loss(state._replace(buffers=tuple(values)))

    assert (moved(2e-3) - moved(-2e-3)) / 4e-3 == pytest.approx(float(tf.reduce_sum(buffers[place])), rel=2e-2)


def test_the_training_set_warns_and_labels_that_do_not_fit_are_refused(regression, tumours):
    run, _ = regression
    training, (x, y) = tumours
    with pytest.warns(VisWarning, match="the validation examples are the training examples"):
        ValidationLoss.of_run(run, *training)
    with pytest.raises(ValueError, match="y_val must hold one label for each of the 200 examples of x_val, not 3"):
        ValidationLoss.of_run(run, x, y[:3])
    with pytest.raises(ValueError, match="y_val must be .* not 7"):
        ValidationLoss.of_run(run, x, y * 7)
    with pytest.raises(ValueError, match="x_val must hold at least one sample, not shape"):
        ValidationLoss.of_run(run, x[:0], y[:0])
