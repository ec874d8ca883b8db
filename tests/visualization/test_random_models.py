"""Models that draw random numbers whenever they are called, such as for Monte Carlo dropout."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import vis
from vis.visualization import rise, smoothgrad, visualize_cam, visualize_saliency

L = keras.layers


class AlwaysDropped(L.SpatialDropout2D):
    def call(self, x, training=None):
        return super().call(x, training=True)


class AlwaysNoisy(L.Layer):
    """Noise on the weights' side: each feature is scaled by a random number around 1."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)

    def call(self, x):
        return x * keras.random.normal(keras.ops.shape(x), 1.0, 0.5, seed=self.generator)


@pytest.fixture(scope="module", params=["dropout", "noise"])
def model(request):
    keras.utils.set_random_seed(1)
    random = AlwaysDropped(0.5, seed=5) if request.param == "dropout" else AlwaysNoisy()
    return keras.Sequential(
        [keras.Input((12, 12, 2)), L.Conv2D(8, 3, activation="relu"), random, L.GlobalAveragePooling2D(), L.Dense(3)]
    )


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(5, 12, 12, 2)).astype("float32")


@pytest.mark.filterwarnings("ignore:the model .* draws random numbers")
def test_a_seed_decides_the_masks_whatever_the_batch_size(model, images):
    def map_of(images=images, seed=0, **options):
        return smoothgrad(model, -1, 1, images, num_samples=6, seed=seed, normalize=False, **options)

    maps = map_of()
    np.testing.assert_allclose(map_of(), maps, rtol=1e-5, atol=1e-8)
    for batch_size in (1, 4, 30):
        np.testing.assert_allclose(map_of(batch_size=batch_size), maps, rtol=1e-4, atol=1e-7)
    assert np.abs(map_of(seed=1) - maps).max() > 1e-3 * np.abs(maps).max()


@pytest.mark.filterwarnings("ignore:the model .* draws random numbers")
def test_without_noise_smoothgrad_averages_the_draws(model, images):
    found = smoothgrad(model, -1, 1, images[:1], noise_level=0, num_samples=2000, seed=0, grad_modifier=None,
                       normalize=False, keepdims=True)  # fmt: skip
    plain = keras.Sequential(
        [keras.Input((12, 12, 2)), *[layer for layer in model.layers if layer.name != model.layers[1].name]]
    )
    wanted = visualize_saliency(plain, -1, 1, images[:1], grad_modifier=None, normalize=False, keepdims=True)
    # Both kinds of draw have the mean 1, and the head is linear: the mean gradient is that without them.
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


class DrawnByTensorFlow(L.Layer):
    """Noise that only `tf.random.set_seed` repeats: the draws of a graph follow each other."""

    def call(self, x):
        return x * tf.random.uniform(tf.shape(x))


@pytest.mark.filterwarnings("ignore:the model .* draws random numbers")
def test_draws_that_follow_each_other_are_those_of_the_copies_in_order(images):
    layers = [DrawnByTensorFlow(), L.Conv2D(64, 3, activation="tanh"), L.Flatten(), L.Dense(3)]
    model = keras.Sequential([keras.Input((12, 12, 2)), *layers])
    maps = []
    for _ in range(6):
        vis.forget(model)
        tf.random.set_seed(1)
        maps.append(rise(model, -1, 1, images[:1], num_masks=60, normalize=False))
    np.testing.assert_array_equal(maps, maps[:1] * 6)


@pytest.mark.parametrize("method", [visualize_saliency, visualize_cam])
def test_warns_that_the_model_is_random(model, images, method):
    with pytest.warns(vis.VisWarning, match="draws random numbers"):
        method(model, -1, 1, images)
