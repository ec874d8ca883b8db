"""LIME beside scikit-learn's ridge regression of the same samples, and on linear models."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import zoo
from sklearn.linear_model import Ridge

from vis.engine import cache
from vis.visualization import lime

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def squares(sizes, count=8):
    """Number the default grid's squares."""
    rows, columns = (np.arange(size) * count // size for size in sizes)
    return rows[:, None] * count + columns


def by_sklearn(score, x, segments, fill, num_samples, width=0.25, alpha=1.0, seed=0):
    """LIME by a loop and scikit-learn; `segments` has the shape of the positions, the channels come last."""
    count = segments.max() + 1
    z = np.random.default_rng(seed).integers(0, 2, (num_samples, count), np.uint8)
    z[0] = 1
    scores, distances = [], []
    for row in z:
        on = row[segments].astype(bool)
        on = on[..., None] if x.ndim > segments.ndim else on
        scores.append(score(np.where(on, x, fill)[None].astype(x.dtype))[0])
        cosine = row.sum() / np.sqrt(max(row.sum(), 1) * count)
        distances.append(1 - cosine)
    weights = np.sqrt(np.exp(-(np.array(distances) ** 2) / width**2))
    ridge = Ridge(alpha=alpha, fit_intercept=True).fit(z.astype(np.float64), scores, sample_weight=weights)
    return ridge.coef_[segments]


@pytest.mark.parametrize("options", [{}, {"kernel_width": 0.5, "alpha": 0.1, "seed": 4}], ids=["default", "other"])
def test_it_is_the_ridge_regression_of_scikit_learn(options):
    model, x = zoo.functional(), zoo.images(2)
    maps = lime(model, -1, [[1], [3]], x, num_samples=100, logits=False, **options, **RAW)
    renamed = {"width": options.get("kernel_width", 0.25), "alpha": options.get("alpha", 1.0)}
    for sample, label, found in zip(x, (1, 3), maps, strict=True):
        expected = by_sklearn(
            lambda v, label=label: model(v).numpy()[:, label], sample, squares((16, 16)), sample.mean(axis=(0, 1)),
            100, seed=options.get("seed", 0), **renamed,
        )  # fmt: skip
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["table", "picture", "series"])
def test_a_linear_model_is_exact_without_a_penalty(kind):
    shape = {"table": (9,), "picture": (16, 16, 2), "series": (12, 2)}[kind]
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(2)])
    x = RNG.normal(size=shape).astype("float32")
    parts = (x - 0.2) * model.get_weights()[0][:, 1].reshape(shape)
    parts = parts if kind == "table" else parts.sum(axis=-1)
    if kind == "picture":
        grid = squares((16, 16))
        parts = np.bincount(grid.ravel(), parts.ravel())[grid]
    found = lime(model, -1, 1, x, fill=0.2, alpha=0.0, num_samples=200, channel_axis=-1, **RAW)
    np.testing.assert_allclose(found, parts, atol=1e-5)


def test_tokens():
    layers = [keras.layers.Embedding(10, 4), keras.layers.LSTM(5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    tokens = np.array([3, 1, 4, 1, 5, 9, 2], "int32")
    for options, fill in [({}, 0), ({"fill": 8}, 8)]:
        found = lime(model, -1, 1, tokens, num_samples=60, **options, **RAW)
        expected = by_sklearn(lambda v: model(v).numpy()[:, 1], tokens, np.arange(7), fill, 60)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sample_alone_and_in_batches_of_any_size_and_the_largest_magnitude():
    model, x = zoo.functional(), zoo.images(2)
    together = lime(model, -1, [[0], [1]], x, num_samples=70, **RAW)
    for i in range(2):
        alone = lime(model, -1, i, x[i], num_samples=70, batch_size=9, **RAW)
        np.testing.assert_allclose(alone, together[i], atol=1e-5)
    unit = lime(model, -1, [[0], [1]], x, num_samples=70)
    np.testing.assert_allclose(unit, together / np.abs(together).max(axis=(1, 2), keepdims=True), atol=1e-5)


def test_no_new_trace_for_other_segments_or_numbers_of_samples():
    model = zoo.functional()
    for label, segments, num_samples in [(0, None, 20), (1, squares((16, 16), 2), 20), (2, None, 33)]:
        lime(model, -1, label, zoo.images(1), segments=segments, num_samples=num_samples)
    assert cache.traced(model) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"kernel_width": 0}, "kernel_width must be above 0"),
        ({"alpha": -1}, "alpha must be at least 0"),
        ({"segments": np.zeros((4, 4), int)}, "segments must have the shape of the positions"),
        ({"segments": np.zeros((16, 16))}, "segments must be of whole numbers"),
        ({"segments": "felzenszwalb"}, "segments must be an int array, 'slic' or None"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        lime(zoo.functional(), -1, 0, zoo.images(1)[0], **options)
