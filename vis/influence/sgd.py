"""SGD influence: what the validation loss would be without a training example, by the adjoint of training.

Training is a chain of steps s_{t+1} = f_t(s_t; w), s being weights, buffers and the optimizer's variables, and w the
weights of the examples in the step's batch. With u_T = ∂L_val/∂s_T the chain rule gives, backwards,

    ∂L_val/∂w_i = Σ_t u_{t+1}ᵀ ∂f_t/∂w_i        u_t = (∂f_t/∂s_t)ᵀ u_{t+1}

both from one backward pass through the step, for all examples of the batch at once. Leaving an example out moves its
weight from 1 to 0, so that its score is -∂L_val/∂w_i.

With plain SGD this is the method of Hara, Nitanda & Maehara, "Data Cleansing for Models Trained with SGD" (2019, arXiv
1906.08473), where u is propagated by Hessian-vector products; here the adjoint runs through the optimizer's update as
well. With `weights='final'` it is that of Suzuki et al., "Data Cleansing for Deep Neural Networks with
Storage-efficient Approximation of Influence Functions" (2021, arXiv 2103.11807).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.influence.checks import check_run
from vis.influence.probe import check_second_order
from vis.influence.runs import TrainingRun
from vis.influence.training import State, TrainingStep, compiled, signature
from vis.influence.validation import ValidationLoss
from vis.utils.checks import whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, sentence


@shared_docs
def sgd_influence(
    run: TrainingRun, x_val, y_val, *, epochs: int | None = None, weights: str = "exact", progress: bool = True
) -> np.ndarray:
    """Score every training example by the change of the validation loss if it had been left out, to first order.

    score_i = −Σ_t u_{t+1}ᵀ ∂f_t/∂w_i, with f_t the training step t, w_i the example's weight in it and u_t the
    derivative of the validation loss with respect to the state before step t (Hara, Nitanda & Maehara 2019, "Data
    Cleansing for Models Trained with SGD", arXiv 1906.08473; here through the optimizer's update as well).
    With `weights='final'`, Suzuki et al. 2021, arXiv 2103.11807.

    Args:
        {{run}}
        {{validation_set}}
        epochs: How many epochs to go back from the end; None for all.
        weights: The weights at which steps are differentiated. `'exact'`: each step's own, computed again from the
            start of its epoch. `'epoch'`: those at the end of the step's epoch. `'final'`: those after training.
        {{progress}}

    Returns:
        {{scores}}
        With batch normalization an example left out still counts in its batch's statistics.

    Raises:
        ValueError: The model has a layer whose second derivatives are wrong (bilinear resizing, a custom gradient or a
            stopped one), `epochs` or `weights` is out of range or unknown, the validation set does not fit the model,
            the run was loaded without its examples, or the scores are not finite.
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
        >>> sgd_influence(run, x[:3] + 0.5, y[:3] + 1, progress=False).argmin().item()
        3
    """
    check_run(run)
    if weights not in ("exact", "epoch", "final"):
        raise ArgumentError("weights", f"must be 'exact', 'epoch' or 'final', not {weights!r}", kind="unknown")
    backs = whole_number("epochs", run.epochs if epochs is None else epochs)
    if backs > run.epochs:
        raise ArgumentError("epochs", f"must be at most {run.epochs}, as many as the run has, not {epochs}")
    validation = ValidationLoss.of_run(run, x_val, y_val)
    run.check_replay()
    run.cached("probe", lambda: check_second_order(run.step, run.state(0), run.examples.batch(slice(0, 8))))
    final = _tensors(run.state(run.epochs))
    adjoint = _at_the_end(final, *validation.gradient(final))
    backward = run.cached("backward", lambda: compiled_backward(run.step, run.state(0), run.examples))
    scores = np.zeros(len(run))
    total = run.first_step(run.epochs) - run.first_step(run.epochs - backs)
    with tqdm(total=total, desc="Scoring", unit="step", disable=not progress) as bar:
        for epoch in reversed(range(run.epochs - backs, run.epochs)):
            order = run.order(epoch)
            for step, state in _states_backwards(run, epoch, weights, final):
                indices = order[step]
                arguments = run.step_arguments(run.first_step(epoch) + step, indices)
                slopes, adjoint = backward(state, *arguments, adjoint)
                np.add.at(scores, indices, -slopes.numpy().astype(np.float64))
                bar.update()
    if not np.isfinite(scores).all():
        problem = "the influence is not finite: the run is unstable, and small changes grow without bound"
        raise ValueError(sentence(problem, "Lower the learning rate, or give epochs to go back only a few"))
    scores[list(run.without)] = 0
    return scores


def compiled_backward(step: TrainingStep, state: State, examples):
    """Return the vector-Jacobian product of a training step as one compiled function.

    Args:
        step: The step.
        state: A `State`, for its shapes.
        examples: The training examples, for their shapes.

    Returns:
        A function of the step's arguments and the adjoint of the state after it, to the derivatives with respect to the
        example weights, (examples,), and the adjoint of the state before it. An adjoint is a tuple of tensors, one for
        each floating-point tensor of the state.
    """

    def backward(state, number, rate, batch, example_weights, adjoint):
        sources = floating(state)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([example_weights, sources])
            after, _ = step(state, number, rate, batch, example_weights)
            targets = floating(after)
        slopes, *before = tape.gradient(
            targets, [example_weights, *sources], output_gradients=list(adjoint), unconnected_gradients="zero"
        )
        return slopes, tuple(map(tf.convert_to_tensor, before))

    specs = signature(state, examples)
    adjoint = tuple(tf.TensorSpec(spec.shape, spec.dtype) for spec in floating(specs[0]))
    return compiled(backward, [*specs, adjoint])


def floating(state: State) -> list:
    """Return the floating-point tensors of a state, the only ones with derivatives: not dropout's seeds.

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

    Every ⌈√T⌉-th state is kept, and between two of them the steps are run again, from the last pair to the first: about
    2√T states are held at once, for two more passes of training.
    """
    count = len(run.order(epoch))
    if weights != "exact":
        state = final if weights == "final" else _tensors(run.state(epoch + 1))
        yield from ((step, state) for step in reversed(range(count)))
        return
    length = math.isqrt(count - 1) + 1
    kept = {0: _tensors(run.state(epoch))}
    for step, state in enumerate(run.replay(epoch, steps=count - 1), 1):
        if step % length == 0:
            kept[step] = state
    for start in sorted(kept, reverse=True):
        first = kept.pop(start)
        stop = min(start + length, count)
        segment = [first, *run.replay(epoch, steps=stop - start - 1, start=start, state=first)]
        while segment:
            yield start + len(segment) - 1, segment.pop()


def _tensors(state: State) -> State:
    return tf.nest.map_structure(tf.convert_to_tensor, state)
