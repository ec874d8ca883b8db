"""Total variation and L-p norms beside their formulas in NumPy, their gradients beside finite differences."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.losses import Loss
from vis.regularizers import LPNorm, TotalVariation, normalize
from vis.visualization import visualize_saliency_with_losses


def model_of_shape(*shape) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))


def total_variation(image, beta) -> float:
    """By loops over the positions of one image, channels last."""
    *sizes, channels = image.shape
    total = 0.0
    for position in itertools.product(*(range(size - 1) for size in sizes)):
        for channel in range(channels):
            here = image[(*position, channel)]
            squares = 0.0
            for axis in range(len(sizes)):
                there = list(position)
                there[axis] += 1
                squares += (image[(*there, channel)] - here) ** 2
            total += squares ** (beta / 2)
    return total / image.size


@pytest.mark.parametrize("shape", [(9, 2), (5, 4, 3), (4, 3, 5, 2)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_total_variation_is_its_formula(shape, beta):
    images = np.random.default_rng(0).normal(size=(3, *shape)).astype("float32")
    loss = TotalVariation(model_of_shape(*shape).input, beta)
    expected = [total_variation(image, beta) for image in images]
    np.testing.assert_allclose(loss.of(images).numpy(), expected, rtol=1e-5)
    first = np.moveaxis(images, -1, 1)
    np.testing.assert_allclose(loss.of(first, "channels_first").numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("p", [1, 2, 6.0, 40])
def test_lp_norm_is_its_formula(p):
    images = np.random.default_rng(1).normal(scale=100, size=(3, 4, 5, 2)).astype("float32")
    loss = LPNorm(model_of_shape(4, 5, 2).input, p)
    expected = [np.linalg.norm(image.astype("float64").ravel(), p) / image.size for image in images]
    np.testing.assert_allclose(loss.of(images).numpy(), expected, rtol=1e-5)


def test_the_infinity_norm_is_the_largest_value_whatever_its_sign():
    images = np.array([[1.0, -7.0, 2.0, 0.0]], "float32")
    np.testing.assert_allclose(LPNorm(model_of_shape(4).input, np.inf).of(images).numpy(), [7 / 4])


@pytest.mark.parametrize(
    "loss", [lambda x: TotalVariation(x, 1.0), TotalVariation, LPNorm, lambda x: LPNorm(x, np.inf)]
)
def test_gradients_are_those_of_finite_differences(loss):
    image = np.random.default_rng(2).normal(size=(1, 4, 5, 2)).astype("float32")
    loss = loss(model_of_shape(4, 5, 2).input)

    def value(x):
        return loss.of(tf.constant(x, tf.float64)).numpy()[0]

    expected = np.zeros_like(image)
    for index in np.ndindex(image.shape):
        step = np.zeros_like(image, dtype="float64")
        step[index] = 1e-5
        expected[index] = (value(image + step) - value(image - step)) / 2e-5
    gradient = visualize_saliency_with_losses(
        loss.img, [(loss, 1)], image, grad_modifier=None, keepdims=True, normalize=False, squeeze=False
    )
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("loss", [lambda x: TotalVariation(x, 1.0), LPNorm, lambda x: LPNorm(x, 1.5)])
def test_the_gradient_at_a_black_image_is_zero_and_not_nan(loss):
    x = tf.zeros((1, 4, 4, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(model_of_shape(4, 4, 1).input).of(x)
    np.testing.assert_array_equal(tape.gradient(value, x).numpy(), 0)


def test_a_table_has_no_variation():
    np.testing.assert_array_equal(TotalVariation(model_of_shape(4).input).of(np.ones((2, 4), "float32")).numpy(), 0)


def test_the_symbolic_loss_of_keras_vis_is_the_same():
    model = model_of_shape(4, 5, 2)
    images = np.random.default_rng(3).normal(size=(2, 4, 5, 2)).astype("float32")
    for loss in (TotalVariation(model.input), LPNorm(model.input)):
        symbolic = keras.Function(model.inputs, loss.build_loss())
        np.testing.assert_allclose(np.asarray(symbolic([images])), loss.of(images).numpy(), rtol=1e-5)


def test_one_of_several_inputs_or_all_of_them():
    left, right = keras.Input((3,)), keras.Input((2,))
    model = keras.Model([left, right], keras.layers.Dense(2)(keras.layers.Concatenate()([left, right])))
    x = [np.array([[3.0, 4.0, 0.0]], "float32"), np.array([[0.0, 2.0]], "float32")]
    options = {"grad_modifier": None, "normalize": False, "squeeze": False}
    both = visualize_saliency_with_losses(model, [(LPNorm(model, p=2), 1)], x, **options)
    np.testing.assert_allclose(both[0], [[0.2, 4 / 15, 0]], rtol=1e-5)
    np.testing.assert_allclose(both[1], [[0, 0.5]], rtol=1e-5)
    one = visualize_saliency_with_losses(model, [(LPNorm(right, p=2), 1)], x, right, **options)
    np.testing.assert_allclose(one, [[0, 0.5]], rtol=1e-5)


def test_bad_arguments():
    model = model_of_shape(4)
    with pytest.raises(TypeError, match=r"img_input must be model\.input or a model, not str"):
        TotalVariation("input")
    with pytest.raises(ValueError, match="p must be at least 1, not 0.5"):
        LPNorm(model.input, 0.5)
    with pytest.raises(ValueError, match="beta must be above 0, not 0"):
        TotalVariation(model.input, 0)


@pytest.mark.parametrize("size", [(6, 5), (None, None)], ids=["fixed", "any"])
def test_a_regularizer_of_one_s_own_is_divided_by_the_size_of_the_input(size):
    class Contrast(Loss):
        def __init__(self, img_input):
            self.img = img_input

        def build_loss(self):
            return normalize(self.img, keras.ops.sum(self.img**2, axis=(1, 2, 3)))

    inputs = keras.Input((*size, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    images = np.random.default_rng(4).normal(size=(2, 6, 5, 3)).astype("float32")
    options = {"grad_modifier": None, "normalize": False, "keepdims": True}
    maps = visualize_saliency_with_losses(model.input, [(Contrast(model.input), 1)], images, **options)
    np.testing.assert_allclose(maps, 2 * images / images[0].size, rtol=1e-5)
