"""What can be explained: filters, labels, marks, predictions and functions, each beside the class-by-class result."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import VisWarning
from vis.losses import Labels
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency, visualize_saliency_with_losses

RAW = {"normalize": False, "grad_modifier": None}
RNG = np.random.default_rng(0)
X = RNG.random((3, 8, 8, 1)).astype("float32")


@pytest.fixture(scope="module")
def classifier():
    layers = [
        keras.layers.Conv2D(3, 3, activation="tanh"),
        keras.layers.Flatten(),
        keras.layers.Dense(4, "softmax", name="scores"),
    ]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


@pytest.fixture(scope="module")
def binary():
    layers = [keras.layers.Conv2D(3, 3, activation="tanh"), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])


def class_by_class(model, labels, function=visualize_saliency, **options):
    return np.stack([function(model, -1, label, x, **RAW, **options) for label, x in zip(labels, X, strict=True)])


def stream(y, size=2):
    return tf.data.Dataset.from_tensor_slices((X, y)).batch(size)


@pytest.mark.parametrize("function", [visualize_saliency, visualize_cam, smoothgrad])
def test_the_predicted_class_of_each_sample(classifier, function):
    options = {"seed": 0, "num_samples": 3} if function is smoothgrad else {}
    labels = classifier.predict(X, verbose=0).argmax(axis=1)
    maps = function(classifier, -1, "predicted", X, **RAW, **options)
    np.testing.assert_allclose(maps, class_by_class(classifier, labels, function, **options), atol=1e-6)


def test_lists_of_different_lengths(classifier):
    maps = visualize_saliency(classifier, -1, [[0, 2], [1], [3, 1, 2]], X, **RAW)
    singles = [visualize_saliency(classifier, -1, label, X, **RAW) for label in range(4)]
    expected = [singles[0][0] + singles[2][0], singles[1][1], singles[3][2] + singles[1][2] + singles[2][2]]
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_a_function_of_the_output_is_read_before_the_softmax_or_after_it(classifier):
    margin = lambda output: output[:, 3] - output[:, 1]  # noqa: E731
    singles = [visualize_saliency(classifier, -1, label, X, **RAW) for label in (3, 1)]
    for layer in (-1, None, "scores"):
        maps = visualize_saliency(classifier, layer, margin, X, **RAW)
        np.testing.assert_allclose(maps, singles[0] - singles[1], atol=1e-5)
    after = visualize_saliency(classifier, None, margin, X, logits=False, **RAW)
    assert np.abs(after - maps).max() > 1e-3


@pytest.mark.parametrize("kind", ["int64", "float32", "bool"])
def test_labels_of_a_stream_may_be_marks(classifier, kind):
    y = np.eye(4, dtype=kind)[[2, 0, 3]]
    maps = np.concatenate(list(visualize_saliency(classifier, -1, None, stream(y), **RAW)))
    np.testing.assert_allclose(maps, class_by_class(classifier, [2, 0, 3]), atol=1e-6)


def test_several_marks_are_summed(classifier):
    (maps,) = visualize_saliency(classifier, -1, None, stream(np.array([[1, 1, 0, 0]] * 3), 3), **RAW)
    singles = [visualize_saliency(classifier, -1, label, X, **RAW) for label in (0, 1)]
    np.testing.assert_allclose(maps, singles[0] + singles[1], atol=1e-5)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_labels_of_a_stream_may_be_numbers_of_any_kind(classifier, shape, kind):
    labels = np.array([2, 0, 3], kind).reshape(shape)
    maps = np.concatenate(list(visualize_saliency(classifier, -1, None, stream(labels), **RAW)))
    np.testing.assert_allclose(maps, class_by_class(classifier, [2, 0, 3]), atol=1e-6)


def test_marks_given_as_filters_are_taken_with_a_warning(classifier):
    with pytest.warns(VisWarning, match=r"rows of 0 and 1 as wide as the output \(4\)"):
        maps = visualize_saliency(classifier, -1, np.eye(4, dtype=int)[[2, 0, 3]], X, **RAW)
    np.testing.assert_allclose(maps, class_by_class(classifier, [2, 0, 3]), atol=1e-6)


def test_a_flat_list_of_as_many_classes_as_samples_is_a_sum_and_says_so(classifier):
    with pytest.warns(VisWarning, match=r"every map explains the sum of all.*shape \(3, 1\)"):
        maps = visualize_saliency(classifier, -1, [2, 0, 3], X, **RAW)
    singles = [visualize_saliency(classifier, -1, label, X, **RAW) for label in (2, 0, 3)]
    np.testing.assert_allclose(maps, np.sum(singles, axis=0), atol=1e-5)


@pytest.mark.parametrize("labels", [[1, 0, 1], [[1.0], [0.0], [1.0]]])
def test_a_sigmoid_has_two_classes_as_labels(binary, labels):
    up = visualize_saliency(binary, -1, 0, X, **RAW)
    signs = np.array([1, -1, 1])[:, None, None]
    (maps,) = visualize_saliency(binary, -1, None, stream(np.array(labels), 3), **RAW)
    np.testing.assert_allclose(maps, signs * up, atol=1e-6)
    np.testing.assert_allclose(visualize_saliency(binary, -1, Labels(labels), X, **RAW), signs * up, atol=1e-6)


def test_the_predicted_class_of_a_sigmoid(binary):
    up = visualize_saliency(binary, -1, 0, X, **RAW)
    signs = np.where(binary.predict(X, verbose=0)[:, 0] >= 0.5, 1, -1)[:, None, None]
    np.testing.assert_allclose(visualize_saliency(binary, -1, "predicted", X, **RAW), signs * up, atol=1e-6)


def test_a_filter_of_a_sigmoid_is_its_unit(binary):
    with pytest.raises(ValueError, match="has one filter .*negate"):
        visualize_saliency(binary, -1, 1, X)


def test_a_regressor_s_targets_are_no_classes():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    x = RNG.random((4, 3))
    (maps,) = visualize_saliency(model, -1, None, iter([(x, np.array([0.3, -2.0, 0.1, 5.5]))]), **RAW)
    np.testing.assert_allclose(maps, visualize_saliency(model, -1, 0, x, **RAW), atol=1e-6)


def test_a_label_that_is_no_class(binary, classifier):
    with pytest.raises(ValueError, match="y must be 0 or 1 for a model of one output, not 2"):
        next(visualize_saliency(binary, -1, None, stream([0, 1, 2], 3)))
    with pytest.raises(ValueError, match="not 7: layer 'scores' has 4 filters"):
        next(visualize_saliency(classifier, -1, None, stream([0, 1, 7], 3)))


def test_a_wrong_word_for_filters(classifier):
    with pytest.raises(ValueError, match="'predicted', not 'best'"):
        visualize_saliency(classifier, -1, "best", X)


def two_outputs():
    x = keras.Input((4,))
    hidden = keras.layers.Dense(5, "tanh")(x)
    outputs = {"label": keras.layers.Dense(3, "softmax")(hidden), "box": keras.layers.Dense(2)(hidden)}
    return keras.Model(x, outputs)


def test_a_function_is_given_the_model_s_own_structure():
    model, x = two_outputs(), RNG.random((2, 4)).astype("float32")
    maps = visualize_saliency(model, None, lambda outputs: outputs["box"][:, 1], x, **RAW)
    np.testing.assert_allclose(maps, visualize_saliency(model, "box", 1, x, **RAW), atol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(watched := tf.constant(x))
        score = model(watched)["box"][:, 1]
    np.testing.assert_allclose(maps, tape.gradient(score, watched), atol=1e-6)
    losses = [(lambda outputs: outputs["box"][:, 1], 1)]
    np.testing.assert_allclose(visualize_saliency_with_losses(model, losses, x, **RAW), maps, atol=1e-6)


def test_an_output_is_addressed_by_its_key():
    model, x = two_outputs(), RNG.random((2, 4)).astype("float32")
    maps = visualize_saliency(model, "label", 2, x, **RAW)
    # A logit is the logarithm of its probability up to what all logits share.
    other = visualize_saliency(model, "label", 0, x, **RAW)
    with tf.GradientTape() as tape:
        tape.watch(watched := tf.constant(x))
        logit = tf.math.log(model(watched)["label"])
        score = logit[:, 2] - logit[:, 0]
    np.testing.assert_allclose(maps - other, tape.gradient(score, watched), atol=1e-5)
    with pytest.raises(ValueError, match="must name one output: the model gave 2 outputs.*'box', 'label'"):
        visualize_saliency(model, None, 0, x)


def test_a_keras_loss_is_no_target(classifier):
    with pytest.raises(TypeError, match="not the Keras loss .*lambda output"):
        visualize_saliency_with_losses(classifier, [(keras.losses.MeanSquaredError(), 1)], X)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.scores = keras.layers.Dense(1, activation="sigmoid")

    def call(self, x):
        return self.scores(x)


def test_the_label_of_a_single_output_that_only_a_trace_can_tell():
    model, x = Subclassed(), RNG.normal(size=(3, 4)).astype("float32")
    model(x)
    upward = model.scores.kernel.numpy()[:, 0]
    labels = np.array([0, 1, 0])
    maps = visualize_saliency(model, None, Labels(labels), x, **RAW)
    np.testing.assert_allclose(maps, np.where(labels == 0, -1, 1)[:, None] * upward, atol=1e-6)
    maps = visualize_saliency(model, None, "predicted", x, **RAW)
    np.testing.assert_allclose(maps, np.where(x @ upward < 0, -1, 1)[:, None] * upward, atol=1e-6)


def test_the_label_of_a_segmentation_with_its_single_channel_first():
    last = keras.layers.Conv2D(1, 3, activation="sigmoid")
    channels_last = keras.Sequential([keras.Input((8, 8, 1)), last])
    channels_first = keras.Sequential([keras.Input((8, 8, 1)), last, keras.layers.Permute((3, 1, 2))])
    for wanted in ("predicted", Labels([0, 1, 1])):
        maps = visualize_saliency(channels_first, None, wanted, X, **RAW)
        np.testing.assert_allclose(maps, visualize_saliency(channels_last, None, wanted, X, **RAW), atol=1e-7)
