"""Layers in front of what is differentiated give the same values, faster."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.engine import taps
from vis.engine.fused_batch_norm import fast
from vis.visualization import visualize_cam


def batch_norm(**options):
    layer = keras.layers.BatchNormalization(**options)
    layer.build((None, 5, 6, 4))
    rng = np.random.default_rng(0)
    layer.set_weights([rng.uniform(0.5, 2, weight.shape) for weight in layer.weights])
    return layer


FEATURES = tf.random.stateless_normal((3, 5, 6, 4), (0, 1))


@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}, {"epsilon": 1e-7}]
)
def test_fused_batch_normalization_gives_the_same(options):
    layer = batch_norm(**options)
    expected = layer(FEATURES, training=False)
    np.testing.assert_allclose(fast(layer, layer.call)(FEATURES, training=False), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [batch_norm(axis=2), batch_norm(dtype="float64")], ids=["axis", "float64"])
def test_what_cannot_be_fused_is_called_as_usual(layer):
    features = tf.cast(FEATURES, layer.compute_dtype)
    np.testing.assert_array_equal(fast(layer, layer.call)(features, training=False), layer(features, training=False))


def test_the_statistics_of_the_batch_are_used_where_a_layer_asks_for_them():
    layer = batch_norm()
    expected = layer.call(FEATURES, training=True)
    np.testing.assert_array_equal(fast(layer, layer.call)(FEATURES, training=True), expected)


def test_a_subclass_is_called_as_it_is():
    class Doubled(keras.layers.BatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return 2 * super().call(inputs, training, mask)

    layer = Doubled()
    assert fast(layer, layer.call) == layer.call


@pytest.mark.parametrize(
    ("options", "folded"),
    [
        ({"use_bias": False}, True),
        ({"use_bias": False, "padding": "same", "strides": 2}, True),
        ({"use_bias": False, "depth_multiplier": 3}, True),
        ({"use_bias": True}, False),
        ({"use_bias": False, "dilation_rate": 2}, None),
        ({"use_bias": False, "activation": "relu"}, False),
    ],
    ids=str,
)
def test_a_depthwise_convolution_with_the_scale_in_its_kernel_gives_the_same(options, folded):
    convolution = keras.layers.DepthwiseConv2D(3, **options)
    layers = [keras.Input((9, 8, 4)), convolution, keras.layers.BatchNormalization()]
    model = keras.Sequential(layers)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.2 if "variance" in weight.path else -1, 1, weight.shape))
    x = rng.normal(size=(3, 9, 8, 4)).astype(np.float32)

    @tf.function(autograph=False)
    def run(x):
        return taps.run(model, x, differentiated=lambda: False).outputs[0]

    np.testing.assert_allclose(run(x), model(x, training=False), rtol=1e-5, atol=1e-6)
    types = [operation.type for operation in run.get_concrete_function(x).graph.get_operations()]
    if folded is not None:
        assert ("FusedBatchNormV3" not in types) == folded


def operations(differentiated):
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    )

    @tf.function(autograph=False)
    def run(x):
        return taps.run(model, x, differentiated=lambda: differentiated).outputs[0]

    traced = run.get_concrete_function(tf.TensorSpec((1, 8, 8, 3)))
    return {operation.type for operation in traced.graph.get_operations()}


def test_only_what_is_not_differentiated_is_fused():
    assert "FusedBatchNormV3" in operations(differentiated=False)
    assert "FusedBatchNormV3" not in operations(differentiated=True)


@pytest.mark.parametrize("penultimate", [None, "middle"])
def test_grad_cam_behind_batch_normalization_is_as_by_hand(penultimate):
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(name="middle"),
            layers.Conv2D(5, 3),
            layers.BatchNormalization(),
            layers.ReLU(name="last"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.1 if "variance" in weight.path else -1, 1, weight.shape))
    x = rng.random((2, 12, 12, 3), np.float32)
    at = model.layers.index(model.get_layer(penultimate or "last"))
    features = tf.constant(x)
    for layer in model.layers[: at + 1]:
        features = layer(features, training=False)
    with tf.GradientTape() as tape:
        tape.watch(features)
        output = features
        for layer in model.layers[at + 1 :]:
            output = layer(output, training=False)
        score = output[:, 1]
    weights = tf.reduce_mean(tape.gradient(score, features), [1, 2])
    by_hand = tf.nn.relu(tf.einsum("nhwc,nc->nhw", features, weights))
    by_hand = tf.image.resize(by_hand[..., None], (12, 12))[..., 0].numpy()
    found = visualize_cam(model, -1, 1, x, penultimate, normalize=False)
    assert by_hand.max() > 0
    np.testing.assert_allclose(found, by_hand, rtol=1e-5, atol=1e-5 * by_hand.max())
