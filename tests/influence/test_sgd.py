"""SGD influence beside a naive loop, finite differences, and what it must not depend on."""

from __future__ import annotations

import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, image_network
from keras import layers

from vis import VisWarning
from vis.influence import record_training, sgd_influence
from vis.influence.adjoint import compiled_backward, floating
from vis.influence.validation import ValidationLoss

OPTIMIZERS = {
    "sgd, schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 4, 0.8)),
    "nesterov": lambda: keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: keras.optimizers.Adam(0.01, epsilon=1e-3),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.005, momentum=0.5, centered=True, epsilon=1e-3),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.1, momentum=0.5, global_clipnorm=0.5),
}


@pytest.fixture(scope="module")
def images(small_images):
    """24 to train with, 40 to validate."""
    x, y = small_images
    return (x[:24], y[:24]), (x[100:140], y[100:140])


def record(model, training, **options):
    return record_training(model, *training, **{"optimizer": keras.optimizers.SGD(0.1), "progress": False, **options})


def scores_of(run, validation, **options):
    return sgd_influence(run, *validation, progress=False, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_scores_are_central_finite_differences_of_the_whole_training(name, images):
    training, validation = images
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


def test_scores_and_adjoint_of_a_batch_are_those_of_a_naive_loop(images):
    (x, y), _ = images
    run = record(image_network(), (x, y), l2=0.05, batch_size=12)
    state, rate = tf.nest.map_structure(tf.constant, run.state(1)), 0.1
    batch, weights = run.examples.batch(np.arange(12)), tf.ones(12)
    rng = np.random.default_rng(0)
    u = tuple(tf.constant(rng.normal(size=value.shape), tf.float32) for value in floating(state))
    slopes, before = compiled_backward(run.step, state, run.examples)(
        state, tf.constant(0, tf.int64), tf.constant(rate), batch, weights, u
    )

    def of_one(example, theta):
        """One example's gradient, in the company of its batch, which batch normalization looks at."""
        with tf.GradientTape() as tape:
            tape.watch(theta)
            losses, _, _ = run.step.losses(theta, state.buffers, batch, training=True)
            loss = losses[example] + 0.025 * tf.add_n([tf.reduce_sum(tf.square(value)) for value in theta])
        return tape.gradient(loss, theta)

    count = len(state.weights)
    for example in range(12):
        gradient = of_one(example, state.weights)
        expected = -rate / 12 * sum(float(tf.reduce_sum(a * b)) for a, b in zip(u[:count], gradient, strict=True))
        assert float(slopes[example]) == pytest.approx(expected, abs=1e-6)

    with tf.GradientTape() as tape:
        tape.watch(state.weights)
        product = sum(
            tf.reduce_sum(a * b)
            for example in range(12)
            for a, b in zip(u[:count], of_one(example, state.weights), strict=True)
        )
        _, buffers, _ = run.step.losses(state.weights, state.buffers, batch, training=True)
        averages = [buffer for buffer in buffers if buffer.dtype.is_floating]
        moving = sum(tf.reduce_sum(a * b) for a, b in zip(u[count:], averages, strict=True))
        kernel = state.weights[-2]
        decay = 0.01 * 2 * tf.reduce_sum(kernel * u[count - 2])  # the gradient of Keras's l2 of 0.01, times u
        total = -rate * (product / 12 + decay) + moving
    expected = tape.gradient(total, state.weights)
    for ours, own, theirs in zip(before[:count], u[:count], expected, strict=True):
        np.testing.assert_allclose(ours, own + theirs, atol=1e-6, rtol=1e-5)


def test_the_next_adjoint_of_the_moving_averages(images):
    (x, y), _ = images
    run = record(image_network(), (x, y))
    state = tf.nest.map_structure(tf.constant, run.state(1))
    u = tuple(tf.ones_like(value) for value in floating(state))
    _, before = compiled_backward(run.step, state, run.examples)(
        state, tf.constant(0, tf.int64), tf.constant(0.1), run.examples.batch(np.arange(12)), tf.ones(12), u
    )
    for after in before[len(state.weights) :]:
        np.testing.assert_allclose(after, 0.7, rtol=1e-6)  # the momentum: a step keeps 0.7 of an average


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


def test_going_back_by_segments_holds_few_states_and_gives_the_same(images, monkeypatch):
    from vis.influence import adjoint

    training, _ = images
    run = record(image_network(), training, batch_size=1, epochs=1)  # 24 steps, segments of 5
    states = list(adjoint._states_backwards(run, 0, "exact", None))
    assert [step for step, _ in states] == list(range(23, -1, -1))
    forwards = [run.state(0), *run.replay(0)]
    for step, state in states:
        for ours, theirs in zip(tf.nest.flatten(state), tf.nest.flatten(forwards[step]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_memory_is_flat_in_the_number_of_steps(small_images):
    from vis.influence import adjoint

    def most_states(count):
        x, y = small_images[0][:count], small_images[1][:count]
        run = record(image_network(), (x, y), batch_size=1)
        made, replay = [], run.replay

        def watched(*arguments, **options):
            for state in replay(*arguments, **options):
                made.append(weakref.ref(state.weights[0]))
                yield state

        run.replay = watched
        return max(sum(ref() is not None for ref in made) for _ in adjoint._states_backwards(run, 0, "exact", None))

    assert most_states(100) <= 2 * 10


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


def test_examples_that_do_not_count_have_no_influence(images):
    training, validation = images
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


def test_bilinear_resizing_is_refused_by_the_layer_s_name(images):
    training, validation = images

    def model(interpolation):
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(3, 3, activation="tanh"),
                layers.UpSampling2D(interpolation=interpolation, name="larger"),
                layers.Conv2D(3, 3, activation="tanh"),
                layers.GlobalAveragePooling2D(),
                layers.Dense(3, activation="softmax"),
            ]
        )

    with pytest.raises(ValueError, match=r"not the layer 'larger' \(UpSampling2D\), .*interpolation='nearest'"):
        scores_of(record(model("bilinear"), training), validation)
    scores_of(record(model("nearest"), training), validation)


@keras.saving.register_keras_serializable("tests")
class Unfaithful(layers.Layer):
    """Squares, with a gradient that says nothing of its own derivative."""

    def call(self, inputs):
        @tf.custom_gradient
        def square(x):
            return x * x, lambda upstream: upstream * 2 * tf.stop_gradient(x)

        return square(inputs)


def test_a_layer_with_a_wrong_second_derivative_is_refused_by_name(images):
    training, validation = images
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(4),
            Unfaithful(name="odd"),
            layers.Dense(3, activation="softmax"),
        ]
    )
    words = r"not the layer 'odd' \(Unfaithful\), .*: it has a custom gradient \(tf\.custom_gradient\)\. Replace it, or"
    with pytest.raises(ValueError, match=words):
        scores_of(record(model, training), validation)


class Unseen(Unfaithful):
    """The same, computing in float32 in a model that cannot be copied."""

    def __init__(self, function, **options):
        super().__init__(**options)
        self.function = function

    def call(self, inputs):
        return self.function(super().call(inputs))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: layers.SpectralNormalization(layers.Dense(4), name="bounded"),
            r"'bounded' \(SpectralNormalization\), .*: it stops a gradient \(stop_gradient\)\. Replace it",
        ),
        (lambda: Unseen(keras.ops.tanh, name="odd"), r"'odd' \(Unseen\), .*: it has a custom gradient"),
    ],
)
def test_a_wrong_second_derivative_is_refused_with_its_reason(images, make, words):
    training, validation = images
    middle = [layers.Flatten(), layers.Dense(4), make()]
    model = keras.Sequential([keras.Input((8, 8, 1)), *middle, layers.Dense(3, activation="softmax")])
    with pytest.raises(ValueError, match=words) as refused:
        scores_of(record(model, training), validation)
    assert "interpolation" not in str(refused.value)


class Subclassed(keras.Model):
    """A model that Keras cannot make again: it has no get_config."""

    def __init__(self, size, **options):
        super().__init__(**options)
        self.hidden = layers.Dense(size, activation="relu")
        self.out = layers.Dense(3)

    def call(self, inputs):
        return self.out(self.hidden(keras.ops.reshape(inputs, (-1, 64))))


def test_a_subclassed_model(images):
    training, validation = images
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


def test_validating_on_the_training_set_warns(tumours):
    training, validation = tumours
    run = record(dense_network(), training)
    with pytest.warns(VisWarning, match="the validation examples are the training examples"):
        scores_of(run, training)
    with pytest.raises(ValueError, match="y_val must hold one label for each of the 200 examples of x_val, not 3"):
        scores_of(run, (validation[0], validation[1][:3]))
    with pytest.raises(ValueError, match="y_val must be .* not 7"):
        scores_of(run, (validation[0], validation[1] * 7))


@pytest.mark.parametrize("optimizer", ["sgd, schedule", "adam"])
def test_a_single_validation_example_is_enough(images, optimizer):
    training, (x_val, y_val) = images
    run = record(image_network(dropout=0), training, optimizer=OPTIMIZERS[optimizer](), epochs=1)
    alone = scores_of(run, (x_val[:1], y_val[:1]))
    np.testing.assert_array_equal(scores_of(run, (x_val[0], y_val[0])), alone)
    # The mean of three is the mean of their scores.
    each = [scores_of(run, (x_val[i : i + 1], y_val[i : i + 1])) for i in range(3)]
    together = scores_of(run, (x_val[:3], y_val[:3]))
    np.testing.assert_allclose(np.mean(each, axis=0), together, rtol=1e-3, atol=1e-4 * np.abs(together).max())


def test_no_validation_example_is_refused(images):
    run = record(image_network(), images[0], epochs=1)
    with pytest.raises(ValueError, match="x_val must hold at least one sample, not shape"):
        scores_of(run, (images[1][0][:0], images[1][1][:0]))
