"""Scores of training examples, averaged over several shuffles, for a model file as it was compiled."""

from __future__ import annotations

import itertools
import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis import models
from vis.batch.predictions import predictor
from vis.files import nnp
from vis.files.journal import Journal
from vis.influence import influence_functions, record_training, sgd_influence, tracin
from vis.influence.examples import UnknownLossError, check_labels, example_loss, outputs_of
from vis.influence.update_rules import update_rule
from vis.utils.errors import ArgumentError, warn

METHODS = ("sgd", "tracin", "hessian")

# The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom, the two sides of a 95 % interval. More than ten
# trials take that of ten, which is at most a seventh too wide.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)

_PREDICTED_AT_ONCE = 64


class Compiled(NamedTuple):
    """What a model was compiled with.

    Attributes:
        loss: The name or the configuration of its loss, or None.
        optimizer: The configuration of its optimizer, or None.
        l2: λ of ½·λ·‖θ‖² that was added to the loss.
    """

    loss: str | dict | None = None
    optimizer: dict | None = None
    l2: float = 0.0


class Training(NamedTuple):
    """How to train.

    Attributes:
        optimizer: The configuration of an optimizer.
        l2: λ of ½·λ·‖θ‖².
        batch_size: Examples per step.
        epochs: How often each example is trained on.
        init: `'weights'` to train on from the model's weights, `'fresh'` from newly drawn ones.
    """

    optimizer: dict
    l2: float = 0.0
    batch_size: int = 32
    epochs: int = 1
    init: str = "weights"


def compiled_with(path: Path) -> Compiled:
    """Read what a model file says that the model was compiled with, which loading it without its loss leaves out.

    Args:
        path: A `.keras`, `.h5` or `.hdf5` file, or an `.nnp` file, whose solver's weight decay is the `l2`.

    Returns:
        What it says; a loss or an optimizer that it does not name is None.

    Raises:
        ArgumentError: An `.nnp` file does not say how it was trained, or was trained by several losses.

    Warns:
        VisWarning: An `.nnp` file was trained in a way that is done otherwise here.

    Example:
        >>> import tempfile
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(Path(folder, "model.keras"))
        ...     compiled_with(Path(folder, "model.keras")).loss
        'mse'
    """
    if models.is_project(path):
        training = nnp.read(path).training
        for difference in training.differences:
            warn("trained_otherwise", difference, "Give another optimizer or learning_rate")
        return Compiled(training.loss, training.optimizer, training.l2)
    config = {}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json")).get("compile_config") or {}
    elif path.suffix.lower() in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path) as file:
            config = json.loads(file.attrs.get("training_config", "{}"))
            config["optimizer"] = config.get("optimizer_config")
    loss = config.get("loss")
    return Compiled(loss if isinstance(loss, str | dict) else None, config.get("optimizer"))


def training_of(
    compiled: Compiled,
    *,
    optimizer: str | None = None,
    learning_rate: float | None = None,
    default_rate: float = 0.05,
    default_l2: float = 0.0,
    **settings,
) -> Training:
    """Tell how a model is to be trained: as it was compiled, unless something else is asked for.

    Args:
        compiled: What it was compiled with.
        optimizer: The name of an optimizer to take instead: SGD, Adam, AdamW or RMSprop.
        learning_rate: The learning rate, above 0; the optimizer's unless given.
        default_rate: The learning rate of SGD, which is taken for a model without an optimizer.
        default_l2: λ of ½·λ·‖θ‖², for a model without an optimizer; another optimizer has its own weight decay.
        **settings: The other attributes of `Training`.

    Returns:
        The `Training`.

    Raises:
        ValueError: The learning rate is not a finite number above 0, or the optimizer has no update rule here.

    Example:
        >>> training_of(Compiled(), epochs=2).optimizer["class_name"]
        'SGD'
    """
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise ArgumentError("learning_rate", f"must be a finite number above 0, not {learning_rate:g}")
    l2 = 0.0
    if optimizer is not None:
        chosen = optimizer
    elif compiled.optimizer is not None:
        chosen, l2 = keras.optimizers.deserialize(compiled.optimizer), compiled.l2
    else:
        chosen, l2 = keras.optimizers.SGD(default_rate), compiled.l2 or default_l2
    config = update_rule(chosen).config
    if learning_rate is not None:
        config = {**config, "config": {**config["config"], "learning_rate": learning_rate}}
    return Training(config, l2, **settings)


def label_check(model: keras.Model, compiled: Compiled, width: int = 1) -> Callable[[np.ndarray], None]:
    """Return what refuses a label that a model has no output for, so that rows can be checked as they are read.

    Args:
        model: The model, of one output.
        compiled: What it was compiled with.
        width: How many numbers a label has.

    Returns:
        A function of a label, a number or a vector; it raises a ValueError.

    Raises:
        ArgumentError: The model was compiled with a loss that Keras does not have, or with none and its last layer does
            not imply one, or with one that takes labels of another shape.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> label_check(model, Compiled())(np.float32(2))
    """
    outputs, loss = outputs_of(model), _loss(compiled)

    def check_label(label):
        labels = _labels(model, compiled, label[None], "the label")
        check_labels(example_loss(model, loss, labels)[0], labels, outputs, "the label")

    _check_loss(model, compiled, width)
    return check_label


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
    on_trial: Callable[[int], None] | None = None,
    journal: Journal | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Score training examples in several trainings, each with a shuffle of its own.

    Args:
        model: A Keras model of one output; it is not changed.
        compiled: What it was compiled with, from `compiled_with` of its file.
        x: The training examples, as in `vis.influence.record_training`.
        y: Their labels, (examples,) or (examples, columns): numbers, class numbers or probabilities, which
            are brought to what the loss takes.
        x_val: The validation examples, likewise.
        y_val: Their labels, likewise.
        training: How to train, from `training_of`; as the model was compiled unless given.
        method: `'sgd'` for SGD influence, `'tracin'`, or `'hessian'` for influence functions, which need no training.
        weights: For `'sgd'`: `'exact'`, `'epoch'` or `'final'`, as in `vis.influence.sgd_influence`.
        n_trials: How many trainings there are, each with the next seed.
        seed: The first seed.
        on_trial: Called with the number of each trial, from 0, before it begins.
        journal: Where each trial's scores are noted as soon as they are there; trials that it has are not done again.
        progress: Whether to show progress bars.

    Returns:
        float64, (trials, examples), of a single row for `'hessian'`: the change of the validation loss if the example
        had been left out; `vis.influence.rank` takes the mean over trials.

    Raises:
        ValueError: What is wrong with an argument; or a training diverges.

    Warns:
        VisWarning: As `vis.influence.record_training` and the methods.

    Example:
        >>> from vis.influence import rank
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> y = np.array([2.0, 4.0, -6.0, 8.0])  # the third has a wrong sign
        >>> scores = score(model, Compiled("mse"), x, y, x[:2], 2 * x[:2, 0], n_trials=3, progress=False)
        >>> scores.shape, rank(scores)["datasource_index"][0].item()
        ((3, 4), 2)
    """
    if method not in METHODS:
        raise ArgumentError("method", f"must be one of {', '.join(map(repr, METHODS))}, not {method!r}")
    training = training_of(compiled) if training is None else training
    y, y_val = _labels(model, compiled, y, "y"), _labels(model, compiled, y_val, "y_val")
    loss = _loss(compiled)
    if method == "hessian":
        return influence_functions(model, x, y, x_val, y_val, loss=loss, l2=training.l2, seed=seed, progress=progress)[
            None
        ]
    scores = [] if journal is None else [np.array(entry) for entry in itertools.islice(journal, n_trials)]
    for trial in range(len(scores), n_trials):
        if on_trial is not None:
            on_trial(trial)
        run = record_training(model, x, y, loss=loss, seed=seed + trial, progress=progress, **training._asdict())
        if method == "tracin":
            scores.append(tracin(run, x_val, y_val, progress=progress))
        else:
            scores.append(sgd_influence(run, x_val, y_val, weights=weights, progress=progress))
        if journal is not None:
            journal.append(scores[-1].tolist())
    return np.stack(scores)


def margins(scores: np.ndarray) -> np.ndarray:
    """Return how far the mean score of each example may be off by chance, from how much its trials differ.

    That is half of its 95 % confidence interval: Student's t times the standard error of the mean. A mean of a smaller
    magnitude is noise: its interval contains 0. Were all scores noise, one of twenty would still be beyond its margin.
    The validation examples are the same in all trials: what another choice of them would change is not told.

    Args:
        scores: (trials, examples), from `score`.

    Returns:
        float64, (examples,); NaN where there is a single trial, which tells nothing of chance.

    Example:
        >>> margins(np.array([[1.0, -3.0], [1.0, 3.0]]))  # the second: 12.706 times a standard error of 3
        array([ 0.   , 38.118])
    """
    trials = len(scores)
    if trials < 2:
        return np.full(scores.shape[1], np.nan)
    quantile = _STUDENT[min(trials - 2, len(_STUDENT) - 1)]
    return quantile * scores.std(axis=0, ddof=1) / math.sqrt(trials)


def predicted_classes(model: keras.Model, compiled: Compiled, x: np.ndarray) -> np.ndarray | None:
    """Return what a classifier predicts for examples.

    Args:
        model: A Keras model of one input and one output.
        compiled: What it was compiled with.
        x: (examples, ...), its inputs.

    Returns:
        int64, (examples,), class indices; None for a regressor: a model that neither ends in a softmax or a sigmoid nor
        was compiled with a crossentropy.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Softmax()])
        >>> predicted_classes(model, Compiled(), np.array([[0.0, 3.0], [5.0, 0.0]], np.float32))
        array([1, 0])
    """
    predict = predictor(model)
    predictions = [predict(x[start : start + _PREDICTED_AT_ONCE]) for start in range(0, len(x), _PREDICTED_AT_ONCE)]
    if not (predictions[0].probabilities or "crossentropy" in _name(compiled).lower()):
        return None
    return np.concatenate([prediction.classes for prediction in predictions])


def _loss(compiled: Compiled):
    if compiled.loss is None or isinstance(compiled.loss, str):
        return compiled.loss
    try:
        return keras.losses.deserialize(compiled.loss)
    except (TypeError, ValueError) as error:
        raise _no_loss(compiled) from error


def _check_loss(model: keras.Model, compiled: Compiled, width: int) -> None:
    """Refuse a loss that there is none of, or that takes labels of another shape."""
    # Any label will do: a wrong one is refused with its row. Of one more than the outputs, none is taken for an output.
    count = 1 + (outputs_of(model) or 1)
    labels = _labels(model, compiled, np.zeros((count, width) if width > 1 else count), "y")
    try:
        _, each = example_loss(model, _loss(compiled), labels)
    except UnknownLossError as error:
        raise _no_loss(compiled) from error
    shape = getattr(model, "output_shape", None)
    if not isinstance(shape, tuple) or None in shape[1:]:
        return
    try:
        each(tf.constant(labels), tf.zeros((count, *shape[1:])))
    except (TypeError, ValueError, tf.errors.OpError) as error:
        label = "a number" if width == 1 else f"{width} numbers"
        raise ArgumentError(
            "model",
            f"must be compiled with a loss that takes {label} as a label, not with {_name(compiled)!r}",
            "Compile it with another loss, or give the labels in as many columns as it takes",
            kind="labels",
        ) from error


def _no_loss(compiled: Compiled) -> ArgumentError:
    came = "as its last layer implies none" if compiled.loss is None else f"not with {_name(compiled)!r}"
    return ArgumentError(
        "model",
        f"must be compiled with a loss of Keras, {came}",
        "Compile it with one and save it again as .keras",
        kind="loss",
    )


def _name(compiled: Compiled) -> str:
    """The name of the loss, which is all that a file says of a loss that is a function."""
    details = compiled.loss.get("config") if isinstance(compiled.loss, dict) else compiled.loss
    return details.get("name", "") if isinstance(details, dict) else details or ""


def _labels(model: keras.Model, compiled: Compiled, y: np.ndarray, argument: str) -> np.ndarray:
    """Labels as the loss takes them: class numbers, rows of probabilities, or numbers as they are."""
    name = _name(compiled)
    if name == "sparse_categorical_crossentropy" and y.ndim == 2:
        return y.argmax(axis=-1)
    if name == "categorical_crossentropy" and y.ndim == 1:
        outputs = model.output_shape[-1]
        wrong = y[~np.isin(y, np.arange(outputs))]
        if len(wrong):
            raise ArgumentError(argument, f"must be a class from 0 to {outputs - 1}, not {wrong[0]:g}")
        return np.eye(outputs, dtype=np.float32)[y.astype(np.int64)]
    whole = y.ndim == 1 and (y == np.round(y)).all()
    regression = getattr(model.layers[-1], "units", None) == 1 and name not in ("binary_crossentropy",)
    return y.astype(np.int64) if whole and not regression else y
