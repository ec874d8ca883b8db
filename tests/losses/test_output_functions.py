"""Differences, segmentations and similarities as targets, beside gradients written by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentTypeError
from vis.engine import cache
from vis.losses import Difference, OutputFunction, Segmentation, Similarity
from vis.visualization import visualize_saliency, visualize_saliency_with_losses

RAW = {"normalize": False, "grad_modifier": None}
RNG = np.random.default_rng(0)
X = RNG.random((3, 6, 7, 1)).astype("float32")


@pytest.fixture(scope="module")
def classifier():
    layers = [keras.layers.Conv2D(3, 3, activation="tanh"), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    return keras.Sequential([keras.Input((6, 7, 1)), *layers])


def segmenter(channels=3, activation="softmax", first=False):
    layers = [keras.layers.Conv2D(4, 3, padding="same", activation="tanh"), keras.layers.Conv2D(channels, 1)]
    layers += [keras.layers.Activation(activation)]
    turn = [keras.layers.Permute((3, 1, 2))] if first else []
    return keras.Sequential([keras.Input((6, 7, 1)), *layers, *turn])


def slope(function, x=X):
    """The gradient of a function's values, one per sample."""
    with tf.GradientTape() as tape:
        tape.watch(watched := tf.constant(x))
        values = function(watched)
    return tape.gradient(values, watched).numpy()[..., 0]


def before_the_end(model):
    """The model's values before its last layer's softmax or sigmoid."""
    return keras.Model(model.inputs, model.layers[-2].output)


# Difference


def test_a_difference_is_that_of_the_two_classes(classifier):
    singles = [visualize_saliency(classifier, -1, label, X, **RAW) for label in range(4)]
    maps = visualize_saliency(classifier, -1, Difference(3, 1), X, **RAW)
    np.testing.assert_allclose(maps, singles[3] - singles[1], atol=1e-6)
    own = visualize_saliency(classifier, -1, Difference([3, 0, 2], 1), X, **RAW)
    np.testing.assert_allclose(own, [singles[label][i] - singles[1][i] for i, label in enumerate((3, 0, 2))], atol=1e-6)
    alone = visualize_saliency(classifier, None, Difference(0, 1), X[1], **RAW)
    np.testing.assert_allclose(alone, own[1], atol=1e-6)


def test_a_difference_of_probabilities_and_as_a_loss(classifier):
    expected = slope(lambda x: classifier(x)[:, 3] - classifier(x)[:, 1])
    maps = visualize_saliency(classifier, -1, Difference(3, 1), X, logits=False, **RAW)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    np.testing.assert_allclose(
        visualize_saliency_with_losses(classifier, [(Difference(3, 1), 1)], X, **RAW), expected, atol=1e-6
    )


def test_other_classes_masks_and_references_need_no_new_trace():
    model, network = segmenter(), keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh")])
    for i in range(3):
        visualize_saliency(model, -1, Difference(i, (i + 1) % 3), X)
        visualize_saliency(model, -1, Segmentation(i, RNG.random((6, 7)) < 0.5), X)
        visualize_saliency(model, -1, Segmentation(i, RNG.random((3, 6, 7)) < 0.5), X)
        visualize_saliency(network, -1, Similarity(RNG.normal(size=4)), np.ones(5))
    assert (cache.traced(model), cache.traced(network)) == (2, 1)


# Segmentation


@pytest.mark.parametrize("first", [False, True])
def test_a_segmentation_is_the_mean_logit_where_the_class_is_the_predicted_one(first):
    model = segmenter(first=first)
    model.layers[1].bias.assign([0.1, 0.0, 0.05])
    logits = keras.Model(model.inputs, model.layers[1].output)

    def mean(x):
        scores = logits(x)
        mask = tf.cast(tf.argmax(scores, axis=-1) == 0, tf.float32)
        assert 0 < tf.reduce_sum(mask) < tf.size(mask, out_type=tf.float32)
        return tf.reduce_sum(scores[..., 0] * mask, (1, 2)) / tf.reduce_sum(mask, (1, 2))

    maps = visualize_saliency(model, -1, Segmentation(0), X, **RAW)
    np.testing.assert_allclose(maps, slope(mean), atol=1e-6)
    alone = visualize_saliency(model, -1, Segmentation(0), X[2], batch_size=1, **RAW)
    np.testing.assert_allclose(alone, maps[2], atol=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_one_channel_counts_where_its_logit_is_positive(logits):
    model = segmenter(1, "sigmoid")
    before = before_the_end(model)

    def mean(x):
        scores = before(x)[..., 0]
        mask = tf.cast(scores > 0, tf.float32)
        assert tf.reduce_sum(mask) > 0
        scores = scores if logits else tf.sigmoid(scores)
        return tf.math.divide_no_nan(tf.reduce_sum(scores * mask, (1, 2)), tf.reduce_sum(mask, (1, 2)))

    maps = visualize_saliency(model, -1, Segmentation(0), X, logits=logits, **RAW)
    np.testing.assert_allclose(maps, slope(mean), atol=1e-6)


def test_a_mask_says_which_positions_count():
    model = segmenter()
    before, masks = before_the_end(model), RNG.random((3, 6, 7))
    weighted = slope(lambda x: tf.reduce_sum(before(x)[..., 1] * masks, (1, 2)) / masks.sum(axis=(1, 2)))
    maps = visualize_saliency(model, -1, Segmentation(1, masks), X, **RAW)
    np.testing.assert_allclose(maps, weighted, atol=1e-6)
    for i in range(3):
        alone = visualize_saliency(model, -1, Segmentation(1, masks[i]), X, **RAW)
        np.testing.assert_allclose(alone[i], weighted[i], atol=1e-6)
    classes = visualize_saliency(model, -1, Segmentation([1, 2, 1], masks), X, **RAW)
    np.testing.assert_allclose(classes[[0, 2]], weighted[[0, 2]], atol=1e-6)
    assert np.abs(classes[1] - weighted[1]).max() > 1e-3


def test_a_class_that_is_found_nowhere_has_no_gradient_and_says_so():
    model = segmenter()
    model.layers[1].bias.assign([9.0, 0.0, 0.0])
    with pytest.warns(UserWarning, match="zero everywhere"):
        maps = visualize_saliency(model, -1, Segmentation(2), X[0])
    assert not maps.any()


# Similarity


def test_a_similarity_is_the_cosine_with_the_reference():
    model = keras.Sequential([keras.Input((6, 7, 1)), keras.layers.Flatten(), keras.layers.Dense(4, "tanh")])
    references = RNG.normal(size=(3, 4)).astype("float32")

    def cosine(x, reference=references):
        found = model(x)
        return tf.reduce_sum(found * reference, 1) / tf.norm(found, axis=1) / tf.norm(reference, axis=-1)

    maps = visualize_saliency(model, None, Similarity(references), X, **RAW)
    np.testing.assert_allclose(maps, slope(cosine), atol=1e-6)
    shared = visualize_saliency(model, -1, Similarity(references[1]), X, **RAW)
    np.testing.assert_allclose(shared, slope(lambda x: cosine(x, references[1])), atol=1e-6)
    np.testing.assert_allclose(shared[1], maps[1], atol=1e-6)
    stream = iter([X[:2], X[2:]])
    streamed = np.concatenate(list(visualize_saliency(model, -1, Similarity(references[1]), stream, **RAW)))
    np.testing.assert_allclose(streamed, shared, atol=1e-6)


def test_an_embedding_of_zero_has_no_nan():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, use_bias=False)])
    assert np.isfinite(visualize_saliency(model, -1, Similarity([1.0, 0.0]), np.zeros(2), **RAW)).all()


# Refusals


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Difference(1.5, 0), "one must be a class, or one per sample, not 1.5"),
        (lambda: Difference(0, -1), "other must be counted from 0, not -1"),
        (lambda: Difference(0, 4), "filter_indices must be of classes from 0 to 3, not 4"),
        (lambda: Difference([0, 1], 2), "one value for all samples or one per sample, not 2 for 3 samples"),
        (lambda: Segmentation(0), r"not be a Segmentation for an output of shape \(None, 4\)"),
        (lambda: Segmentation(0, [[-1.0]]), "mask must be of booleans, or of weights"),
        (lambda: Similarity(np.ones(5)), "reference must have as many features as the output, .* not 5"),
        (lambda: Similarity(1.0), r"reference must have shape \(features,\) or \(samples, features\), not \(\)"),
    ],
)
def test_what_does_not_fit(classifier, make, message):
    with pytest.raises(ValueError, match=message):
        visualize_saliency(classifier, -1, make(), X)


def test_masks_that_do_not_fit():
    model = segmenter()
    with pytest.raises(ValueError, match=r"mask must have the shape of the output's positions, \(6, 7\), not \(7, 6\)"):
        visualize_saliency(model, -1, Segmentation(0, np.ones((7, 6))), X)
    with pytest.raises(ValueError, match="one value for all samples or one per sample, not 2 for 3 samples"):
        visualize_saliency(model, -1, Segmentation(0, np.ones((2, 6, 7))), X)
    with pytest.raises(ValueError, match="filter_indices must be of classes from 0 to 2, not 3"):
        visualize_saliency(model, -1, Segmentation(3), X)


# A detector


def detector():
    """A network that gives boxes, and the classes of each, for a grid of anchors."""
    picture = keras.Input((8, 8, 1))
    features = keras.layers.Conv2D(6, 3, 2, padding="same", activation="relu")(picture)
    boxes = keras.layers.Reshape((16, 4))(keras.layers.Conv2D(4, 1)(features))
    classes = keras.layers.Reshape((16, 3))(keras.layers.Conv2D(3, 1)(features))
    return keras.Model(picture, {"boxes": boxes, "classes": keras.layers.Activation("sigmoid")(classes)})


def test_a_box_and_a_class_of_a_detector_are_functions_of_its_dict():
    model, x = detector(), RNG.random((2, 8, 8, 1)).astype("float32")
    best = model(x)["classes"].numpy()[..., 2].argmax(axis=1)

    def score(output):
        return keras.ops.take_along_axis(output["classes"][..., 2], best[:, None], axis=1)[:, 0]

    maps = visualize_saliency(model, None, score, x, batch_size=2, logits=False, **RAW)
    expected = slope(lambda x: tf.gather(model(x)["classes"][..., 2], best, axis=1, batch_dims=1), x)
    np.testing.assert_allclose(maps, expected, atol=1e-6)
    # The box's right edge depends on the pixels of its own anchor alone, a neighbourhood of 3 x 3.
    edge = visualize_saliency(model, None, lambda output: output["boxes"][:, 5, 2], x[0], **RAW)
    rows, columns = np.nonzero(edge)
    assert rows.max() - rows.min() < 3
    assert columns.max() - columns.min() < 3
    logit = visualize_saliency(model, None, score, x, batch_size=2, **RAW)
    p = model(x)["classes"].numpy()[np.arange(2), best, 2][:, None, None]
    np.testing.assert_allclose(maps, logit * p * (1 - p), atol=1e-6)


class Unfinished(OutputFunction):
    """A class whose function is not written yet."""


def test_a_class_that_computes_nothing_is_named():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ArgumentTypeError, match=r"must compute something: Unfinished does not override of\(\)"):
        visualize_saliency(model, -1, Unfinished(), np.ones(3))


def test_an_error_of_a_function_s_own_is_not_taken_for_numpy():
    def unfinished(output):
        raise NotImplementedError("the other branch")

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(NotImplementedError, match="the other branch"):
        visualize_saliency(model, -1, unfinished, np.ones(3))
