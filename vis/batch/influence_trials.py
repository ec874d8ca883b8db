"""Score training examples with a model file as it was compiled, averaged over several shuffles."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd

from vis.batch import model_files
from vis.batch.compiled import Compiled, Training, labels_for, loss_of, training_of
from vis.batch.executors import LOCAL, Executor
from vis.files.journal import Journal
from vis.influence import (
    example_losses,
    influence_functions,
    record_training,
    self_influence,
    sgd_influence,
    tracin,
)
from vis.influence.examples import Examples, example_loss
from vis.utils.errors import ArgumentError, VisWarning

METHODS = ("sgd", "tracin", "hessian")

# The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom, for two-sided 95 % intervals. More than ten trials
# use the quantile of ten, so their interval is at most a seventh too wide.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

# The candidates of the search for a learning rate, and the rank correlation of two shuffles at which one is accepted.
_RATES = (0.1, 0.05, 0.02, 0.01, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 1e-5)
_AGREEING = 0.5


class Scores(NamedTuple):
    """The scores of training examples from several trials.

    Attributes:
        influence: (trials, examples), float64: the change in validation loss if the example had been left out; a single
            row for influence functions.
        loss: (examples,), float64: the loss of each example after the first trial; for influence functions, the loss of
            the model itself.
        self_influence: (examples,), float64, from `vis.influence.self_influence` of the first trial; None for influence
            functions, which train nothing.
        training: The settings of the trials, with the learning rate that was used.
    """

    influence: np.ndarray
    loss: np.ndarray
    self_influence: np.ndarray | None
    training: Training

    @property
    def agreement(self) -> float:
        """The mean rank correlation (Spearman's) between the scores of two trials: 1 is the same order, 0 is chance.

        NaN for a single trial.
        """
        return agreement(self.influence)

    @property
    def is_noise(self) -> bool:
        """Whether the mean over the trials is mostly noise.

        By the Spearman–Brown formula, nρ / (1 + (n − 1)ρ) of the variance of the mean ranks is not noise, for n trials
        whose ranks correlate by ρ. This is True if that share is less than a half.
        """
        trials = len(self.influence)
        return trials > 1 and not trials * self.agreement >= 0.5 * (1 + (trials - 1) * self.agreement)


def score(
    model: keras.Model,
    compiled: Compiled,
    x,
    y: np.ndarray,
    x_val,
    y_val: np.ndarray,
    *,
    training: Training | None = None,
    method: str = "sgd",
    weights: str = "exact",
    n_trials: int = 6,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
    journal: Journal | None = None,
    progress: bool = True,
    executor: Executor = LOCAL,
) -> Scores:
    """Score training examples by several trainings with different shuffles.

    The search for a learning rate takes the largest of 0.1, 0.05, 0.02, 0.01, ..., 0.00001 at which the scores of the
    first two shuffles agree, with a rank correlation of at least 0.5. At larger rates single steps undo what others
    did, so the scores depend mostly on the order of the examples; at smaller rates training hardly moves.

    Args:
        model: A Keras model with one output; it is not changed.
        compiled: What it was compiled with, from `compiled_with` of its file.
        x: The training examples, as in `vis.influence.record_training`.
        y: Their labels, (examples,) or (examples, columns): numbers, class indices or probabilities, which are
            converted to the form that the loss takes.
        x_val: The validation examples, likewise.
        y_val: Their labels, likewise.
        training: The settings, from `training_of`; by default those the model was compiled with.
        method: `'sgd'` for SGD influence, `'tracin'`, or `'hessian'` for influence functions, which need no training.
        weights: For `'sgd'`: `'exact'`, `'epoch'` or `'final'`, as in `vis.influence.sgd_influence`.
        n_trials: The number of trainings; each uses the next seed.
        seed: The first seed.
        tell: Called with a line about each trial before it begins.
        journal: Records the scores of each trial when it finishes; trials that it already has are not repeated.
        progress: Whether to show progress bars; other processes show none.
        executor: The executor that trains, from `vis.batch.executors.executor_named`, entered; the scores are the same.

    Returns:
        The `Scores`; `vis.influence.rank` takes the mean of `influence` over trials.

    Raises:
        ValueError: An argument is invalid, or a training diverges.

    Warns:
        VisWarning: As `vis.influence.record_training` and the methods.

    Example:
        >>> from vis.influence import rank
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> y = np.array([2.0, 4.0, -6.0, 8.0])  # the third has a wrong sign
        >>> scores = score(model, Compiled("mse"), x, y, x[:2], 2 * x[:2, 0], n_trials=3, progress=False)
        >>> scores.influence.shape, rank(scores.influence)["datasource_index"][0].item(), scores.training.learning_rate
        ((3, 4), 2, 0.1)
    """
    if method not in METHODS:
        raise ArgumentError("method", f"must be one of {', '.join(map(repr, METHODS))}, not {method!r}")
    chosen: Training = training_of(compiled) if training is None else training
    y, y_val = labels_for(model, compiled, y, "y"), labels_for(model, compiled, y_val, "y_val")
    loss = loss_of(compiled)
    if method == "hessian":
        options = {"loss": loss, "l2": chosen.l2, "progress": progress}
        influence = influence_functions(model, x, y, x_val, y_val, seed=seed, **options)
        return Scores(influence[None], _losses(model, x, y, loss), None, chosen)

    done = {} if journal is None else {(entry["rate"], entry["trial"]): entry for entry in journal}

    same = {"loss": loss, "method": method, "weights": weights, "progress": progress and not executor.is_remote}
    file = model_files.packed(model) if executor.is_remote else None
    shared = _TrialJob(model if file is None else None, file, (x, y, x_val, y_val), same)

    def trials(rate: float | None, numbers: range, line: str) -> list[dict]:
        """Return the entries of trials: those in the journal, and new ones."""
        missing = [number for number in numbers if (rate, number) not in done]

        def pieces():
            for number in missing:
                if tell is not None:
                    tell(line.format(number + 1))
                at = chosen if rate is None else chosen.at(rate)
                yield {"training": at, "seed": seed + number, "first": number == 0}

        entries = executor.map(
            _run_trial,
            shared,
            pieces(),
            named=lambda piece: f"the trial of seed {piece['seed']}",
            modules=() if file is None else file.modules(),
        )
        for number, entry in zip(missing, entries, strict=True):
            done[rate, number] = {"rate": rate, "trial": number, **entry}
            if journal is not None:
                journal.append(done[rate, number])
        return [done[rate, number] for number in numbers]

    rate = None
    if chosen.finds_rate:
        rate = _largest_rate(lambda rate: trials(rate, range(2), f"Looking for a learning rate: {rate:g}"))
        chosen = chosen.at(rate)._replace(found_rate=True)
    entries = trials(rate, range(n_trials), f"Trial {{}} of {n_trials}")
    losses, own = (np.array(entries[0][name]) for name in ("loss", "self_influence"))
    return Scores(np.array([entry["influence"] for entry in entries]), losses, own, chosen)


class _TrialJob(NamedTuple):
    """What all trials share: the model, or its file for other processes, the data and the settings."""

    model: keras.Model | None
    file: model_files.ModelFile | None
    data: tuple
    options: dict


def _run_trial(job: _TrialJob, piece: dict) -> dict[str, list]:
    """Return the entry of one trial, in this process or another."""
    model, file = job.model, job.file
    if file is not None:
        model = model_files.prepared(job, lambda: model_files.loaded(file))
    x, y, x_val, y_val = job.data
    return one_trial(model, x, y, x_val, y_val, **job.options, **piece)


def one_trial(
    model,
    x,
    y,
    x_val,
    y_val,
    *,
    loss,
    training: Training,
    method: str,
    weights: str,
    seed: int,
    first: bool,
    progress,
) -> dict[str, list]:
    """Train once, and score every training example.

    Args:
        model: As in `score`; so are the arguments without further explanation.
        x: The training examples.
        y: Their labels, as the loss takes them.
        x_val: The validation examples.
        y_val: Their labels.
        loss: The loss.
        training: The settings, with a known learning rate.
        method: `'sgd'` or `'tracin'`.
        weights: For `'sgd'`.
        seed: The seed of the shuffle.
        first: Whether this is the first trial, which also gives the loss and the self-influence of each example, and
            for which SGD influence checks how far back it is reliable.
        progress: Whether to show progress bars.

    Returns:
        Lists of one number per example: `influence`; for the first trial also `loss` and `self_influence`.

    Raises:
        ValueError: As in `score`.
    """
    options = {name: value for name, value in training._asdict().items() if not name.endswith("_rate")}
    run = record_training(model, x, y, loss=loss, seed=seed, progress=progress, **options)
    if method == "tracin":
        influence = tracin(run, x_val, y_val, progress=progress)
    else:
        influence = sgd_influence(run, x_val, y_val, weights=weights, check=first, progress=progress)
    entry = {"influence": influence.tolist()}
    if first:
        entry["loss"] = example_losses(run, progress=False)[-1].tolist()
        entry["self_influence"] = self_influence(run, progress=progress).tolist()
    return entry


def _losses(model: keras.Model, x, y, loss) -> np.ndarray:
    """Return the loss of each example under the model's predictions, float64, (examples,)."""
    examples = Examples(model, x, y)
    _, each = example_loss(model, loss, examples.labels)
    parts = [examples.batch(slice(start, start + 128)) for start in range(0, len(examples), 128)]
    losses = [each(part.labels, model(part.inputs, training=False)).numpy() for part in parts]
    return np.concatenate(losses).astype(np.float64)


def _largest_rate(trials: Callable[[float], list[dict]]) -> float:
    """Return the largest of the learning rates at which the scores of two shuffles agree, by bisection.

    Args:
        trials: A function of a rate that returns the entries of the trials of two shuffles.

    Returns:
        The rate; the smallest one if the scores agree at none.
    """

    warnings_at = {}  # the warnings by rate: only those of the chosen rate matter

    def agrees(rate: float) -> bool:
        try:
            with warnings.catch_warnings(record=True) as warnings_at[rate]:
                warnings.simplefilter("always", VisWarning)
                scores = np.array([entry["influence"] for entry in trials(rate)])
        except ValueError:  # a training that diverges at this rate
            return False
        return agreement(scores) >= _AGREEING

    # Bisect between a rate that is too large and one that is not.
    too_large, small = -1, len(_RATES) - 1
    while small - too_large > 1:
        middle = (too_large + small) // 2
        if agrees(_RATES[middle]):
            small = middle
        else:
            too_large = middle
    for warning in warnings_at.get(_RATES[small], ()):
        warnings.warn(warning.message, stacklevel=2)
    return _RATES[small]


def agreement(scores: np.ndarray) -> float:
    """Return the mean rank correlation (Spearman's) between the scores of two trials.

    Args:
        scores: (trials, examples).

    Returns:
        From -1 to 1; NaN for a single trial, or if all scores of a trial are equal.

    Example:
        >>> agreement(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [3.0, 2.0, 1.0]]))
        -0.333...
    """
    correlations = pd.DataFrame(scores.T).corr("spearman").to_numpy()
    pairs = correlations[np.triu_indices(len(scores), 1)]
    return float(pairs.mean()) if len(pairs) else math.nan


def margins(scores: np.ndarray) -> np.ndarray:
    """Return the margin of error of the mean score of each example, from the spread of its trials.

    It is half the width of the 95 % confidence interval: Student's t times the standard error of the mean. A mean
    smaller than its margin is noise: its interval contains 0. If all scores were noise, one in twenty would still
    exceed its margin. All trials use the same validation examples, so the margin does not cover the choice of these.

    Args:
        scores: (trials, examples), from `score`.

    Returns:
        float64, (examples,); NaN for a single trial, which has no spread.

    Example:
        >>> margins(np.array([[1.0, -3.0], [1.0, 3.0]]))  # the second: 12.706 times a standard error of 3
        array([ 0.   , 38.118])
    """
    trials = len(scores)
    if trials < 2:
        return np.full(scores.shape[1], np.nan)
    quantile = _STUDENT[min(trials - 2, len(_STUDENT) - 1)]
    return quantile * scores.std(axis=0, ddof=1) / math.sqrt(trials)
