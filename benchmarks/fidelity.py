"""Fidelity: how near the scores of training data are to training again without one example, and without half."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.harness import Row, benchmark
from vis.demo import load_digits
from vis.influence import influence_functions, record_training, sgd_influence, tracin
from vis.influence.adjoint import compiled_backward, tensors
from vis.influence.examples import Examples


class Protocol(NamedTuple):
    """A network and its training on 4,000 digits in batches of 64, and how near the scores are to be.

    Attributes:
        units: Its hidden layers.
        activation: That of the hidden layers, `'relu'` or `'tanh'`.
        rate: SGD's learning rate.
        epochs: How many epochs it is trained for.
        lds: The least Linear Datamodeling Score of `sgd_influence`.
        leave_one_out: The least Pearson correlation of its scores with leaving out one example.
    """

    units: tuple[int, ...]
    activation: str
    rate: float
    epochs: int
    lds: float
    leave_one_out: float


PROTOCOLS = {
    "logistic regression": Protocol((), "relu", 0.05, 10, 0.80, 0.88),
    "MLP, 64 tanh": Protocol((64,), "tanh", 0.02, 5, 0.90, 0.95),
    # A ReLU has a kink, which a derivative does not see, but a change of the weights by one example crosses some.
    "MLP, 64 ReLU": Protocol((64,), "relu", 0.02, 5, 0.90, 0.50),
}
OTHERS = 10  # queries of the other methods, which take one at a time

METHODS: dict[str, Callable] = {
    "final weights": lambda run, x, y: sgd_influence(run, x, y, weights="final", check=False, progress=False),
    "tracin": lambda run, x, y: tracin(run, x, y, progress=False),
    "influence functions": lambda run, x, y: influence_functions(
        run.model(), run.examples.arrays[0], run.examples.labels, x, y, loss=run.loss, progress=False
    ),
}


class Truth(NamedTuple):
    """What training again did to the loss of each query.

    Attributes:
        halves: (50, examples): 1 for the half of the training examples that a training left out, else 0.
        of_halves: (50, queries): the losses after training on each other half.
        left_out: 100 training examples.
        of_left_out: (100, queries): the changes of the losses without each of them.
    """

    halves: np.ndarray
    of_halves: np.ndarray
    left_out: np.ndarray
    of_left_out: np.ndarray


class Fidelity(NamedTuple):
    """How near scores are to the truth, each the mean over queries.

    Attributes:
        lds: The Linear Datamodeling Score: Spearman's correlation, over 50 halves, of the sum of the scores of what
            was left out with the loss after training on the rest.
        pearson: The correlation, over 100 training examples, of the scores with the changes without each.
        spearman: The same of their ranks.
    """

    lds: float
    pearson: float
    spearman: float


@benchmark("influence-fidelity")
def influence_fidelity(quick):
    """Scores of training data beside training again: the Linear Datamodeling Score, and leaving out one example."""
    for name, protocol in PROTOCOLS.items():
        run, (x, y) = train(protocol)
        x, y = (x[:20], y[:20]) if quick else (x[:50], y[:50])
        found = truth(run, x, y)
        scores = influences(run, x, y)
        once = sgd_influence(run, x[:1], y[:1], check=False, progress=False)
        np.testing.assert_allclose(scores[0], once, rtol=1e-3, atol=1e-3 * np.abs(once).max())
        yield from _rows(f"sgd_influence, {name}", fidelity(scores, found), protocol.lds, protocol.leave_one_out)
        for method, score in {} if quick else METHODS.items():
            few = np.array([score(run, x[query : query + 1], y[query : query + 1]) for query in range(OTHERS)])
            yield from _rows(f"{method}, {name}", fidelity(few, found), -1, -1)


def truth(run, x, y, seed: int = 0) -> Truth:
    """Train again on 50 random halves, and without each of 100 examples.

    The loss of a step is the mean over the batch's examples that are kept, for halves, so that training on a half is as
    long and as fast as training on all; without one example nothing but its weight changes.

    Args:
        run: A training run of a dense network.
        x: The queries, (queries, 784).
        y: Their labels, (queries,).
        seed: The seed of the choice.

    Returns:
        The `Truth`.
    """
    rng = np.random.default_rng(seed)
    halves = np.zeros((50, len(run)))
    for half in halves:
        half[rng.permutation(len(run))[: len(run) // 2]] = 1
    left_out = rng.permutation(len(run))[:100]
    one_less = np.ones((100, len(run)))
    one_less[np.arange(100), left_out] = 0
    all_weights = np.concatenate([np.ones((1, len(run))), 2 * (1 - halves), one_less])
    changed = losses(run, retrained(run, all_weights), x, y)
    return Truth(halves, changed[1:51], left_out, changed[51:] - changed[0])


def fidelity(scores: np.ndarray, found: Truth) -> Fidelity:
    """Compare scores with the truth.

    Args:
        scores: (queries, training examples): the changes of each query's loss without each example.
        found: The `Truth`, of these queries and maybe more.

    Returns:
        The `Fidelity`.
    """
    from scipy.stats import pearsonr, spearmanr

    expected = found.halves @ scores.T
    each = [
        (
            spearmanr(expected[:, query], found.of_halves[:, query]).statistic,
            pearsonr(of_query[found.left_out], found.of_left_out[:, query]).statistic,
            spearmanr(of_query[found.left_out], found.of_left_out[:, query]).statistic,
        )
        for query, of_query in enumerate(scores)
    ]
    return Fidelity(*np.mean(each, axis=0))


def train(protocol: Protocol, seed: int = 0):
    """Record the training of a network on 4,000 digits.

    Args:
        protocol: How.
        seed: The seed of the weights and the order.

    Returns:
        The run, and the 1,000 digits that are held out as (x, y).
    """
    digits = load_digits()
    stack = [keras.Input((784,))]
    for position, units in enumerate(protocol.units):
        initializer = keras.initializers.HeNormal(seed=10 * seed + position + 1)
        stack.append(layers.Dense(units, activation=protocol.activation, kernel_initializer=initializer))
    stack.append(layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed=10 * seed)))
    run = record_training(
        keras.Sequential(stack),
        digits.x_train.reshape(-1, 784),
        digits.y_train,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(protocol.rate),
        epochs=protocol.epochs,
        batch_size=64,
        seed=seed,
        progress=False,
    )
    return run, (digits.x_test.reshape(-1, 784), digits.y_test)


def retrained(run, weights: np.ndarray) -> list[np.ndarray]:
    """Repeat a training many times at once, each time with other weights of the examples.

    Args:
        run: A training run of a dense network.
        weights: (runs, examples): 0 for the examples that a run leaves out, 1 for the others.

    Returns:
        The trained weights, (runs, ...) each.
    """

    @tf.function(autograph=False)
    def step(states, number, rate, batch, example_weights):
        return tf.vectorized_map(
            lambda each: run.step(each[0], number, rate, batch, each[1])[0],
            (states, example_weights),
            fallback_to_while_loop=False,
        )

    states = tf.nest.map_structure(lambda value: tf.repeat(value[None], len(weights), axis=0), run.state(0))
    for number, indices in enumerate(batches(run)):
        *arguments, ones = run.step_arguments(number, indices)
        states = step(states, *arguments, tf.constant(weights[:, indices] * ones, ones.dtype))
    return [value.numpy() for value in states.weights]


def batches(run) -> list[np.ndarray]:
    """Return the examples of each step of a run, arrays of indices."""
    return [indices for epoch in range(run.epochs) for indices in run.order(epoch)]


def influences(run, x, y) -> np.ndarray:
    """Score the training examples for each of many queries at once, as `sgd_influence` does for one after another.

    Args:
        run: A training run of a dense network.
        x: The queries, (queries, 784).
        y: Their labels, (queries,).

    Returns:
        float64, (queries, training examples): the change of each query's loss if the example had been left out.
    """

    queries = Examples(run.step.model, x, y, least=1).batch(slice(None))

    def gradient(query, weights):
        with tf.GradientTape() as tape:
            tape.watch(weights)
            batch = tf.nest.map_structure(lambda value: tf.convert_to_tensor(value)[None], query)
            loss = tf.reduce_sum(run.step.losses(weights, (), batch, training=False)[0])
        return tuple(tape.gradient(loss, weights))

    @tf.function(autograph=False)
    def gradients(weights):
        return tf.vectorized_map(lambda query: gradient(query, weights), queries, fallback_to_while_loop=False)

    # The step is differentiated for all queries in one go.
    one = compiled_backward(run.step, run.state(0), run.examples)

    @tf.function(autograph=False)
    def backward(state, number, rate, batch, ones, adjoints):
        return tf.vectorized_map(
            lambda adjoint: one(state, number, rate, batch, ones, adjoint), adjoints, fallback_to_while_loop=False
        )

    adjoints = gradients(tensors(run.state(run.epochs)).weights)
    scores = np.zeros((len(x), len(run)))
    for epoch in reversed(range(run.epochs)):
        states = [tensors(run.state(epoch)), *run.replay(epoch, steps=len(run.order(epoch)) - 1)]
        for position, indices in reversed(list(enumerate(run.order(epoch)))):
            arguments = run.step_arguments(run.first_step(epoch) + position, indices)
            slopes, adjoints = backward(states[position], *arguments, adjoints)
            scores[:, indices] -= slopes.numpy()
    return scores


def losses(run, weights, x, y) -> np.ndarray:
    """Compute the loss of each query after many trainings, in float64: the differences of interest are small.

    Args:
        run: One of the trainings, for its layers.
        weights: The trained weights, kernels and biases in turn, (runs, ...) each.
        x: The queries, (queries, 784).
        y: Their labels, (queries,).

    Returns:
        float64, (runs, queries).
    """
    values = x.astype(np.float64)[None]
    for layer, kernel, bias in zip(run.step.model.layers, weights[::2], weights[1::2], strict=True):
        values = np.asarray(layer.activation(values @ kernel.astype(np.float64) + bias.astype(np.float64)[:, None]))
    values -= values.max(axis=-1, keepdims=True)
    return np.log(np.exp(values).sum(axis=-1)) - values[:, np.arange(len(y)), y]


def _rows(case, found, lds, leave_one_out):
    yield Row(f"{case}: LDS", f"{found.lds:.2f}", "", 1 - found.lds, 1 - lds, "1-ρ")
    one = f"r {found.pearson:.2f} ρ {found.spearman:.2f}"
    yield Row(f"{case}: one left out", one, "", 1 - found.pearson, 1 - leave_one_out, "1-r")
