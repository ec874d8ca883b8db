"""How a model file was trained: the loss, the optimizer and the labels that the model was compiled with."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis import models
from vis.batch.predictions import predictor
from vis.files import nnp
from vis.influence.examples import UnknownLossError, check_labels, example_loss, outputs_of
from vis.influence.update_rules import update_rule
from vis.utils.errors import ArgumentError, warn

_PREDICTED_AT_ONCE = 64

AUTO: Final = "auto"  # search for the learning rate


class Compiled(NamedTuple):
    """The loss and the optimizer that a model was compiled with.

    Attributes:
        loss: The name or the configuration of the loss, or None.
        optimizer: The configuration of the optimizer, or None.
        l2: λ of ½·λ·‖θ‖² that was added to the loss.
    """

    loss: str | dict | None = None
    optimizer: dict | None = None
    l2: float = 0.0


class Training(NamedTuple):
    """The settings of a training.

    Attributes:
        optimizer: The configuration of an optimizer.
        l2: λ of ½·λ·‖θ‖².
        batch_size: The number of examples per step.
        epochs: The number of epochs.
        init: `'weights'` to start from the model's weights, `'fresh'` to reinitialize them.
        finds_rate: Whether to search for the learning rate; the one in `optimizer` is then a placeholder.
        found_rate: Whether the learning rate comes from such a search.
    """

    optimizer: dict
    l2: float = 0.0
    batch_size: int = 32
    epochs: int = 1
    init: str = "weights"
    finds_rate: bool = False
    found_rate: bool = False

    @property
    def learning_rate(self) -> float | dict:
        """The optimizer's learning rate, or the configuration of its schedule."""
        return self.optimizer["config"]["learning_rate"]

    def at(self, rate: float) -> Training:
        """Return the same settings with another learning rate."""
        config = {**self.optimizer["config"], "learning_rate": rate}
        return self._replace(optimizer={**self.optimizer, "config": config}, finds_rate=False)


def compiled_with(path: Path) -> Compiled:
    """Read from a model file what the model was compiled with, which `load_model` does not keep.

    Args:
        path: A `.keras`, `.h5` or `.hdf5` file, or an `.nnp` file, whose solver's weight decay is the `l2`.

    Returns:
        The `Compiled`; a loss or an optimizer that the file does not name is None.

    Raises:
        ArgumentError: An `.nnp` file does not say how it was trained, or was trained by several losses.

    Warns:
        VisWarning: An `.nnp` file was trained in a way that is not reproduced exactly here.

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
    config: dict[str, Any] = {}
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
    learning_rate: float | Literal["auto"] | None = None,
    default_l2: float = 0.0,
    **settings,
) -> Training:
    """Return the settings to train a model with: those it was compiled with, unless others are given.

    Args:
        compiled: What the model was compiled with.
        optimizer: The name of another optimizer: SGD, Adam, AdamW or RMSprop.
        learning_rate: The learning rate, above 0, or `"auto"` to search for one. By default that which the model was
            compiled with; if there is none, or `optimizer` is given, one is searched for.
        default_l2: λ of ½·λ·‖θ‖² for a model without an optimizer; other optimizers have their own weight decay.
        **settings: The other attributes of `Training`.

    Returns:
        The `Training`.

    Raises:
        ValueError: The learning rate is not a finite number above 0, or the optimizer has no update rule here.

    Example:
        >>> training_of(Compiled(), epochs=2).optimizer["class_name"]
        'SGD'
    """
    finds_rate = learning_rate == AUTO or (learning_rate is None and (optimizer is not None or not compiled.optimizer))
    rate = None if learning_rate == AUTO else learning_rate
    if rate is not None and not 0 < rate < math.inf:
        raise ArgumentError("learning_rate", f"must be a finite number above 0, not {rate:g}")
    l2 = 0.0
    if optimizer is not None:
        chosen = optimizer
    elif compiled.optimizer is not None:
        chosen, l2 = keras.optimizers.deserialize(compiled.optimizer), compiled.l2
    else:
        chosen, l2 = keras.optimizers.SGD(), compiled.l2 or default_l2
    training = Training(update_rule(chosen).config, l2, **settings)
    if finds_rate:
        return training._replace(finds_rate=True)
    return training if rate is None else training.at(rate)


def label_check(model: keras.Model, compiled: Compiled, width: int = 1) -> Callable[[np.ndarray], None]:
    """Return a function that refuses labels that do not fit the model, to check rows as they are read.

    Args:
        model: The model, with one output.
        compiled: What it was compiled with.
        width: The number of columns of a label.

    Returns:
        A function of a label, a number or a vector; it raises a ValueError if the label does not fit.

    Raises:
        ArgumentError: The model was compiled with a loss that Keras does not have, or with none while its last layer
            does not imply one, or with one that takes labels of another shape.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> label_check(model, Compiled())(np.float32(2))
    """
    outputs, loss = outputs_of(model), loss_of(compiled)

    def check_label(label):
        labels = labels_for(model, compiled, label[None], "the label")
        check_labels(example_loss(model, loss, labels)[0], labels, outputs, "the label")

    _check_loss(model, compiled, width)
    return check_label


def predicted_classes(model: keras.Model, compiled: Compiled, x: np.ndarray) -> np.ndarray | None:
    """Return the classes that a classifier predicts for examples.

    Args:
        model: A Keras model with one input and one output.
        compiled: What it was compiled with.
        x: Its inputs, (examples, ...).

    Returns:
        Class indices, int64, (examples,); None for a regressor: a model that neither ends in a softmax or sigmoid nor
        was compiled with a cross entropy.

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


def loss_of(compiled: Compiled):
    """Return the loss that a model was compiled with: its name, the loss itself, or None.

    Args:
        compiled: What it was compiled with.

    Raises:
        ArgumentError: Keras has no such loss.

    Example:
        >>> loss_of(Compiled("mse"))
        'mse'
    """
    if compiled.loss is None or isinstance(compiled.loss, str):
        return compiled.loss
    try:
        return keras.losses.deserialize(compiled.loss)
    except (TypeError, ValueError) as error:
        raise _no_loss(compiled) from error


def labels_for(model: keras.Model, compiled: Compiled, y: np.ndarray, argument: str) -> np.ndarray:
    """Return labels in the form that the loss takes: class indices, rows of probabilities, or unchanged numbers.

    Args:
        model: The model.
        compiled: What it was compiled with.
        y: The labels, (examples,) or (examples, numbers).
        argument: The caller's name for `y`, for error messages.

    Returns:
        The labels, (examples,) or (examples, numbers).

    Raises:
        ArgumentError: A class is out of range.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> labels_for(model, Compiled("categorical_crossentropy"), np.array([2, 0]), "y").tolist()
        [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
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


def _check_loss(model: keras.Model, compiled: Compiled, width: int) -> None:
    """Refuse a loss that Keras does not have, or that takes labels of another shape."""
    # Any label will do, because rows with a wrong one are refused later. One class more than the model has outputs
    # keeps the labels from being taken for an output.
    count = 1 + (outputs_of(model) or 1)
    labels = labels_for(model, compiled, np.zeros((count, width) if width > 1 else count), "y")
    try:
        _, each = example_loss(model, loss_of(compiled), labels)
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
        f"must be compiled with a Keras loss, {came}",
        "Compile it with one and save it again as .keras",
        kind="loss",
    )


def _name(compiled: Compiled) -> str:
    """Return the name of the loss, which is all that a file stores of a loss function."""
    details = compiled.loss.get("config") if isinstance(compiled.loss, dict) else compiled.loss
    return details.get("name", "") if isinstance(details, dict) else details or ""
