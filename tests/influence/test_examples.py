"""Examples and losses that fit a model, and those that do not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from influence.networks import assert_same, image_network, linear, record
from keras import layers

from vis import ArgumentError
from vis.influence import (
    influence_functions,
)
from vis.influence.examples import Examples, check_labels, check_labels_of, example_loss, same_examples


@pytest.mark.parametrize(
    ("activation", "units", "labels", "name"),
    [
        ("softmax", 2, np.int64, "sparse_categorical_crossentropy"),
        ("sigmoid", 1, np.int64, "binary_crossentropy"),
        ("linear", 1, np.float32, "mean_squared_error"),
    ],
)
def test_the_loss_goes_with_the_last_layer(tumours, activation, units, labels, name):
    (x, y), _ = tumours
    model = keras.Sequential([keras.Input((30,)), layers.Dense(units, activation=activation)])
    run = record(model, x, y.astype(labels), epochs=1)
    theirs = record(model, x, y.astype(labels), loss=name, epochs=1)
    assert_same(run.state(1), theirs.state(1))


def test_one_example_and_bad_inputs_are_refused(images):
    with pytest.raises(ValueError, match="x must hold at least 2 examples, not 1"):
        record(image_network(), images[0][:1], images[1][:1])
    with pytest.raises(
        ValueError, match=r"x must have shape \(None, 8, 8, 1\), or that of one sample, not \(150, 7, 8, 1\)"
    ):
        record(image_network(), images[0][:, 1:], images[1])
    with pytest.raises(ValueError, match="without must hold indices of examples, 0 to 149, not 150"):
        record(image_network(), *images).retrain(without=[150])


def two_outputs(subclassed=False):
    inputs = keras.Input((8, 8, 1))
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, {"digit": layers.Dense(3, "softmax")(flat), "half": layers.Dense(1)(flat)})

    class Wrapped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inside = model

        def call(self, x):
            return self.inside(x)

    return Wrapped() if subclassed else model


@pytest.mark.parametrize("form", ["list", "dict", "array"])
def test_a_model_of_several_outputs_is_refused(images, form):
    x, y = images
    labels = {"list": [y, np.zeros((150, 1))], "dict": {"digit": y, "half": y}, "array": y}[form]
    words = r"^model must have one output, not 2\. Give a model of one of them, such as keras\.Model\("
    with pytest.raises(ValueError, match=words):
        record(two_outputs(), x, labels)
    with pytest.raises(ValueError, match=words):
        influence_functions(two_outputs(), x, labels, x, labels, progress=False)


def test_a_model_that_does_not_say_how_many_outputs_it_has_is_refused_too(images):
    x, y = images
    with pytest.raises(ValueError, match=r"^model must have one output, not 2\."):
        record(two_outputs(subclassed=True), x, y, loss="mse")
    with pytest.raises(
        ValueError,
        match=r"^y must be one array, not arrays of different shapes\. vis\.influence is for models with one output",
    ):
        record(two_outputs(subclassed=True), x, [y, np.zeros((150, 1))], loss="mse")
    with pytest.raises(
        TypeError, match=r"^y must be one array, not a dict\. vis\.influence is for models with one output"
    ):
        record(two_outputs(subclassed=True), x, {"digit": y, "half": y}, loss="mse")


def test_examples_are_taken_by_index_with_their_labels_and_weights():
    x = np.arange(10.0).reshape(5, 2)
    examples = Examples(linear(), x, [0, 1, 2, 1, 0], [1, 2, 3, 4, 5])
    inputs, labels, weights = examples.batch(np.array([3, 1]))
    assert (inputs.tolist(), labels.tolist(), weights.tolist()) == ([[6, 7], [2, 3]], [1, 1], [4, 2])
    assert weights.dtype == np.float32
    again = Examples(linear(), x, [0, 1, 2, 1, 0], [1, 2, 3, 4, 5])
    assert examples.checksum() == again.checksum()
    assert same_examples(examples, again)
    for other in (
        Examples(linear(), x + 1, [0, 1, 2, 1, 0], [1, 2, 3, 4, 5]),
        Examples(linear(), x, [0, 1, 2, 1, 1], [1, 2, 3, 4, 5]),
    ):
        assert examples.checksum() != other.checksum()
        assert not same_examples(examples, other)


def test_a_single_example_has_no_axis_of_examples_where_one_is_enough():
    alone = Examples(linear(), np.ones(2), 1, least=1)
    assert (alone.arrays[0].shape, alone.labels.tolist()) == ((1, 2), [1])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": 1}, ValueError, "y must hold one label for each of the 3 examples of x, not a single number"),
        ({"y": ["a", "b", "c"]}, TypeError, r"y must be numeric, not <U1\. Number classes by name"),
        ({"y": [0, np.inf, 1]}, ValueError, "y must be finite, not NaN or infinite"),
        ({"sample_weight": [1, np.nan, 1]}, ValueError, "sample_weight must be finite, not NaN or infinite"),
        ({"sample_weight": ["a"] * 3}, TypeError, "sample_weight must be an array of one number per example, not list"),
        ({"sample_weight": {0: 1.0}}, TypeError, "sample_weight must be an array of one number per example, not dict"),
        ({"x": np.full((3, 2), np.nan)}, ValueError, "x must be finite"),
    ],
)
def test_what_is_no_data_set_is_refused(change, error, message):
    arguments = {"x": np.ones((3, 2)), "y": [0, 1, 2], **change}
    with pytest.raises(error, match=message):
        Examples(linear(), **arguments)


@pytest.mark.parametrize(
    ("loss", "labels", "message"),
    [
        ("sparse_categorical_crossentropy", [0, 3], "y must be a class from 0 to 2, not 3 as at index 1"),
        ("sparse_categorical_crossentropy", [0.5], r"y must be a class from 0 to 2, not 0\.5\.$"),
        ("binary_crossentropy", [0.5, 2.0], "y must be from 0 to 1 for binary_crossentropy, not 2.0"),
        ("categorical_crossentropy", [[0, 1]], "y must be one row of 3 probabilities per example"),
    ],
)
def test_labels_that_a_loss_would_take_in_silence(loss, labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels(keras.losses.get(loss), np.array(labels), 3)


@pytest.mark.parametrize(
    ("loss", "outputs", "labels", "message"),
    [
        (keras.losses.SparseCategoricalCrossentropy(name="own"), 3, [0, 3], "y must be a class from 0 to 2, not 3"),
        (
            keras.losses.BinaryCrossentropy(name="own"),
            1,
            [-1, 1],
            "y must be from 0 to 1 for binary_crossentropy, not -1",
        ),
        ("binary_focal_crossentropy", 1, [-1, 1], "y must be from 0 to 1 for binary_focal_crossentropy, not -1"),
        ("categorical_focal_crossentropy", 3, [0, 1], "y must be one row of 3 probabilities per example"),
        (
            "sparse_categorical_crossentropy",
            3,
            np.eye(3),
            r"shape \(examples,\) for .*, not \(3, 3\)\. For one-hot",
        ),
        (
            "mean_squared_error",
            3,
            [0, 1],
            r"the shape \(examples, 3\) of the output for mean_squared_.*, not \(2,\)",
        ),
        ("mean_squared_error", 3, np.ones((4, 2)), r"the shape \(examples, 3\) of the output .*, not \(4, 2\)"),
        ("binary_crossentropy", 2, [0, 1], r"the shape \(examples, 2\) of the output .*, not \(2,\)"),
    ],
)
def test_labels_that_do_not_go_with_the_outputs(loss, outputs, labels, message):
    with pytest.raises(ValueError, match=message):
        check_labels_of(linear(outputs), keras.losses.get(loss), np.array(labels))


@pytest.mark.parametrize(
    ("loss", "outputs", "shape"),
    [
        ("sparse_categorical_crossentropy", 3, (4,)),
        ("sparse_categorical_crossentropy", 3, (4, 1)),
        ("mean_squared_error", 1, (4,)),
        ("mean_squared_error", 3, (4, 3)),
        ("mean_squared_error", 3, (4, 3, 1)),
        (lambda y, p: y - p, 3, (4, 7)),
        ("circle", 3, (4,)),
    ],
)
def test_shapes_of_labels_that_keras_takes(loss, outputs, shape):
    check_labels_of(linear(outputs), keras.losses.get(loss), np.zeros(shape))


def test_a_label_may_be_ignored():
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)
    check_labels(loss, np.array([0, -1, 2]), 3)
    with pytest.raises(ValueError, match="not -2 as at index 1"):
        check_labels(loss, np.array([0, -2, 2]), 3)


@pytest.mark.parametrize(
    ("activation", "units", "labels", "name"),
    [
        ("softmax", 3, [0, 1], "sparse_categorical_crossentropy"),
        ("softmax", 3, [[0.0, 1.0, 0.0]], "categorical_crossentropy"),
        ("sigmoid", 1, [0, 1], "binary_crossentropy"),
        ("linear", 1, [0, 1], "mean_squared_error"),
        ("linear", 3, [0.5, 1.0], "mean_squared_error"),
    ],
)
def test_the_loss_is_that_of_the_last_layer(activation, units, labels, name):
    loss, _ = example_loss(linear(units, activation), None, np.array(labels))
    assert getattr(loss, "name", None) or loss.__name__ == name


def test_class_numbers_of_logits_have_the_cross_entropy_of_logits():
    loss, _ = example_loss(linear(3, None), None, np.array([0, 1, 2]))
    assert loss.get_config()["from_logits"]


def test_a_last_layer_that_implies_no_loss_asks_for_one():
    with pytest.raises(ArgumentError, match="loss must be given, because .* its last layer, 'dense.*', implies none"):
        example_loss(linear(3, "relu"), None, np.zeros(2))
