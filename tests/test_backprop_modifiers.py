"""Guided backpropagation and its relatives beside references made by hand."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import VisWarning, backprop_modifiers
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


@pytest.mark.parametrize("spelled", ["activation", "layer", "operation"])
def test_keras_vis_own_cases(spelled):
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(2, activation="relu" if spelled == "activation" else None, use_bias=False)(inputs)
    hidden = {"layer": keras.layers.ReLU(), "operation": keras.ops.relu}.get(spelled, lambda x: x)(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(hidden))
    model.set_weights([np.array([[-1.0, 1.0], [-1.0, 1.0]]), np.array([[-1.0], [1.0]])])

    def gradients(x, modifier):
        return visualize_saliency(
            model, -1, 0, x, backprop_modifier=modifier, grad_modifier=None, normalize=False, squeeze=False
        )

    positive = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(gradients(positive, "guided"), np.ones((3, 2)))
    np.testing.assert_array_equal(gradients(positive, None), np.ones((3, 2)))
    negative = np.array([[-1.0, 0.0], [0.0, -1.0], [-1.0, -1.0]])
    with pytest.warns(VisWarning, match="zero everywhere for 3 of 3"):
        np.testing.assert_array_equal(gradients(negative, "guided"), np.zeros((3, 2)))
    np.testing.assert_array_equal(gradients(negative, None), np.ones((3, 2)))
    with pytest.warns(VisWarning, match="zero everywhere"):
        np.testing.assert_array_equal(gradients(np.zeros((1, 2)), "guided"), np.zeros((1, 2)))
    with pytest.warns(VisWarning, match="zero everywhere"):
        np.testing.assert_array_equal(gradients(np.zeros((1, 2)), None), np.zeros((1, 2)))


# Each activation by its Keras function, and the layer that does the same where there is one.
ACTIVATIONS = {
    "relu": keras.layers.ReLU(),
    "relu6": keras.layers.ReLU(max_value=6.0),
    "leaky_relu": keras.layers.LeakyReLU(),
    "elu": keras.layers.ELU(),
    "selu": None,
    "silu": None,
    "swish": None,
    "gelu": None,
    "softplus": None,
    "mish": None,
    "hard_swish": None,
    "prelu": keras.layers.PReLU(alpha_initializer=keras.initializers.Constant(0.3)),
}


def spellings(name):
    function = getattr(keras.activations, name, None)
    if function is not None:
        yield "activation=", lambda x, dense: dense(activation=name)(x)
        if name not in ("mish", "hard_swish"):  # which Keras 3.15 itself does not take symbolic tensors by
            yield "function", lambda x, dense: function(dense()(x))
        yield "Activation layer", lambda x, dense: keras.layers.Activation(name)(dense()(x))
        yield "own function", lambda x, dense: dense(activation=lambda x: function(x))(x)
        if hasattr(keras.ops, name) and name != "gelu":  # keras.ops.gelu is the approximation
            yield "operation", lambda x, dense: getattr(keras.ops, name)(dense()(x))
    if ACTIVATIONS[name] is not None:
        yield "layer", lambda x, dense: type(ACTIVATIONS[name]).from_config(ACTIVATIONS[name].get_config())(dense()(x))


@pytest.mark.parametrize(
    ("name", "spelling", "hidden"), [(name, *spelling) for name in ACTIVATIONS for spelling in spellings(name)]
)
def test_every_activation_however_it_is_spelled(name, spelling, hidden):
    def dense(**options):
        return keras.layers.Dense(40, kernel_initializer=keras.initializers.RandomNormal(seed=1), **options)

    inputs = keras.Input((4,))
    last = keras.layers.Dense(2, kernel_initializer=keras.initializers.RandomNormal(seed=2))
    outputs = last(hidden(inputs, dense))
    model = keras.Model(keras.Model(inputs, outputs, name="nested").input, outputs)
    x = 20 * zoo.images(3, (4,))
    kernel = model.layers[1].get_weights()[0]
    before = tf.constant(x @ kernel)
    activation = getattr(keras.activations, name, None) or (lambda x: tf.maximum(x, 0.3 * x))
    with tf.GradientTape() as tape:
        tape.watch(before)
        after = activation(before)
    arriving = np.tile(last.get_weights()[0][:, 1], (3, 1))
    own = tape.gradient(after, before).numpy()
    passed = {
        "guided": np.where((arriving > 0) & (after.numpy() > 0), arriving * own, 0),
        "rectified": np.maximum(arriving, 0),
    }
    for modifier, slope in passed.items():
        maps = visualize_saliency(model, -1, 1, x, backprop_modifier=modifier, grad_modifier=None, normalize=False)
        zoo.assert_close(maps, slope @ kernel.T)


def test_vgg16_beside_a_reference_by_hand():
    model = keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10)
    x = 50 * zoo.images(1, (64, 64, 3))
    weights = {layer.name: [tf.constant(array) for array in layer.get_weights()] for layer in model.layers}

    def logits(x, relu):
        for layer in model.layers[1:]:
            if "conv" in layer.name:
                x = relu(tf.nn.conv2d(x, weights[layer.name][0], 1, "SAME") + weights[layer.name][1])
            elif "pool" in layer.name:
                x = tf.nn.max_pool2d(x, 2, 2, "VALID")
            elif layer.name == "flatten":
                x = tf.reshape(x, [len(x), -1])
            else:
                x = x @ weights[layer.name][0] + weights[layer.name][1]
                x = x if layer.name == "predictions" else relu(x)
        return x

    expected = {}
    for name, relu in (("guided", guided_relu), (None, tf.nn.relu)):
        watched = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(watched)
            score = logits(watched, relu)[0, 3]
        expected[name] = np.abs(tape.gradient(score, watched).numpy()[0]).max(axis=-1)
        maps = visualize_saliency(model, -1, 3, x, backprop_modifier=name, normalize=False)
        zoo.assert_close(maps, expected[name])
    assert np.abs(expected["guided"] - expected[None]).max() > 0.1 * expected[None].max()


def test_gates_and_saturating_activations_are_left_alone():
    inputs = keras.Input((4,))
    gate = keras.layers.Dense(4, "sigmoid")(inputs)
    hidden = keras.layers.Dense(40, "relu")(keras.layers.Multiply()([inputs, gate]))
    model = keras.Model(inputs, keras.layers.Dense(2)(hidden))
    x = zoo.images(5, (4,))
    weights = model.get_weights()

    def reference(relu):
        watched = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(watched)
            gated = watched * tf.sigmoid(watched @ weights[0] + weights[1])
            score = tf.reduce_sum((relu(gated @ weights[2] + weights[3]) @ weights[4])[:, 1])
        return tape.gradient(score, watched).numpy()

    maps = visualize_saliency(model, -1, 1, x, backprop_modifier="guided", grad_modifier=None, normalize=False)
    zoo.assert_close(maps, reference(guided_relu))


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
    with pytest.raises(TypeError, match="must be a Keras model, not str"):
        backprop_modifiers.guided("model")


class Operation(keras.layers.Layer):
    """A bare operation on what comes in."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.mark.parametrize("spelling", ["layer", "operation"])
def test_a_hard_sigmoid_is_no_rectifier(spelling):
    hard = keras.layers.Activation("hard_sigmoid") if spelling == "layer" else Operation(keras.ops.hard_sigmoid)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(9, "relu"), hard, keras.layers.Dense(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        visualize_saliency(model, -1, 0, np.ones(4), backprop_modifier="guided")


@pytest.mark.parametrize("function", [lambda x: x * keras.ops.hard_sigmoid(x), keras.ops.hard_silu, keras.ops.relu6])
def test_what_a_hard_sigmoid_gates_by_itself_is_a_rectifier(function):
    layers = [keras.layers.Dense(9, "relu"), Operation(function), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    with pytest.warns(VisWarning, match="guided did not reach 1 activation"):
        visualize_saliency(model, -1, 0, np.ones(4), backprop_modifier="guided")
