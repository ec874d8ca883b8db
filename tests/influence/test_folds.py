"""The trainings of cross-validation: how examples are dealt, scored, and when a training ends."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import BLOB_LABELS, BLOBS, linear
from keras import layers

from vis.influence import label_errors
from vis.influence.classes import Classifier
from vis.influence.folds import CrossValidation, deal, label_scores


@pytest.mark.parametrize("width", [1, 4])
def test_margin_and_gradient_are_those_of_the_logits(width):
    labels = np.array([0, 1, 1, 0]) if width == 1 else np.array([0, 3, 1, 2])
    logits = tf.constant(np.random.default_rng(0).normal(size=(4, width)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        if width == 1:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(labels[:, None].astype("float32"), logits)[:, 0]
        else:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    gradient = tape.gradient(losses, logits).numpy()
    classifier = Classifier(width, "sigmoid" if width == 1 else "softmax")
    loss, margin, norm = label_scores(classifier.probabilities(logits).numpy(), labels, classifier)
    np.testing.assert_allclose(loss, losses, rtol=1e-5)
    np.testing.assert_allclose(norm, np.linalg.norm(gradient, axis=1), rtol=1e-5)
    values = np.concatenate([np.zeros_like(logits), logits], axis=1) if width == 1 else logits.numpy()
    others = [np.delete(row, label).max() for row, label in zip(values, labels, strict=True)]
    np.testing.assert_allclose(margin, values[np.arange(4), labels] - others, rtol=1e-4, atol=1e-6)


def test_after_the_best_epoch_nothing_counts(flipped):
    x, y, _, _ = flipped
    stack = [keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
    options = {"optimizer": keras.optimizers.Adam(0.01), "seed": 1}
    long = CrossValidation(keras.Sequential(stack), x[:600], y[:600], epochs=30, **options).train(0)
    assert 1 < long.epochs < 30
    short = CrossValidation(keras.Sequential(stack), x[:600], y[:600], epochs=int(long.epochs), **options).train(0)
    for name in ("probabilities", "loss", "margin", "gradient_norm", "epochs"):
        np.testing.assert_allclose(getattr(long, name), getattr(short, name), rtol=1e-5)


def test_the_training_ends_where_the_held_out_loss_stops_falling():
    steps = []
    CrossValidation(linear(), BLOBS, BLOB_LABELS, optimizer=keras.optimizers.SGD(0.0)).train(0, lambda: steps.append(1))
    assert len(steps) == 202  # two steps an epoch, one epoch and two hundred steps of patience


def test_a_schedule_of_learning_rates_is_followed():
    rates = keras.optimizers.schedules.PiecewiseConstantDecay([1, 3], [0.5, 0.1, 0.0])
    options = {"batch_size": 60, "progress": False}  # a step an epoch
    scheduled = label_errors(linear(), BLOBS, BLOB_LABELS, optimizer=keras.optimizers.SGD(rates), epochs=4, **options)
    constant = label_errors(linear(), BLOBS, BLOB_LABELS, optimizer=keras.optimizers.SGD(0.5), epochs=4, **options)
    assert scheduled["confidence"].max() < constant["confidence"].max()
    folds = CrossValidation(
        linear(), BLOBS, BLOB_LABELS, optimizer=keras.optimizers.SGD(rates), epochs=4, batch_size=60
    )
    assert folds._rates(0, 6).tolist() == pytest.approx([0.5, 0.5, 0.1, 0.1, 0.0, 0.0])
    assert folds._rates(2, 3).tolist() == pytest.approx([0.1, 0.1, 0.0])


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (lambda: linear(activation="linear"), "sparse_categorical_crossentropy"),
        (lambda: linear(activation="log_softmax"), "sparse_categorical_crossentropy"),
        (lambda: linear(1, "linear"), "binary_crossentropy"),
    ],
    ids=["logits", "log_softmax", "single logit"],
)
def test_logits_that_the_loss_takes_for_probabilities_are_refused(model, loss):
    model = model()
    labels = BLOB_LABELS if model.output_shape[-1] == 3 else np.minimum(BLOB_LABELS, 1)
    options = {"kernel_initializer": "glorot_uniform"}
    model.layers[0].kernel_initializer = keras.initializers.get(options["kernel_initializer"])
    with pytest.raises(
        ValueError, match=r"model must end in probabilities for the loss .*, not in scores such as -?\d"
    ):
        label_errors(model, BLOBS, labels, loss=loss, progress=False)


def test_folds_have_a_share_of_every_class():
    labels = np.repeat([0, 1, 2], [50, 31, 9])
    fold_of = deal(labels, 4, seed=2)
    assert np.ptp(np.bincount(fold_of)) <= 1
    for each in range(3):
        assert np.ptp(np.bincount(fold_of[labels == each], minlength=4)) <= 1
    assert not np.array_equal(fold_of, deal(labels, 4, seed=3))
