"""SGD influence beside a naive loop, finite differences, and what it must not depend on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, image_network
from keras import layers

from vis.influence import record_training, sgd_influence
from vis.influence.validation import ValidationLoss

OPTIMIZERS = {
    "sgd, schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.8)),
    "nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.005, momentum=0.5, centered=True, epsilon=1e-3),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.1, momentum=0.5, global_clipnorm=0.5),
}


@pytest.fixture(scope="module")
def few_images(small_images):
    """24 to train with, 40 to validate."""
    x, y = small_images
    return (x[:24], y[:24]), (x[100:140], y[100:140])


def record(model, training, **options):
    return record_training(model, *training, **{"optimizer": keras.optimizers.SGD(0.1), "progress": False, **options})


def scores_of(run, validation, **options):
    return sgd_influence(run, *validation, progress=False, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scores_are_central_finite_differences_of_the_whole_training(name, few_images):
    training, validation = few_images
    run = record(
        image_network(dtype="float64"), training, optimizer=OPTIMIZERS[name](), batch_size=8, epochs=2, l2=0.01, seed=3
    )
    scores = scores_of(run, validation)
    loss = ValidationLoss.of_run(run, *validation)
    step = run.compiled()

    def trained(example, shift):
        """The validation loss with one example's weight shifted from 1."""
        state, number = tf.nest.map_structure(tf.constant, run.state(0)), 0
        for epoch in range(run.epochs):
            for indices in run.order(epoch):
                weights = 1.0 + shift * (indices == example)
                rate = tf.constant(run.learning_rates()[number], tf.float32)
                state, _ = step(state, tf.constant(number, tf.int64), rate, run.examples.batch(indices), weights)
                number += 1
        return loss(state)

    for example in (0, 7, 23):
        difference = (trained(example, 1e-5) - trained(example, -1e-5)) / 2e-5
        assert scores[example] == pytest.approx(-difference, abs=1e-8)
        assert abs(difference) > 1e-6


def test_a_harmful_example_is_negative_and_its_removal_lowers_the_loss(tumours):
    (x, y), validation = tumours
    y = y.copy()
    y[7] = 1 - y[7]
    run = record(dense_network(), (x, y), batch_size=20, epochs=3)
    scores = scores_of(run, validation)
    assert 7 in np.argsort(scores)[:10]
    loss = ValidationLoss.of_run(run, *validation)
    change = loss(run.retrain(without=[7]).state(3)) - loss(run.state(3))
    assert change < 0
    assert scores[7] == pytest.approx(change, rel=0.1)


@pytest.mark.parametrize("weights", ["epoch", "final"])
def test_one_weight_set_is_an_approximation(weights, tumours):
    training, validation = tumours
    run = record(dense_network(), training, batch_size=20, epochs=4)
    exact = scores_of(run, validation)
    approximate = scores_of(run, validation, weights=weights)
    assert 0.8 < np.corrcoef(exact, approximate)[0, 1] < 0.999999


def test_one_step_needs_no_approximation(tumours):
    training, validation = tumours
    run = record(dense_network(), training, batch_size=200)
    # Logistic regression from its end: the derivative of the one step at other weights.
    exact, final = (scores_of(run, validation, weights=weights) for weights in ("exact", "final"))
    assert not np.allclose(exact, final)
    np.testing.assert_allclose(final, scores_of(run, validation, weights="epoch"))


def test_going_back_some_epochs_only(tumours):
    training, validation = tumours
    run = record(dense_network(), training, batch_size=20, epochs=3)
    np.testing.assert_array_equal(scores_of(run, validation, epochs=3), scores_of(run, validation))
    later = record_training(
        run_from(run, 2), *training, optimizer=keras.optimizers.SGD(0.1), batches=run.order(2), progress=False
    )
    np.testing.assert_allclose(scores_of(run, validation, epochs=1), scores_of(later, validation), rtol=1e-4, atol=1e-9)


def run_from(run, epoch):
    """The model as it was at the start of an epoch."""
    model = dense_network()
    model.set_weights(run.state(epoch).weights)
    return model


def test_examples_that_do_not_count_have_no_influence(few_images):
    training, validation = few_images
    run = record(image_network(), training, batches=[np.arange(8), np.arange(4, 12)], epochs=2)
    scores = scores_of(run, validation)
    assert (scores[:12] != 0).all()
    assert (scores[12:] == 0).all()
    again = run.retrain(without=[5])
    assert scores_of(again, validation)[5] == 0


def test_sample_weights_scale_influence(tumours):
    training, validation = tumours
    weight = np.ones(200)
    weight[3], weight[4] = 0, 2
    run = record(dense_network(), training, batch_size=200, sample_weight=weight)
    plain = record(dense_network(), training, batch_size=200)
    ratio = scores_of(run, validation) / scores_of(plain, validation)
    assert ratio[3] == 0
    assert ratio[4] / ratio[5] == pytest.approx(2, rel=1e-2)


def test_several_inputs_embeddings_and_regression():
    rng = np.random.default_rng(0)
    tokens, numbers = keras.Input((4,), dtype="int32", name="tokens"), keras.Input((3,), name="numbers")
    words = layers.Flatten()(layers.Embedding(10, 2)(tokens))
    model = keras.Model([tokens, numbers], layers.Dense(1)(layers.Concatenate()([words, numbers])))
    x = [rng.integers(0, 10, (40, 4)), rng.normal(size=(40, 3))]
    y = x[1].sum(axis=1)
    y[11] += 10
    held_out = [rng.integers(0, 10, (20, 4)), rng.normal(size=(20, 3))]
    run = record(model, (x, y), optimizer=keras.optimizers.Adam(0.02), epochs=10, batch_size=8)
    scores = scores_of(run, (held_out, held_out[1].sum(axis=1)))
    assert scores.argmin() == 11


class Subclassed(keras.Model):
    """A model that Keras cannot make again: it has no get_config."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.hidden = layers.Dense(size, activation="relu")
        self.out = layers.Dense(3)

    def call(self, inputs):
        return self.out(self.hidden(keras.ops.reshape(inputs, (-1, 64))))


def test_a_subclassed_model(few_images):
    training, validation = few_images
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    run = record(Subclassed(5), training, loss=loss, batch_size=8)
    scores = scores_of(run, validation)
    change = ValidationLoss.of_run(run, *validation)(run.retrain(without=[2]).state(1)) - ValidationLoss.of_run(
        run, *validation
    )(run.state(1))
    assert scores[2] == pytest.approx(change, rel=0.2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "best"}, "weights must be 'exact', 'epoch' or 'final', not 'best'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, not 0"),
        ({"epochs": 3}, "epochs must be at most 2, as many as the run has, not 3"),
    ],
)
def test_bad_arguments(options, words, tumours):
    training, validation = tumours
    run = record(dense_network(), training, epochs=2)
    with pytest.raises(ValueError, match=words):
        scores_of(run, validation, **options)


@pytest.mark.parametrize("optimizer", ["sgd, schedule", "adam"])
def test_a_single_validation_example_is_enough(few_images, optimizer):
    training, (x_val, y_val) = few_images
    run = record(image_network(dropout=0), training, optimizer=OPTIMIZERS[optimizer](), epochs=1)
    alone = scores_of(run, (x_val[:1], y_val[:1]))
    np.testing.assert_array_equal(scores_of(run, (x_val[0], y_val[0])), alone)
    # The mean of three is the mean of their scores.
    each = [scores_of(run, (x_val[i : i + 1], y_val[i : i + 1])) for i in range(3)]
    together = scores_of(run, (x_val[:3], y_val[:3]))
    np.testing.assert_allclose(np.mean(each, axis=0), together, rtol=1e-3, atol=1e-4 * np.abs(together).max())
