"""Minus the log-probability of classes beside its formula."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentError, VisWarning
from vis.losses import LogProbability, get_num_filters
from vis.optimizer import Optimizer
from vis.visualization import visualize_saliency_with_losses


def classifier(activation, shape=(6,), units=4) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Dense(units, activation)(inputs))


def value_of(model, loss, x) -> np.ndarray:
    """The loss of each sample, as callbacks get it."""

    class Value:
        def callback(self, i, named_losses, overall_loss, grads, wrt_value):
            self.loss = named_losses[0][1]

        def on_end(self):
            pass

    value = Value()
    Optimizer(model, [(loss, 1)], (-9, 9)).minimize(x, max_iter=1, callbacks=[value], verbose=False)
    return value.loss


@pytest.mark.parametrize("indices", [2, [0, 2], [[0], [3]]])
def test_the_loss_is_minus_the_log_of_the_classes_probability(indices):
    model = classifier("softmax")
    x = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")
    probabilities = model(x).numpy()
    rows = np.broadcast_to(np.atleast_2d(indices), (2, np.atleast_2d(indices).shape[1]))
    expected = [-np.log(probabilities[i, row].sum()) for i, row in enumerate(rows)]
    np.testing.assert_allclose(value_of(model, LogProbability(None, indices), x), expected, rtol=1e-4)


def test_pixels_that_are_classified_each_have_their_own():
    model = classifier("softmax", (3, 5, 6))
    x = np.random.default_rng(1).normal(size=(1, 3, 5, 6)).astype("float32")
    expected = -np.log(model(x).numpy()[..., 1]).mean()
    np.testing.assert_allclose(value_of(model, LogProbability(model.layers[-1], 1), x), expected, rtol=1e-4)


def test_a_probability_of_nearly_zero_still_has_a_gradient():
    model = classifier("softmax")
    model.layers[-1].set_weights([1000 * np.eye(6, 4), np.zeros(4)])
    x = np.array([[1.0, 0, 0, 0, 0, 0]], "float32")
    options = {"grad_modifier": None, "normalize": False}
    gradient = visualize_saliency_with_losses(model, [(LogProbability(None, 1), 1)], x, **options)
    np.testing.assert_allclose(gradient, [1000, -1000, 0, 0, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "linear", "tanh"])
def test_it_is_zero_without_competition(activation):
    model = classifier(activation)
    loss, x = LogProbability(None, 1), tf.ones((1, 6))
    with pytest.warns(VisWarning, match="disconnected"):
        assert value_of(model, loss, x) == 0
    with_output = [(loss, 1), (lambda output: output[:, 1], 1)]
    gradient = visualize_saliency_with_losses(model, with_output, x, grad_modifier=None, normalize=False)
    plain = visualize_saliency_with_losses(model, with_output[1:], x, grad_modifier=None, normalize=False)
    np.testing.assert_allclose(gradient, plain, rtol=1e-5)


def test_a_class_that_is_not_there():
    with pytest.raises(ValueError, match="filter_indices must be a filter that there is, not 4"):
        value_of(classifier("softmax"), LogProbability(None, 4), np.ones(6))


def test_the_number_of_filters_of_a_layer_that_does_not_say_where_its_channels_are():
    inputs = keras.Input((3, 8, 9))
    x = keras.layers.Conv2D(5, 3, data_format="channels_first")(inputs)
    relu = keras.layers.ReLU()
    turned = keras.layers.Permute((2, 3, 1))
    turned(relu(x))
    assert get_num_filters(relu) == 5
    assert get_num_filters(turned) == 5
    with pytest.raises(ArgumentError, match="must have been called in a model"):
        get_num_filters(keras.layers.ReLU())
