"""What a model file says of its training: the loss, the optimizer and the labels."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from vis.batch.compiled import Compiled, compiled_with, label_check, predicted_classes, training_of
from vis.utils.errors import ArgumentError


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "softmax")])


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_a_file_says_what_it_was_compiled_with(model, tmp_path, name):
    model.save(tmp_path / name)
    assert compiled_with(tmp_path / name) == Compiled()
    model.compile(keras.optimizers.Adam(0.25), "categorical_crossentropy")
    model.save(tmp_path / name)
    compiled = compiled_with(tmp_path / name)
    assert compiled.loss == "categorical_crossentropy"
    assert training_of(compiled).optimizer["config"]["learning_rate"] == pytest.approx(0.25)


def test_a_model_trains_as_it_was_compiled_unless_something_else_is_asked_for():
    adam = keras.optimizers.serialize(keras.optimizers.Adam(0.25))
    unset = training_of(Compiled(), default_l2=0.1)
    assert (unset.optimizer["class_name"], unset.finds_rate, unset.l2) == ("SGD", True, 0.1)
    own = training_of(Compiled(optimizer=adam), default_l2=0.1, epochs=3)
    assert (own.optimizer["class_name"], own.l2, own.epochs) == ("Adam", 0.0, 3)
    assert (own.learning_rate, own.finds_rate) == (pytest.approx(0.25), False)
    assert training_of(Compiled(optimizer=adam), learning_rate="auto").finds_rate
    assert training_of(Compiled(optimizer=adam), optimizer="sgd").finds_rate
    asked = training_of(Compiled(optimizer=adam), optimizer="sgd", learning_rate=2.0)
    assert (asked.optimizer["class_name"], asked.optimizer["config"]["learning_rate"]) == ("SGD", 2.0)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_learning_rate_that_is_none_is_refused(rate):
    with pytest.raises(ArgumentError, match="^learning_rate must be a finite number above 0, not ") as refused:
        training_of(Compiled(), learning_rate=rate)
    assert refused.value.argument == "learning_rate"


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", None])
def test_a_label_that_is_no_class_is_refused(model, loss):
    check = label_check(model, Compiled(loss))
    check(np.float32(1))
    with pytest.raises(ValueError, match="0 to 1.*2|2.*0 to 1"):
        check(np.float32(2))


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (None, "as its last layer implies none"),
        ("own_loss", "not with 'own_loss'"),
        ({"class_name": "Own", "config": {"name": "own"}}, "not with 'own'"),
    ],
)
def test_a_model_that_tells_no_loss_of_keras_is_refused(loss, words):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh")])
    with pytest.raises(ArgumentError, match=f"^model must be compiled with a Keras loss, {words}") as refused:
        label_check(model, Compiled(loss))
    assert (refused.value.argument, refused.value.kind) == ("model", "loss")


def test_a_loss_of_labels_of_another_shape_is_refused(model):
    with pytest.raises(ArgumentError, match="^model must be compiled with a loss that takes a number as a label, not "):
        label_check(model, Compiled("categorical_hinge"))
    label_check(model, Compiled("categorical_hinge"), 2)
    label_check(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]), Compiled("mse"))


def test_a_classifier_s_predictions(model):
    x = np.random.default_rng(2).normal(size=(150, 3)).astype(np.float32)
    expected = model.predict(x, verbose=0).argmax(axis=1)
    np.testing.assert_array_equal(predicted_classes(model, Compiled(), x), expected)
    logits = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    logits.set_weights(model.get_weights())
    loss = keras.losses.serialize(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    np.testing.assert_array_equal(predicted_classes(logits, Compiled(loss), x), expected)
    assert predicted_classes(logits, Compiled("mse"), x) is None


def test_a_single_output_predicts_one_of_two_classes():
    x = np.array([[-1.0], [0.5], [2.0]], np.float32)
    alone = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    assert predicted_classes(alone, Compiled("binary_crossentropy"), x).tolist() == [0, 1, 1]
    assert predicted_classes(alone, Compiled(), x) is None
