"""Influence: what the scores cost, how near to true retraining they rank, and what they find among wrong labels."""

import time
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.harness import Row, benchmark, compare
from vis.demo import load_digits
from vis.influence import counterfactual_influence, record_training, sgd_influence
from vis.influence.adjoint import compiled_backward, floating


class Network(NamedTuple):
    """A small network and how it is trained: its hidden ReLU layers, optimizer, epochs, and the least Kendall's τ."""

    units: tuple[int, ...]
    optimizer: Callable
    epochs: int
    least: float


NETWORKS = {
    "logistic regression, SGD": Network((), lambda: keras.optimizers.SGD(0.05), 20, 0.90),
    "[8, 8] ReLU, SGD": Network((8, 8), lambda: keras.optimizers.SGD(0.01), 20, 0.70),
    "[8, 8] ReLU, momentum": Network((8, 8), lambda: keras.optimizers.SGD(0.001, momentum=0.9), 20, 0.70),
    "[8, 8] ReLU, Adam": Network((8, 8), lambda: keras.optimizers.Adam(0.002), 5, 0.55),
}


@benchmark("influence")
def influence(quick):
    """Scores of training data: cost beside a training step, rank beside true retraining, wrong labels found."""
    yield from _speed(quick)
    yield _many_runs()
    yield from _ranks(seeds=1 if quick else 3)
    yield from _wrong_labels(seeds=1 if quick else 5)


def _speed(quick):
    x = np.random.default_rng(0).random((64, 28, 28, 1), np.float32)
    run = record_training(
        mnist_network(), x, np.arange(64) % 10, optimizer=keras.optimizers.SGD(0.01), batch_size=64, progress=False
    )
    state = tf.nest.map_structure(tf.constant, run.state(0))
    u = tuple(tf.ones_like(value) for value in floating(state))
    batch = tf.nest.map_structure(tf.constant, run.examples.batch(np.arange(64)))
    arguments = (state, tf.constant(0, tf.int64), tf.constant(0.01), batch)
    step, backward = run.compiled(), compiled_backward(run.step, run.state(0), run.examples)
    loop = _loop(run)
    ones = tf.ones(64)

    def ours():
        return backward(*arguments, ones, u)

    def theirs():
        return loop(*arguments, u)

    for one, other in zip(tf.nest.flatten(ours()), tf.nest.flatten(theirs()), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    repeats = 15 if quick else 61
    yield compare(ours, lambda: step(*arguments, ones), repeats).row("scores and adjoint / step", 2.5)
    yield compare(ours, theirs, repeats).row("scores and adjoint / loop", 0.25)


def mnist_network():
    """Two convolutions, for 28 by 28 pixels."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )


def _loop(run):
    """The same scores and the same adjoint by a compiled loop: for each example a gradient and a Hessian product."""

    @tf.function(autograph=False)
    def loop(state, number, rate, batch, u):
        def of_one(i):
            one = tf.nest.map_structure(lambda array: array[i : i + 1], batch)
            with tf.GradientTape() as outer:
                outer.watch(state.weights)
                with tf.GradientTape() as inner:
                    inner.watch(state.weights)
                    losses, _, _ = run.step.losses(state.weights, state.buffers, one, training=True)
                    loss = tf.reduce_sum(losses)
                gradients = inner.gradient(loss, state.weights)
                score = -rate / 64 * tf.add_n([tf.reduce_sum(g * v) for g, v in zip(gradients, u, strict=True)])
            return score, outer.gradient(score, state.weights)

        specs = tuple(tf.TensorSpec(weight.shape, weight.dtype) for weight in state.weights)
        scores, products = tf.map_fn(of_one, tf.range(64), fn_output_signature=(tf.TensorSpec([], tf.float32), specs))
        return scores, tuple(v + tf.reduce_sum(p, axis=0) for v, p in zip(u, products, strict=True))

    return loop


def _many_runs():
    (training, validation) = tumours(0)
    run = record_training(dense_network((8, 8)), *training, optimizer="sgd", epochs=80, batch_size=20, progress=False)
    begin = time.perf_counter()
    counterfactual_influence(run, *validation, progress=False)
    seconds = time.perf_counter() - begin
    return Row("200 runs x 800 steps", f"{seconds:.1f} s", "", seconds, 60, "s")


def _ranks(seeds):
    from scipy.stats import kendalltau

    for name, network in NETWORKS.items():
        for seed in range(seeds):
            training, validation = tumours(seed)
            run = record_training(
                dense_network(network.units, seed=seed),
                *training,
                optimizer=network.optimizer(),
                epochs=network.epochs,
                batch_size=20,
                seed=seed,
                progress=False,
            )
            truth = counterfactual_influence(run, *validation, progress=False)
            tau = kendalltau(truth, sgd_influence(run, *validation, progress=False)).statistic
            yield Row(f"{name}, seed {seed}", f"τ {tau:.2f}", "retraining", 1 - tau, 1 - network.least, "1-τ")


def tumours(seed):
    """Scikit-learn's breast cancer data, standardized: 200 to train with and 200 to validate, each (x, y)."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(seed).permutation(len(x))
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    return (x[rows[:200]], y[rows[:200]]), (x[rows[200:400]], y[rows[200:400]])


def dense_network(units, seed=0):
    """ReLU layers and a sigmoid, for 30 numbers."""
    stack = [keras.Input((30,))]
    for position, size in enumerate(units):
        initializer = keras.initializers.HeNormal(seed=seed + position)
        stack.append(layers.Dense(size, activation="relu", kernel_initializer=initializer))
    stack.append(layers.Dense(1, activation="sigmoid", kernel_initializer=keras.initializers.GlorotUniform(seed=seed)))
    return keras.Sequential(stack)


class Cleansing(NamedTuple):
    """What influence finds among digits of which every tenth has a wrong label.

    Attributes:
        tenth: The share of the wrong labels that is in the lowest-scored tenth.
        fifth: The share that is in the lowest-scored fifth.
        errors: The held-out error after training on everything, without a random tenth, and without the lowest tenth.
    """

    tenth: float
    fifth: float
    errors: tuple[float, float, float]


def cleanse(seed, trials=6):
    """Flips 200 of 2,000 digits, trains on them, and scores the trained network's digits as `vis influence` does."""
    digits = load_digits()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(digits.x_train))
    x, y = digits.x_train[rows[:2000]], digits.y_train[rows[:2000]].copy()
    flipped = rng.permutation(2000)[:200]
    y[flipped] = (y[flipped] + rng.integers(1, 10, 200)) % 10
    validation = digits.x_train[rows[2000:]], digits.y_train[rows[2000:]]
    options = {"batch_size": 64, "progress": False}
    run = record_training(
        digit_network(seed), x, y, optimizer=keras.optimizers.Adam(0.002), epochs=8, seed=seed, **options
    )
    model, scores = run.model(), np.zeros(2000)
    for trial in range(trials):
        more = record_training(model, x, y, optimizer=keras.optimizers.SGD(0.02), epochs=2, seed=trial, **options)
        scores += sgd_influence(more, *validation, progress=False)
    order = np.argsort(scores)
    found = np.isin(order, flipped)
    errors = []
    for without in ([], rng.permutation(2000)[:200], order[:200]):
        predicted = run.retrain(without).model().predict(digits.x_test, batch_size=500, verbose=0)
        errors.append(float((predicted.argmax(axis=-1) != digits.y_test).mean()))
    return Cleansing(found[:200].mean(), found[:400].sum() / 200, tuple(errors))


def digit_network(seed):
    """Two strided convolutions, for digits."""

    def drawn(layer):
        return keras.initializers.HeNormal(seed=10 * seed + layer)

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(8, 5, strides=2, activation="relu", kernel_initializer=drawn(1)),
            layers.Conv2D(16, 3, strides=2, activation="relu", kernel_initializer=drawn(2)),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", kernel_initializer=drawn(3)),
        ]
    )


def _wrong_labels(seeds):
    results = [cleanse(seed) for seed in range(seeds)]
    tenth, fifth = (np.mean([getattr(result, part) for result in results]) for part in ("tenth", "fifth"))
    yield Row(f"wrong labels missed in 10 %, {seeds} seeds", f"{tenth:.1%}", "", 1 - tenth, 0.20, "")
    yield Row(f"wrong labels missed in 20 %, {seeds} seeds", f"{fifth:.1%}", "", 1 - fifth, 0.05, "")
    losses = sum(result.errors[2] >= min(result.errors[:2]) for result in results)
    yield Row(f"seeds of {seeds} that cleansing does not help", f"{losses}", "", losses, (seeds - 1) // 2, "")
    everything, random, cleansed = np.mean([result.errors for result in results], axis=0)
    for name, other in (("all", everything), ("random", random)):
        yield Row(f"error cleansed / {name}", f"{cleansed:.3f}", f"{other:.3f}", cleansed / other, 1.0)
