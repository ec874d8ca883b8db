"""Whether the steps of a `model.fit` can be done again, and why not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dataset, linear

from vis.influence.replayable import batch_size_of, is_arrays, unknown_order, unknown_steps

X = np.ones((50, 2), np.float32)


class Batches(keras.utils.PyDataset):
    num_batches = 3

    def __getitem__(self, index):
        return X, X


class Turned(Batches):
    def on_epoch_end(self):
        pass


def fit(x, shuffle=False, steps_per_epoch=None, batch_size=None):
    return {"x": x, "shuffle": shuffle, "steps_per_epoch": steps_per_epoch, "batch_size": batch_size}


@pytest.mark.parametrize(
    "made",
    [
        lambda: fit(X),
        lambda: fit({"a": X, "b": X}, batch_size=20, steps_per_epoch=3),
        lambda: fit(dataset(X), shuffle=True),
        lambda: fit(Batches()),
    ],
    ids=["arrays", "dict", "data set", "PyDataset"],
)
def test_an_order_that_is_known(made):
    assert unknown_order(made()) is None


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (lambda: None, "not trained by model.fit"),
        (lambda: fit(X, shuffle=True), "whose examples were shuffled by model.fit"),
        (
            lambda: fit(X, batch_size=20, steps_per_epoch=2),
            "with steps_per_epoch=2, so that an epoch does not cover the data",
        ),
        (lambda: fit(dataset(X).shuffle(9)), "whose tf.data.Dataset is shuffled"),
        (lambda: fit(dataset(X).repeat()), "infinite data set"),
        (lambda: fit(Batches(), shuffle=True), "whose PyDataset was shuffled"),
        (lambda: fit(Turned()), "whose PyDataset changes from epoch to epoch"),
        (lambda: fit(iter([X])), "on a list_iterator, whose order is unknown"),
    ],
)
def test_an_order_that_is_not(made, problem):
    found = unknown_order(made())
    assert problem in found["problem"]
    assert found["remedy"]


def test_steps_of_a_model():
    model = linear()
    model.compile("adam", "mse")
    assert unknown_steps(model, no_slots=False) is None
    assert unknown_steps(model, no_slots=True)["problem"] == "with the optimizer Adam, whose state is unknown"
    model.compile("lion", "mse")
    assert (
        "an optimizer that has no update rule here (optimizer must be one of" in unknown_steps(model, False)["problem"]
    )

    class Own(keras.Model):
        def train_step(self, data):
            return {}

    own = Own()
    own.compile("sgd", "mse")
    assert unknown_steps(own, False)["problem"] == "of a model that overrides train_step"


def test_the_batch_size_is_keras_s():
    assert batch_size_of(fit(X), 50) == 32
    assert batch_size_of(fit(X, batch_size=7), 50) == 7
    assert batch_size_of(fit(X, steps_per_epoch=3), 50) == 17


def test_what_arrays_are():
    assert is_arrays(X)
    assert is_arrays([X, tf.constant(X)])
    assert not is_arrays(dataset(X))
    assert not is_arrays(each for each in [X])
