"""The adjoint of training: the gradient of the validation loss with respect to states and example weights.

Training is a chain of steps s_{t+1} = f_t(s_t; w), where s are weights, buffers and the optimizer's variables, and w
the weights of the examples in the step's batch. With u_T = ∂L_val/∂s_T the chain rule gives, backwards,

    ∂L_val/∂w_i = Σ_t u_{t+1}ᵀ ∂f_t/∂w_i        u_t = (∂f_t/∂s_t)ᵀ u_{t+1}

both from one backward pass through the step, for all examples of the batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.influence.probe import check_second_order
from vis.influence.runs import TrainingRun
from vis.influence.training import State, TrainingStep, compiled, signature
from vis.influence.validation import ValidationLoss
from vis.utils.checks import whole_number
from vis.utils.errors import ArgumentError, sentence


class Differentiated(NamedTuple):
    """The results of backpropagation through a run.

    Attributes:
        scores: (examples,), float64: −∂L_val/∂w_i.
        norms: ‖∂L_val/∂θ‖ after the last epoch, before it, before the one before, ...: (epochs + 1,).
        windows: The scores after going back 1, 2, 4, 8, ... epochs, and all, by their number.
    """

    scores: np.ndarray
    norms: np.ndarray
    windows: dict[int, np.ndarray]


def epochs_back(run: TrainingRun, epochs: int | None) -> int:
    """Return the number of epochs to go back from the end of a run.

    Args:
        run: The run.
        epochs: The requested number; None for all.

    Returns:
        An int.

    Raises:
        ArgumentError: `epochs` is not a whole number from 1 to the number of epochs of the run.
    """
    backs = whole_number("epochs", run.epochs if epochs is None else epochs)
    if backs > run.epochs:
        raise ArgumentError("epochs", f"must be at most {run.epochs}, as many as the run has, not {epochs}")
    return backs


def differentiated(
    run: TrainingRun, validation: ValidationLoss, backs: int, weights: str = "exact", progress: bool = True
) -> Differentiated:
    """Differentiate the validation loss after a run with respect to the example weights, going back a number of epochs.

    Args:
        run: The run.
        validation: The validation loss, which is differentiated.
        backs: The number of epochs to go back.
        weights: The weights at which steps are differentiated: `'exact'`, `'epoch'` or `'final'`.
        progress: Whether to show a progress bar.

    Returns:
        A `Differentiated`.

    Raises:
        ValueError: The run cannot be replayed, the model has a layer whose second derivatives are wrong, or the scores
            are not finite.
    """
    run.check_replay()
    run.cached("probe", lambda: check_second_order(run.step, run.state(0), run.examples.batch(slice(0, 8))))
    final = tensors(run.state(run.epochs))
    adjoint = _at_the_end(final, *validation.gradient(final))
    backward = run.cached("backward", lambda: compiled_backward(run.step, run.state(0), run.examples))
    scores, windows, norms = np.zeros(len(run)), {}, [_norm(adjoint, final)]
    total = run.first_step(run.epochs) - run.first_step(run.epochs - backs)
    with tqdm(total=total, desc="Scoring", unit="step", disable=not progress) as bar:
        for back, epoch in enumerate(reversed(range(run.epochs - backs, run.epochs)), 1):
            order = run.order(epoch)
            for step, state in _states_backwards(run, epoch, weights, final):
                indices = order[step]
                arguments = run.step_arguments(run.first_step(epoch) + step, indices)
                weight_gradients, adjoint = backward(state, *arguments, adjoint)
                np.add.at(scores, indices, -weight_gradients.numpy().astype(np.float64))
                bar.update()
            norms.append(_norm(adjoint, final))
            if back == backs or back & (back - 1) == 0:
                windows[back] = np.where(np.isin(np.arange(len(run)), run.without), 0, scores)
    if not np.isfinite(scores).all():
        problem = "the influence is not finite: the run is unstable, and small changes grow without bound"
        raise ValueError(sentence(problem, "Lower the learning rate, or give epochs to go back only a few"))
    return Differentiated(windows[backs], np.array(norms), windows)


def compiled_backward(step: TrainingStep, state: State, examples):
    """Return the vector-Jacobian product of a training step as one compiled function.

    Args:
        step: The step.
        state: A `State`, for its shapes.
        examples: The training examples, for their shapes.

    Returns:
        A function that maps the step's arguments and the adjoint of the state after it to the derivatives with respect
        to the example weights, (examples,), and the adjoint of the state before it. An adjoint is a tuple of tensors,
        one for each floating-point tensor of the state.
    """

    def backward(state, number, rate, batch, example_weights, adjoint):
        sources = floating(state)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([example_weights, sources])
            after, _ = step(state, number, rate, batch, example_weights)
            targets = floating(after)
        weight_gradients, *before = tape.gradient(
            targets, [example_weights, *sources], output_gradients=list(adjoint), unconnected_gradients="zero"
        )
        return weight_gradients, tuple(map(tf.convert_to_tensor, before))

    specs = signature(state, examples)
    adjoint = tuple(tf.TensorSpec(spec.shape, spec.dtype) for spec in floating(specs[0]))
    return compiled(backward, [*specs, adjoint])


def floating(state: State) -> list:
    """Return the floating-point tensors of a state, the only ones with derivatives; this excludes dropout's seeds.

    Args:
        state: A `State`.

    Returns:
        A flat list of tensors.
    """
    return [value for value in tf.nest.flatten(state) if value.dtype.is_floating]


def _at_the_end(state: State, weights, buffers) -> tuple:
    """Return u_T: the validation loss depends on the weights and the buffers, not on the optimizer's variables."""
    slots = [tf.zeros_like(value) for value in tf.nest.flatten(state.slots) if value.dtype.is_floating]
    return (*weights, *(buffer for buffer in buffers if buffer is not None), *slots)


def _states_backwards(run: TrainingRun, epoch: int, weights: str, final: State) -> Iterator[tuple[int, State]]:
    """Yield `(step, state before it)` from the last step of an epoch to its first.

    Every ⌈√T⌉-th state is kept, and the steps between two of them are recomputed, from the last pair to the first:
    about 2√T states are in memory at once, at the cost of two more passes of training.
    """
    count = len(run.order(epoch))
    if weights != "exact":
        state = final if weights == "final" else tensors(run.state(epoch + 1))
        yield from ((step, state) for step in reversed(range(count)))
        return
    length = math.isqrt(count - 1) + 1
    kept = {0: tensors(run.state(epoch))}
    for step, state in enumerate(run.replay(epoch, steps=count - 1), 1):
        if step % length == 0:
            kept[step] = state
    for start in sorted(kept, reverse=True):
        first = kept.pop(start)
        stop = min(start + length, count)
        segment = [first, *run.replay(epoch, steps=stop - start - 1, start=start, state=first)]
        while segment:
            yield start + len(segment) - 1, segment.pop()


def _norm(adjoint: tuple, state: State) -> float:
    """Return the norm of an adjoint's part for the weights."""
    return float(tf.linalg.global_norm(adjoint[: len(state.weights)]))


def tensors(state: State) -> State:
    """Return a state with its arrays as tensors.

    Args:
        state: A `State`.

    Returns:
        The `State`.
    """
    return tf.nest.map_structure(tf.convert_to_tensor, state)
