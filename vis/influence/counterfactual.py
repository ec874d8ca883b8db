"""The ground truth: retrain without an example, and measure the change in validation loss.

Every run is the same training step with one example's weight set to 0. Many runs go through a step at once, as a batch
of networks (`tf.vectorized_map`), if TensorFlow supports that: for dense networks this is about a hundred times
faster. Otherwise (for convolutions, whose filters would differ between runs) the runs are made one after another, each
from the first step with its example.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.influence.checks import check_run
from vis.influence.order import checked_indices
from vis.influence.runs import TrainingRun
from vis.influence.training import State, compiled, signature
from vis.influence.validation import ValidationLoss
from vis.utils.docs import shared_docs

# The most bytes of weights of all runs that are vectorized together.
_BYTES = 2**25
_MOST_RUNS = 256


@shared_docs
def counterfactual_influence(
    run: TrainingRun, x_val, y_val, indices: Sequence[int] | None = None, *, progress: bool = True
) -> np.ndarray:
    """Measure how the validation loss changes when an example is left out, by retraining without it.

    score_i = L_val(trained without example i) − L_val(trained with it), by leave-one-out retraining with the same
    order, dropout masks and divisor of each batch's loss.

    Args:
        {{run}}
        {{validation_set}}
        indices: The training examples to leave out, one at a time; None for each of them.
        {{progress}}

    Returns:
        A float64 array of shape (len(indices),), in units of the loss. Negative scores mean harmful examples.

    Raises:
        ValueError: An index is out of range, the run was loaded without its examples, or the validation set does not
            fit the model.
        {{run_error}}

    Warns:
        {{validation_warning}}

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([2.0, 4.0, 6.0, -9.0])  # the last one is wrong
        >>> run = record_training(model, x, y, optimizer='sgd', epochs=20, progress=False)
        >>> counterfactual_influence(run, x[:3] + 0.5, y[:3] + 1, progress=False).argmin().item()
        3
    """
    check_run(run)
    wanted = np.arange(len(run)) if indices is None else checked_indices(indices, len(run), "indices")
    run.check_replay()
    validation = ValidationLoss.of_run(run, x_val, y_val)
    changes = np.zeros(len(wanted))
    occurring = {index for batch in _batches(run) for index in batch.tolist()} - set(run.without)
    positions = [position for position, index in enumerate(wanted.tolist()) if index in occurring]
    if not positions:
        return changes
    # Another run leaves nothing out: the comparison then uses the same arithmetic.
    size = min(_most_at_once(run), len(positions) + 1)
    many = _vectorized(run, validation, size) if size >= 4 else None
    steps = run.first_step(run.epochs)
    if many is None:
        with tqdm(total=len(positions), desc="Retraining", unit="run", disable=not progress) as bar:
            _one_by_one(run, validation, wanted, positions, changes, bar)
        return changes
    chunks = [positions[start : start + size - 1] for start in range(0, len(positions), size - 1)]
    with tqdm(total=len(chunks) * steps, desc="Retraining", unit="step", disable=not progress) as bar:
        for chunk in chunks:
            left_out = np.full(size, -1)
            left_out[1 : len(chunk) + 1] = wanted[chunk]
            losses = _together(run, many, validation, left_out, bar)
            changes[chunk] = losses[1 : len(chunk) + 1] - losses[0]
    return changes


def _together(run: TrainingRun, many, validation: ValidationLoss, left_out: np.ndarray, bar) -> np.ndarray:
    """Return the validation losses of runs that leave out one example each; -1 leaves out none."""
    step, loss = many
    state = tf.nest.map_structure(
        lambda value: tf.tile(tf.convert_to_tensor(value)[None], [len(left_out)] + [1] * np.ndim(value)), run.state(0)
    )
    for number, indices in enumerate(_batches(run)):
        *arguments, weights = run.step_arguments(number, indices)
        weights = weights * (indices != left_out[:, None])
        state = step(state, *arguments, weights.astype(run.examples.sample_weight.dtype))
        bar.update()
    total = sum(loss(state.weights, state.buffers, batch).numpy().astype(np.float64) for batch in validation.batches())
    return total / len(validation.examples)


def _vectorized(run: TrainingRun, validation: ValidationLoss, size: int):
    """Return the step and the sum of losses for many states at once; None if TensorFlow cannot."""
    specs = signature(run.state(0), run.examples)
    state = tf.nest.map_structure(lambda spec: tf.TensorSpec([size, *spec.shape], spec.dtype), specs[0])
    weights = tf.TensorSpec([size, None], specs[4].dtype)
    batch = validation.examples.specification()

    def step(states, number, rate, batch, example_weights):
        return tf.vectorized_map(
            lambda each: run.step(each[0], number, rate, batch, each[1])[0],
            (states, example_weights),
            fallback_to_while_loop=False,
        )

    def loss(own_weights, buffers, batch):
        def total(each):
            losses, _, _ = run.step.losses(each[0], each[1], batch, training=False)
            return tf.reduce_sum(losses)

        return tf.vectorized_map(total, (own_weights, buffers), fallback_to_while_loop=False)

    try:
        # TensorFlow logs the operations that it cannot batch, with the stack of each.
        with unheard(tf.get_logger()):
            return (
                run.cached(f"{size} runs", lambda: compiled(step, [state, *specs[1:4], weights])),
                # The validation labels may have another dtype or shape than those of the run, (examples, 1).
                run.cached(
                    f"losses of {size} runs: {batch}", lambda: compiled(loss, [state.weights, state.buffers, batch])
                ),
            )
    except (ValueError, NotImplementedError, TypeError, tf.errors.OpError):
        return None


@contextlib.contextmanager
def unheard(logger: logging.Logger) -> Iterator[None]:
    """Drop the log messages of this thread inside a `with` block; other threads log as before.

    Args:
        logger: The logger.

    Yields:
        Nothing.
    """
    here = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != here

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def _one_by_one(run: TrainingRun, validation, wanted, positions, changes, bar) -> None:
    """Retrain one run after another, each from the first step with its example."""
    step = run.compiled()
    batches = list(_batches(run))
    first: dict[int, int] = {}
    for number, indices in enumerate(batches):
        for index in indices.tolist():
            first.setdefault(index, number)

    def advance(state: State, number: int, left_out: int) -> State:
        indices = batches[number]
        *arguments, weights = run.step_arguments(number, indices)
        weights = weights * (indices != left_out)
        return step(state, *arguments, weights.astype(run.examples.sample_weight.dtype))[0]

    reference = validation(run.state(run.epochs))
    base, reached = tf.nest.map_structure(tf.convert_to_tensor, run.state(0)), 0
    for position in sorted(positions, key=lambda position: first[wanted[position]]):
        left_out = int(wanted[position])
        while reached < first[left_out]:
            base, reached = advance(base, reached, -1), reached + 1
        state = base
        for number in range(reached, len(batches)):
            state = advance(state, number, left_out)
        changes[position] = validation(state) - reference
        bar.update()


def _batches(run: TrainingRun) -> list[np.ndarray]:
    return [indices for epoch in range(run.epochs) for indices in run.order(epoch)]


def _most_at_once(run: TrainingRun) -> int:
    bytes_each = sum(value.nbytes for value in tf.nest.flatten(run.state(0)))
    return min(_MOST_RUNS, _BYTES // max(bytes_each, 1))
