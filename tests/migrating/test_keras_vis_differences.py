"""Each row of the second table of `docs/migrating.md`: how keras-vis differs, and what gives the same as it.

keras-vis does not run on Keras 3. What it computes is written out in NumPy and SciPy, from its source.
"""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from migrating_cases import KERAS_VIS, code, correlations, gradient, keras_vis_cam, tables

from vis.losses import ActivationMaximization
from vis.regularizers import LPNorm, TotalVariation
from vis.utils import utils
from vis.visualization import (
    visualize_activation,
    visualize_activation_with_losses,
    visualize_cam,
    visualize_saliency,
)

TABLE = tables(KERAS_VIS)[1]
ROWS = {row.key: row for row in TABLE}
TESTED = set()


def row(key: str):
    """Mark a test as that of a row: the one whose first code is `key`."""
    TESTED.add(key)
    return pytest.mark.parametrize("row", [ROWS[key]], ids=[key])


@row("visualize_cam")
def test_the_layer_after_a_convolution_counts(row, images):
    layers = [keras.layers.Conv2D(4, 3, name="conv2"), keras.layers.ReLU(name="relu")]
    ends = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(5)]
    inputs = features = keras.Input((28, 28, 1))
    for layer in [*layers, *ends]:
        features = layer(features)
    model = keras.Model(inputs, features)
    options = {"interpolation": None, "normalize": False, "relu": False}
    maps = visualize_cam(model, -1, 3, images[0], **options)
    np.testing.assert_array_equal(maps, visualize_cam(model, -1, 3, images[0], "relu", **options))
    named = visualize_cam(model, -1, 3, images[0], **eval(f"dict({code(row.note)[0]})"), **options)
    activations, gradients = gradient(model, images[:1], lambda logits: logits[:, 3], "conv2")
    expected = (activations * gradients.mean(axis=(1, 2), keepdims=True)).sum(axis=-1)[0]
    np.testing.assert_allclose(named, expected, rtol=1e-4, atol=1e-7)
    assert np.abs(named - maps).max() > 0.1 * np.abs(named).max()


@row("zoom")
def test_cams_are_enlarged_otherwise(row, names, model, images):
    enlarged = eval(code(row.note)[1].partition("(")[0], names)
    correlation, apart = map(float, re.findall(r"\d\.\d\d", row.here))
    theirs = np.stack([keras_vis_cam(model, images[i : i + 1], "conv2", 3 + 2 * i) for i in range(2)])
    ours = visualize_cam(model, -1, [[3], [5]], images, "conv2")
    assert min(correlations(theirs, ours)) == pytest.approx(correlation, abs=0.006)
    assert np.abs(theirs - ours).max() == pytest.approx(apart, abs=0.006)
    small = visualize_cam(model, -1, [[3], [5]], images, "conv2", interpolation=None, normalize=False)
    np.testing.assert_allclose(enlarged(small, images, order=3), theirs, atol=1e-5)


@row("visualize_activation")
def test_images_are_not_rescaled(row, names, model):
    image = visualize_activation(model, -1, 3, input_range=(0.0, 1.0), seed=0)
    unit = np.clip((image - image.mean()) / (image.std() + 1e-7) * 0.1 + 0.5, 0, 1)
    np.testing.assert_allclose(eval(code(row.note)[0], names | {"image": image}), 255 * unit, atol=1e-3)
    assert image.std() > 0.3
    assert unit.std() == pytest.approx(0.1, abs=1e-3)


@row("ActivationMaximization")
def test_the_log_probability_is_left_out_by_class_weight(row, model):
    options = {"input_range": (0.0, 1.0), "max_iter": 10, "seed": 0}
    theirs = [(ActivationMaximization(model.layers[-1], 3), 1), (LPNorm(model), 10), (TotalVariation(model), 10)]
    expected = visualize_activation_with_losses(model.input, theirs, **options)
    image = visualize_activation(model, -1, 3, **eval(f"dict({code(row.note)[0]})"), **options)
    np.testing.assert_allclose(image, expected, atol=1e-5)
    assert np.abs(visualize_activation(model, -1, 3, **options) - expected).max() > 0.01


@row("apply_modifications")
def test_the_softmax_is_explained_where_logits_are_declined(row, model, images):
    logits = eval(f"dict({code(row.note)[0]})")
    maps = visualize_saliency(model, -1, 3, images, normalize=False, **logits)
    slopes = gradient(model, images, lambda scores: tf.nn.softmax(scores)[:, 3])[1]
    np.testing.assert_allclose(maps, np.abs(slopes).max(axis=-1), rtol=1e-3, atol=1e-9)


@row("Optimizer")
def test_values_stay_within_the_range(row, model):
    for width in (1.0, 3.0):
        image = visualize_activation(model, -1, 3, input_range=(0.0, width), lp_norm_weight=0, tv_weight=0)
        assert image.max() == pytest.approx(width)
        assert image.min() >= 0


@row("GifGenerator")
def test_frames_are_labelled_by_a_subclass(row, names, model, tmp_path):
    frames = {}
    for name in (row.key, code(row.note)[0]):
        gif = names[name](str(tmp_path / name), input_range=(0.0, 1.0))
        visualize_activation(model, -1, 3, input_range=(0.0, 1.0), max_iter=2, seed=0, callbacks=[gif])
        assert (tmp_path / f"{name}.gif").exists()
        frames[name] = np.stack(gif.frames)
    bare, labelled = frames.values()
    changed = np.argwhere(bare != labelled)
    assert {frame for frame, *_ in changed.tolist()} == {0, 1}
    assert changed[:, 1].min() >= 10
    assert changed[:, 1].max() < 30


@row("np.max")
def test_tables_have_no_channels(row):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    table = np.ones((2, 4))
    maps = visualize_saliency(model, -1, 1, table, normalize=False)
    np.testing.assert_allclose(maps, [np.abs(model.layers[-1].kernel[:, 1])] * 2, rtol=1e-6)
    assert eval(code(row.note)[0], {"maps": maps}).shape == (2,)


@row("K.mean")
def test_samples_do_not_share_a_loss(row, model, images):
    options = {"normalize": False}
    both = visualize_saliency(model, -1, 3, images, **options)
    for i in range(2):
        alone = visualize_saliency(model, -1, 3, images[i], **options)
        np.testing.assert_allclose(both[i], alone, atol=1e-5 * alone.max())


@row("normalize")
def test_flat_maps(row):
    rng = np.random.default_rng(0)
    for array in (np.full(5, 3.0), rng.random(50)):
        theirs = (array - array.min()) / (array.max() - array.min() + 1e-7)
        np.testing.assert_allclose(utils.normalize(array), theirs, atol=1e-6)


def test_every_row_has_a_test():
    assert len(TABLE) == len(ROWS)
    assert set(ROWS) == TESTED


def test_there_is_no_third_table():
    assert len(tables(KERAS_VIS)) == 2
