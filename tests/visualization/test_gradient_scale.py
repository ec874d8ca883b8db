"""Scores that saturate, and half precision: gradients too small or too large to be taken as they are."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import vis
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

L = keras.layers


def linear_classifier(end, weights):
    model = keras.Sequential([keras.Input((3,)), L.Dense(2), end])
    model.layers[0].set_weights([np.asarray(weights, "float32"), np.zeros(2, "float32")])
    return model


WEIGHTS = [[60.0, -60.0], [30.0, -45.0], [10.0, 5.0]]


@pytest.mark.parametrize(
    "end",
    [
        L.Activation("log_softmax"),
        L.Activation("softmax"),
        L.Lambda(lambda x: keras.ops.reshape(keras.ops.log_softmax(x), (-1, 2))),
    ],
)
def test_the_score_is_read_before_a_log_softmax_as_before_a_softmax(end):
    model = linear_classifier(end, WEIGHTS)
    for wanted in (0, 1):
        map_ = visualize_saliency(model, None, wanted, np.ones(3), grad_modifier=None, normalize=False)
        np.testing.assert_allclose(map_, np.array(WEIGHTS)[:, wanted], rtol=1e-6)


class Squashed(L.Layer):
    """A probability that no operation's name gives away."""

    def call(self, x):
        return 0.5 * (keras.ops.tanh(x / 2) + 1)


@pytest.mark.parametrize(("scale", "saturated"), [(1.0, True), (0.01, False)])
def test_warns_of_a_saturated_target_whatever_made_it(scale, saturated, recwarn):
    model = linear_classifier(Squashed(), np.array(WEIGHTS) * scale / 4)
    visualize_saliency(model, None, 0, np.ones(3))
    assert any("saturated" in str(each.message) for each in recwarn) is saturated


def test_warns_of_the_saturated_class_of_a_saved_model(tmp_path):
    linear_classifier(L.Softmax(), WEIGHTS).export(tmp_path / "saved", verbose=False)
    model = vis.models.load_model(tmp_path / "saved")
    with pytest.warns(vis.VisWarning, match="saturated"):
        visualize_saliency(model, None, 0, np.ones(3))


def half_and_single(scale):
    """The same network of one output in half and in single precision, its score `scale` times as large as usual."""
    models = []
    for policy in ("mixed_float16", "float32"):
        keras.utils.set_random_seed(0)
        with_policy = {"dtype": policy}
        model = keras.Sequential(
            [
                keras.Input((24, 24, 3)),
                L.Conv2D(8, 3, activation="relu", **with_policy),
                L.Conv2D(4, 3, activation="relu", **with_policy),
                L.GlobalAveragePooling2D(**with_policy),
                L.Dense(1, kernel_initializer="ones", dtype="float32"),
            ]
        )
        weights = model.get_weights()
        weights[-2] = weights[-2] * np.float32(scale)
        model.set_weights(weights)
        models.append(model)
    return models


@pytest.mark.parametrize("scale", [1e-3, 1.0, 2e3, 2e5])
@pytest.mark.parametrize("method", [visualize_cam, visualize_saliency, smoothgrad])
def test_half_precision_gives_the_map_of_single_precision_however_large_the_score(scale, method):
    half, single = half_and_single(scale)
    image = np.random.default_rng(0).random((24, 24, 3)).astype("float32")
    options = {"seed": 0, "num_samples": 3} if method is smoothgrad else {}
    found, wanted = (method(model, -1, 0, image, normalize=False, **options) for model in (half, single))
    assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.995
    np.testing.assert_allclose(found.mean(), wanted.mean(), rtol=0.02)


def test_a_gradient_that_is_infinite_at_every_scale_is_refused():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.ops.sum(keras.ops.sqrt(inputs), axis=1, keepdims=True))
    with pytest.raises(vis.ArgumentError, match="finite gradient"):
        visualize_saliency(model, None, 0, np.array([0.0, 1.0, 2.0]))
