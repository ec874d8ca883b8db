"""`record_training` on data sets, with class weights, validation data and callbacks, beside arrays and `model.fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import assert_same, dataset, dense_network, record_table

from vis.influence import load_training, sgd_influence
from vis.influence.sources import of_classes


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


@pytest.mark.parametrize("kind", [dataset, Batches])
@pytest.mark.parametrize("weighted", [True, False])
def test_a_data_set_is_its_arrays_in_its_own_batches(table, tmp_path, kind, weighted):
    weight = np.linspace(0.5, 2, 50).astype(np.float32)
    arrays = (*table[0], weight) if weighted else table[0]
    run = record_table(kind(*arrays), directory=tmp_path)
    steps = [np.arange(0, 20), np.arange(20, 40), np.arange(40, 50)]
    expected = record_table(*table[0], batches=steps, sample_weight=weight if weighted else None)
    assert_same(run.state(3), expected.state(3))
    for again in (
        load_training(tmp_path, kind(*arrays)),
        load_training(tmp_path, *table[0], sample_weight=weight if weighted else None),
    ):
        assert [step.tolist() for step in again.order(2)] == [step.tolist() for step in steps]
        np.testing.assert_array_equal(
            sgd_influence(again, *table[1], progress=False), sgd_influence(expected, *table[1], progress=False)
        )
    assert record_table(kind(*arrays), directory=tmp_path, epochs=4).epochs == 4


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (lambda x, y: dataset(x, y).repeat(), {}, "x must be a data set of finite length, not an infinite one"),
        (lambda x, y: Batches(x, y, length="endless"), {}, "x must be a data set of finite length"),
        (lambda x, y: dataset(x, y).shuffle(3), {}, "x must be a data set of a fixed order"),
        (lambda x, y: Batches(x, y, turns=True), {}, "x must be a data set of a fixed order"),
        (lambda x, y: dataset(x, y).take(0), {}, "x must be a data set of at least one batch"),
        (
            lambda x, y: tf.data.Dataset.from_tensor_slices((x, y)),
            {},
            r"x must be a data set of batches, .* of shapes \(30,\), \(\)\. Call \.batch\(32\)",
        ),
        (
            lambda x, y: x,
            {"y": np.ones(50), "validation_data": tf.data.Dataset.from_tensors((np.ones(30), 1.0))},
            "validation_data must be a data set of batches, ",
        ),
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
        record_table(make(*table[0]), **options)


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [[0], [1], [2], [1]], np.eye(3)[[0, 1, 2, 1]]])
def test_class_weights_are_factors_by_the_class(labels):
    np.testing.assert_array_equal(of_classes(labels, {1: 5, 2: 0.5}), np.float32([1, 5, 0.5, 5]))


def test_class_weights_train_as_the_sample_weights_do_and_are_part_of_the_record(table, tmp_path):
    x, y = table[0]
    run = record_table(x, y, class_weight={0: 3.0}, directory=tmp_path)
    assert_same(run.state(3), record_table(x, y, sample_weight=np.where(y == 0, 3.0, 1.0)).state(3))
    assert_same(load_training(tmp_path, x, y).retrain().state(3), run.state(3))
    model = dense_network([5])
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    model.fit(x, y, epochs=2, batch_size=20, shuffle=False, class_weight={0: 3.0}, verbose=0)
    ours = record_table(dataset(x, y), class_weight={0: 3.0}, epochs=2).state(2).weights
    for one, other in zip(ours, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
