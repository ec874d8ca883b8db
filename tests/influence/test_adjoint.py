"""The adjoint of a step beside a naive loop, and how many states are held at once."""

from __future__ import annotations

import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import image_network, record

from vis.influence import adjoint
from vis.influence.adjoint import compiled_backward, floating


def test_scores_and_adjoint_of_a_batch_are_those_of_a_naive_loop(small_images):
    x, y = (array[:24] for array in small_images)
    run = record(image_network(), x, y, optimizer=keras.optimizers.SGD(0.1), l2=0.05, batch_size=12)
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


def test_the_next_adjoint_of_the_moving_averages(small_images):
    x, y = (array[:24] for array in small_images)
    run = record(image_network(), x, y, optimizer=keras.optimizers.SGD(0.1))
    state = tf.nest.map_structure(tf.constant, run.state(1))
    u = tuple(tf.ones_like(value) for value in floating(state))
    _, before = compiled_backward(run.step, state, run.examples)(
        state, tf.constant(0, tf.int64), tf.constant(0.1), run.examples.batch(np.arange(12)), tf.ones(12), u
    )
    for after in before[len(state.weights) :]:
        np.testing.assert_allclose(after, 0.7, rtol=1e-6)  # the momentum: a step keeps 0.7 of an average


def test_going_back_by_segments_holds_few_states_and_gives_the_same(small_images):
    x, y = (array[:24] for array in small_images)
    run = record(image_network(), x, y, batch_size=1, epochs=1)  # 24 steps, segments of 5
    states = list(adjoint._states_backwards(run, 0, "exact", None))
    assert [step for step, _ in states] == list(range(23, -1, -1))
    forwards = [run.state(0), *run.replay(0)]
    for step, state in states:
        for ours, theirs in zip(tf.nest.flatten(state), tf.nest.flatten(forwards[step]), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_memory_is_flat_in_the_number_of_steps(small_images):
    def most_states(count):
        x, y = small_images[0][:count], small_images[1][:count]
        run = record(image_network(), x, y, batch_size=1)
        made, replay = [], run.replay

        def watched(*arguments, **options):
            for state in replay(*arguments, **options):
                made.append(weakref.ref(state.weights[0]))
                yield state

        run.replay = watched
        return max(sum(ref() is not None for ref in made) for _ in adjoint._states_backwards(run, 0, "exact", None))

    assert most_states(100) <= 2 * 10
