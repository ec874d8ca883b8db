"""The loss of each training example at each checkpoint of a run."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from vis.influence.checks import check_run
from vis.influence.runs import TrainingRun
from vis.influence.training import compiled, signature
from vis.utils.docs import shared_docs

_BATCH = 128


@shared_docs
def example_losses(run: TrainingRun, *, progress: bool = True) -> np.ndarray:
    """Compute the loss of every training example at every checkpoint, as the model predicts there.

    Examples that are learned late, or not at all, are often mislabelled (Arpit et al. 2017, "A Closer Look at
    Memorization in Deep Networks", arXiv 1706.05394). It needs no replay, so it accepts every recorded run. Dropout
    is off, batch normalization uses its moving averages, and sample weights and regularization are ignored.

    Args:
        {{run}}
        {{progress}}

    Returns:
        A float64 array of shape (checkpoints, training examples): one row per epoch in `run.recorded`, the first one
        before training.

    Raises:
        ValueError: The run was loaded without its examples.
        {{run_error}}

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0]])
        >>> run = record_training(model, x, 2 * x, optimizer='sgd', epochs=3, progress=False)
        >>> losses = example_losses(run, progress=False)
        >>> losses.shape, losses[0].tolist()
        ((4, 2), [4.0, 16.0])
    """
    check_run(run)

    def losses(weights, buffers, batch):
        return run.step.losses(weights, buffers, batch, training=False)[0]

    specs = signature(run.state(0), run.examples)
    call = run.cached("losses", lambda: compiled(losses, [specs[0].weights, specs[0].buffers, specs[3]]))
    parts = range(0, len(run), _BATCH)
    found = np.zeros((len(run.recorded), len(run)))
    with tqdm(total=len(found) * len(parts), desc="Losses", unit="batch", disable=not progress) as bar:
        for row, epoch in zip(found, run.recorded, strict=True):
            state = run.state(epoch)
            for start in parts:
                part = slice(start, start + _BATCH)
                row[part] = call(state.weights, state.buffers, run.examples.batch(part)).numpy()
                bar.update()
    return found
