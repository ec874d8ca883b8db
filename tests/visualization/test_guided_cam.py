"""Guided Grad-CAM beside its two factors."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.visualization import visualize_cam, visualize_guided_cam

LABEL = 2
RAW = {"normalize": False}


@tf.custom_gradient
def guided_relu(x):
    y = tf.nn.relu(x)
    return y, lambda gradient: tf.where((gradient > 0) & (y > 0), gradient, 0)


@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam"])
def test_it_is_the_guided_gradient_times_the_unit_map(plain, method):
    x = zoo.images(3)
    labels = [[0], [LABEL], [1]]
    maps = visualize_cam(plain, -1, labels, x, method=method)
    reference = zoo.Reference(plain)
    gradients = [
        reference.input_gradient(sample[None], *label, relu=guided_relu)[0]
        for sample, label in zip(x, labels, strict=True)
    ]
    product = np.stack(gradients) * maps[..., None]
    found = visualize_guided_cam(plain, -1, labels, x, method=method, keepdims=True, batch_size=2, **RAW)
    zoo.assert_close(found, product)
    largest = np.where(product.max(axis=-1) > -product.min(axis=-1), product.max(axis=-1), product.min(axis=-1))
    zoo.assert_close(visualize_guided_cam(plain, -1, labels, x, method=method, **RAW), largest)
    unit = largest / np.abs(largest).max(axis=(1, 2), keepdims=True)
    zoo.assert_close(visualize_guided_cam(plain, -1, labels, x, method=method), unit)


def test_several_layers_one_sample_and_streams(plain):
    x = zoo.images(3)
    layers = ["relu1", "conv2"]
    together = visualize_guided_cam(plain, -1, "predicted", x, layers, smoothing="augment")
    alone = visualize_guided_cam(plain, -1, "predicted", x[1], layers, smoothing="augment")
    assert alone.shape == (16, 16)
    np.testing.assert_allclose(together[1], alone, atol=1e-4)
    stream = list(visualize_guided_cam(plain, -1, "predicted", iter([x[:2], x[2:]]), layers, smoothing="augment"))
    np.testing.assert_allclose(np.concatenate(stream), together, atol=1e-4)


def test_channels_first_beside_a_table():
    picture, table = keras.Input((3, 8, 9), name="picture"), keras.Input((4,), name="table")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Permute((2, 3, 1))(picture))
    x = keras.layers.Concatenate()([keras.layers.Flatten()(x), table])
    model = keras.Model({"picture": picture, "table": table}, keras.layers.Dense(2)(x))
    x = {"picture": zoo.images(2, (3, 8, 9)), "table": zoo.images(2, (4,))}
    kept = visualize_guided_cam(model, -1, 1, x, keepdims=True, **RAW)
    assert kept.shape == (2, 3, 8, 9)
    shown = visualize_guided_cam(model, -1, 1, x, **RAW)
    at = np.abs(kept).argmax(axis=1)[:, None]
    np.testing.assert_array_equal(shown, np.take_along_axis(kept, at, axis=1)[:, 0])
    maps = visualize_cam(model, -1, 1, x)
    assert (kept[np.broadcast_to(maps[:, None] == 0, kept.shape)] == 0).all()
    assert np.abs(kept).max() > 0


def test_tokens_have_no_fine_structure():
    layers = [keras.layers.Embedding(9, 4), keras.layers.Conv1D(3, 2, activation="relu", name="c")]
    head = [keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers, *head])
    with pytest.raises(ValueError, match="positions are those of an input of real numbers, not 'c'. Use visualize_cam"):
        visualize_guided_cam(model, -1, 0, np.arange(6), "c")
