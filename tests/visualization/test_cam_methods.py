"""The ways of weighing a class activation map beside plain NumPy, closed forms and plain loops."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.utils.arrays import resize
from vis.visualization import visualize_cam
from vis.visualization.cam import get

RAW = {"normalize": False, "relu": False, "interpolation": None}
BY_FORMULA = ["gradcam", "gradcam++", "layercam", "xgradcam", "hirescam", "eigencam", "eigengradcam"]
EVERY = [*BY_FORMULA, "scorecam", "ablationcam"]


def expected(method: str, activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """The map of one sample, from arrays of shape (*positions, channels), by loops over channels and positions."""
    shape, channels = activations.shape[:-1], activations.shape[-1]
    flat, slopes = (each.reshape(-1, channels).astype(np.float64) for each in (activations, gradients))
    if method.startswith("eigen"):
        values = flat if method == "eigencam" else slopes * flat
        centred = values - values.mean(axis=0)
        powers, directions = np.linalg.eigh(centred.T @ centred)
        map_ = values @ directions[:, np.argmax(powers)]
        sign = np.sign(np.corrcoef(map_, values.mean(axis=1))[0, 1])
        return (sign * map_).reshape(shape)
    map_ = np.zeros(len(flat))
    for a, g in zip(flat.T, slopes.T, strict=True):
        if method == "gradcam":
            map_ += g.mean() * a
        elif method == "gradcam++":
            weight = 0.0
            for slope in g:
                under = 2 * slope**2 + a.sum() * slope**3
                weight += (slope**2 / under if under else 0) * max(slope, 0)
            map_ += weight * a
        elif method == "layercam":
            map_ += np.maximum(g, 0) * a
        elif method == "xgradcam":
            map_ += (g * a).sum() / a.sum() * a if a.sum() else 0
        elif method == "hirescam":
            map_ += g * a
    return map_.reshape(shape)


def read(features, score) -> tuple[np.ndarray, np.ndarray]:
    """Features, and the gradients of each sample's score, a function of them."""
    features = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        total = tf.reduce_sum(score(features))
    return features.numpy(), tape.gradient(total, features).numpy()


def of_plain(model, x, labels) -> tuple[np.ndarray, np.ndarray]:
    """The feature map of the zoo's model, and its gradients."""
    reference = zoo.Reference(model)
    features = reference.features(tf.constant(x))
    return read(features, lambda features: tf.gather(reference.logits(features), labels, batch_dims=1))


@pytest.mark.parametrize("method", BY_FORMULA)
def test_each_is_its_formula(plain, method):
    x = zoo.images(3)
    labels = np.array([0, 3, 2])
    arrays = of_plain(plain, x, labels)
    raw = np.stack([expected(method, *pair) for pair in zip(*arrays, strict=True)])
    assert np.abs(raw).max() > 0
    zoo.assert_close(visualize_cam(plain, -1, labels[:, None], x, "conv2", method=method, **RAW), raw)
    shown = resize(np.maximum(raw, 0), (16, 16))
    zoo.assert_close(visualize_cam(plain, -1, labels[:, None], x, method=method, normalize=False), shown)
    unit = (shown - shown.min((1, 2), keepdims=True)) / np.ptp(shown, axis=(1, 2))[:, None, None]
    zoo.assert_close(visualize_cam(plain, -1, labels[:, None], x, method=method, batch_size=2), unit)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam"])
def test_behind_global_average_pooling_it_is_the_class_activation_map(method):
    # Zhou et al. 2015 (arXiv 1512.04150), equation 2: the dense layer's weights times the feature map.
    model, x = zoo.pooled(), zoo.images(2, (10, 8, 2))
    features = model.layers[0](x).numpy()
    cam = resize(np.maximum(features @ model.layers[-1].get_weights()[0][:, 1], 0), (10, 8))
    cam = np.stack([(each - each.min()) / np.ptp(each) for each in cam])
    zoo.assert_close(visualize_cam(model, -1, 1, x, method=method), cam)


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore::vis.VisWarning")
@pytest.mark.parametrize("method", EVERY)
def test_dead_channels_flat_maps_and_scores_of_zero_or_less_are_numbers(method):
    x = np.stack([np.ones((10, 8, 2)), *zoo.images(2, (10, 8, 2))]).astype("float32")
    for kernel in (-1.0, 0.0, 1.0):  # a score that is negative, zero, positive
        model = zoo.pooled()
        weights, bias = model.layers[0].get_weights()
        weights[..., 0] = 0  # a channel that is 0 everywhere, and one that is flat
        weights[..., 1], bias[1] = 0, 1
        model.layers[0].set_weights([weights, bias])
        model.layers[-1].set_weights([np.full((4, 3), kernel), np.zeros(3)])
        for options in (RAW, {}):
            maps = visualize_cam(model, -1, 1, x, method=method, **options)
            assert np.isfinite(maps).all()


@pytest.mark.parametrize("method", EVERY)
def test_a_sample_has_the_same_map_alone_in_a_batch_and_in_a_stream(plain, method):
    x = zoo.images(3)
    labels = [1, 4, 2]
    together = visualize_cam(plain, -1, np.reshape(labels, (3, 1)), x, method=method, batch_size=2)
    for i, label in enumerate(labels):
        np.testing.assert_allclose(visualize_cam(plain, -1, label, x[i], method=method), together[i], atol=1e-4)
    batches = iter([(x[:2], labels[:2]), (x[2:], labels[2:])])
    stream = np.concatenate(list(visualize_cam(plain, -1, None, batches, method=method)))
    np.testing.assert_allclose(stream, together, atol=1e-4)


def transposed(data_format: str) -> keras.Model:
    shape = (3, 8, 9) if data_format == "channels_first" else (8, 9, 3)
    inputs = keras.Input(shape)
    x = inputs
    if data_format == "channels_first":  # a CPU has no convolution of this format
        x = keras.layers.Permute((2, 3, 1))(x)
    x = keras.layers.Conv2D(4, 3, activation="relu", name="c")(x)
    if data_format == "channels_first":
        x = keras.layers.Permute((3, 1, 2), name="map")(x)
    x = keras.layers.GlobalMaxPooling2D(data_format=data_format)(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("method", EVERY)
def test_channels_first(method):
    last, first = transposed("channels_last"), transposed("channels_first")
    first.set_weights(last.get_weights())
    x = zoo.images(2, (8, 9, 3))
    maps = visualize_cam(last, -1, 1, x, method=method, normalize=False)
    assert np.abs(maps).max() > 0
    turned = visualize_cam(first, -1, 1, np.moveaxis(x, -1, 1), "map", method=method, normalize=False)
    zoo.assert_close(turned, maps)


@pytest.mark.parametrize("method", EVERY)
def test_half_precision_is_near_to_single(method):
    single, half = zoo.pooled(), None
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = zoo.pooled()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(single.get_weights())
    x = zoo.images(2, (10, 8, 2))
    maps = visualize_cam(half, -1, 1, x, method=method, **RAW)
    zoo.assert_close(maps, visualize_cam(single, -1, 1, x, method=method, **RAW), 3e-2)


def three_inputs() -> keras.Model:
    picture, depth, table = (
        keras.Input((8, 8, 3), name="picture"),
        keras.Input((8, 8, 1), name="depth"),
        keras.Input((4,)),
    )
    x = keras.layers.Concatenate()([picture, depth])
    x = keras.layers.Conv2D(5, 3, activation="relu", name="features")(x)
    x = keras.layers.Concatenate()([keras.layers.Flatten()(x), table])
    return keras.Model([picture, depth, table], keras.layers.Dense(2)(x))


@pytest.mark.parametrize("method", EVERY)
def test_several_inputs(method):
    model = three_inputs()
    x = [zoo.images(2, shape, seed=7) for shape in ((8, 8, 3), (8, 8, 1), (4,))]
    found = visualize_cam(model, -1, 1, x, "features", method=method, **RAW)
    kernel, bias = model.layers[-1].get_weights()
    features = model.get_layer("features")(np.concatenate(x[:2], axis=-1)).numpy()

    def score(features):
        flat = tf.reshape(features, [len(features), -1])
        return (tf.concat([flat, x[2][: len(features)]], axis=1) @ kernel + bias)[:, 1]

    def masked(i, k):
        mask = resize(features[None, i, ..., k], (8, 8))[0, ..., None]
        mask = ((mask - mask.min()) / np.ptp(mask)).astype("float32")
        return float(model([x[0][i : i + 1] * mask, x[1][i : i + 1] * mask, x[2][i : i + 1]])[0, 1])

    if method in BY_FORMULA:
        wanted = [expected(method, *pair) for pair in zip(*read(features, score), strict=True)]
    elif method == "scorecam":
        scores = np.exp([[masked(i, k) for k in range(5)] for i in (0, 1)])
        wanted = [features[i] @ (scores[i] / scores[i].sum()) for i in (0, 1)]
    else:
        base = score(features).numpy()
        without = np.stack([score(features * (np.arange(5) != k)).numpy() for k in range(5)], axis=-1)
        wanted = [features[i] @ ((base[i] - without[i]) / abs(base[i])) for i in (0, 1)]
    zoo.assert_close(found, np.stack(wanted))


def test_a_layer_that_is_called_twice_has_the_maps_of_each_call():
    # Only the second call counts for the nearest; by its name both do.
    inputs = keras.Input((8, 8, 2))
    layer = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="twice")
    x = layer(layer(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    sample = np.abs(zoo.images(1, (8, 8, 2))[0])
    both = visualize_cam(model, -1, 1, sample, "twice", method="ablationcam", **RAW)
    assert both.shape == (2, 8, 8)
    features = [layer(sample[None]).numpy()]
    features.append(layer(features[0]).numpy())
    kernel, bias = model.layers[-1].get_weights()

    def score(last):
        return float(np.ravel(last) @ kernel[:, 1] + bias[1])

    for call, found in enumerate(both):
        weights = []
        for k in range(2):
            without = features[call] * (np.arange(2) != k)
            weights.append(score(layer(without).numpy() if call == 0 else without))
        weights = (score(features[1]) - np.array(weights)) / abs(score(features[1]))
        zoo.assert_close(found, features[call][0] @ weights)
    nearest = visualize_cam(model, -1, 1, sample, method="ablationcam", **RAW)
    zoo.assert_close(nearest, both[1])


def test_a_function_is_a_method(plain):
    x = zoo.images(2)
    largest = visualize_cam(plain, -1, 2, x, method=lambda *arrays: np.prod(arrays, axis=0).max(axis=-1), **RAW)
    features, gradients = of_plain(plain, x, [2, 2])
    zoo.assert_close(largest, (features * gradients).max(axis=-1))


@pytest.mark.parametrize("shape", [(3, 3, 40), (5, 4, 6)])
def test_eigencam_of_more_and_of_fewer_channels_than_positions(shape):
    features = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    found = get("eigencam")(features, None)
    for map_, sample in zip(found, features, strict=True):
        np.testing.assert_allclose(map_, expected("eigencam", sample, sample), atol=1e-10)


def test_eigencam_of_a_flat_feature_map_is_flat():
    assert np.ptp(get("eigencam")(np.ones((1, 2, 2, 9), np.float32), None)) == 0
