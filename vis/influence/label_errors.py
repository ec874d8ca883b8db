"""Wrong labels: find the examples that have one, suggest a better label, and estimate how many there are.

Two signs separate wrong labels from right ones, and neither needs clean data: networks that never saw the example
assign low probability to its label, and networks that train on it learn the label late. With p̄_i the probability of
the label of example i in networks trained without it, averaged over epochs, and ℓ_i its mean cross entropy in the first
epochs of the networks trained with it, each before the step that learns from it,

    score_i = 1 − √(p̄_i exp(−ℓ_i)),

one minus the geometric mean of two probabilities of the label. Confident learning estimates how many labels are wrong
(`vis.influence.confident_learning`); that many of the highest scores are marked as errors.

The area under the margin (Pleiss et al. 2020, arXiv 2001.10528) and the norm of the gradient with respect to the logits
(EL2N, Paul et al. 2021, arXiv 2107.07075) are columns of the table but not part of the score: memorization spoils both
first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from vis.influence import fold_files
from vis.influence.confident_learning import count_errors
from vis.influence.folds import CrossValidation, FoldScores
from vis.utils.docs import shared_docs
from vis.utils.errors import warn

if TYPE_CHECKING:
    import pandas as pd


@shared_docs
def label_errors(
    model,
    x,
    y=None,
    *,
    folds: int = 3,
    epochs: int | None = None,
    batch_size: int = 32,
    loss=None,
    optimizer=None,
    seed: int = 0,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Find the training examples with wrong labels, the most likely error first, and estimate how many there are.

    Trains freshly initialized copies of the model, each without one fold of the examples. The score is one minus the
    geometric mean of two probabilities of the label: that predicted by the networks that never saw the example, and
    that of the networks that train on it, in their first epochs, before each step. The number of errors is estimated by
    confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    arXiv 1911.00068).

    Args:
        model: A Keras classifier with one output. Only its architecture is used, and the weights of frozen layers. It
            is not changed.
        x: The training inputs, an array of shape (examples, ...); for several inputs a list or dict of arrays. Or a
            `tf.data.Dataset` or `keras.utils.PyDataset` of batches `(x, y)`, finite and in a fixed order.
        y: The labels: class numbers, of shape (examples,), or one-hot rows, (examples, classes). 0 and 1 for a model
            with a single sigmoid output. None for a data set.
        folds: The number of folds. Each training leaves one out; every class needs as many examples.
        epochs: The number of epochs of each training; None stops when the loss of the held-out examples falls by less
            than 0.5 % in 3 epochs (or 200 steps), and after 30 epochs (or 2,000 steps) at the latest. In both cases
            the scores are means over the epochs until that loss was lowest, so later overfitting does no harm.
        batch_size: The number of examples per step.
        {{loss}}
        optimizer: A Keras optimizer or its name; None for that of the compiled model, or Adam if it is not compiled.
        seed: The seed of the folds, of the fresh weights, of the order and of dropout, an int of at least 0.
        directory: A folder for the result of each fold, or None. An interrupted call resumes after its last complete
            fold when repeated with the same arguments.
        {{progress}}

    Returns:
        A `pandas.DataFrame` with one row per example, the highest score first, and the columns

            datasource_index: The index of the example in `x`.
            label: Its class, an int.
            suggested_label: The most probable class, predicted without the example; for an error, the most probable
                other class.
            is_error: Whether the example is among the estimated number of errors.
            score: From 0 to 1; larger means more likely to be an error.
            confidence: The probability of the label predicted without the example, averaged over epochs.
            early_loss: The cross entropy of the label in the training pass, averaged over epochs.
            aum: The area under the margin: the log-probability of the label minus the largest other one, likewise.
            gradient_norm: The norm of the cross entropy's gradient with respect to the logits, likewise.

    Raises:
        ValueError: The model is a regressor, has several outputs or nothing to train, or cannot be rebuilt from its
            configuration; a label is not a class of the model, or a class has fewer examples than there are folds;
            inputs are not finite; a number is out of range; the optimizer has no update rule; the training loss becomes
            NaN; or `directory` holds other results.
        TypeError: `model` is not a Keras model, or the labels are not numeric or missing.

    Warns:
        VisWarning: A file in `directory` is damaged; its fold is trained again. Or the networks have learned nothing.

    Example:
        >>> import keras
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(60, 2)) + np.repeat([[-2, 0], [2, 0]], 30, axis=0)
        >>> y = np.repeat([0, 1], 30)
        >>> y[7] = 1
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, 'softmax')])
        >>> table = label_errors(model, x, y, optimizer=keras.optimizers.Adam(0.05), progress=False)
        >>> table[['datasource_index', 'label', 'suggested_label']].iloc[0].tolist()
        [7, 1, 0]
    """
    validation = CrossValidation(
        model,
        x,
        y,
        folds=folds,
        epochs=epochs,
        batch_size=batch_size,
        loss=loss,
        optimizer=optimizer,
        seed=seed,
    )
    if directory is not None:
        directory = fold_files.prepare(directory, validation.settings)
    found = []
    for fold in range(validation.folds):
        scores = None if directory is None else fold_files.read(directory, fold)
        if scores is None:
            with tqdm(desc=f"Fold {fold + 1} of {folds}", unit=" steps", disable=not progress) as bar:
                scores = validation.train(fold, bar.update)
            if directory is not None:
                fold_files.write(directory, fold, scores)
        found.append(scores)
    return ranked(validation.labels, found)


def ranked(labels: np.ndarray, found: Sequence[FoldScores]) -> pd.DataFrame:
    """Combine the results of the folds.

    Args:
        labels: int64, (examples,), the class of each label.
        found: The result of every fold.

    Returns:
        The table of `label_errors`.
    """
    import pandas as pd

    probabilities = np.zeros((len(labels), found[0].probabilities.shape[1]))
    sums, times = np.zeros((3, len(labels))), np.zeros(len(labels))
    for scores in found:
        probabilities[scores.held] = scores.probabilities
        sums[:, scores.trained] += [scores.loss, scores.margin, scores.gradient_norm]
        times[scores.trained] += 1
    _warn_of_chance(labels, probabilities)
    early_loss, margin, gradient_norm = sums / times
    rows = np.arange(len(labels))
    confidence = probabilities[rows, labels]
    score = 1.0 - np.sqrt(confidence * np.exp(-early_loss))
    order = np.lexsort((rows, -score))
    is_error = np.zeros(len(labels), bool)
    is_error[order[: count_errors(labels, probabilities)]] = True
    others = probabilities.copy()
    others[rows, labels] = -1.0
    table = pd.DataFrame(
        {
            "datasource_index": rows,
            "label": labels,
            "suggested_label": np.where(is_error, others.argmax(axis=1), probabilities.argmax(axis=1)),
            "is_error": is_error,
            "score": score,
            "confidence": confidence,
            "early_loss": early_loss,
            "aum": margin,
            "gradient_norm": gradient_norm,
        }
    )
    return table.iloc[order].reset_index(drop=True)


def _warn_of_chance(labels: np.ndarray, probabilities: np.ndarray) -> None:
    """Warn if the held-out predictions are no better than always predicting the most frequent label."""
    right = np.mean(probabilities.argmax(axis=1) == labels)
    if right <= np.bincount(labels).max() / len(labels):
        warn(
            "nothing_learned",
            f"the networks predict {right:.1%} of the labels that they were trained without, no more than the most "
            "frequent label does: the scores mean nothing",
            "Give another learning rate by optimizer=, more epochs, or a model that can learn these data",
        )
