"""Several layers, smoothing, what speaks against a target, and interpolation of class activation maps."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import VisWarning
from vis.losses import ActivationMaximization
from vis.utils.arrays import resize
from vis.utils.utils import normalize
from vis.visualization import visualize_cam, visualize_cam_with_losses

LABEL = 2
RAW = {"normalize": False}


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam"])
def test_several_layers_are_the_mean_of_their_unit_maps(plain, method):
    x = zoo.images(2)
    layers = ["relu1", plain.get_layer("conv2")]
    alone = [visualize_cam(plain, -1, LABEL, x, layer, method=method) for layer in layers]
    together = visualize_cam(plain, -1, LABEL, x, layers, method=method, **RAW)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)
    both = visualize_cam(plain, -1, LABEL, x, layers, method=method)
    np.testing.assert_allclose(both, [normalize(each) for each in together], atol=1e-6)


def test_several_layers_under_a_backprop_modifier(plain):
    x = zoo.images(2)
    layers = ["relu1", "conv2"]
    options = {"backprop_modifier": "guided"}
    alone = [visualize_cam(plain, -1, LABEL, x, layer, **options) for layer in layers]
    together = visualize_cam(plain, -1, LABEL, x, layers, **options, **RAW)
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-6)


def test_losses_take_several_layers(plain):
    x = zoo.images(2)
    losses = [(ActivationMaximization("scores", LABEL), -1)]
    expected = visualize_cam(plain, -1, LABEL, x, ["relu1", "conv2"])
    shown = visualize_cam_with_losses(plain, losses, x, ["relu1", "conv2"])
    np.testing.assert_allclose(shown, expected, atol=1e-6)


@pytest.mark.parametrize("layers", [[], ["conv2", None]])
def test_a_list_names_layers(plain, layers):
    with pytest.raises(ValueError, match="penultimate_layer_idx must be a layer or a list of layers, not"):
        visualize_cam(plain, -1, LABEL, zoo.images(1), layers)


def test_several_layers_need_maps_of_one_size(plain):
    with pytest.raises(ValueError, match=r"in one size, not of \(16, 16\), \(7, 7\). Leave interpolation at 'linear'"):
        visualize_cam(plain, -1, LABEL, zoo.images(1), ["relu1", "conv2"], interpolation=None)


@pytest.mark.parametrize("method", ["gradcam", "scorecam", "ablationcam"])
def test_smoothing_is_the_mean_over_six_inputs(plain, method):
    x = zoo.images(3)
    options = {"method": method, "normalize": False}
    labels = [[0], [LABEL], [1]]
    maps = []
    for factor in (0.9, 1.0, 1.1):
        maps.append(visualize_cam(plain, -1, labels, np.float32(factor) * x, **options))
        flipped = np.float32(factor) * x[:, :, ::-1]
        maps.append(visualize_cam(plain, -1, labels, flipped, **options)[:, :, ::-1])
    smooth = visualize_cam(plain, -1, labels, x, smoothing="augment", batch_size=2, **options)
    zoo.assert_close(smooth, np.mean(maps, axis=0))


def test_a_picture_with_channels_first_is_flipped_left_to_right_too():
    inputs = keras.Input((3, 8, 9))
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Permute((2, 3, 1))(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    x = zoo.images(1, (3, 8, 9))[0]
    views = [np.float32(f) * view for f in (0.9, 1, 1.1) for view in (x, x[..., ::-1])]
    maps = [visualize_cam(model, -1, 1, view, relu=False, **RAW) for view in views]
    maps[1::2] = [each[:, ::-1] for each in maps[1::2]]
    smooth = visualize_cam(model, -1, 1, x, relu=False, smoothing="augment", **RAW)
    zoo.assert_close(smooth, np.mean(maps, axis=0))


def test_a_series_is_not_flipped():
    layers = [keras.layers.Conv1D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((12, 2)), *layers])
    x = zoo.images(2, (12, 2))
    maps = [visualize_cam(model, -1, 1, np.float32(f) * x, relu=False, **RAW) for f in (0.9, 1, 1.1)]
    smooth = visualize_cam(model, -1, 1, x, relu=False, smoothing="augment", **RAW)
    zoo.assert_close(smooth, np.mean(maps, axis=0))


def test_smoothing_explains_the_class_that_the_input_itself_is_of(plain):
    x = zoo.images(4)
    classes = plain(x).numpy().argmax(axis=1)[:, None]
    smooth = visualize_cam(plain, -1, "predicted", x, smoothing="augment", **RAW)
    np.testing.assert_array_equal(smooth, visualize_cam(plain, -1, classes, x, smoothing="augment", **RAW))


def opposed() -> keras.Model:
    """The left half of the picture speaks for its output, the right half against it."""
    layers = [keras.layers.AveragePooling2D(2), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    kernel = np.where(np.arange(16) % 4 < 2, 1.0, -1.0)[:, None]
    layers[-1].set_weights([kernel, np.zeros(1)])
    return model


def test_without_relu_what_speaks_against_is_kept():
    sides = np.repeat([[1.0, 1.0, -1.0, -1.0]], 4, axis=0)
    x = np.ones((8, 8, 1))
    kept = visualize_cam(opposed(), -1, 0, x, method="hirescam", relu=False, **RAW)
    np.testing.assert_allclose(kept, resize(sides[None], (8, 8))[0], atol=1e-6)
    cut = visualize_cam(opposed(), -1, 0, x, method="hirescam", **RAW)
    np.testing.assert_allclose(cut, resize(np.maximum(sides, 0)[None], (8, 8))[0], atol=1e-6)


def test_the_remedy_for_a_blank_map_is_one_that_works():
    x = np.tile(np.linspace(1, 2, 8)[None, :, None], (8, 1, 1))
    layers = [keras.layers.MaxPooling2D(1), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    layers[-1].set_weights([np.array([[-1.0]]), np.zeros(1)])
    with pytest.warns(VisWarning, match="negative everywhere .* grad_modifier='negate' shows what speaks against it"):
        visualize_cam(model, -1, 0, x, method="xgradcam")
    with pytest.warns(VisWarning, match="negative everywhere .* relu=False keeps what speaks against it"):
        visualize_cam(model, -1, 0, x, method="ablationcam")


def test_the_feature_map_keeps_its_own_size_without_interpolation(plain):
    x = zoo.images(2)
    small = visualize_cam(plain, -1, LABEL, x, interpolation=None, **RAW)
    assert small.shape == (2, 7, 7)
    zoo.assert_close(visualize_cam(plain, -1, LABEL, x, **RAW), resize(small, (16, 16)))


def within(scaled: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Interpolated maps, cut off where they leave the range of what they were made of."""
    low, high = (end(maps, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    return np.clip(scaled, low, high)


def test_cubic_interpolation_is_keys_within_the_range_of_the_map(plain):
    x = zoo.images(2)
    small = visualize_cam(plain, -1, LABEL, x, interpolation=None, **RAW)
    cubic = visualize_cam(plain, -1, LABEL, x, interpolation="cubic", **RAW)
    scaled = keys_cubic(small, (16, 16))
    assert scaled.min() < 0
    zoo.assert_close(cubic, within(scaled, small))


def keys_cubic(maps: np.ndarray, size) -> np.ndarray:
    """TensorFlow's interpolation by Keys' cubic kernel."""
    scale = [wanted / given for given, wanted in zip(maps.shape[1:], size, strict=True)]
    images = tf.constant(maps[..., None], tf.float32)
    scaled = tf.raw_ops.ScaleAndTranslate(
        images=images, size=size, scale=scale, translation=[0.0, 0.0], kernel_type="keyscubic", antialias=False
    )
    return scaled[..., 0].numpy()


@pytest.mark.parametrize(("given", "wanted"), [((5, 7), (16, 9)), ((1, 4), (6, 24)), ((6, 9), (3, 3))])
def test_cubic_interpolation_is_tensorflows(given, wanted):
    maps = np.random.default_rng(0).normal(size=(2, *given))
    np.testing.assert_allclose(resize(maps, wanted, "cubic"), within(keys_cubic(maps, wanted), maps), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"smoothing": "noise"}, "smoothing must be 'augment' or None, not 'noise'"),
        ({"interpolation": "nearest"}, "interpolation must be 'linear', 'cubic' or None, not 'nearest'"),
        ({"method": 3}, "method must be one of 'gradcam', .* or a function, not int"),
        ({"method": lambda activations, gradients: activations}, "method must return maps of shape"),
    ],
)
def test_refusals(plain, options, message):
    with pytest.raises(ValueError, match=message):
        visualize_cam(plain, -1, LABEL, zoo.images(1), **options)
