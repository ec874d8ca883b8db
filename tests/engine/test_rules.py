"""Backprop rules: what they do to a gradient, and models paired with one."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import ArgumentTypeError, backprop_modifiers
from vis.backprop_modifiers import deconv, guided
from vis.engine.rules import Rule, rule_of, underlying
from vis.visualization import visualize_saliency


def test_a_modifier_from_a_rule():
    @backprop_modifiers.from_rule("doubled")
    def doubled(gradient, output):
        return 2 * gradient

    model = zoo.functional()  # two rectifiers
    x = zoo.images(1)
    maps = visualize_saliency(model, -1, 2, x, backprop_modifier=doubled, normalize=False)
    zoo.assert_close(maps, 4 * zoo.Reference(model).saliency(x, 2)[0])


def rectified(rule, through_activation, x, upstream):
    """The gradient of ReLU under a rule, in a graph."""
    applied = Rule("own", rule, through_activation)

    @tf.function(autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = applied.apply(x, tf.nn.relu(x))
        return y, tape.gradient(y, x, output_gradients=tf.constant(upstream))

    return [each.numpy().tolist() for each in gradient(tf.constant(x))]


def test_a_rule_comes_before_the_derivative_of_the_activation_or_takes_its_place():
    x, upstream = [-1.0, 2.0, 3.0], [5.0, -7.0, 11.0]

    def of_both(gradient, y):
        return gradient + y

    assert rectified(of_both, True, x, upstream) == [[0, 2, 3], [0, -5, 14]]
    assert rectified(of_both, False, x, upstream) == [[0, 2, 3], [5, -5, 14]]


def test_rules_that_do_the_same_have_one_key():
    def scaled(factor):
        return Rule("scaled", lambda gradient, y: factor * gradient, True)

    assert scaled(2).key == scaled(2).key
    assert scaled(2).key != scaled(3).key
    assert scaled(2).key != Rule("scaled", scaled(2).gradient, False).key


def test_a_modified_model_is_the_model_and_takes_one_rule():
    model = zoo.functional()
    seen = guided(deconv(model))
    assert underlying(seen) is underlying(model) is model
    assert rule_of(model) is None
    assert rule_of(seen).name == "guided"
    assert seen.layers == model.layers
    assert repr(seen) == "<guided(functional)>"
    x = zoo.images(1)
    np.testing.assert_array_equal(seen(x), model(x))
    with pytest.raises(AttributeError, match="nothing"):
        _ = seen.nothing


def test_a_modifier_is_of_a_model():
    with pytest.raises(ArgumentTypeError, match="model must be a Keras model, not str"):
        guided("model.keras")
