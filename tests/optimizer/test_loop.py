"""The compiled loop beside the same steps by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from optimizer.recording import Recorder, images, losses, unit

from vis.engine.cache import traced
from vis.losses import ActivationMaximization, Loss
from vis.optimizer import Optimizer
from vis.regularizers import LPNorm, TotalVariation


def by_hand(model, image, filters, steps, update, tv=3.0, norm=True):
    """The images of each step in plain NumPy and an eager tape, and their losses."""
    seen, values = [], []
    for _ in range(steps + 1):
        seen.append(image)
        x = tf.constant(image)
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = zoo.Reference(model).logits(zoo.Reference(model).features(x))
            score = tf.reduce_sum(logits * tf.one_hot(filters, logits.shape[-1]), axis=-1)
            variation = TotalVariation(model.input).of(x)
            total = -score + tv * variation
        values.append(total.numpy())
        gradient = tape.gradient(total, x).numpy()
        image = np.clip(update(image, unit(gradient) if norm else gradient), -1, 1).astype("float32")
    return seen, np.array(values)


def rmsprop(width):
    cache = [0]

    def update(image, gradient):
        gradient = gradient * width  # with respect to the parameters, in units of the range
        cache[0] = 0.95 * cache[0] + 0.05 * gradient**2
        return image - width / 64 * gradient / np.sqrt(cache[0] + 1e-7)

    return update


def test_the_loop_takes_the_steps_of_keras_vis(model):
    start = images(2)
    filters = [[0], [3]]
    expected, values = by_hand(model, start, [0, 3], 12, rmsprop(2))
    recorder = Recorder()
    optimizer = Optimizer(model.input, losses(model, filters), input_range=(-1, 1))
    image, grads, value = optimizer.minimize(start, max_iter=12, callbacks=[recorder], verbose=False)
    assert recorder.steps == list(range(12))
    for i, named, overall, _, seen in recorder.calls:
        np.testing.assert_allclose(seen, expected[i], atol=2e-4)
        np.testing.assert_allclose(overall, values[i], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(sum(loss for _, loss in named), overall, rtol=1e-5)
        assert [name for name, _ in named] == ["ActivationMax Loss", "TV(2.0) Loss"] == optimizer.loss_names
    best = values.argmin(axis=0)
    np.testing.assert_allclose(image, [expected[best[0]][0], expected[best[1]][1]], atol=2e-4)
    np.testing.assert_allclose(value, expected[12], atol=2e-4)
    np.testing.assert_allclose(np.sqrt((grads**2).sum(axis=(1, 2, 3))), 1, rtol=1e-5)


@pytest.mark.parametrize("kind", [keras.optimizers.Adam, keras.optimizers.SGD])
def test_a_keras_optimizer_takes_its_own_steps(model, kind):
    start = images(1)
    reference = kind(0.02)
    variable = tf.Variable((start + 1) / 2)

    def update(image, gradient):
        variable.assign((image + 1) / 2)
        reference.apply([tf.constant(gradient * 2)], [variable])
        return variable.numpy() * 2 - 1

    reference.build([variable])
    expected, _ = by_hand(model, start, [2], 8, update, norm=False)
    mine = kind(0.02)
    optimizer = Optimizer(model, losses(model, 2), input_range=(-1, 1), norm_grads=False)
    for _ in range(2):  # the second time from the beginning again
        value = optimizer.minimize(start, max_iter=8, optimizer=mine, verbose=False)[2]
        np.testing.assert_allclose(value, expected[8], atol=1e-3)
    assert int(mine.iterations) == 0  # the caller's own is left alone


def test_internal_batches_change_nothing(model):
    filters = [[i % 4] for i in range(5)]
    optimizer = Optimizer(model, losses(model, filters), input_range=(-1, 1))
    together = optimizer.minimize(max_iter=6, seed=1, verbose=False)
    for batch_size in (2, 3):
        parts = optimizer.minimize(max_iter=6, seed=1, batch_size=batch_size, verbose=False)
        for one, other in zip(together, parts, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-4)


def test_another_class_and_another_step_count_are_no_new_trace():
    model = zoo.functional()
    counts = []
    for filters, steps, weight in ((0, 3, 1.0), (2, 5, 2.0), (3, 4, 0.5)):
        Optimizer(model, losses(model, filters, weight)).minimize(max_iter=steps, seed=0, verbose=False)
        counts.append(traced(model))
    assert counts[0] == counts[1] == counts[2]


def test_an_optimizer_that_is_made_anew_is_no_new_trace():
    model = zoo.functional()
    counts = []
    for optimizer in ("adam", "adam", keras.optimizers.Adam()):
        Optimizer(model, losses(model)).minimize(max_iter=2, optimizer=optimizer, seed=0, verbose=False)
        counts.append(traced(model))
    assert counts[0] == counts[1] == counts[2]


def test_patience_ends_early():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    recorder = Recorder()
    optimizer = Optimizer(model, [(lambda output: 0 * output[:, 0], 1)])
    optimizer.minimize(max_iter=100, patience=4, callbacks=[recorder], verbose=False)
    assert recorder.steps == [0, 1, 2, 3, 4]  # the first loss is progress, four that are the same are not


class BecomesNan(Loss):
    """Fine until the first value has gone below a half."""

    name = "log loss"

    def __call__(self, run):
        return tf.math.log(run.inputs[0][:, 0] - 0.5) + 100 * run.inputs[0][:, 0]


class SteepAtZero(Loss):
    name = "root loss"

    def __call__(self, run):
        return tf.sqrt(run.inputs[0][:, 1] * 0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (BecomesNan, r"the loss 'log loss' became (nan|-inf) at step \d+\. Try a smaller learning rate"),
        (SteepAtZero, "the gradient of the loss 'root loss' is not finite at step 0"),
    ],
)
def test_a_loss_that_becomes_nan_is_named(wrong, message):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    recorder = Recorder()
    optimizer = Optimizer(model, [(LPNorm(inputs), 1), (wrong(), 1)], input_range=(0.0, 1.0))
    with pytest.raises(ValueError, match=message):
        optimizer.minimize([0.9, 0.5], max_iter=100, callbacks=[recorder], verbose=False)
    assert recorder.ended == 1


def test_a_model_for_a_fixed_batch_size_makes_any_number_of_images():
    inputs = keras.Input(batch_shape=(4, 6))
    model = keras.Model(inputs, keras.layers.Dense(8)(inputs))
    kernel = model.layers[-1].get_weights()[0]
    loss = [(ActivationMaximization(model.layers[-1], [[i] for i in range(6)]), 1)]
    image = Optimizer(model, loss, (-1, 1)).minimize(max_iter=200, seed=0, verbose=False)[0]
    np.testing.assert_allclose(image, np.sign(kernel[:, :6].T))
