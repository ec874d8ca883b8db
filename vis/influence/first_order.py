"""Measure for how many epochs back a derivative predicts the effect of leaving an example out.

A derivative is accurate for small changes. To see whether leaving out one example is small enough, a few examples are
left out of the last epochs, and the true changes in validation loss are compared with the scores that go back the same
number of epochs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from vis.influence.adjoint import Differentiated, differentiated, epochs_back, tensors
from vis.influence.checks import check_run
from vis.influence.runs import TrainingRun
from vis.influence.validation import ValidationLoss
from vis.utils.checks import whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, warn

# The smallest cosine between predicted and true changes at which scores are trusted.
TRUSTED = 0.5


class FirstOrder(NamedTuple):
    """The number of epochs for which a first-order approximation holds.

    Attributes:
        growth: The factor by which ‖∂L_val/∂θ‖ grows per epoch going back, the last epoch first: (epochs,).
        agreement: For each number of epochs back, the cosine between the changes of the validation loss that the scores
            predict and the true ones, over the examples left out: 1 means full agreement.
        epochs: The number of epochs back for which to trust the scores: as long as `agreement` is at least 0.5.

    Example:
        >>> FirstOrder(np.array([1.1, 2.0]), {1: 0.9, 2: 0.3}, 1).epochs
        1
    """

    growth: np.ndarray
    agreement: dict[int, float]
    epochs: int


@shared_docs
def check_first_order(
    run: TrainingRun,
    x_val,
    y_val,
    *,
    epochs: int | None = None,
    examples: int = 8,
    progress: bool = True,
) -> FirstOrder:
    """Measure for how many epochs back `sgd_influence` is reliable.

    Examples are left out of the last 1, 2, 4, 8, ... epochs, one at a time: half of them are those with the lowest and
    the highest scores, which matter most, the others are random. The true changes in validation loss are compared with
    the scores that go back the same number of epochs.

    Args:
        {{run}}
        {{validation_set}}
        epochs: The number of epochs to go back from the end; None for all.
        examples: The number of examples to leave out, at least 4; each costs as much as retraining twice.
        {{progress}}

    Returns:
        A `FirstOrder`.

    Raises:
        ValueError: `epochs` or `examples` is out of range, the model has a layer whose second derivatives are wrong,
            the run cannot be replayed, or the validation set does not fit the model.
        {{run_error}}

    Warns:
        {{validation_warning}}

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([2.0, 4.0, 6.0, -9.0])
        >>> run = record_training(model, x, y, optimizer='sgd', epochs=8, progress=False)
        >>> check_first_order(run, x[:3] + 0.5, y[:3] + 1, examples=4, progress=False).epochs
        8
    """
    check_run(run)
    backs = epochs_back(run, epochs)
    count = whole_number("examples", examples, 4)
    if count > len(run):
        raise ArgumentError("examples", f"must be at most {len(run)}, as many as the run has, not {examples}")
    validation = ValidationLoss.of_run(run, x_val, y_val)
    found = differentiated(run, validation, backs, progress=progress)
    return _judged(run, validation, found, count, progress)


def warn_past_first_order(
    run: TrainingRun, validation: ValidationLoss, found: Differentiated, *, progress: bool = True
) -> None:
    """Warn if scores go back too far for a first-order approximation.

    Args:
        run: The run.
        validation: The validation loss.
        found: Scores that go back several epochs.
        progress: Whether to show a progress bar.
    """
    backs = len(found.norms) - 1
    for back in sorted(found.windows, reverse=True):
        cosine = _agreement(run, validation, found.windows[back], back, min(4, len(run)), progress)
        if cosine >= TRUSTED:
            break
        if back == backs:
            first = cosine
    else:
        back = 0
    if back < backs:
        warn(
            "past_first_order",
            f"the scores go back {backs} epochs, but a first-order approximation holds only for "
            f"{f'about {back}' if back else 'less than one'} here: the cosine between scores and true changes, of four "
            f"examples that were left out, is {first:.2f}, where 1 is agreement",
            f"Give epochs={max(back, 1)}, lower the learning rate, or call counterfactual_influence",
        )


def _judged(
    run: TrainingRun, validation: ValidationLoss, found: Differentiated, count: int, progress: bool
) -> FirstOrder:
    agreement = {
        back: _agreement(run, validation, scores, back, count, progress) for back, scores in found.windows.items()
    }
    trusted = 0
    for back, cosine in agreement.items():
        if not cosine >= TRUSTED:
            break
        trusted = back
    return FirstOrder(found.norms[1:] / np.maximum(found.norms[:-1], 1e-300), agreement, trusted)


def _agreement(
    run: TrainingRun, validation: ValidationLoss, scores: np.ndarray, back: int, count: int, progress: bool
) -> float:
    """Return the cosine between scores and true changes when examples are left out of the last epochs."""
    left_out = _chosen(scores, count)
    steps = run.first_step(run.epochs) - run.first_step(run.epochs - back)
    with tqdm(total=count * steps, desc="Checking", unit="step", disable=not progress) as bar:
        true = np.array([_change(run, validation, back, example, bar) for example in left_out])
    lengths = np.linalg.norm(scores[left_out]) * np.linalg.norm(true)
    return float(scores[left_out] @ true / lengths) if lengths > 0 else 1.0


def _chosen(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the examples with the lowest and the highest scores, and the same number at random."""
    order = np.argsort(scores, kind="stable")
    low = count // 4
    high = count // 2 - low
    others = np.random.default_rng(0).permutation(order[low : len(order) - high])[: count - low - high]
    return np.concatenate([order[:low], order[len(order) - high :], others])


def _change(run: TrainingRun, validation: ValidationLoss, back: int, left_out: int, bar) -> float:
    """Return the change in validation loss when an example is left out of the last epochs."""
    step = run.compiled()
    state = tensors(run.state(run.epochs - back))
    for epoch in range(run.epochs - back, run.epochs):
        for position, indices in enumerate(run.order(epoch)):
            *arguments, weights = run.step_arguments(run.first_step(epoch) + position, indices)
            weights = (weights * (indices != left_out)).astype(weights.dtype)
            state, _ = step(state, *arguments, weights)
            bar.update()
    return validation(state) - validation(run.state(run.epochs))
