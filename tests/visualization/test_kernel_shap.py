"""KernelSHAP beside Shapley values by brute force."""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest
import zoo

from vis.engine import cache
from vis.visualization import kernel_shap
from vis.visualization.kernel_shap import _coalitions

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def shapley(value, count):
    """Shapley values by their definition, from the value of a tuple of players."""
    values = np.zeros(count)
    for i in range(count):
        others = [j for j in range(count) if j != i]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for subset in itertools.combinations(others, size):
                values[i] += weight * (value((*subset, i)) - value(subset))
    return values


def of_coalitions(score, x, background, segments):
    """The value of each tuple of segments: the mean score over the background's rows, of all 2^M masks at once."""
    count = segments.max() + 1
    z = np.array(list(itertools.product([0, 1], repeat=count)), bool)
    on = z[:, segments]
    on = on[..., None] if x.ndim > segments.ndim else on
    scores = np.mean([score(np.where(on, x, row).astype(x.dtype)) for row in background], axis=0)
    table = {tuple(np.flatnonzero(row)): value for row, value in zip(z, scores.astype(np.float64), strict=True)}
    return lambda players: table[tuple(sorted(players))]


def table_model(features=8):
    layers = [keras.layers.Dense(16, "tanh"), keras.layers.Dense(16, "relu"), keras.layers.Dense(3)]
    return keras.Sequential([keras.Input((features,)), *layers])


@pytest.mark.parametrize("rows", [0, 1, 5], ids=["number", "array", "rows"])
def test_all_coalitions_of_eight_features(rows):
    model, x = table_model(), RNG.normal(size=(2, 8)).astype("float32")
    background = RNG.normal(size=(rows, 8)).astype("float32") if rows else np.full((1, 8), 0.5, "float32")
    given = {0: 0.5, 1: background[:1][0], 5: background}[rows]
    maps = kernel_shap(model, -1, [[0], [2]], x, background=given, **RAW)
    for sample, label, found in zip(x, (0, 2), maps, strict=True):
        value = of_coalitions(lambda v, label=label: model(v).numpy()[:, label], sample, background, np.arange(8))
        np.testing.assert_allclose(found, shapley(value, 8), atol=1e-5)


def test_segments_of_a_picture():
    model, x = zoo.functional(), zoo.images(2)
    segments = np.arange(16)[:, None] // 8 * 2 + np.arange(16) // 8
    background = zoo.images(3, seed=1)
    maps = kernel_shap(model, -1, 1, x, segments=segments, background=background, logits=False, **RAW)
    for sample, found in zip(x, maps, strict=True):
        value = of_coalitions(lambda v: model(v).numpy()[:, 1], sample, background, segments)
        np.testing.assert_allclose(found, shapley(value, 4)[segments], atol=1e-6)


def test_tokens_and_steps():
    layers = [keras.layers.Embedding(10, 4), keras.layers.LSTM(5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    tokens = np.array([3, 1, 4, 1, 5, 9], "int32")
    for background in ([[0] * 6], [[8] * 6, [2] * 6]):
        found = kernel_shap(model, -1, 1, tokens, background=background, **RAW)
        value = of_coalitions(lambda v: model(v).numpy()[:, 1], tokens, np.array(background), np.arange(6))
        np.testing.assert_allclose(found, shapley(value, 6), atol=1e-6)
    series = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(5), keras.layers.Dense(3)])
    x = RNG.normal(size=(6, 2)).astype("float32")
    value = of_coalitions(lambda v: series(v).numpy()[:, 1], x, np.zeros((1, 6, 2)), np.arange(6))
    np.testing.assert_allclose(kernel_shap(series, -1, 1, x, **RAW), shapley(value, 6), atol=1e-6)


def test_a_single_segment_has_the_whole_change():
    model, x = zoo.functional(), zoo.images(1)[0]
    found = kernel_shap(model, None, 1, x, segments=np.zeros((16, 16), int), logits=False, **RAW)
    change = model(x[None]).numpy()[0, 1] - model(0 * x[None]).numpy()[0, 1]
    np.testing.assert_allclose(found, change, atol=1e-6)


def test_samples_of_coalitions_sum_to_the_change_and_come_near():
    model, x = table_model(14), RNG.normal(size=14).astype("float32")
    exact = kernel_shap(model, -1, 1, x, num_samples=2**14, **RAW)
    change = (model(x[None]) - model(0 * x[None])).numpy()[0, 1]
    assert exact.sum() == pytest.approx(change, abs=1e-5)
    errors = []
    for num_samples in (200, 1500):
        found = [kernel_shap(model, -1, 1, x, num_samples=num_samples, seed=seed, **RAW) for seed in (0, 1)]
        assert found[0].sum() == pytest.approx(change, abs=1e-5)
        errors.append(np.abs(np.subtract(found, exact)).max())
        assert np.abs(found[0] - found[1]).max() > 0
    assert errors[1] < 0.02 * np.abs(exact).max()
    assert errors[1] < errors[0]


def test_the_default_grid_is_exact_on_a_linear_model():
    model = keras.Sequential([keras.Input((16, 16, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    x = RNG.normal(size=(16, 16, 2)).astype("float32")
    grid = np.arange(16)[:, None] // 2 * 8 + np.arange(16) // 2
    parts = (x * model.get_weights()[0].reshape(x.shape)).sum(axis=-1)
    found = kernel_shap(model, -1, 0, x, num_samples=400, channel_axis=-1, **RAW)
    np.testing.assert_allclose(found, np.bincount(grid.ravel(), parts.ravel())[grid], atol=1e-5)


@pytest.mark.parametrize(("count", "most"), [(3, 8), (8, 256), (8, 255), (13, 700), (64, 2176), (300, 500)])
def test_weights_are_the_kernel_s(count, most):
    z, weights = _coalitions(count, most, 0)
    assert len(z) == len(weights) + 2 <= most
    assert len(np.unique(z, axis=0)) == len(z)
    assert z[:2].tolist() == [[0] * count, [1] * count]
    sizes = z[2:].sum(axis=1)
    assert 0 < sizes.min() <= sizes.max() < count
    pairs = {row.tobytes() for row in z}
    assert all((1 - row).tobytes() in pairs for row in z)
    mass = [(count - 1) / (size * (count - size)) for size in range(1, count)]
    assert weights.sum() == pytest.approx(sum(mass))
    if 2**count <= most:
        for size in range(1, count):
            np.testing.assert_allclose(weights[sizes == size], mass[size - 1] / math.comb(count, size))


def test_a_sample_alone_and_in_batches_of_any_size():
    model, x = zoo.functional(), zoo.images(2)
    options = {"num_samples": 150, **RAW}
    together = kernel_shap(model, -1, [[0], [1]], x, **options)
    for i in range(2):
        alone = kernel_shap(model, -1, i, x[i], batch_size=9, **options)
        np.testing.assert_allclose(alone, together[i], atol=1e-4)


def test_each_of_several_inputs_by_itself():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], keras.ops.prod(a, axis=1, keepdims=True) * keras.ops.sum(b, axis=1, keepdims=True))
    x = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0])]
    # Of a product each factor has an equal share; with b as it is the product of a is taken 5 times.
    first, second = kernel_shap(model, None, 0, x, **RAW)
    np.testing.assert_allclose(first, [10, 10, 10], rtol=1e-5)
    np.testing.assert_allclose(second, [6, 24], rtol=1e-5)
    rows = {"a": np.array([[1.0, 2.0, 0.0], [1.0, 2.0, 1.5]])}
    found = kernel_shap(model, None, 0, x, background=rows, inputs=["a"], **RAW)
    np.testing.assert_allclose(found[0], [0, 0, 30 - 7.5], atol=1e-4)


def test_no_new_trace_for_another_background_or_number_of_coalitions():
    model = zoo.functional()
    for label, background, num_samples in [(0, 0.0, 20), (1, zoo.images(2), 20), (2, 0.5, 33)]:
        kernel_shap(model, -1, label, zoo.images(1), background=background, num_samples=num_samples)
    assert cache.traced(model) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 3}, "num_samples must be a whole number of at least 4"),
        ({"background": np.zeros((3, 4, 4, 3))}, "background must be a number or an array of shape"),
        ({"background": np.zeros((0, 16, 16, 3))}, "background must be a number or an array of shape"),
        ({"background": "mean"}, "background must be a number or an array, not 'mean'"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        kernel_shap(zoo.functional(), -1, 0, zoo.images(1)[0], **options)
