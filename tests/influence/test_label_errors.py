"""Wrong labels: found among real digits, by numbers that are checked by hand, and resumed after a kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from influence.networks import BLOB_LABELS, BLOBS, linear
from keras import layers

import vis
from vis import ArgumentError
from vis.influence import fold_files, label_errors
from vis.influence.folds import CrossValidation

COLUMNS = [
    "datasource_index", "label", "suggested_label", "is_error", "score", "confidence", "early_loss", "aum",
    "gradient_norm",
]  # fmt: skip


def adam(rate=0.05):
    return keras.optimizers.Adam(rate)


@pytest.mark.parametrize("epochs", [None, 40])
def test_wrong_labels_are_found_however_much_the_network_overfits(flipped, epochs):
    x, y, right, wrong = flipped
    stack = [keras.Input((64,)), layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(10, "softmax")]
    table = label_errors(keras.Sequential(stack), x, y, epochs=epochs, optimizer=adam(0.003), progress=False)
    found = np.isin(table["datasource_index"], wrong)
    assert found[: len(wrong)].mean() > 0.9
    assert found[: 2 * len(wrong)].sum() > 0.97 * len(wrong)
    errors = table[table["is_error"]]
    assert 0.8 * len(wrong) < len(errors) < 1.3 * len(wrong)
    hits = errors[np.isin(errors["datasource_index"], wrong)]
    assert (hits["suggested_label"] == right[hits["datasource_index"]]).mean() > 0.9


def test_the_table_has_a_row_for_each_example_the_surest_error_first():
    table = label_errors(linear(), BLOBS, BLOB_LABELS, epochs=3, progress=False)
    assert list(table.columns) == COLUMNS
    assert sorted(table["datasource_index"]) == list(range(90))
    assert (table["label"] == BLOB_LABELS[table["datasource_index"]]).all()
    assert table["score"].is_monotonic_decreasing
    assert table["score"].between(0, 1).all()
    assert table["is_error"].is_monotonic_decreasing
    assert (table["suggested_label"] != table["label"])[table["is_error"]].all()
    expected = 1 - np.sqrt(table["confidence"] * np.exp(-table["early_loss"]))
    np.testing.assert_allclose(table["score"], expected)


def test_its_numbers_are_those_of_softmax_regression_by_hand():
    """Gradient descent in NumPy, from weights of zero: for each fold two epochs, in the order that the seed gives."""
    x, y = BLOBS.astype(np.float64), BLOB_LABELS
    rate, epochs, size = 0.1, 2, 16
    validation = CrossValidation(linear(), BLOBS, y, folds=3, epochs=epochs, batch_size=size, optimizer="sgd", seed=4)
    confidence, loss, aum, norm = np.zeros((4, 90))
    for fold in range(3):
        held, trained = np.flatnonzero(validation.fold_of == fold), np.flatnonzero(validation.fold_of != fold)
        kernel, bias = np.zeros((2, 3)), np.zeros(3)

        def predict(rows, kernel, bias):
            exponentials = np.exp(x[rows] @ kernel + bias)
            return exponentials / exponentials.sum(axis=1, keepdims=True)

        for epoch in range(epochs):
            order = trained[np.random.default_rng([4, fold, epoch]).permutation(len(trained))]
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                p = predict(rows, kernel, bias)
                off = p - np.eye(3)[y[rows]]
                own = p[np.arange(len(rows)), y[rows]]
                loss[rows] += -np.log(own) / (2 * epochs)  # an example is trained on in two of the folds
                aum[rows] += (np.log(own) - np.log(np.where(np.eye(3)[y[rows]] == 1, 0.0, p).max(axis=1))) / 4
                norm[rows] += np.linalg.norm(off, axis=1) / 4
                kernel, bias = kernel - rate * x[rows].T @ off / len(rows), bias - rate * off.mean(axis=0)
            confidence[held] += predict(held, kernel, bias)[np.arange(len(held)), y[held]] / epochs
    table = label_errors(
        linear(), BLOBS, y, epochs=epochs, batch_size=size, optimizer=keras.optimizers.SGD(rate), seed=4, progress=False
    ).sort_values("datasource_index")
    for name, expected in zip(COLUMNS[5:], (confidence, loss, aum, norm), strict=True):
        np.testing.assert_allclose(table[name], expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("ending", ["sigmoid", "logit"])
def test_one_output_tells_two_classes_as_two_do(ending):
    x, y = BLOBS[:60], BLOB_LABELS[:60].copy()
    y[[3, 40]] = 1 - y[[3, 40]]
    loss = keras.losses.BinaryCrossentropy(from_logits=ending == "logit")
    one = linear(1, None if ending == "logit" else "sigmoid")
    table = label_errors(one, x, y, loss=loss, optimizer=adam(), progress=False)
    assert set(table["datasource_index"][:2]) == {3, 40}
    assert table["suggested_label"][:2].tolist() == right_of(x, table)
    two = label_errors(linear(2), x, y, optimizer=adam(), progress=False)
    assert set(two["datasource_index"][:2]) == {3, 40}


def right_of(x, table):
    return (x[table["datasource_index"][:2], 0] > 0).astype(int).tolist()


def test_images_batch_normalization_and_dropout(small_images):
    from influence.networks import image_network

    x, y = small_images[0][:240], small_images[1][:240].copy()
    wrong = np.random.default_rng(1).permutation(240)[:12]
    y[wrong] = (y[wrong] + 1) % 3
    model = image_network()
    before = [weight.copy() for weight in model.get_weights()]
    table = label_errors(model, x, y, optimizer=adam(0.01), progress=False)
    assert np.isin(wrong, table["datasource_index"][:24]).mean() > 0.9
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_same_seed_gives_the_same_table_whatever_the_global_one():
    model = keras.Sequential(
        [keras.Input((2,)), layers.Dense(4, "relu"), layers.Dropout(0.2), layers.Dense(3, "softmax")]
    )
    tables = []
    for number, seed in enumerate((3, 3, 5)):
        keras.utils.set_random_seed(number)
        model.set_weights([weight + number for weight in model.get_weights()])  # which do not count
        tables.append(label_errors(model, BLOBS, BLOB_LABELS, epochs=2, optimizer=adam(), seed=seed, progress=False))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not np.allclose(tables[0]["score"], tables[2]["score"])


SCRIPT = """
import keras, numpy as np
from vis.influence import label_errors
x = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(32, "relu"), keras.layers.Dense(2, "softmax")])
label_errors(model, x, (x[:, 0] > 0).astype(int), epochs=EPOCHS, folds=4, directory="folds", progress=False)
"""


def test_a_killed_run_resumes_after_its_last_fold(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(vis.__file__).parent.parent)}
    script = SCRIPT.replace("EPOCHS", "60")
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    first = fold_files.path_of(tmp_path / "folds", 0)
    while not first.exists():
        assert process.poll() is None, "it ended without a fold"
        time.sleep(0.01)
    process.kill()  # SIGKILL
    assert process.wait() == -9
    assert not fold_files.path_of(tmp_path / "folds", 3).exists()
    written = first.stat().st_mtime_ns

    x = np.random.default_rng(0).normal(size=(300, 2)).astype("float32")
    model = keras.Sequential([keras.Input((2,)), layers.Dense(32, "relu"), layers.Dense(2, "softmax")])
    options = {"epochs": 60, "folds": 4, "progress": False}
    resumed = label_errors(model, x, (x[:, 0] > 0).astype(int), directory=tmp_path / "folds", **options)
    assert first.stat().st_mtime_ns == written
    whole = label_errors(model, x, (x[:, 0] > 0).astype(int), **options)
    pd.testing.assert_frame_equal(resumed, whole, rtol=1e-6)


def changed(index, value):
    y = BLOB_LABELS.astype("float32")
    y[index] = value
    return y


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": linear(1, None)}, "model must be a classifier, .* not a regressor trained by 'mean_squared_error'"),
        ({"loss": "mse", "model": linear(3, None)}, "model must be a classifier, .* not a regressor"),
        ({"y": changed(4, 3)}, "y must be a class from 0 to 2, not 3 as at index 4"),
        ({"y": changed(4, -1)}, "y must be a class from 0 to 2, not -1 as at index 4"),
        ({"y": changed(4, 0.5)}, "y must be a class from 0 to 2, not 0.5 as at index 4"),
        ({"y": changed(4, np.nan)}, "y must be finite, not NaN or infinite"),
        ({"y": np.zeros(90)}, "y must name at least 2 classes, not only class 0"),
        (
            {"y": changed(slice(2, None), 1)},
            "y must name every class at least 3 times for 3 folds, not class 0 2 times",
        ),
        ({"y": changed(slice(1, None), 1)}, "for 3 folds, not class 0 once. Give fewer folds"),
        ({"y": np.array(["a", "b", "c"])[BLOB_LABELS]}, "y must be numeric, not <U1"),
        (
            {"y": np.eye(3)[BLOB_LABELS] * 0.5},
            r"y must have exactly one 1 in each one-hot row, and 0 elsewhere, not \[",
        ),
        ({"y": np.eye(4)[BLOB_LABELS]}, r"y must be a class from 0 to 2, or a one-hot row of 3 numbers per example"),
        ({"y": BLOB_LABELS[1:]}, "y must hold one label for each of the 90 examples of x, not 89"),
        ({"y": None}, "y must be given"),
        ({"x": np.where(np.arange(90)[:, None] == 7, np.nan, BLOBS)}, "x .*NaN"),
        ({"folds": 1}, "folds must be a whole number of at least 2, not 1"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, or None, not 0"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
        ({"optimizer": "lion"}, "optimizer must be one of .*, not Lion"),
        ({"model": "linear"}, "model must be a Keras model, not str"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(change, message):
    given = {"model": linear(), "x": BLOBS, "y": BLOB_LABELS, "progress": False}
    with pytest.raises(ArgumentError, match=message) as caught:
        label_errors(**{**given, **change})
    assert "\n" not in str(caught.value)


def test_a_training_that_diverges_says_so():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3), layers.Softmax()])
    with pytest.raises(ValueError, match="the training loss of fold 0 is nan in epoch"):
        label_errors(model, BLOBS * 1e30, BLOB_LABELS, optimizer=keras.optimizers.SGD(1e30), progress=False)


def test_networks_that_learn_nothing_are_told():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 2)), rng.integers(0, 3, 90)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, "softmax", kernel_initializer="zeros")])
    with pytest.warns(vis.VisWarning, match="labels that they were trained without, no more than the most frequent"):
        label_errors(model, x, y, epochs=1, optimizer=keras.optimizers.SGD(0.0), progress=False)
