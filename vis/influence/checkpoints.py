"""The sum over the checkpoints of a run that TracIn and self-influence have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from tqdm import tqdm

from vis.influence.examples import Batch
from vis.influence.runs import TrainingRun
from vis.influence.training import State

_BATCH = 128


def summed_over_checkpoints(
    run: TrainingRun, at: Callable[[State], Callable[[Batch], np.ndarray]], progress: bool
) -> np.ndarray:
    """Return Σ_k (η_k / B) v_i(θ_k) of every training example, over the weights θ_k at the end of each epoch k.

    Between checkpoints several epochs apart, an example counts once per epoch.

    Args:
        run: The run.
        at: A function that maps the `State` of a checkpoint to a function of a batch, which returns v, (examples,).
        progress: Whether to show a progress bar.

    Returns:
        float64, (training examples,).
    """
    scores = np.zeros(len(run))
    parts = range(0, len(run), _BATCH)
    checkpoints = run.recorded
    with tqdm(total=(len(checkpoints) - 1) * len(parts), desc="Scoring", unit="batch", disable=not progress) as bar:
        for before, epoch in itertools.pairwise(checkpoints):
            values = at(run.state(epoch))
            share = np.sum([run.share(between) for between in range(before, epoch)], axis=0)
            rate = run.last_rate(epoch)
            for start in parts:
                part = slice(start, start + _BATCH)
                scores[part] += rate * share[part] * values(run.examples.batch(part))
                bar.update()
    return scores
