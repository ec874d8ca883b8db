"""Saliency beside hand-written references."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import VisWarning
from vis.engine import cache
from vis.losses import ActivationMaximization, Loss, Target
from vis.visualization import (
    smoothgrad,
    smoothgrad_with_losses,
    visualize_cam,
    visualize_saliency,
    visualize_saliency_with_losses,
)


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_kind_of_model_matches_the_reference(kind):
    model = kind()
    x = zoo.images(3)
    layer = None if kind is zoo.subclassed else -1
    maps = visualize_saliency(model, layer, 2, x, normalize=False)
    zoo.assert_close(maps, zoo.Reference(model).saliency(x, 2))


@pytest.mark.parametrize("logits", [True, False])
def test_score_before_and_after_the_softmax(plain, reference, logits):
    x = zoo.images(2)
    maps = visualize_saliency(plain, -1, 1, x, logits=logits, normalize=False)
    zoo.assert_close(maps, reference.saliency(x, 1, probability=not logits))


def test_gradient_agrees_with_finite_differences(plain, reference):
    x = zoo.images(1)
    gradient = visualize_saliency(plain, -1, 1, x, grad_modifier=None, keepdims=True, normalize=False)
    kernels = [array.astype("float64") for array in vars(reference).values()]
    exact = zoo.Reference.__new__(zoo.Reference)
    exact.kernel1, exact.bias1, exact.kernel2, exact.bias2, exact.kernel3, exact.bias3 = kernels
    for position in [(0, 0, 0), (5, 9, 2), (15, 15, 1)]:
        step = np.zeros_like(x, "float64")
        step[(0, *position)] = 1e-6
        up, down = (exact.logits(exact.features(tf.constant(x + sign * step)))[0, 1] for sign in (1, -1))
        assert gradient[position] == pytest.approx(float(up - down) / 2e-6, abs=1e-6)


def test_batches_equal_single_samples(plain):
    x = zoo.images(33)
    alone = np.stack([visualize_saliency(plain, -1, 2, each) for each in x])
    for count in (1, 3, 16, 33):
        together = visualize_saliency(plain, -1, 2, x[:count], squeeze=False, batch_size=5)
        np.testing.assert_allclose(together, alone[:count], atol=1e-5)


def test_each_sample_is_normalized_by_itself(plain):
    maps = visualize_saliency(plain, -1, 2, zoo.images(3) * np.array([1, 10, 100]).reshape(3, 1, 1, 1))
    assert maps.dtype == np.float32
    np.testing.assert_allclose(maps.reshape(3, -1).min(axis=1), 0, atol=1e-7)
    np.testing.assert_allclose(maps.reshape(3, -1).max(axis=1), 1, atol=1e-7)


def test_shapes_with_and_without_the_sample_axis(plain):
    x = zoo.images(1)
    assert visualize_saliency(plain, -1, 2, x).shape == (16, 16)
    assert visualize_saliency(plain, -1, 2, x[0]).shape == (16, 16)
    assert visualize_saliency(plain, -1, 2, x, squeeze=False).shape == (1, 16, 16)
    assert visualize_saliency(plain, -1, 2, x, keepdims=True).shape == (16, 16, 3)


def test_a_list_of_filters_is_summed(plain, reference):
    x = zoo.images(3)
    gradient = visualize_saliency(plain, -1, [1, 3], x, grad_modifier=None, keepdims=True, normalize=False)
    zoo.assert_close(gradient, reference.input_gradient(x, 1) + reference.input_gradient(x, 3))


def test_each_sample_may_have_its_own_filters(plain, reference):
    x = zoo.images(3)
    maps = visualize_saliency(plain, -1, [[1], [4], [0]], x, normalize=False, batch_size=2)
    expected = np.concatenate([reference.saliency(x[i : i + 1], label) for i, label in enumerate([1, 4, 0])])
    zoo.assert_close(maps, expected)


def test_a_filter_of_a_hidden_convolution(plain, reference):
    x = zoo.images(2)
    with tf.GradientTape() as tape:
        watched = tf.constant(x)
        tape.watch(watched)
        score = tf.reduce_sum(tf.reduce_mean(reference.features(watched)[..., 4], axis=[1, 2]))
    expected = np.abs(tape.gradient(score, watched).numpy()).max(axis=-1)
    for address in ("conv2", 3, plain.get_layer("conv2")):
        zoo.assert_close(visualize_saliency(plain, address, 4, x, normalize=False), expected)


def test_with_respect_to_a_layer_or_a_tensor(plain, reference):
    x = zoo.images(2)
    features = reference.features(tf.constant(x))
    with tf.GradientTape() as tape:
        tape.watch(features)
        score = tf.reduce_sum(reference.logits(features)[:, 2])
    expected = np.abs(tape.gradient(score, features).numpy()).max(axis=-1)
    for wrt in ("conv2", plain.get_layer("conv2"), plain.get_layer("conv2").output):
        zoo.assert_close(visualize_saliency(plain, -1, 2, x, wrt_tensor=wrt, normalize=False), expected)


@pytest.mark.parametrize(
    ("name", "modify"), [(None, lambda g: g), ("negate", np.negative), ("relu", lambda g: np.maximum(g, 0))]
)
def test_grad_modifiers_act_before_the_channel_maximum(plain, reference, name, modify):
    x = zoo.images(2)
    maps = visualize_saliency(plain, -1, 2, x, grad_modifier=name, normalize=False)
    zoo.assert_close(maps, modify(reference.input_gradient(x, 2)).max(axis=-1))


def test_regressor_increase_decrease_and_maintain():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.array([[2.0], [-4.0], [0.5]]), np.zeros(1)])
    slopes = {
        modifier: visualize_saliency(model, -1, 0, np.ones(3), grad_modifier=modifier, normalize=False)
        for modifier in (None, "negate", "small_values")
    }
    np.testing.assert_allclose(slopes[None], [2, -4, 0.5], rtol=1e-6)
    np.testing.assert_allclose(slopes["negate"], [-2, 4, -0.5], rtol=1e-6)
    np.testing.assert_allclose(slopes["small_values"], [0.5, 0.25, 2], rtol=1e-5)


def test_losses_equal_the_plain_call(plain, reference):
    x = zoo.images(2)
    expected = reference.saliency(x, 2)
    layer = plain.layers[-1]

    class Symbolic(Loss):
        name = "symbolic"

        def build_loss(self):
            return -keras.ops.mean(plain.get_layer("conv2").output, axis=(1, 2))[:, 4]

    for losses in ([(ActivationMaximization(layer, 2), -1)], [(Target(lambda out: out[:, 2], logits=True), 1)]):
        for given in (plain, plain.input):
            zoo.assert_close(visualize_saliency_with_losses(given, losses, x, normalize=False), expected)
    hidden = visualize_saliency(plain, "conv2", 4, x, normalize=False)
    zoo.assert_close(visualize_saliency_with_losses(plain.input, [(Symbolic(), 1)], x, normalize=False), hidden)


def test_a_scalar_loss_gives_each_sample_its_own_map(plain):
    class OfWholeBatch(Loss):
        def build_loss(self):
            return keras.ops.mean(plain.get_layer("conv2").output[..., 4])

    x = zoo.images(3)
    maps = visualize_saliency_with_losses(plain.input, [(OfWholeBatch(), -1)], x, normalize=False)
    zoo.assert_close(maps, visualize_saliency(plain, "conv2", 4, x, normalize=False))


def test_weighted_losses_add_up_and_none_is_left_out(plain, reference):
    x = zoo.images(2)
    losses = [
        (Target(lambda out: out[:, 2], logits=True), 2),
        (Target(lambda out: out[:, 0], logits=True), -0.5),
        (Target(lambda out: out[:, 1]), None),
        (Target(lambda out: out[:, 1]), 0),
    ]
    gradient = visualize_saliency_with_losses(plain, losses, x, grad_modifier=None, keepdims=True, normalize=False)
    zoo.assert_close(gradient, 2 * reference.input_gradient(x, 2) - 0.5 * reference.input_gradient(x, 0))


def test_a_plain_function_of_the_output_is_a_loss():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(6)])
    kernel = model.layers[0].get_weights()[0]
    maps = visualize_saliency_with_losses(
        model, lambda output: output[:, 3] - output[:, 5], np.ones((2, 4)), grad_modifier=None, normalize=False
    )
    np.testing.assert_allclose(maps, np.tile(kernel[:, 3] - kernel[:, 5], (2, 1)), rtol=1e-5)


def test_a_hundred_classes_and_images_are_one_trace():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(100, "softmax")])
    kernel = model.layers[0].get_weights()[0]
    for label in range(100):
        maps = visualize_saliency(model, -1, label, np.full(8, label), normalize=False)
        np.testing.assert_allclose(maps, np.abs(kernel[:, label]), rtol=1e-5)
    assert cache.traced(model) == 1


def test_new_weights_and_a_changed_activation_are_seen():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "relu"), keras.layers.Dense(1)])
    model.layers[0].set_weights([np.eye(2), np.zeros(2)])
    model.layers[1].set_weights([np.ones((2, 1)), np.zeros(1)])
    x = np.array([1.0, -1.0])
    np.testing.assert_array_equal(visualize_saliency(model, -1, 0, x, normalize=False), [1, 0])
    model.layers[1].set_weights([np.full((2, 1), 3.0), np.zeros(1)])
    np.testing.assert_array_equal(visualize_saliency(model, -1, 0, x, normalize=False), [3, 0])
    model.layers[0].activation = keras.activations.linear
    np.testing.assert_array_equal(visualize_saliency(model, -1, 0, x, normalize=False), [3, 3])


@pytest.mark.parametrize("function", [visualize_saliency, smoothgrad, visualize_cam])
@pytest.mark.parametrize(
    ("modifier", "came"), [(lambda slopes: None, "None"), (lambda slopes: slopes[..., :1], r"an array of shape \(")]
)
def test_a_grad_modifier_that_does_not_return_gradients(plain, function, modifier, came):
    with pytest.raises(ValueError, match=f"grad_modifier must return an array of .*, not {came}"):
        function(plain, -1, 2, zoo.images(2), grad_modifier=modifier)


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        ([(lambda output: None, 1)], TypeError, "must return numbers, but '<lambda>' returned None"),
        ([(lambda output: output[0], 1)], ValueError, "give 5 values for 2 samples"),
        ([(lambda output: output[:, 0], "a")], TypeError, "have a number as the weight of '<lambda>', not 'a'"),
        ([(lambda output: output[:, 0], 1, 2)], TypeError, r"must hold pairs \(loss, weight\), not a tuple of 3"),
    ],
)
def test_bad_losses(plain, loss, error, message):
    with pytest.raises(error, match=message):
        visualize_saliency_with_losses(plain, loss, zoo.images(2))


def test_losses_that_are_not_one_per_copy(plain):
    with pytest.raises(ValueError, match="give 5 values for 7 copies"):
        smoothgrad_with_losses(plain, [(lambda output: output[0], 1)], zoo.images(2), num_samples=7)


@pytest.mark.parametrize(
    ("filter_indices", "error", "message"),
    [
        (5, ValueError, r"not 5: layer \'\w+\' has 5 filters \(0 to 4\)"),
        (-1, ValueError, "must be counted from 0, not -1"),
        (1.5, TypeError, "filter_indices must be an int"),
        ([], TypeError, "filter_indices must be an int"),
        ([[0, 1], [1]], ValueError, "not 2 rows for 1 samples"),
        ([[0], [1]], ValueError, "not 2 rows for 1 samples"),
    ],
)
def test_bad_filter_indices(plain, filter_indices, error, message):
    with pytest.raises(error, match=message):
        visualize_saliency(plain, -1, filter_indices, zoo.images(1))


def test_bad_addresses_and_modifiers(plain):
    x = zoo.images(1)
    with pytest.raises(ValueError, match=r"no layer 'con2'\. The nearest names are 'conv2'"):
        visualize_saliency(plain, "con2", 0, x)
    with pytest.raises(ValueError, match=r"layer_idx must be the index of a layer, not 17: .* has 6 layers"):
        visualize_saliency(plain, 17, 0, x)
    with pytest.raises(ValueError, match="wrt_tensor must be .*no layer 'con1'"):
        visualize_saliency(plain, -1, 0, x, wrt_tensor="con1")
    with pytest.raises(ValueError, match=r"one of 'guided', 'rectified', 'relu', 'deconv'"):
        visualize_saliency(plain, -1, 0, x, backprop_modifier="guide")
    with pytest.raises(ValueError, match="absolute"):
        visualize_saliency(plain, -1, 0, x, grad_modifier="abs")
    with pytest.raises(ValueError, match="batch_size must be"):
        visualize_saliency(plain, -1, 0, x, batch_size=0)


def test_no_warning_where_nothing_is_wrong(plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error", VisWarning)
        visualize_saliency(plain, -1, 2, zoo.images(2), backprop_modifier="guided")


def test_warns_where_nothing_tells_which_axis_holds_the_channels():
    model = keras.Sequential([keras.Input((5, 6, 7)), keras.layers.Flatten(), keras.layers.Dense(2)])
    x = zoo.images(1, (5, 6, 7))
    for method in (visualize_saliency, lambda *given, **options: smoothgrad(*given, num_samples=2, **options)):
        with pytest.warns(VisWarning, match="which axis of .* holds the channels cannot be told"):
            assert method(model, -1, 0, x).shape == (5, 6, 7)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert method(model, -1, 0, x, channel_axis=0).shape == (6, 7)
            assert method(model, -1, 0, x, channel_axis=None).shape == (5, 6, 7)
            assert method(model, -1, 0, x, keepdims=True).shape == (5, 6, 7)


@pytest.mark.parametrize("normalize", [True, False])
def test_an_input_that_is_empty_for_a_sample_has_an_empty_map(normalize):
    points, mask = keras.Input((3,)), keras.Input((None, 3))
    pooled = keras.layers.Lambda(lambda x: keras.ops.sum(x, axis=1))(mask)
    model = keras.Model([points, mask], keras.layers.Dense(2)(keras.layers.Add()([points, pooled])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps = visualize_saliency(model, -1, 0, [np.ones((1, 3)), np.zeros((1, 0, 3))], normalize=normalize)
    assert maps[0].shape == (3,)
    assert maps[1].shape[0] == 0
