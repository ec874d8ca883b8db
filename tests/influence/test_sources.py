"""`record_training` on data sets, with class weights, validation data and callbacks, beside arrays and `model.fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network

from vis import VisWarning
from vis.influence import load_training, record_training, sgd_influence
from vis.influence.sources import of_classes


@pytest.fixture(scope="module")
def table(tumours):
    """50 to train with, 60 to validate."""
    (x, y), validation = tumours
    return (x[:50], y[:50]), tuple(array[:60] for array in validation)


def record(x, y=None, model=None, **options):
    model = dense_network([5]) if model is None else model
    return record_training(
        model, x, y, **{"optimizer": keras.optimizers.SGD(0.1, momentum=0.9), "epochs": 3, "progress": False, **options}
    )


def assert_same(ours, theirs):
    for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in order, turned around after each epoch if need be."""

    def __init__(self, *arrays, size=20, turns=False, length=None):
        super().__init__()
        self.arrays, self.size, self.turns, self.length = arrays, size, turns, length

    @property
    def num_batches(self):
        return None if self.length == "endless" else -(-len(self.arrays[0]) // self.size)

    def __getitem__(self, index):
        return tuple(array[self.size * index : self.size * (index + 1)] for array in self.arrays)

    def on_epoch_end(self):
        if self.turns:
            self.arrays = [array[::-1] for array in self.arrays]


def dataset(*arrays, size=20):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


@pytest.mark.parametrize("kind", [dataset, Batches])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_data_set_is_its_arrays_in_its_own_batches(table, tmp_path, kind, weighted):
    weight = np.linspace(0.5, 2, 50).astype(np.float32)
    arrays = (*table[0], weight) if weighted else table[0]
    run = record(kind(*arrays), directory=tmp_path)
    steps = [np.arange(0, 20), np.arange(20, 40), np.arange(40, 50)]
    expected = record(*table[0], batches=steps, sample_weight=weight if weighted else None)
    assert_same(run.state(3), expected.state(3))
    for again in (
        load_training(tmp_path, kind(*arrays)),
        load_training(tmp_path, *table[0], sample_weight=weight if weighted else None),
    ):
        assert [step.tolist() for step in again.order(2)] == [step.tolist() for step in steps]
        np.testing.assert_array_equal(
            sgd_influence(again, *table[1], progress=False), sgd_influence(expected, *table[1], progress=False)
        )
    assert record(kind(*arrays), directory=tmp_path, epochs=4).epochs == 4


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda x, y: dataset(x, y).repeat(), {}, "x must be a data set of finite length, not an infinite one"),
        (lambda x, y: Batches(x, y, length="endless"), {}, "x must be a data set of finite length"),
        (lambda x, y: dataset(x, y).shuffle(3), {}, "x must be a data set of a fixed order"),
        (lambda x, y: Batches(x, y, turns=True), {}, "x must be a data set of a fixed order"),
        (lambda x, y: dataset(x, y).take(0), {}, "x must be a data set of at least one batch"),
        (lambda x, y: dataset(x), {}, r"x must be a data set of pairs \(x, y\)"),
        (lambda x, y: dataset(x, y), {"y": [1]}, "y must not be given besides a _BatchDataset"),
        (lambda x, y: dataset(x, y), {"sample_weight": [1]}, "sample_weight must not be given besides"),
        (lambda x, y: dataset(x, y), {"batches": [[1]]}, "batches must not be given besides a _BatchDataset"),
        (lambda x, y: x, {}, "y must be given, because x is not a data set"),
        (
            lambda x, y: dataset(x, y, np.ones(50)),
            {"class_weight": {0: 1}},
            "class_weight must not be given besides sample_weight",
        ),
        (lambda x, y: dataset(x, y), {"class_weight": [1, 2]}, "class_weight must be a dict of class numbers"),
        (lambda x, y: dataset(x, y), {"validation_data": 3}, r"validation_data must be \(x_val, y_val\), "),
        (
            lambda x, y: dataset(x, y),
            {"callbacks": [print]},
            "callbacks must be a list of keras.callbacks.Callback, not",
        ),
    ],
)
def test_what_no_run_can_be_recorded_from_is_refused(table, make, options, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        record(make(*table[0]), **options)


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [[0], [1], [2], [1]], np.eye(3)[[0, 1, 2, 1]]])
def test_class_weights_are_factors_by_the_class(labels):
    np.testing.assert_array_equal(of_classes(labels, {1: 5, 2: 0.5}), np.float32([1, 5, 0.5, 5]))


def test_class_weights_train_as_the_sample_weights_do_and_are_part_of_the_record(table, tmp_path):
    x, y = table[0]
    run = record(x, y, class_weight={0: 3.0}, directory=tmp_path)
    assert_same(run.state(3), record(x, y, sample_weight=np.where(y == 0, 3.0, 1.0)).state(3))
    assert_same(load_training(tmp_path, x, y).retrain().state(3), run.state(3))
    model = dense_network([5])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    model.fit(x, y, epochs=2, batch_size=20, shuffle=False, class_weight={0: 3.0}, verbose=0)
    ours = record(dataset(x, y), class_weight={0: 3.0}, epochs=2).state(2).weights
    for one, other in zip(ours, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_losses_are_those_that_keras_logs(table, reduction):
    (x, y), validation = table
    weighted = (*validation, np.linspace(0, 2, 60).astype(np.float32))
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(1, "sigmoid", kernel_regularizer="l2")])
    rate = 0.1 if reduction != "sum" else 0.005
    model.compile(keras.optimizers.SGD(rate), keras.losses.BinaryCrossentropy(reduction=reduction))
    start = model.get_weights()
    for data in (weighted, dataset(*weighted, size=7)):
        run = record(dataset(x, y), model=model, optimizer=None, validation_data=data)
        logs = model.fit(dataset(x, y), validation_data=data, epochs=3, shuffle=False, verbose=0).history
        assert run.history["loss"] == pytest.approx(logs["loss"], rel=1e-4)
        assert run.history["val_loss"] == pytest.approx(logs["val_loss"], rel=1e-4)
        assert run.retrain().history == {"loss": run.history["loss"]}
        model.set_weights(start)


def test_callbacks_change_the_learning_rate_as_in_model_fit(table, tmp_path):
    (x, y), validation = table

    def callbacks():
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * (0.5 if epoch == 2 else 1)),
            keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=0, min_delta=10, factor=0.3),
        ]

    model = dense_network([5])
    run = record(
        dataset(x, y), model=model, epochs=5, validation_data=validation, callbacks=callbacks(), directory=tmp_path
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    logs = model.fit(
        dataset(x, y), epochs=5, validation_data=validation, callbacks=callbacks(), shuffle=False, verbose=0
    ).history
    assert len(set(run.learning_rates())) > 2
    assert run.history["val_loss"] == pytest.approx(logs["val_loss"], rel=1e-4)
    for one, other in zip(run.state(5).weights, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    again = load_training(tmp_path, x, y)
    assert again.learning_rates() == run.learning_rates()
    assert_same(again.retrain().state(5), run.state(5))
    *_, last = again.replay(4)
    assert_same(last, run.state(5))


def test_a_callback_sees_the_model_and_stops_the_training(table):
    (x, y), validation = table
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((logs["val_loss"], self.model.evaluate(*validation, verbose=0)))

    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=10)
    run = record(x, y, epochs=9, validation_data=validation, callbacks=[Look(), stop])
    assert run.epochs == len(seen) == 2
    for noted, evaluated in seen:
        assert noted == pytest.approx(evaluated, rel=1e-4)
    assert run.history["val_loss"] == [noted for noted, _ in seen]


def test_weights_that_a_callback_changes_are_told(table):
    change = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: change.model.set_weights(dense_network([5]).get_weights())
    )
    with pytest.warns(
        VisWarning, match="a callback changed the weights of the model, which is not part of the recorded"
    ):
        run = record(*table[0], callbacks=[change])
    assert_same(run.state(3), record(*table[0]).state(3))
