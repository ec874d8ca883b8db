"""Layers made under `keras.RematScope`, which compute their activations anew for the gradient, are as any other."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

L = keras.layers


def network(mode):
    """A residual network in one dimension, of recomputed layers or not, with the same weights."""
    keras.utils.set_random_seed(0)

    def convolution(name):
        return L.Conv1D(6, 5, padding="same", activation="relu", name=name, bias_initializer="random_normal")

    def body():
        inputs = keras.Input((40, 2))
        x = convolution("first")(inputs)
        x = L.Add(name="sum")([x, convolution("second")(x)])
        x = L.ReLU(name="relu")(L.BatchNormalization(name="norm")(x))
        return keras.Model(inputs, L.Dense(3, activation="softmax")(L.GlobalAveragePooling1D()(x)))

    if mode is None:
        return body()
    with keras.RematScope(mode=mode):
        return body()


@pytest.fixture(scope="module")
def series():
    return np.random.default_rng(0).normal(size=(3, 40, 2)).astype("float32")


METHODS = {
    "saliency": lambda model, x: visualize_saliency(model, -1, 1, x, normalize=False),
    "guided": lambda model, x: visualize_saliency(model, -1, 1, x, backprop_modifier="guided", normalize=False),
    "rectified": lambda model, x: visualize_saliency(model, -1, 1, x, backprop_modifier="rectified", normalize=False),
    "smoothgrad": lambda model, x: smoothgrad(model, -1, 1, x, num_samples=3, seed=0, normalize=False),
    "default map": lambda model, x: visualize_cam(model, -1, 1, x, normalize=False),
    "map of a layer": lambda model, x: visualize_cam(model, -1, 1, x, penultimate_layer_idx="second", normalize=False),
}


@pytest.fixture(scope="module")
def plain():
    return network(None)


@pytest.fixture(scope="module", params=["full", "activations"])
def recomputed(request, plain):
    model = network(request.param)
    model.set_weights(plain.get_weights())
    return model


@pytest.mark.parametrize("method", METHODS)
def test_a_recomputed_layer_gives_the_plain_one_s_map(plain, recomputed, series, method):
    wanted = METHODS[method](plain, series)
    assert np.ptp(wanted) > 0
    np.testing.assert_allclose(METHODS[method](recomputed, series), wanted, rtol=1e-4, atol=1e-7)


def test_training_recomputes_again_afterwards(series):
    recomputed = network("activations")
    METHODS["guided"](recomputed, series)
    recomputed.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    before = recomputed.predict(series, verbose=0)
    recomputed.fit(series, np.array([0, 1, 2]), verbose=0)
    np.testing.assert_allclose(recomputed.predict(series, verbose=0), before, atol=0.2)
