"""How many labels are wrong: by hand, and beside what cleanlab finds (see `references/make_confident_learning.py`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vis.influence.confident_learning import confident_classes, confident_joint, count_errors

LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [
        [0.9, 0.05, 0.05],  # the thresholds are 0.5, 0.5 and 0.4
        [0.1, 0.8, 0.1],
        [0.5, 0.3, 0.2],
        [0.2, 0.6, 0.2],
        [0.3, 0.4, 0.3],
        [0.55, 0.05, 0.4],
    ]
)


@pytest.fixture(scope="module")
def cleanlab():
    with np.load(Path(__file__).parent / "references" / "confident_learning.npz") as file:
        return {name: file[name] for name in file}


def test_an_example_is_of_the_most_probable_class_among_those_that_reach_their_thresholds():
    assert confident_classes(LABELS, PROBABILITIES).tolist() == [0, 1, 0, 1, -1, 0]


def test_the_joint_counts_labels_by_confident_classes():
    assert confident_joint(LABELS, PROBABILITIES).tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert count_errors(LABELS, PROBABILITIES) == 2


def test_an_example_that_is_predicted_as_labelled_is_no_error():
    labels = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.99, 0.01], [0.6, 0.4], [0.7, 0.3], [0.65, 0.35]])
    # The second is confidently of class 1, whose threshold is 0.325, but more probably of class 0, as it is labelled.
    assert confident_classes(labels, probabilities).tolist() == [0, 1, -1, 1]
    assert count_errors(labels, probabilities) == 0


def test_no_example_is_confidently_of_a_class_that_no_label_names():
    labels, probabilities = np.array([0, 1]), np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    assert confident_classes(labels, probabilities).tolist() == [0, 1]
    assert confident_joint(labels, probabilities)[:, 2].tolist() == [0, 0, 0]


def test_it_is_what_cleanlab_finds_where_that_follows_the_paper(cleanlab):
    labels, probabilities = cleanlab["labels"], cleanlab["probabilities"].astype(np.float64)
    thresholds = [probabilities[labels == each, each].mean() for each in range(10)]
    reached = probabilities >= np.subtract(thresholds, 1e-6)
    # Where several classes reach their thresholds cleanlab takes the most probable of all, even one that does not.
    highest = probabilities.argmax(axis=1)
    same = (reached.sum(axis=1) < 2) | reached[np.arange(len(labels)), highest]
    assert same.mean() > 0.99
    classes = confident_classes(labels, probabilities)
    ours = (classes >= 0) & (classes != labels) & (highest != labels)
    np.testing.assert_array_equal(ours[same], cleanlab["issues"][same])
    joint = confident_joint(labels, probabilities)
    assert np.abs(joint - cleanlab["joint"]).sum() <= 2 * np.count_nonzero(~same)
    assert abs(count_errors(labels, probabilities) - cleanlab["count"]) <= np.count_nonzero(~same)
    assert abs(count_errors(labels, probabilities) - len(cleanlab["flipped"])) < 0.1 * len(cleanlab["flipped"])
