"""Which class a label names, and which probabilities a model's outputs are."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from influence.networks import BLOB_LABELS, BLOBS, linear
from keras import layers

from vis import ArgumentError
from vis.influence import label_errors
from vis.influence.classes import Classifier, class_numbers, classifier, loss_labels


def test_logits_are_understood_without_a_loss():
    plain = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=2, progress=False)
    logits = label_errors(linear(activation=None), BLOBS, BLOB_LABELS, epochs=2, progress=False)
    pd.testing.assert_frame_equal(plain, logits, rtol=1e-4)


def test_labels_may_be_one_hot_a_column_or_a_data_set():
    plain = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=2, progress=False)
    for y in (np.eye(3)[BLOB_LABELS], BLOB_LABELS[:, None], BLOB_LABELS.astype("float32")):
        pd.testing.assert_frame_equal(plain, label_errors(linear(), BLOBS, y, epochs=2, progress=False), rtol=1e-5)
    data_set = tf.data.Dataset.from_tensor_slices((BLOBS, BLOB_LABELS)).batch(7)
    pd.testing.assert_frame_equal(plain, label_errors(linear(), data_set, epochs=2, progress=False), rtol=1e-5)


def test_class_numbers_and_a_loss_of_one_hot_rows_go_together():
    model = linear()
    model.compile("adam", "categorical_crossentropy")
    compiled = label_errors(model, BLOBS, BLOB_LABELS, epochs=2, progress=False)
    plain = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=2, progress=False)
    pd.testing.assert_frame_equal(plain, compiled, rtol=1e-5)


def test_outputs_for_each_position_are_refused():
    model = keras.Sequential([keras.Input((5, 2)), layers.Dense(3, "softmax")])
    with pytest.raises(ArgumentError, match=r"model must have one row of class scores per example, not outputs of sha"):
        label_errors(model, np.zeros((9, 5, 2)), np.zeros((9, 5), int), progress=False)


def test_probabilities_of_every_ending():
    logits = np.log([[1.0, 3.0], [2.0, 2.0]]).astype(np.float32)
    assert Classifier(2, "softmax").probabilities(logits).numpy() == pytest.approx(np.array([[0.25, 0.75], [0.5, 0.5]]))
    # Each output by itself is 1/2, 3/4 and 2/3, 2/3.
    expected = np.array([[0.5, 0.75], [2 / 3, 2 / 3]]) / [[1.25], [4 / 3]]
    assert Classifier(2, "sigmoid").probabilities([logits]).numpy() == pytest.approx(expected)
    assert Classifier(2).probabilities(np.float32([[1, 3], [0, 0]])).numpy().tolist() == [[0.25, 0.75], [0, 0]]
    assert Classifier(1).probabilities(np.float32([0.25, 1.5])).numpy().tolist() == [[0.75, 0.25], [0, 1]]
    assert Classifier(1, "sigmoid").probabilities(np.float32([[0.0]])).numpy().tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(
    ("make", "loss", "told"),
    [
        (lambda: linear(), "sparse_categorical_crossentropy", Classifier(3)),
        (lambda: linear(1, "sigmoid"), "binary_crossentropy", Classifier(1)),
        (lambda: linear(1, "sigmoid"), "mean_squared_error", Classifier(1)),
        (
            lambda: linear(3, None),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            Classifier(3, "softmax"),
        ),
        (lambda: linear(3, None), keras.losses.BinaryCrossentropy(from_logits=True), Classifier(3, "sigmoid")),
        (lambda: linear(1, None), keras.losses.BinaryCrossentropy(from_logits=True), Classifier(1, "sigmoid")),
    ],
)
def test_how_a_model_tells_classes(make, loss, told):
    assert classifier(make(), keras.losses.get(loss), tf.TensorSpec((None, 2))) == told


def test_a_regressor_is_refused():
    with pytest.raises(ArgumentError, match="model must be a classifier, .* trained by 'mean_squared_error'"):
        classifier(linear(3, None), keras.losses.get("mean_squared_error"), tf.TensorSpec((None, 2)))


@pytest.mark.parametrize("y", [[2, 0], [[2], [0]], [2.0, 0.0], [[0, 0, 1], [1, 0, 0]]])
def test_class_numbers_of_every_form(y):
    found = class_numbers(np.array(y), Classifier(3))
    assert found.dtype == np.int64
    assert found.tolist() == [2, 0]


@pytest.mark.parametrize(
    ("y", "width", "message"),
    [
        ([0, 2], 1, "y must be a class from 0 to 1, not 2 as at index 1"),
        ([[0, 1]], 1, r"y must be a class from 0 to 1 per example, not an array of shape \(1, 2\)"),
        ([[0, 1]], 3, r"y must be a class from 0 to 2, or a one-hot row of 3 numbers per example, not .* \(1, 2\)"),
        ([[0, 1, 0], [0, 1, 1]], 3, r"not \[0, 1, 1\] as at index 1\. An example has one label"),
        ([[[0]]], 3, r"y must be one class per example, not an array of shape \(1, 1, 1\)"),
        ([0.5], 3, r"y must be a class from 0 to 2, not 0\.5\.$"),
    ],
)
def test_what_names_no_class(y, width, message):
    with pytest.raises(ArgumentError, match=message):
        class_numbers(np.array(y), Classifier(width))


def test_labels_as_each_loss_takes_them():
    classes, given = np.array([1, 0]), np.array([[0.0, 1.0], [1.0, 0.0]])

    def own(y, outputs):
        return y

    assert loss_labels(keras.losses.SparseCategoricalCrossentropy(), classes, Classifier(2), given) is classes
    assert loss_labels(keras.losses.CategoricalCrossentropy(), classes, Classifier(2), given).tolist() == given.tolist()
    assert loss_labels(keras.losses.binary_crossentropy, classes, Classifier(1), given).tolist() == [1.0, 0.0]
    assert loss_labels(own, classes, Classifier(2), given) is given
