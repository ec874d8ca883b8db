"""RISE beside its formula with the same masks."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.engine import cache
from vis.visualization import rise, visualize_cam

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def enlarged(sizes, num_masks, grid, probability, seed):
    """The masks of section 3.2 by TensorFlow's own resizing: (masks, rows, columns)."""
    rng = np.random.default_rng(seed)
    seen = rng.random((num_masks, grid, grid), np.float32) < probability
    extents = np.array([-(-size // grid) for size in sizes])
    shifts = rng.integers(0, extents, (num_masks, 2))
    large = tf.image.resize(seen[..., None].astype("float32"), (grid + 1) * extents).numpy()[..., 0]
    corners = zip(large, shifts, strict=True)
    return np.stack([mask[a : a + sizes[0], b : b + sizes[1]] for mask, (a, b) in corners])


@pytest.mark.parametrize(("grid", "probability", "seed"), [(7, 0.5, 0), (4, 0.3, 5)])
def test_it_is_the_formula_with_the_same_masks(grid, probability, seed):
    model, x = zoo.functional(), zoo.images(2)
    options = {"num_masks": 150, "grid": grid, "probability": probability, "seed": seed}
    maps = rise(model, -1, [[1], [3]], x, **options, **RAW)
    masks = enlarged((16, 16), 150, grid, probability, seed)
    for sample, label, found in zip(x, (1, 3), maps, strict=True):
        scores = model(sample * masks[..., None]).numpy()[:, label]
        expected = sum(score * mask for score, mask in zip(scores, masks, strict=True)) / (150 * probability)
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    unit = rise(model, -1, [[1], [3]], x, **options)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(unit, (maps - low) / (high - low), atol=1e-4)


def test_logits():
    model, x = zoo.functional(), zoo.images(1)[0]
    before = keras.Model(model.input, model.layers[-1].input)
    kernel, bias = model.layers[-1].get_weights()
    masks = enlarged((16, 16), 50, 7, 0.5, 0)
    scores = (before(x * masks[..., None]).numpy() @ kernel + bias)[:, 2]
    found = rise(model, -1, 2, x, num_masks=50, logits=True, **RAW)
    np.testing.assert_allclose(found, np.tensordot(scores, masks, 1) / 25, atol=1e-5)


def test_masks_of_axes_of_different_sizes_and_channels_first():
    inputs = keras.Input((2, 13, 22))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(keras.layers.Permute((2, 3, 1))(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2)(pooled))
    x = RNG.normal(size=(2, 13, 22)).astype("float32")
    masks = enlarged((13, 22), 60, 5, 0.5, 0)
    scores = model(x * masks[:, None]).numpy()[:, 1]
    found = rise(model, -1, 1, x, num_masks=60, grid=5, **RAW)
    np.testing.assert_allclose(found, np.tensordot(scores, masks, 1) / 30, atol=1e-5)


def test_a_series_has_a_mask_over_its_steps():
    layers = [keras.layers.Conv1D(3, 3), keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((30, 2)), *layers])
    x = RNG.normal(size=(30, 2)).astype("float32")
    rng = np.random.default_rng(0)
    seen = rng.random((80, 7), np.float32) < 0.5
    shifts = rng.integers(0, [5], (80, 1))[:, 0]
    large = tf.image.resize(seen[:, :, None, None].astype("float32"), (40, 1)).numpy()[..., 0, 0]
    masks = np.stack([mask[shift : shift + 30] for mask, shift in zip(large, shifts, strict=True)])
    scores = model(x * masks[..., None]).numpy()[:, 1]
    found = rise(model, -1, 1, x, num_masks=80, **RAW)
    np.testing.assert_allclose(found, scores @ masks / 40, atol=1e-5)


@pytest.mark.parametrize("kind", ["table", "tokens"])
def test_features_and_tokens_are_cells(kind):
    embedded = [keras.layers.Embedding(10, 4), keras.layers.LSTM(5)] if kind == "tokens" else []
    inputs = keras.Input((9,), dtype="int32" if kind == "tokens" else "float32")
    model = keras.Sequential([inputs, *embedded, keras.layers.Dense(3, "softmax")])
    x = RNG.integers(1, 10, 9) if kind == "tokens" else RNG.normal(size=9).astype("float32")
    masks = np.random.default_rng(3).random((200, 9), np.float32) < 0.4
    scores = model(x * masks).numpy()[:, 1]
    found = rise(model, -1, 1, x, num_masks=200, probability=0.4, seed=3, **RAW)
    np.testing.assert_allclose(found, scores @ masks / 80, rtol=1e-5)


def test_a_linear_table_is_known_in_the_limit():
    # E[S(x·M) | M_i = 1] = x_i w_i + p Σ_{j≠i} x_j w_j.
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    x = RNG.normal(size=6).astype("float32")
    parts = x * model.get_weights()[0][:, 0]
    found = rise(model, -1, 0, x, num_masks=60000, **RAW)
    np.testing.assert_allclose(found, 0.5 * parts.sum() + 0.5 * parts, atol=0.03)


def test_a_sample_alone_and_in_batches_of_any_size():
    model, x = zoo.functional(), zoo.images(3)
    together = rise(model, -1, [[0], [1], [2]], x, num_masks=90, **RAW)
    for i in range(3):
        alone = rise(model, -1, i, x[i], num_masks=90, batch_size=7, **RAW)
        np.testing.assert_allclose(alone, together[i], rtol=1e-4)
    other = rise(model, -1, [[0], [1], [2]], x, num_masks=90, seed=1, **RAW)
    assert np.abs(other - together).max() > 1e-3


def test_no_new_trace_for_another_number_of_masks_or_probability():
    model = zoo.functional()
    for label, num_masks, probability in [(0, 20, 0.5), (1, 20, 0.5), (2, 33, 0.7)]:
        rise(model, -1, label, zoo.images(1), num_masks=num_masks, probability=probability)
    assert cache.traced(model) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_masks": 0}, "num_masks must be a whole number of at least 1"),
        ({"grid": 2.5}, "grid must be a whole number"),
        ({"probability": 0}, "probability must be above 0 and at most 1, not 0"),
        ({"probability": 1.5}, "probability must be above 0 and at most 1, not 1.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        rise(zoo.functional(), -1, 0, zoo.images(1)[0], **options)


def test_a_model_is_traced_once_for_its_scores_and_those_of_its_masked_copies():
    calls = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            calls.append(x)
            return x

    layers = [keras.layers.Conv2D(3, 3), Counted(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
    calls.clear()
    rise(model, -1, 0, RNG.normal(size=(8, 8, 1)), num_masks=20)
    assert len(calls) == 1
    visualize_cam(model, -1, 0, RNG.normal(size=(8, 8, 1)), method="scorecam", relu=False)
    assert len(calls) == 2  # once more, to be differentiated
