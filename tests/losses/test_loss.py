"""The base class of losses, `Target`, and the losses of an argument."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers, ops

from vis import ArgumentError, ArgumentTypeError
from vis.losses import ActivationMaximization, Difference, Loss, Target
from vis.losses.loss import weighted
from vis.visualization import visualize_saliency_with_losses

WEIGHTS = np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)
X = np.array([[0.5, 1.0], [-1.0, 2.0]], np.float32)


@pytest.fixture(scope="module")
def model():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, use_bias=False, name="first"), layers.Softmax()])
    model.get_layer("first").set_weights([WEIGHTS])
    return model


class SquaredMean(Loss):
    """As in keras-vis: a symbolic expression of a layer's output."""

    name = "squared mean"

    def __init__(self, layer):
        self.layer = layer

    def build_loss(self):
        return ops.mean(ops.square(self.layer.output), axis=-1)


class Scaled(Loss):
    """As a function of a run, with an argument of its own."""

    def __init__(self, layer, factors):
        self.layer, self.factors = layer, factors

    def arguments(self, samples):
        return [np.broadcast_to(np.float32(self.factors), (samples,))]

    def __call__(self, run, factors):
        return ops.sum(run(self.layer), axis=-1) * factors


def gradients(model, losses, x=X):
    return visualize_saliency_with_losses(model, losses, x, grad_modifier=None, normalize=False, keepdims=True)


def test_a_symbolic_loss_is_differentiated(model):
    """The gradient of mean(z²) is z W' for two units."""
    np.testing.assert_allclose(gradients(model, [(SquaredMean(model.get_layer("first")), 1)]), X @ WEIGHTS @ WEIGHTS.T)


def test_a_loss_of_a_run_gets_its_arguments_and_its_weight(model):
    found = gradients(model, [(Scaled(model.get_layer("first"), [2, -1]), 3)])
    np.testing.assert_allclose(found, 3 * np.array([[2], [-1]]) * WEIGHTS.sum(axis=1), rtol=1e-6)


def test_a_loss_that_computes_nothing_is_named(model):
    with pytest.raises(ArgumentTypeError, match=r"overrides neither build_loss\(\) nor __call__\(\)"):
        gradients(model, [(Loss(), 1)])


def test_a_target_keeps_the_sign_and_sums_over_axes(model):
    found = gradients(model, [(Target(lambda output: output * [1.0, -2.0], "first"), 1)])
    np.testing.assert_allclose(found, np.broadcast_to(WEIGHTS @ [1, -2], X.shape), rtol=1e-6)


def test_a_target_reads_before_the_softmax_if_asked(model):
    logits = gradients(model, [(Target(lambda output: output[:, 1], logits=True), 1)])
    np.testing.assert_allclose(logits, np.broadcast_to(WEIGHTS[:, 1], X.shape), rtol=1e-6)
    scores = np.exp(X @ WEIGHTS)
    p = (scores / scores.sum(axis=1, keepdims=True))[:, 1:]
    probability = gradients(model, [(Target(lambda output: output[:, 1]), 1)])
    np.testing.assert_allclose(probability, p * (1 - p) * (WEIGHTS[:, 1] - WEIGHTS[:, 0]), rtol=1e-4)


def test_a_target_is_a_function(model):
    with pytest.raises(ArgumentTypeError, match="function of the output, not int"):
        Target(3)


def test_a_loss_is_bound_to_the_layer_of_a_model(model):
    loss = ActivationMaximization("first", 1)
    bound = loss.bound(model)
    assert bound is not loss
    assert (bound.layer, loss.layer) == (model.get_layer("first"), "first")
    assert bound.bound(model) is bound


def test_equal_targets_have_equal_keys(model):
    def target(factor):
        return Target(lambda output: factor * output[:, 0])

    assert target(2.0).key == target(2.0).key
    assert target(2.0).key != target(3.0).key
    assert Target(Difference(0, 1)).key == Target(Difference(1, 0)).key  # classes are arguments


def test_losses_are_paired_with_their_weights(model):
    function, loss = (lambda output: output[:, 0]), ActivationMaximization(None, 0)
    (first, one), (second, two) = weighted([(function, 2), (loss, -1.5), (loss, 0), (loss, None)])
    assert (type(first), first.function, one) == (Target, function, 2.0)
    assert (second, two) == (loss, -1.5)
    assert weighted(loss) == weighted([loss]) == [(loss, 1.0)]


@pytest.mark.parametrize(
    ("losses", "error", "words"),
    [
        ([], ArgumentError, "weight other than 0"),
        ([(ActivationMaximization(None, 0), 0)], ArgumentError, "weight other than 0"),
        ([(ActivationMaximization(None, 0), 1, 2)], ArgumentTypeError, "not a tuple of 3"),
        (["dog"], ArgumentTypeError, "not str"),
        ([(ActivationMaximization(None, 0), "1")], ArgumentTypeError, "number as the weight of 'ActivationMax Loss'"),
        ([keras.losses.MeanSquaredError()], ArgumentTypeError, "not the Keras loss"),
    ],
)
def test_what_is_no_loss_is_named(losses, error, words):
    with pytest.raises(error, match=words):
        weighted(losses)
