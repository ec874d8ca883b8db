"""Grad-CAM beside hand-written references."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image

from vis import VisWarning
from vis.losses import ActivationMaximization
from vis.visualization import visualize_cam, visualize_cam_with_losses
from vis.visualization.cam import resize

# A class whose map on these images is not negative everywhere.
LABEL = 2


PATHS = {
    zoo.nested: "body/backbone/conv2",
    zoo.sequence_of_models: "backbone/conv2",
    zoo.custom_layer: "features/conv2",
}


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_every_kind_of_model_matches_the_reference(kind):
    model = kind()
    x = zoo.images(3)
    target = None if kind is zoo.subclassed else -1
    for penultimate in (None, PATHS.get(kind, "conv2")):
        maps = visualize_cam(model, target, LABEL, x, penultimate, normalize=False)
        zoo.assert_close(maps, zoo.Reference(model).cam(x, LABEL))


def test_a_layer_object_deep_inside(reference):
    model = zoo.nested()
    layer = model.get_layer("body").get_layer("backbone").get_layer("conv1")
    assert visualize_cam(model, -1, LABEL, zoo.images(1), layer).shape == (16, 16)


def test_batches_equal_single_samples(plain):
    x = zoo.images(33)
    alone = np.stack([visualize_cam(plain, -1, LABEL, each) for each in x])
    for count in (1, 3, 16, 33):
        together = visualize_cam(plain, -1, LABEL, x[:count], squeeze=False, batch_size=5)
        np.testing.assert_allclose(together, alone[:count], atol=1e-5)


def test_losses_equal_the_plain_call(plain, reference):
    x = zoo.images(2)
    losses = [(ActivationMaximization(plain.layers[-1], LABEL), -1)]
    for given in (plain, plain.input):
        for layer in (plain.get_layer("conv2"), None):
            maps = visualize_cam_with_losses(given, losses, x, layer, normalize=False)
            zoo.assert_close(maps, reference.cam(x, LABEL))


def regressor():
    """Its output is the mean of the left half of a 4 x 4 feature map minus that of the right half."""
    inputs = keras.Input((8, 8, 1))
    pooled = keras.layers.AveragePooling2D(2, name="pooled")(inputs)
    halves = keras.layers.Flatten()(pooled)
    model = keras.Model(inputs, keras.layers.Dense(1, name="angle")(halves))
    kernel = np.where(np.arange(16) % 4 < 2, 1.0, -1.0)[:, None] / 8
    model.layers[-1].set_weights([kernel + 0.01, np.zeros(1)])
    return model


def test_regressor_increase_decrease_and_maintain():
    # The mean of the gradient over positions is 0.01: the map is 0.01 x the feature map.
    model = regressor()
    x = np.random.default_rng(0).normal(size=(8, 8, 1)).astype("float32")
    pooled = x[..., 0].reshape(4, 2, 4, 2).mean(axis=(1, 3))
    size = (8, 8)
    increase = visualize_cam(model, -1, 0, x, normalize=False)
    decrease = visualize_cam(model, -1, 0, x, grad_modifier="negate", normalize=False)
    zoo.assert_close(increase, resize(np.maximum(0.01 * pooled, 0)[None], size)[0], 1e-5)
    zoo.assert_close(decrease, resize(np.maximum(-0.01 * pooled, 0)[None], size)[0], 1e-5)
    # |1 / (1/8 ± 0.01)|, averaged, for what keeps the output.
    weight = (1 / 0.135 + 1 / 0.115) / 2
    maintain = visualize_cam(model, -1, 0, x, grad_modifier="small_values", normalize=False)
    zoo.assert_close(maintain, resize(np.maximum(weight * pooled, 0)[None], size)[0], 1e-5)


def test_signals_and_volumes():
    for rank, conv in ((1, keras.layers.Conv1D), (3, keras.layers.Conv3D)):
        shape = (8,) * rank + (2,)
        model = keras.Sequential(
            [
                keras.Input(shape),
                conv(3, 3, strides=2, activation="relu", name="c"),
                keras.layers.Flatten(),
                keras.layers.Dense(4),
            ]
        )
        model.set_weights([np.abs(array) for array in model.get_weights()])  # so that the map is not negative
        x = zoo.images(2, shape)
        features = keras.Sequential(model.layers[:1])(x)
        with tf.GradientTape() as tape:
            tape.watch(features)
            score = tf.reduce_sum(model.layers[2](model.layers[1](features))[:, 1])
        alpha = tf.reduce_mean(tape.gradient(score, features), axis=range(1, rank + 1), keepdims=True)
        raw = np.maximum(tf.reduce_sum(alpha * features, axis=-1), 0)
        zoo.assert_close(visualize_cam(model, -1, 1, x, normalize=False), resize(raw, (8,) * rank).astype("float32"))


def test_a_layer_without_positions(plain):
    with pytest.raises(ValueError, match="not 'flatten', which gives .* without positions"):
        visualize_cam(plain, -1, 0, zoo.images(1), "flatten")


def test_a_layer_behind_the_target(plain):
    with pytest.raises(ValueError, match=r"the target \(layer 'conv1'\) is computed from, not 'conv2'"):
        visualize_cam(plain, "conv1", 0, zoo.images(1), "conv2")


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("con2", ValueError, "penultimate_layer_idx must be .* has no layer 'con2'. The nearest names are 'conv2'"),
        (17, ValueError, "penultimate_layer_idx must be the index of a layer, not 17"),
        (1.5, TypeError, "penultimate_layer_idx must be a layer's index"),
        (-1, ValueError, "Choose another target, or another penultimate_layer_idx"),
    ],
)
def test_a_wrong_layer_is_called_by_its_argument(plain, layer, error, message):
    with pytest.raises(error, match=message):
        visualize_cam(plain, -1, LABEL, zoo.images(1), layer)


def test_an_unknown_method(plain):
    with pytest.raises(ValueError, match="must be one of 'gradcam', .*'ablationcam' or a function, not 'gradcam3'"):
        visualize_cam(plain, -1, 0, zoo.images(1), method="gradcam3")


def small(kernel, size=(4, 4)):
    model = keras.Sequential(
        [
            keras.Input((*size, 1)),
            keras.layers.MaxPooling2D(1, name="map"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
    )
    model.layers[-1].set_weights([np.array([[kernel]]), np.zeros(1)])
    return model


def test_warns_of_a_map_that_is_negative_everywhere():
    with pytest.warns(VisWarning, match=r"negative everywhere \(from -0.938 to -0.0625\) for 1 of 1"):
        cam = visualize_cam(small(-1.0), -1, 0, np.linspace(1, 15, 16).reshape(4, 4, 1))
    np.testing.assert_array_equal(cam, np.zeros((4, 4)))


def test_warns_of_a_flat_feature_map():
    with pytest.warns(VisWarning, match="is the same at every position"):
        cam = visualize_cam(small(1.0), -1, 0, np.ones((4, 4, 1)))
    np.testing.assert_array_equal(cam, np.zeros((4, 4)))


def test_warns_of_a_single_position():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.AveragePooling2D(4, name="one"),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    with pytest.warns(VisWarning, match="'one' has a single position"):
        cam = visualize_cam(model, -1, 0, np.arange(16.0).reshape(4, 4, 1), "one")
    np.testing.assert_array_equal(cam, np.zeros((4, 4)))


def test_warns_of_a_gradient_that_is_zero_everywhere():
    with pytest.warns(VisWarning, match="zero everywhere for 1 of 1 samples"):
        cam = visualize_cam(small(0.0), -1, 0, np.arange(16.0).reshape(4, 4, 1))
    assert np.isfinite(cam).all()


@pytest.mark.parametrize("pooled", [False, True])
def test_a_map_along_time_alone_stays_along_time(pooled):
    frames = keras.Input((4, 12, 16, 1))
    each = keras.layers.TimeDistributed(keras.layers.GlobalAveragePooling2D(), name="each")(frames)
    steps = keras.layers.Conv1D(1, 2, 2, name="steps", kernel_initializer="ones")(each) if pooled else each
    weighed = keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(steps))
    model = keras.Model(frames, weighed)
    x = np.ones((4, 12, 16, 1)) * np.arange(4)[:, None, None, None]
    expected = resize(np.array([[1.0, 5.0]]), (4,))[0] if pooled else np.arange(4)
    np.testing.assert_allclose(visualize_cam(model, -1, 0, x, normalize=False), expected, atol=1e-5)


def test_a_map_of_recurrent_convolutions_stays_over_height_and_width():
    # Its size is that of no axes of the input, and would fit time and width as well.
    frames = keras.Input((8, 12, 16, 1))
    recurrent = keras.layers.ConvLSTM2D(3, 3, 2, padding="same", name="recurrent")(frames)
    model = keras.Model(frames, keras.layers.Dense(1)(keras.layers.Flatten()(recurrent)))
    x = zoo.images(2, (8, 12, 16, 1))
    cams = visualize_cam(model, -1, 0, x, grad_modifier="absolute", normalize=False)
    assert cams.shape == (2, 12, 16)


def picture_made_of(shape):
    inputs = keras.Input(shape)
    features = keras.layers.Conv2D(3, 2, name="features")(keras.layers.Reshape((8, 6, 1))(inputs))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(features)))


def test_a_map_of_images_without_a_channel_axis():
    cam = visualize_cam(picture_made_of((8, 6)), -1, 0, zoo.images(1, (8, 6)), grad_modifier="absolute")
    assert cam.shape == (8, 6)


def test_a_map_of_a_picture_made_inside_the_model_has_its_size():
    with pytest.warns(VisWarning, match=r"'features' are made inside the model.*\(8, 6\)"):
        cam = visualize_cam(picture_made_of((48,)), -1, 0, zoo.images(1, (48,)), grad_modifier="absolute")
    assert cam.shape == (8, 6)


def test_a_map_that_belongs_to_no_one_axis_is_given_as_it_is():
    # Tokens that are no grid of patches, each of which reads the whole image.
    image = keras.Input((12, 16, 1))
    tokens = keras.layers.Reshape((11, 2), name="tokens")(keras.layers.Dense(22)(keras.layers.Flatten()(image)))
    model = keras.Model(image, keras.layers.Dense(1)(keras.layers.Flatten()(tokens)))
    with pytest.warns(VisWarning, match=r"the 11 rows of 'tokens' are not known to be places of the picture"):
        cam = visualize_cam(model, -1, 0, zoo.images(1, (12, 16, 1)), "tokens", grad_modifier="absolute")
    assert cam.shape == (11,)


def test_a_map_has_the_size_of_the_input_that_it_comes_from():
    image, signal = keras.Input((16, 16, 1)), keras.Input((12, 2))
    features = keras.layers.Conv1D(3, 3, name="features")(signal)
    pooled = [keras.layers.GlobalAveragePooling2D()(image), keras.layers.GlobalAveragePooling1D()(features)]
    model = keras.Model([image, signal], keras.layers.Dense(1)(keras.layers.Concatenate()(pooled)))
    x = [zoo.images(1, (16, 16, 1)), zoo.images(1, (12, 2))]
    assert visualize_cam(model, -1, 0, x, "features", grad_modifier="absolute").shape == (12,)


def half_seen(x, **options):
    """The map of a network whose feature map is its input averaged over 4 x 4 pixels."""
    model = keras.Sequential(
        [keras.Input((28, 20, 1)), keras.layers.AveragePooling2D(4), keras.layers.Flatten(), keras.layers.Dense(1)]
    )
    model.layers[-1].set_weights([np.ones((35, 1)), np.zeros(1)])
    return visualize_cam(model, None, 0, x, **options)


def test_a_map_keeps_the_size_of_its_feature_map_or_is_interpolated_cubically_within_its_range():
    x = np.random.default_rng(0).random((2, 28, 20, 1)).astype("float32")
    own = half_seen(x, interpolation=None)
    pooled = x.reshape(2, 7, 4, 5, 4).mean(axis=(2, 4))
    low, high = (end(pooled, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    np.testing.assert_allclose(own, (pooled - low) / (high - low), atol=1e-6)
    cubic = half_seen(x, interpolation="cubic", normalize=False)
    raw = half_seen(x, interpolation=None, normalize=False)
    for smooth, each in zip(cubic, raw, strict=True):
        peer = np.asarray(Image.fromarray(each).resize((20, 28), Image.Resampling.BICUBIC))
        assert peer.max() > each.max()
        np.testing.assert_allclose(smooth, np.clip(peer, each.min(), each.max()), atol=1e-5)
    linear = half_seen(x, interpolation="linear")
    np.testing.assert_array_equal(half_seen(x), linear)
    assert np.abs(linear - half_seen(x, interpolation="cubic")).max() > 0.05
    with pytest.raises(ValueError, match="interpolation must be 'linear', 'cubic' or None, not 'nearest'"):
        half_seen(x, interpolation="nearest")
