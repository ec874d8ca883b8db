"""ScoreCAM and AblationCAM beside loops over channels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import zoo

from vis.utils.arrays import resize
from vis.visualization import visualize_cam
from vis.visualization.cam import AblationCAM, ScoreCAM, get
from vis.visualization.cam_scores import weighted

RAW = {"normalize": False, "relu": False, "interpolation": None}


def masked_scores(model, x, features, label) -> np.ndarray:
    scores = []
    for k in range(features.shape[-1]):
        mask = resize(features[None, ..., k], x.shape[:2])[0]
        span = np.ptp(mask)
        mask = (mask - mask.min()) / span if span else np.zeros_like(mask)
        scores.append(float(model(x[None] * mask[None, ..., None].astype("float32"))[0, label]))
    return np.array(scores)


def ablated_scores(model, features, label) -> np.ndarray:
    scores = []
    for k in range(features.shape[-1]):
        without = features.copy()
        without[..., k] = 0
        scores.append(float(model.layers[2](model.layers[1](without[None]))[0, label]))
    return np.array(scores)


@pytest.mark.parametrize("max_filters", [None, 3])
def test_scorecam_is_a_loop_over_channels(max_filters):
    model, x = zoo.pooled(features=6), zoo.images(2, (10, 8, 2))
    labels = [2, 0]
    found = visualize_cam(model, -1, [[2], [0]], x, method=ScoreCAM(max_filters), batch_size=4, **RAW)
    for sample, label, map_ in zip(x, labels, found, strict=True):
        features = model.layers[0](sample[None])[0].numpy()
        scores = masked_scores(model, sample, features, label)
        kept = np.argsort(-features.std(axis=(0, 1)))[:max_filters]
        weights = np.zeros(6)
        weights[kept] = np.exp(scores[kept]) / np.exp(scores[kept]).sum()
        zoo.assert_close(map_, features @ weights)


@pytest.mark.parametrize("max_filters", [None, 3])
def test_ablationcam_is_a_loop_over_channels(max_filters):
    model, x = zoo.pooled(features=6), zoo.images(2, (10, 8, 2))
    labels = [2, 0]
    for penultimate in (None, "features"):
        found = visualize_cam(model, -1, [[2], [0]], x, penultimate, method=AblationCAM(max_filters), **RAW)
        for sample, label, map_ in zip(x, labels, found, strict=True):
            features = model.layers[0](sample[None])[0].numpy()
            score = float(model(sample[None])[0, label])
            kept = np.argsort(-features.std(axis=(0, 1)))[:max_filters]
            weights = np.zeros(6)
            weights[kept] = ((score - ablated_scores(model, features, label)) / abs(score))[kept]
            zoo.assert_close(map_, features @ weights)


def test_no_new_trace_for_another_class_or_picture():
    from vis.engine import cache

    model = zoo.pooled()
    for label in (0, 1):
        for method in ("scorecam", "ablationcam"):
            visualize_cam(model, -1, label, zoo.images(1, (10, 8, 2), seed=label), method=method)
    assert cache.traced(model) == 3  # the feature map, the masked and the ablated scores


def test_tokens_cannot_be_masked():
    layers = [keras.layers.Embedding(9, 4), keras.layers.Conv1D(3, 2, name="c"), keras.layers.GlobalMaxPooling1D()]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers, keras.layers.Dense(2)])
    tokens = np.arange(6)
    with pytest.raises(ValueError, match="method must be another than 'scorecam' for 'c'.* Choose 'ablationcam'"):
        visualize_cam(model, -1, 0, tokens, "c", method="scorecam")
    assert visualize_cam(model, -1, 0, tokens, "c", method="ablationcam", relu=False).shape == (6,)


def test_max_filters_is_a_number_of_channels():
    for kind in (ScoreCAM, AblationCAM):
        with pytest.raises(ValueError, match="max_filters must be a whole number of at least 1, or None, not 0"):
            kind(0)
        assert isinstance(get(kind), kind)


def test_weighted_is_the_sum_over_channels_in_double_precision():
    # In single precision, 1e8 + 1 is 1e8.
    activations = np.array([[[1e8, 1.0, -1e8], [2.0, 3.0, 4.0]]], np.float32)
    np.testing.assert_array_equal(weighted(activations, np.array([[1.0, 1.0, 1.0]])), [[1.0, 9.0]])
    np.testing.assert_array_equal(weighted(activations, np.array([[0.0, 2.0, -1.0]]))[0, 1], 2.0)
