"""Occlusion beside a plain loop over windows."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import zoo

from vis.engine import cache
from vis.visualization import occlusion

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def plain_loop(score, x, sizes, window, stride, fill, channel=-1):
    """Occlude one sample window by window; `score` is of a batch. (*positions)."""
    total, times = np.zeros(sizes), np.zeros(sizes)
    starts = []
    for size, width, step in zip(sizes, window, stride, strict=True):
        along = [0]
        while along[-1] + width < size:
            along.append(along[-1] + step)
        starts.append(along)
    for corner in itertools.product(*starts):
        where = tuple(slice(a, a + w) for a, w in zip(corner, window, strict=True))
        changed = x.copy()
        inside = where if channel is None else (slice(None), *where) if channel == 0 else (*where, slice(None))
        changed[inside] = np.broadcast_to(fill, x.shape)[inside]
        total[where] += score(x[None])[0] - score(changed[None])[0]
        times[where] += 1
    return total / np.maximum(times, 1)


def logits(model):
    """The scores before the softmax of the zoo's models, by a model of its own."""
    dense = model.layers[-1]
    before = keras.Model(model.input, dense.input)
    return lambda x: before(x).numpy() @ dense.get_weights()[0] + dense.get_weights()[1]


@pytest.mark.parametrize(
    ("window", "stride"),
    [(4, 2), (5, 5), ((3, 6), (4, 1)), (2, 5), (30, 1)],
    ids=["half", "cut", "pair", "gaps", "all"],
)
def test_it_is_a_loop_over_windows(window, stride):
    model, x = zoo.functional(), zoo.images(2)
    maps = occlusion(model, -1, [[1], [3]], x, window=window, stride=stride, fill=0.3, **RAW)
    assert maps.dtype == np.float32
    of_all = logits(model)
    pairs = [each if isinstance(each, tuple) else (each, each) for each in (window, stride)]
    for sample, label, found in zip(x, (1, 3), maps, strict=True):
        expected = plain_loop(lambda v, label=label: of_all(v)[:, label], sample, (16, 16), *pairs, 0.3)
        np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_default_is_an_eighth_and_half_of_that():
    model, x = zoo.functional(), zoo.images(1)[0]
    found = occlusion(model, -1, 2, x, **RAW)
    np.testing.assert_array_equal(found, occlusion(model, -1, 2, x, window=2, stride=1, **RAW))
    scaled = occlusion(model, -1, 2, x)
    np.testing.assert_allclose(scaled, found / np.abs(found).max(), rtol=1e-6)


@pytest.mark.parametrize("fill", ["mean", "blur", "colour", "picture"])
def test_what_fills_a_window(fill):
    model, x = zoo.functional(), zoo.images(1)[0]
    from vis.utils.arrays import blur

    colour, picture = np.array([0.1, 0.2, 0.3], "float32"), RNG.normal(size=x.shape).astype("float32")
    given = {"colour": colour, "picture": picture}.get(fill, fill)
    meant = {"mean": x.mean(axis=(0, 1)), "blur": blur(x, [0, 1]), "colour": colour, "picture": picture}[fill]
    found = occlusion(model, -1, 0, x, window=4, stride=4, fill=given, **RAW)
    of_all = logits(model)
    expected = plain_loop(lambda v: of_all(v)[:, 0], x, (16, 16), (4, 4), (4, 4), meant)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_channels_first():
    inputs = keras.Input((3, 16, 16))
    outputs = zoo.functional()(keras.layers.Permute((2, 3, 1))(inputs))
    model = keras.Model(inputs, outputs)
    x = zoo.images(2)
    first = occlusion(model, None, 1, np.moveaxis(x, -1, 1), window=4, fill="mean", channel_axis=0, **RAW)
    last = occlusion(zoo.functional(), None, 1, x, window=4, fill="mean", **RAW)
    np.testing.assert_allclose(first, last, atol=1e-6)


def test_a_linear_table_is_exact():
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(3)])
    x = RNG.normal(size=(2, 20))
    maps = occlusion(model, -1, [[0], [2]], x, fill=0.5, **RAW)
    np.testing.assert_allclose(maps, (x - 0.5) * model.get_weights()[0][:, [0, 2]].T, atol=1e-5)


def test_a_series_is_hidden_step_by_step_in_all_channels():
    model = keras.Sequential([keras.Input((10, 2)), keras.layers.Flatten(), keras.layers.Dense(1)])
    x = RNG.normal(size=(10, 2)).astype("float32")
    found = occlusion(model, -1, 0, x, window=1, channel_axis=-1, **RAW)
    np.testing.assert_allclose(found, (x * model.get_weights()[0].reshape(10, 2)).sum(axis=1), atol=1e-5)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_a_token_is_replaced_by_an_id(dtype):
    embedding = keras.layers.Embedding(10, 4)
    model = keras.Sequential([keras.Input((7,), dtype=dtype), embedding, keras.layers.LSTM(5), keras.layers.Dense(3)])
    tokens = np.array([3, 1, 4, 1, 5, 9, 2])
    for fill in (0, 8):
        found = occlusion(model, -1, 1, tokens, window=1, fill=fill, **RAW)
        expected = plain_loop(lambda v: model(v).numpy()[:, 1], tokens, (7,), (1,), (1,), fill, channel=None)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="fill must be a number or an array for tokens, which cannot be blurred"):
        occlusion(model, -1, 1, tokens, fill="blur")


def test_pixels_of_8_bits():
    inputs = keras.Input((16, 16, 3), dtype="uint8")
    model = keras.Model(inputs, zoo.functional()(keras.layers.Rescaling(1 / 255)(inputs)))
    x = RNG.integers(0, 255, (16, 16, 3), dtype=np.uint8)
    found = occlusion(model, None, 1, x, window=4, stride=4, fill="mean", **RAW)
    plain = zoo.functional()
    of_all = logits(plain)
    meant = np.round(x.mean(axis=(0, 1))) / np.float32(255)
    expected = plain_loop(lambda v: of_all(v)[:, 1], x / np.float32(255), (16, 16), (4, 4), (4, 4), meant)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_sample_alone_and_in_batches_of_any_size():
    model, x = zoo.functional(), zoo.images(3)
    together = occlusion(model, -1, [[0], [1], [2]], x, window=4, **RAW)
    for i in range(3):
        alone = occlusion(model, -1, i, x[i], window=4, batch_size=3, **RAW)
        np.testing.assert_allclose(alone, together[i], atol=5e-6)
    assert occlusion(model, -1, 0, x[:1], window=8, squeeze=False).shape == (1, 16, 16)


def test_a_model_of_one_batch_size_and_one_of_any_size():
    fixed = keras.Sequential([keras.Input(batch_shape=(4, 6)), keras.layers.Dense(2)])
    x = RNG.normal(size=(4, 6)).astype("float32")
    np.testing.assert_allclose(occlusion(fixed, -1, 1, x, **RAW), x * fixed.get_weights()[0][:, 1], atol=1e-5)
    pooled = [keras.layers.Conv2D(3, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
    any_size = keras.Sequential([keras.Input((None, None, 1)), *pooled])
    for shape in ((9, 12, 1), (16, 8, 1)):
        image = RNG.normal(size=shape).astype("float32")
        found = occlusion(any_size, -1, 1, image, window=4, stride=3, **RAW)
        expected = plain_loop(lambda v: any_size(v).numpy()[:, 1], image, shape[:2], (4, 4), (3, 3), 0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_new_trace_for_another_window_class_or_picture():
    model = zoo.functional()
    for label, window in [(0, 4), (1, 4), (2, 5)]:
        occlusion(model, -1, label, zoo.images(1, seed=label), window=window, stride=4, fill=0.1 * label)
    assert cache.traced(model) == 2  # the score of the picture, and those of the copies


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window must be a whole number of at least 1, not 0"),
        ({"stride": (1, 2, 3)}, "stride must be one number, or 2 for the position axes"),
        ({"fill": "black"}, "fill must be a number, an array, 'mean' or 'blur', not 'black'"),
        ({"fill": np.zeros((4, 4))}, "fill must be a number or an array of shape"),
        ({"fill": np.nan}, "fill must be finite"),
        ({"fill": {"z": 0}}, "fill must have a value for the input"),
        ({"inputs": "z"}, "inputs must be inputs of the model"),
        ({"inputs": 1}, "inputs must be inputs of the model"),
        ({"inputs": []}, "inputs must name at least one input"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=message):
        occlusion(zoo.functional(), -1, 0, zoo.images(1)[0], **options)
