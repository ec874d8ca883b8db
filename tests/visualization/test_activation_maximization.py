"""Activation maximization on the demo's really trained network, and the pictures that come out."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import vis
from vis.input_modifiers import Jitter
from vis.optimizer import Optimizer
from vis.visualization import visualize_activation, visualize_activation_with_losses

CLASSES = [[digit] for digit in range(10)]


@pytest.fixture(scope="module")
def scores(digit_model):
    """The class scores before the softmax, as a function of images."""
    kernel, bias = digit_model.layers[-1].get_weights()
    features = keras.Model(digit_model.inputs, digit_model.get_layer("average").output)
    return lambda images: features.predict(images, verbose=0) @ kernel + bias


@pytest.mark.parametrize(("parameterization", "steps"), [("pixels", 200), ("fourier", 512)])
def test_every_digit_s_image_is_that_digit(digit_model, digits, scores, parameterization, steps):
    images = visualize_activation(
        digit_model, -1, CLASSES, input_range=(0.0, 1.0), seed=0, max_iter=steps, parameterization=parameterization
    )
    assert images.shape == (10, 28, 28, 1)
    assert images.min() >= 0
    assert images.max() <= 1
    probabilities = digit_model.predict(images, verbose=0)
    np.testing.assert_array_less(0.99, np.diag(probabilities))
    if parameterization == "pixels":  # the spectrum is slower to the extremes: a few hundred steps more
        np.testing.assert_array_less(scores(digits.x_train).max(axis=0), np.diag(scores(images)))


def test_the_log_probability_keeps_other_classes_away(digit_model, scores):
    def lead(weight):
        """By how much each class's score is above the highest other one, for the class with the smallest lead."""
        options = {"input_range": (0.0, 1.0), "seed": 0, "max_iter": 100, "tv_weight": 0}
        found = scores(visualize_activation(digit_model, -1, CLASSES, class_weight=weight, **options))
        own = np.diag(found)
        return (own - (found - 1e9 * np.eye(10)).max(axis=1)).min()

    assert lead(100) > lead(0)


@pytest.fixture(scope="module")
def responses(digit_model):
    """The mean activation of each filter of a convolution, as a function of images."""
    features = keras.Model(digit_model.inputs, digit_model.get_layer("conv4").output)
    return lambda images: features.predict(images, verbose=0).mean(axis=(1, 2))


def test_one_filter_is_the_first_of_a_grid(digit_model, digits, responses):
    first, second = responses(digits.x_train[:500]).mean(axis=0).argsort()[-2:].tolist()
    options = {"input_range": (0.0, 1.0), "seed": 5, "max_iter": 10}
    one = visualize_activation(digit_model, "conv4", first, **options)
    several = visualize_activation(digit_model, "conv4", [[first], [second]], **options)
    assert one.shape == (28, 28, 1)
    np.testing.assert_allclose(several[0], one, atol=1e-2)
    assert np.abs(several[1] - one).mean() > 0.05


def test_the_filter_responds_more_than_to_any_digit(digit_model, digits, responses):
    of_digits = responses(digits.x_train[:500])
    chosen = int(of_digits.mean(axis=0).argmax())
    image = visualize_activation(digit_model, "conv4", chosen, input_range=(0.0, 1.0), seed=0)
    assert responses(image[None])[0, chosen] > 1.5 * of_digits[:, chosen].max()


def test_more_total_variation_makes_smoother_images(digit_model):
    def roughness(weight):
        image = visualize_activation(digit_model, -1, 3, input_range=(0.0, 1.0), tv_weight=weight, seed=0, max_iter=60)
        return np.abs(np.diff(image, axis=0)).mean()

    assert roughness(None) > 1.3 * roughness(100)


def test_fourier_images_have_less_of_high_frequencies():
    """On a network with batch normalization, never trained: the noise that pixels drown in is what Fourier avoids."""
    layers = keras.layers
    inputs = keras.Input((32, 32, 3))
    x = inputs
    for seed in range(3):
        x = layers.Conv2D(16, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(seed=seed))(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    model = keras.Model(inputs, x)

    def high(parameterization):
        image = visualize_activation(
            model, -1, 5, input_range=(-1.0, 1.0), seed=0, max_iter=100, parameterization=parameterization
        )
        power = np.abs(np.fft.fft2(image - image.mean(axis=(0, 1)), axes=(0, 1))) ** 2
        return power[8:25, 8:25].sum() / power.sum()

    assert high("fourier") < 0.5 * high("pixels")


@pytest.mark.parametrize(
    ("input_range", "dtype"), [((0, 255), "uint8"), ((0.0, 255.0), "float32"), ((0, 1), "float32")]
)
def test_the_range_tells_what_picture_it_is(input_range, dtype):
    image = visualize_activation(zoo.functional(), -1, 1, input_range=input_range, max_iter=5, seed=0)
    assert image.dtype == dtype
    assert image.max() > image.min() >= input_range[0]
    assert image.max() <= input_range[1]


def test_channels_come_last():
    inputs = keras.Input((3, 8, 9))
    pooled = keras.layers.GlobalAveragePooling2D(data_format="channels_first")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    options = {"input_range": (0.0, 1.0), "max_iter": 3, "input_modifiers": [Jitter(1)]}
    assert visualize_activation(model, -1, 1, **options).shape == (8, 9, 3)
    assert visualize_activation(model, -1, [[0], [1]], **options).shape == (2, 8, 9, 3)
    assert visualize_activation(model, -1, 1, squeeze=False, **options).shape == (1, 8, 9, 3)


def test_a_backprop_modifier_changes_the_way():
    model = zoo.functional()
    seed_input = np.tanh(zoo.images(1))
    options = {"seed_input": seed_input, "input_range": (-1.0, 1.0), "max_iter": 5}
    plain = visualize_activation(model, -1, 1, **options)
    guided = visualize_activation(model, -1, 1, backprop_modifier="guided", **options)
    copied = visualize_activation(model, -1, 1, backprop_modifier=keras.models.clone_model, **options)
    assert np.abs(plain - guided).max() > 0.01
    assert np.isfinite(copied).all()


def test_it_is_the_optimizer_with_keras_vis_s_losses():
    from vis.losses import ActivationMaximization, LogProbability
    from vis.regularizers import LPNorm, TotalVariation

    model = zoo.functional()
    losses = [
        (ActivationMaximization(model.layers[-1], 2), 1),
        (LPNorm(model.input), 10),
        (TotalVariation(model.input), 10),
        (LogProbability(model.layers[-1], 2), 10),
    ]
    options = {"max_iter": 10, "seed": 3, "input_modifiers": [Jitter(2)]}
    image = visualize_activation(model, -1, 2, input_range=(0.0, 1.0), **options)
    by_losses = visualize_activation_with_losses(model.input, losses, input_range=(0.0, 1.0), **options)
    optimized = Optimizer(model.input, losses, (0.0, 1.0)).minimize(verbose=False, **options)[0]
    np.testing.assert_allclose(image, by_losses, atol=1e-5)
    np.testing.assert_allclose(image, optimized, atol=1e-5)


def test_the_input_is_left_for_another_wrt_tensor():
    model = zoo.functional()
    seed_input = np.tanh(zoo.images(1))
    image = visualize_activation(model, -1, 1, "conv2", seed_input, (-1.0, 1.0), max_iter=50)
    np.testing.assert_array_equal(image, seed_input[0])


def test_tables_and_signals():
    for shape in [(5,), (20, 2)]:
        inputs = keras.Input(shape)
        model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
        found = visualize_activation(model, -1, 1, input_range=(-1.0, 1.0), lp_norm_weight=0, tv_weight=0, seed=0)
        kernel = model.layers[-1].get_weights()[0][:, 1]
        np.testing.assert_allclose(found.ravel(), np.sign(kernel), atol=0.02)


def test_weights_that_leave_nothing():
    with pytest.raises(ValueError, match="losses must hold a loss with a weight other than 0"):
        visualize_activation(zoo.functional(), -1, 1, act_max_weight=0, lp_norm_weight=None, tv_weight=0)


def test_wrong_arguments_are_named(digit_model):
    with pytest.raises(TypeError, match="'max_iters' is no argument of activation maximization; .*'max_iter'"):
        visualize_activation(digit_model, -1, 0, max_iters=3)
    with pytest.raises(TypeError, match="losses must have a number as the weight of 'ActivationMax Loss', not 'a'"):
        visualize_activation(digit_model, -1, 0, act_max_weight="a")


def test_negate_gives_the_input_that_decreases_the_output():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.layers[-1].set_weights([np.array([[1.0], [0.5], [-1.0]]), np.zeros(1)])
    options = {"input_range": (-1.0, 1.0), "seed": 0, "lp_norm_weight": 0}
    most, least = (visualize_activation(model, -1, 0, grad_modifier=each, **options) for each in (None, "negate"))
    np.testing.assert_allclose(most, [1, 1, -1], atol=1e-3)
    np.testing.assert_allclose(least, [-1, -1, 1], atol=1e-3)


def test_negate_of_a_class_gives_an_image_of_a_low_score(digit_model, scores):
    options = {"input_range": (0.0, 1.0), "seed": 0, "max_iter": 60}
    least = visualize_activation(digit_model, -1, 3, grad_modifier="negate", **options)
    noise = np.random.default_rng(0).uniform(0, 1, (200, 28, 28, 1)).astype("float32")
    assert scores(least[None])[0, 3] < scores(noise)[:, 3].min()


@pytest.mark.parametrize("parameterization", ["pixels", "fourier"])
def test_no_infinity_is_made_on_the_way(digit_model, parameterization):
    options = {"input_range": (0.0, 1.0), "seed": 0, "max_iter": 5, "parameterization": parameterization}
    wanted = visualize_activation(digit_model, -1, [[3], [4]], **options)
    tf.debugging.enable_check_numerics()
    try:
        vis.forget(digit_model)
        found = visualize_activation(digit_model, -1, [[3], [4]], **options)
    finally:
        tf.debugging.disable_check_numerics()
        vis.forget(digit_model)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_the_order_of_the_axes_is_that_of_what_the_model_does_with_them():
    inputs = keras.Input((3, 8, 10))
    x = keras.layers.Conv2D(4, 3)(keras.layers.Permute((2, 3, 1))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(x)))
    assert visualize_activation(model, -1, 0, max_iter=2, seed=0).shape == (8, 10, 3)


class ChannelsFirst(keras.Model):
    """A subclassed model, which shows no symbolic input."""

    def __init__(self):
        super().__init__()
        self.pool = keras.layers.GlobalAveragePooling2D(data_format="channels_first")
        self.scores = keras.layers.Dense(2)

    def call(self, x):
        return self.scores(self.pool(x))


def test_the_order_of_the_axes_of_a_subclassed_model():
    image = visualize_activation(ChannelsFirst(), None, 0, seed_input=np.full((3, 8, 10), 100.0), max_iter=2, seed=0)
    assert image.shape == (8, 10, 3)


@pytest.mark.parametrize("seed_input", [None, np.arange(6)])
def test_tokens_cannot_be_moved_and_the_advice_can_be_followed(seed_input):
    layers = [keras.layers.Embedding(10, 4, name="words"), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    with pytest.raises(vis.ArgumentError, match="visualize_saliency with wrt_tensor='words' shows which tokens"):
        visualize_activation(model, -1, 0, seed_input=seed_input)
    assert vis.visualization.visualize_saliency(model, -1, 0, np.arange(6), wrt_tensor="words").shape == (6,)


def test_one_of_two_inputs_moves():
    inputs = [keras.Input((2,), name=name) for name in ("left", "right")]
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(keras.layers.Concatenate()(inputs)))
    dense.set_weights([np.array([[1.0], [1.0], [1.0], [-1.0]]), np.zeros(1)])
    options = {"input_range": (0.0, 1.0), "lp_norm_weight": 0, "tv_weight": 0}
    seeds = [np.full((1, 2), 0.5), np.full((1, 2), 0.5)]
    moved = vis.visualization.visualize_activation(model, -1, 0, inputs[1], seeds, **options)
    np.testing.assert_allclose(moved, [1, 0])
