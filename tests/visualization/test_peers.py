"""`vis` beside what captum and pytorch-grad-cam gave for the same networks, stored by `references/make.py`.

Raw maps throughout: signed, not normalized, and class activation maps at the feature map's own size.
"""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from peer_cases import CLASSES, FILE, LAYERS, LINES, METHODS, NETWORKS, OUTPUTS, PICTURE, SHAPE, WINDOWS, key

from vis.visualization import integrated_gradients, occlusion, visualize_cam

REFERENCES = np.load(FILE)
X = REFERENCES["x"]


def vgg() -> keras.Model:
    """Torch's `vgg` of `make.py`, its activations within the layers."""
    layers = [keras.Input(SHAPE)]
    for i, filters in enumerate((6, 6, 8, 8), 1):
        layers.append(keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}"))
        if i % 2 == 0:
            layers.append(keras.layers.MaxPooling2D())
    dense = keras.layers.Dense(16, activation="relu", name="dense")
    scores = keras.layers.Dense(OUTPUTS, activation="softmax", name="scores")
    return keras.Sequential([*layers, keras.layers.Flatten(), dense, scores])


def block(x, name: str, filters: int, stride: int = 1):
    """Torch's `Block`."""
    convolution = {"padding": "same", "use_bias": False}
    y = keras.layers.Conv2D(filters, 3, stride, name=f"{name}_conv1", **convolution)(x)
    y = keras.layers.ReLU()(keras.layers.BatchNormalization(name=f"{name}_bn1")(y))
    y = keras.layers.Conv2D(filters, 3, name=f"{name}_conv2", **convolution)(y)
    y = keras.layers.BatchNormalization(name=f"{name}_bn2")(y)
    if stride > 1:
        x = keras.layers.Conv2D(filters, 1, stride, name=f"{name}_shortcut")(x)
    return keras.layers.ReLU(name=f"{name}_out")(keras.layers.Add()([y, x]))


def residual() -> keras.Model:
    """Torch's `Residual`, with a softmax of its own."""
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, padding="same", name="stem")(inputs)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(name="bn")(x))
    x = block(block(x, "block1", 8), "block2", 12, stride=2)
    x = keras.layers.Dense(OUTPUTS, name="scores")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Softmax()(x))


def channels_last(kernel: np.ndarray) -> np.ndarray:
    """A kernel of torch's, (filters, channels, *sizes), as Keras has it; what has one axis is the same in both."""
    return np.moveaxis(kernel, (1, 0), (-2, -1)) if kernel.ndim > 1 else kernel


@pytest.fixture(scope="module", params=NETWORKS)
def network(request) -> tuple[str, keras.Model]:
    """A network's name, and the network with the stored weights."""
    name = request.param
    model = {"vgg": vgg, "residual": residual}[name]()
    for layer in model.layers:
        if not layer.weights:
            continue
        normalizes = isinstance(layer, keras.layers.BatchNormalization)
        parts = ("weight", "bias", "running_mean", "running_var") if normalizes else ("weight", "bias")
        stored = [key(name, f"{layer.name.replace('_', '.')}.{part}") for part in parts]
        layer.set_weights([channels_last(REFERENCES[each]) for each in stored if each in REFERENCES])
    return name, model


def assert_agree(maps: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Each sample's maps differ by no more than a share of its largest magnitude."""
    assert maps.shape == expected.shape
    axes = tuple(range(1, maps.ndim))
    assert (np.abs(maps - expected).max(axes) / np.abs(expected).max(axes)).max() <= tolerance


def target(classes: tuple[int, ...]) -> list[list[int]]:
    """A class per sample."""
    return [[each] for each in classes]


def test_the_networks_are_the_same(network):
    name, model = network
    logits = REFERENCES[key(name, "logits")]
    expected = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)


@pytest.mark.parametrize("line", LINES, ids=str)
def test_integrated_gradients_are_captum_s(network, line):
    name, model = network
    baseline = REFERENCES[PICTURE] if line.baseline == PICTURE else line.baseline
    options = {"baseline": baseline, "steps": line.steps, "quadrature": line.quadrature, "normalize": False}
    expected = REFERENCES[key(name, *line)]
    maps = integrated_gradients(model, -1, target(line.classes), X, keepdims=True, **options)
    assert_agree(maps, expected, 1e-5)
    summed = integrated_gradients(model, -1, target(line.classes), X, **options)
    assert_agree(summed, expected.sum(axis=-1), 1e-5)


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
def test_occlusion_is_captum_s(network, windows):
    name, model = network
    options = {
        "window": windows.window,
        "stride": windows.stride,
        "fill": REFERENCES[PICTURE] if windows.fill == PICTURE else windows.fill,
    }
    maps = occlusion(model, -1, target(windows.classes), X, normalize=False, progress=False, **options)
    assert_agree(maps, REFERENCES[key(name, *windows)], 1e-5)


@pytest.mark.filterwarnings("ignore:.* is negative everywhere:vis.VisWarning")
@pytest.mark.parametrize("classes", CLASSES, ids=str)
@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("method", METHODS)
def test_class_activation_maps_are_pytorch_grad_cam_s(network, method, depth, classes):
    name, model = network
    layer, _ = LAYERS[name][depth]
    options = {"method": method, "interpolation": None, "normalize": False}
    expected = REFERENCES[key(name, layer, method, classes)]
    maps = visualize_cam(model, -1, target(classes), X, layer, relu=False, **options)
    assert_agree(maps, expected, 1e-4)
    positive = visualize_cam(model, -1, target(classes), X, layer, **options)
    np.testing.assert_array_equal(positive, np.maximum(maps, 0))


def test_the_references_tell_the_methods_apart():
    """Two methods that gave the same maps here would let one stand in for the other."""
    for name, classes in itertools.product(NETWORKS, CLASSES):
        for layer, _ in LAYERS[name]:
            maps = [REFERENCES[key(name, layer, method, classes)] for method in METHODS]
            for one, other in itertools.combinations(maps, 2):
                assert np.abs(one - other).max() > 0.05 * np.abs(one).max()
