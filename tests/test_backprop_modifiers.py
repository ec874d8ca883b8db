"""Guided backpropagation and its relatives beside references made by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import backprop_modifiers
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


@tf.custom_gradient
def guided_relu(x):
    y = tf.nn.relu(x)
    return y, lambda gradient: tf.where((gradient > 0) & (y > 0), gradient, 0.0)


@tf.custom_gradient
def deconvolution_relu(x):
    return tf.nn.relu(x), tf.nn.relu


@pytest.mark.parametrize("kind", zoo.KINDS)
@pytest.mark.parametrize(("name", "relu"), [("guided", guided_relu), ("rectified", deconvolution_relu)])
def test_every_kind_of_model_matches_the_reference(kind, name, relu):
    model = kind()
    x = zoo.images(2)
    target = None if kind is zoo.subclassed else -1
    maps = visualize_saliency(model, target, 2, x, backprop_modifier=name, normalize=False)
    reference = zoo.Reference(model)
    zoo.assert_close(maps, reference.saliency(x, 2, relu=relu))
    assert np.abs(maps - reference.saliency(x, 2)).max() > 0.1 * maps.max()


def two_two_one(activation_layer: bool):
    inputs = keras.Input((2,))
    if activation_layer:
        hidden = keras.layers.ReLU()(keras.layers.Dense(2, use_bias=False)(inputs))
        outputs = keras.layers.ReLU()(keras.layers.Dense(1, use_bias=False)(hidden))
    else:
        hidden = keras.layers.Dense(2, activation="relu", use_bias=False)(inputs)
        outputs = keras.layers.Dense(1, activation="relu", use_bias=False)(hidden)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.array([[-1.0, 1.0], [-1.0, 1.0]]), np.array([[-1.0], [1.0]])])
    return model


def test_weights_stay_shared_and_the_model_as_it_was():
    model = zoo.functional()
    x = zoo.images(1)
    ordinary = visualize_saliency(model, -1, 2, x)
    seen = backprop_modifiers.guided(model)
    assert seen.layers == model.layers
    assert seen.get_layer("conv1").kernel is model.get_layer("conv1").kernel
    guided = visualize_saliency(seen, -1, 2, x)
    np.testing.assert_array_equal(guided, visualize_saliency(model, -1, 2, x, backprop_modifier="guided"))
    np.testing.assert_array_equal(visualize_saliency(model, -1, 2, x), ordinary)
    assert np.abs(guided - ordinary).max() > 0.01
    assert [layer.name for layer in model.layers if "call" in vars(layer)] == []


def test_modified_model_works_in_every_function():
    model = zoo.nested()
    seen = backprop_modifiers.guided(model)
    x = zoo.images(2)
    np.testing.assert_array_equal(
        visualize_cam(seen, -1, 2, x), visualize_cam(model, -1, 2, x, backprop_modifier="guided")
    )
    np.testing.assert_array_equal(
        smoothgrad(seen, -1, 2, x, num_samples=3, seed=0),
        smoothgrad(model, -1, 2, x, backprop_modifier="guided", num_samples=3, seed=0),
    )


def test_mobilenet_is_changed_at_its_relu_layers():
    # Its activations are ReLU layers: a library that only looks at `activation=` gives the plain map.
    model = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3), classes=10, alpha=0.35)
    x = zoo.images(1, (64, 64, 3))
    plain, guided = (
        visualize_saliency(model, -1, 2, x, backprop_modifier=modifier, normalize=False)
        for modifier in (None, "guided")
    )
    assert np.abs(plain - guided).max() > 0.1 * plain.max()


def test_a_modifier_from_a_rule():
    @backprop_modifiers.from_rule("doubled")
    def doubled(gradient, output):
        return 2 * gradient

    model = zoo.functional()  # two rectifiers
    x = zoo.images(1)
    maps = visualize_saliency(model, -1, 2, x, backprop_modifier=doubled, normalize=False)
    zoo.assert_close(maps, 4 * zoo.Reference(model).saliency(x, 2)[0])


def test_a_modifier_of_the_users_own_may_return_another_model():
    model = zoo.nested()
    x = zoo.images(1)

    def without_relu(model):
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        clone.get_layer("body").get_layer("backbone").get_layer("conv2").activation = keras.activations.linear
        return clone

    conv1 = model.get_layer("body").get_layer("backbone").get_layer("conv1")
    for wrt in (None, model.input, conv1):
        maps = visualize_saliency(
            model, model.layers[-1], 2, x, wrt_tensor=wrt, backprop_modifier=without_relu, normalize=False
        )
        other = without_relu(model)
        where = wrt if wrt is None else other.input if wrt is model.input else "conv1"
        np.testing.assert_array_equal(maps, visualize_saliency(other, -1, 2, x, wrt_tensor=where, normalize=False))


def test_get():
    assert backprop_modifiers.get("relu") is backprop_modifiers.get("deconv") is backprop_modifiers.rectified
    assert backprop_modifiers.get(backprop_modifiers.guided) is backprop_modifiers.guided
    with pytest.raises(TypeError, match="not int"):
        backprop_modifiers.get(3)
    with pytest.raises(TypeError, match="takes a Keras model, not str"):
        backprop_modifiers.guided("model")
