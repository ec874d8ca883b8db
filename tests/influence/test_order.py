"""The examples of each step."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from influence.networks import assert_same, image_network, record

from vis.influence import (
    counterfactual_influence,
    load_training,
    sgd_influence,
)
from vis.influence.order import Order, checked_batches, checked_indices, consecutive, from_json, sizes_of, to_json


def test_every_epoch_sees_each_example_once_in_another_order(run):
    orders = [np.concatenate(run.order(epoch)) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(150))
    assert not np.array_equal(orders[0], orders[1])


def test_each_epoch_may_have_steps_of_its_own(images, small_images, tmp_path):
    lists = [[[0, 1], [2, 3, 4]], [[4, 2]], [[7], [8], [9, 1]]]
    options = {"optimizer": keras.optimizers.SGD(0.1, momentum=0.9), "epochs": 3}
    run = record(image_network(), *images, batches=lists, directory=tmp_path, **options)
    assert [[step.tolist() for step in run.order(epoch)] for epoch in range(3)] == lists
    # The same steps as one epoch.
    flat_run = record(
        image_network(), *images, batches=[step for steps in lists for step in steps], **{**options, "epochs": 1}
    )
    assert_same(run.state(3), flat_run.state(1))
    validation = small_images[0][150:170], small_images[1][150:170]
    ours, theirs = (sgd_influence(each, *validation, progress=False) for each in (run, flat_run))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    truths = [
        counterfactual_influence(each, *validation, indices=[1, 4, 9], progress=False) for each in (run, flat_run)
    ]
    np.testing.assert_allclose(*truths, rtol=1e-5, atol=1e-9)
    assert_same(load_training(tmp_path, *images).retrain().state(3), run.state(3))
    longer = record(
        image_network(), *images, batches=[*lists, [[5, 6]]], directory=tmp_path, **{**options, "epochs": 4}
    )
    assert longer.epochs == 4
    with pytest.raises(
        ValueError, match="batches must hold one list of steps for each of the 2 epochs, not 3. For the same"
    ):
        record(image_network(), *images, batches=lists, epochs=2)
    with pytest.raises(ValueError, match="batches must hold at least one step"):
        record(image_network(), *images, batches=[[[1]], []], epochs=2)


def as_lists(steps):
    return [step.tolist() for step in steps]


def test_steps_are_counted_whatever_the_batches_are():
    shuffled = Order(7, 3, seed=0)
    assert [len(step) for step in shuffled(4)] == [3, 3, 1]
    assert (shuffled.steps(2), shuffled.first_step(2)) == (3, 6)
    np.testing.assert_array_equal(np.concatenate(shuffled(4)), np.concatenate(Order(7, 7, seed=0)(4)))
    assert as_lists(shuffled(4)) != as_lists(Order(7, 3, seed=1)(4))
    per_epoch = Order(7, 3, 0, checked_batches([[[0], [1, 2]], [[3]], [[4]]], 7, 3))
    assert [per_epoch.first_step(epoch) for epoch in range(4)] == [0, 2, 3, 4]
    assert as_lists(per_epoch(0)) == [[0], [1, 2]]
    with pytest.raises(ValueError, match="batches must hold one list of steps per epoch, not 3 for 4 epochs"):
        per_epoch(3)


@pytest.mark.parametrize(
    "batches",
    [
        None,
        consecutive([2, 3, 1]),
        [np.array([2, 0]), np.array([1])],
        [[np.array([0, 1]), np.array([2])], [np.array([5])]],
    ],
    ids=["shuffled", "consecutive", "any", "an epoch each"],
)
def test_batches_go_through_json(batches):
    again = from_json(json.loads(json.dumps(to_json(batches))))
    if batches is None:
        assert again is None
    elif isinstance(batches[0], list):
        assert [as_lists(steps) for steps in again] == [as_lists(steps) for steps in batches]
    else:
        assert as_lists(again) == as_lists(batches)


def test_consecutive_batches_are_written_as_their_sizes():
    assert to_json(consecutive(sizes_of(1000, 300))) == {"sizes": [300, 300, 300, 100]}


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 5], "without must hold indices of examples, 0 to 4, not 5"),
        ([-1], "without must hold indices of examples, 0 to 4, not -1"),
        ([0.5], r"without must hold indices of examples, whole numbers, not float64 of shape \(1,\)"),
        ([[0, 1]], r"whole numbers, not int64 of shape \(1, 2\)"),
    ],
)
def test_what_is_no_index_is_refused(indices, message):
    with pytest.raises(ValueError, match=message):
        checked_indices(indices, 5, "without")
    assert checked_indices([], 5, "without").dtype == np.int64


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([0, 1, 2], r"batches must be a list of steps, not of ints\. Each step is a list or array of the indices"),
        (5, r"batches must be a list of steps, not int\. Each step"),
        ("ab", r"batches must be a list of steps, not str\. Each step"),
    ],
)
def test_what_is_no_list_of_steps_is_refused(batches, message):
    with pytest.raises(TypeError, match=message):
        checked_batches(batches, 5, 1)
