"""Find wrong labels among the rows of a table, with a model file as it was compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.batch import compiled as compiled_models
from vis.batch import model_files
from vis.batch.compiled import Compiled
from vis.batch.executors import LOCAL, Executor
from vis.files.journal import Journal
from vis.influence import fold_files
from vis.influence.classes import Classifier, class_numbers, classifier
from vis.influence.examples import example_loss
from vis.influence.folds import CrossValidation, FoldScores
from vis.influence.label_errors import ranked

if TYPE_CHECKING:
    import pandas as pd


def classifier_of(model: keras.Model, compiled: Compiled, shape: tuple[int, ...], width: int = 1) -> Classifier:
    """Return how a model represents classes, and refuse a model that is no classifier before any row is read.

    Args:
        model: The model, with one input and one output.
        compiled: What it was compiled with, from `vis.batch.compiled.compiled_with`.
        shape: The shape of one input, without the sample axis.
        width: The number of columns of a label.

    Returns:
        The `vis.influence.classes.Classifier`.

    Raises:
        ArgumentError: The model is a regressor, or was compiled with a loss that Keras does not have.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> classifier_of(model, Compiled(), (4,)).classes
        3
    """
    compiled_models.label_check(model, compiled, width)
    loss, _ = example_loss(model, keras.losses.get(compiled.loss), np.zeros(2, np.int64))
    spec = tf.TensorSpec((None, *shape), "float32")
    inputs = keras.tree.pack_sequence_as(model.input, [spec]) if isinstance(model, keras.Function) else spec
    return classifier(model, loss, inputs)


def label_check(classifier: Classifier) -> Callable[[np.ndarray], None]:
    """Return a function that refuses labels that a model has no output for, to check rows as they are read.

    Args:
        classifier: How the model represents classes.

    Returns:
        A function of a label, a number or a one-hot vector; it raises a ValueError if the label does not fit.

    Example:
        >>> label_check(Classifier(3))(np.float32(2))
    """

    def check(label):
        class_numbers(np.asarray(label)[None], classifier, "the label")

    return check


def find(
    model: keras.Model,
    compiled: Compiled,
    classifier: Classifier,
    x: np.ndarray,
    y: np.ndarray,
    *,
    folds: int = 3,
    epochs: int | None = None,
    batch_size: int = 32,
    optimizer: dict | str = "adam",
    l2: float = 0.0,
    seed: int = 0,
    directory: Path | None = None,
    journal: Journal | None = None,
    on_fold: Callable[[int], None] | None = None,
    executor: Executor = LOCAL,
    progress: bool = True,
) -> pd.DataFrame:
    """Find the wrong labels, fold by fold.

    Args:
        model: A Keras classifier; copies of it are trained from new weights, and it is not changed.
        compiled: What it was compiled with.
        classifier: How it represents classes, from `classifier_of`.
        x: Its inputs, (examples, ...).
        y: Their labels, (examples,), or one-hot rows, (examples, classes).
        folds: The number of folds.
        epochs: The number of epochs of each training; None stops when the held-out loss stops falling.
        batch_size: The number of examples per step.
        optimizer: The configuration of an optimizer, or its name.
        l2: λ of ½·λ·‖θ‖².
        seed: The seed.
        directory: A folder for the result of each fold; required with a journal.
        journal: Records each fold when its result is written; folds that it already has are not repeated.
        on_fold: Called with the number of each fold, from 0, before it is trained.
        executor: The executor that trains, from `vis.batch.executors`: this process or a Ray cluster.
        progress: Whether to show progress bars.

    Returns:
        The table of `vis.influence.label_errors`.

    Raises:
        ValueError: A label is not a class of the model, a class has fewer examples than there are folds, a number is
            out of range, the optimizer has no update rule, or the training loss becomes NaN.
        OSError: The result of a fold cannot be written.

    Warns:
        VisWarning: The file of a fold is damaged.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(60, 2)) + np.repeat([[-2, 0], [2, 0]], 30, axis=0)
        >>> y = np.repeat([0, 1], 30)
        >>> y[7] = 1
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, "softmax")])
        >>> adam = {"class_name": "Adam", "config": {"learning_rate": 0.05}}
        >>> table = find(model, Compiled(), Classifier(2), x, y, optimizer=adam, progress=False)
        >>> len(table), table["datasource_index"][0].item()
        (60, 7)
    """
    settings: dict[str, Any] = {"folds": folds, "epochs": epochs, "batch_size": batch_size, "seed": seed, "l2": l2}
    settings |= {"loss": keras.losses.get(compiled.loss), "optimizer": optimizer}
    numbers = class_numbers(y, classifier)
    validation = CrossValidation(model, x, numbers, **settings)
    done = 0 if journal is None else journal.done
    found: dict[int, FoldScores] = {}
    for fold in range(done):
        scores = None if directory is None else fold_files.read(directory, fold)
        if scores is not None:
            found[fold] = scores
    missing = [fold for fold in range(folds) if fold not in found]
    trained = _train_missing(validation, model, (x, numbers), settings, executor, missing, on_fold, progress)
    for fold, scores in zip(missing, trained, strict=True):
        if directory is not None:
            fold_files.write(directory, fold, scores)
        if journal is not None and fold >= done:
            journal.append(fold)
        found[fold] = scores
    return ranked(validation.labels, [found[fold] for fold in range(folds)])


class _FoldJob(NamedTuple):
    """What all folds share: the model's file, the examples and the settings of the training."""

    file: model_files.ModelFile
    data: tuple
    settings: dict


def _train_missing(
    validation: CrossValidation,
    model: keras.Model,
    data: tuple,
    settings: dict,
    executor: Executor,
    missing: list[int],
    on_fold: Callable[[int], None] | None,
    progress: bool,
) -> Iterator[FoldScores]:
    """Yield the scores of the missing folds, in order."""

    def folds():
        for fold in missing:
            if on_fold is not None:
                on_fold(fold)
            yield fold

    def train_here(validation, fold):
        with tqdm(desc=f"Fold {fold + 1} of {validation.folds}", unit=" steps", disable=not progress) as bar:
            return validation.train(fold, bar.update)

    if not executor.is_remote:
        return executor.map(train_here, validation, folds())
    file = model_files.packed(model)
    job = _FoldJob(file, data, settings)
    return executor.map(_train_in_worker, job, folds(), named=lambda fold: f"fold {fold}", modules=file.modules())


def _train_in_worker(job: _FoldJob, fold: int) -> FoldScores:
    """Train a fold in another process, which loads the model once and keeps it for the next fold."""
    validation = model_files.prepared(
        job, lambda: CrossValidation(model_files.loaded(job.file), *job.data, **job.settings)
    )
    return validation.train(fold)
