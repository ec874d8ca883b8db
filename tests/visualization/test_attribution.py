"""What all methods share: batches one after the other instead of an array, and maps in the structure of the inputs."""

from __future__ import annotations

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from PIL import Image

from vis.engine.addressing import NEAREST
from vis.engine.inputs import ModelInputs
from vis.engine.types import Source
from vis.losses import ActivationMaximization
from vis.visualization import (
    smoothgrad,
    smoothgrad_with_losses,
    visualize_cam,
    visualize_cam_with_losses,
    visualize_saliency,
    visualize_saliency_with_losses,
)
from vis.visualization.attribution import Attribution, arrays, is_stream, modified


@pytest.fixture
def seven(digits):
    """Seven digits and their labels; the last batch of two is then shorter."""
    return digits.x_test[::150], digits.y_test[::150]


@pytest.mark.parametrize("method", [visualize_saliency, visualize_cam])
def test_a_dataset_of_labelled_batches_explains_each_sample_s_label(digit_model, seven, method):
    x, y = seven
    results = method(digit_model, None, None, tf.data.Dataset.from_tensor_slices((x, y)).batch(2))
    assert isinstance(results, types.GeneratorType)
    results = list(results)
    assert [len(maps) for maps in results] == [2, 2, 2, 1]
    np.testing.assert_allclose(np.concatenate(results), method(digit_model, None, y[:, None], x), atol=1e-3)


def test_smoothgrad_draws_the_same_noise_for_every_batch(digit_model, seven):
    x, y = seven
    options = {"num_samples": 3, "seed": 4}
    results = list(smoothgrad(digit_model, None, None, ((x[i : i + 3], y[i : i + 3]) for i in (0, 3, 6)), **options))
    np.testing.assert_allclose(
        np.concatenate(results), smoothgrad(digit_model, None, y[:, None], x, **options), atol=1e-3
    )


def test_a_filter_that_is_given_holds_for_every_batch(digit_model, seven):
    x, y = seven
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    results = np.concatenate(list(visualize_saliency(digit_model, -1, 3, data)))
    np.testing.assert_allclose(results, visualize_saliency(digit_model, -1, 3, x), atol=1e-3)


def test_batches_without_labels_are_explained_for_all_filters(digit_model, seven):
    x, _ = seven
    (maps,) = visualize_saliency(digit_model, "conv6", None, tf.data.Dataset.from_tensors(x))
    np.testing.assert_allclose(maps, visualize_saliency(digit_model, "conv6", None, x), atol=1e-3)


@pytest.mark.parametrize(
    "method",
    [
        lambda model, losses, x: visualize_saliency_with_losses(model, losses, x),
        lambda model, losses, x: visualize_cam_with_losses(model, losses, x, "conv4"),
        lambda model, losses, x: smoothgrad_with_losses(model, losses, x, num_samples=2, seed=0),
    ],
)
def test_losses_hold_for_every_batch_or_come_with_it(digit_model, seven, method):
    x = seven[0]
    losses = [(ActivationMaximization(None, 5), -1)]
    expected = method(digit_model, losses, x)
    for question, batches in ((losses, iter([x[:4], x[4:]])), (None, ((part, losses) for part in (x[:4], x[4:])))):
        np.testing.assert_allclose(np.concatenate(list(method(digit_model, question, batches))), expected, atol=1e-3)


def test_nothing_is_computed_before_it_is_asked_for(digit_model, seven):
    taken = []

    def batches():
        for i in range(3):
            taken.append(i)
            yield seven[0][:2]

    results = visualize_saliency(digit_model, -1, 3, batches())
    assert taken == []
    next(results)
    assert taken == [0]


def test_lists_and_tuples_are_samples_as_ever(digit_model, seven):
    x = seven[0][:2]
    expected = visualize_saliency(digit_model, -1, 3, x)
    for samples in (list(x), tuple(x), x.tolist(), tf.constant(x)):
        np.testing.assert_allclose(visualize_saliency(digit_model, -1, 3, samples), expected, atol=1e-3)


def test_smoothgrad_of_the_score_is_smoothgrad_of_the_filter(digit_model, seven):
    x = seven[0][:2]
    options = {"num_samples": 3, "seed": 1, "aggregate": "square"}
    np.testing.assert_allclose(
        smoothgrad_with_losses(digit_model, [(ActivationMaximization(None, 5), -1)], x, **options),
        smoothgrad(digit_model, None, 5, x, **options),
        atol=1e-5,
    )


def attribution(*maps, keys=None, names=("a", "b")):
    """Raw maps of two samples as data: for each source a list of arrays, one per call."""
    arrays = [np.zeros((2, 1))] * len(maps)
    sources = [Source(name, len(calls), 2, None, i) for i, (name, calls) in enumerate(zip(names, maps, strict=False))]
    return Attribution(sources, list(maps), np.zeros((1, 2)), ModelInputs(arrays, keys, None, [], list(names)))


ONE, OTHER = np.array([[1.0, -4.0], [2.0, 2.0]]), np.array([[0.0, 8.0], [6.0, 2.0]])


def test_the_total_is_over_all_sources_and_calls():
    assert attribution([ONE, OTHER], [OTHER[:, :1]]).total().tolist() == [5.0, 18.0]


def test_maps_come_in_the_structure_of_the_inputs():
    def found(attributed, wrt=None, finish=None):
        return arrays(attributed, wrt, finish=finish, squeeze=False)

    np.testing.assert_array_equal(found(attribution([ONE])), ONE)
    np.testing.assert_array_equal(found(attribution([ONE, OTHER])), np.stack([ONE, OTHER], axis=1))
    uneven = found(attribution([ONE, OTHER[:, :1]]))
    assert [each.shape for each in uneven] == [(2, 2), (2, 1)]
    both = attribution([ONE], [OTHER])
    assert isinstance(found(both), list)
    assert list(found(both._replace(inputs=attribution([ONE], [OTHER], keys=["x", "y"]).inputs))) == ["x", "y"]
    assert list(found(both, NEAREST)) == ["a", "b"]
    assert len(found(attribution([ONE]), ["a"])) == 1
    halved = found(attribution([ONE]), finish=lambda one: one / np.abs(one).max())
    assert halved.tolist() == [[0.25, -1.0], [1.0, 1.0]]


def test_what_is_a_stream_and_what_are_samples():
    for samples in ([1], (1,), {"x": 1}, "text", np.ones(2), tf.ones(2), Image.new("L", (2, 2)), 3):
        assert not is_stream(samples)
    for batches in (iter([1]), (each for each in [1]), tf.data.Dataset.range(2), {1, 2}):
        assert is_stream(batches)


def test_addresses_are_translated_into_what_a_modifier_made_of_the_model():
    model = zoo.nested()

    def copied(model):
        return keras.models.clone_model(model)

    addresses = [model.inputs[0], model.layers[-1], -1, None, [model.layers[1]]]
    seen, symbol, layer, index, nothing, several = modified(model, copied, *addresses)
    assert seen is not model
    assert symbol is seen.inputs[0]
    assert (layer, index, nothing, several) == ("scores", -1, None, ["body"])
    same, *unchanged = modified(model, "guided", *addresses)
    assert same.model is model
    assert all(one is other for one, other in zip(unchanged, addresses, strict=True))
