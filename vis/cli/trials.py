"""Scores of training examples, averaged over several shuffles, for a model file as it was compiled."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from vis.cli import methods
from vis.cli.messages import gathered_messages, option, refuse

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd

    from vis.cli.examples import Examples

_OPTIONS = {
    "x": "--input-train",
    "y": "--input-train",
    "x_val and y_val": "the rows of --input-val",
    "x_val": "--input-val",
    "y_val": "--input-val",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    # What the library advises, and no option gives.
    "Raise damping, or use sgd_influence": "Use --method sgd",
    "Raise iterations or damping, or use sgd_influence": "Use --method sgd",
    **{name: f"--{name}" for name in ("model", "optimizer", "epochs", "seed")},
}


class Training(NamedTuple):
    """How to train, as the options have it."""

    batch_size: int
    epochs: int
    n_trials: int
    seed: int
    init: str
    optimizer: str | None
    learning_rate: float | None
    weights: str
    method: str


def trainable(path: Path, custom_objects: list[str], unsafe: bool) -> keras.Model:
    """The model of a file, if it can be trained by one loss."""
    from vis import models

    with option("--model"):
        models.check_file(path)
        if path.is_dir():
            raise ValueError(
                f"{path} is a SavedModel folder, which cannot be trained. Give the .keras or .h5 file of the model, "
                "compiled with its loss."
            )
    network = methods.load(path, custom_objects, unsafe)
    from vis.influence.examples import check_one_output

    with option("--model"):
        check_one_output(network)
    return network


def check(path: Path, settings: Training) -> None:
    """Refuse what no training could go by, before any row is read.

    Args:
        path: the model's file, which tells what optimizer it was compiled with.
        settings: what the options say.
    """
    if settings.learning_rate is not None and not 0 < settings.learning_rate < math.inf:
        refuse("--learning-rate", f"{settings.learning_rate} is not a finite number above 0.")
    _optimizer(_compile_config(path).get("optimizer"), settings, 1.0, 0.0)


def label_check(network: keras.Model, path: Path, width: int) -> Callable[[np.ndarray], None]:
    """What refuses a row's label, a number or a vector, that a model has no output for.

    A model that does not tell its loss is refused at once, whatever the label.

    Args:
        network: the model.
        path: its file, which tells what loss it was compiled with.
        width: how many numbers a label has.

    Returns:
        A function of a label; it raises a ValueError.
    """
    import numpy as np

    from vis.influence.examples import UnknownLossError, check_labels, example_loss, outputs_of

    config, outputs = _compiled_loss(path), outputs_of(network)
    loss = _loss(config)

    def check_label(label):
        labels = _labels(network, config, label[None])
        check_labels(example_loss(network, loss, labels)[0], labels, outputs, "the label")

    try:
        # Any label will do: a wrong one is told with its row.
        check_label(np.zeros(width) if width > 1 else np.float64(0))
    except UnknownLossError as error:
        reason = error.reason.removeprefix("loss is not given, ")
        advice = "Compile it with a loss of Keras and save it again as .keras."
        refuse("--model", f"{path} tells of no loss to go by: {reason}. {advice}")
    except ValueError:
        pass
    return check_label


def score(
    network: keras.Model,
    path: Path,
    training: Examples,
    validation: Examples,
    settings: Training,
    *,
    default_rate: float,
    l2: float,
) -> pd.DataFrame:
    """Score training examples, with a progress bar a trial.

    Args:
        network: the model.
        path: its file, which tells what loss and optimizer it was compiled with.
        training: the examples to be scored.
        validation: the examples whose loss is meant.
        settings: what the options say.
        default_rate: the learning rate of SGD, for a model file without an optimizer.
        l2: λ of ½·λ·‖θ‖², likewise.

    Returns:
        The table of `vis.influence.rank`, with the cells of the training table.
    """
    import pandas as pd

    from vis.influence import influence_functions, rank, record_training, sgd_influence, tracin

    loss = _compiled_loss(path)
    optimizer, l2 = _optimizer(_compile_config(path).get("optimizer"), settings, default_rate, l2)
    y, y_val = _labels(network, loss, training.y), _labels(network, loss, validation.y)
    loss = _loss(loss)
    scores = []
    with gathered_messages(_OPTIONS):
        if settings.method == "hessian":
            scores.append(
                influence_functions(network, training.x, y, validation.x, y_val, loss=loss, l2=l2, seed=settings.seed)
            )
        else:
            for trial in range(settings.n_trials):
                typer.echo(f"Trial {trial + 1} of {settings.n_trials}", err=True)
                run = record_training(
                    network,
                    training.x,
                    y,
                    loss=loss,
                    optimizer=optimizer,
                    epochs=settings.epochs,
                    batch_size=settings.batch_size,
                    seed=settings.seed + trial,
                    l2=l2,
                    init=settings.init,
                )
                if settings.method == "tracin":
                    scores.append(tracin(run, validation.x, y_val))
                else:
                    scores.append(sgd_influence(run, validation.x, y_val, weights=settings.weights))
    cells = pd.concat(list(training.table.rows())).loc[training.rows]
    cells.columns = training.table.header
    return rank(scores, cells, indices=training.rows)


def _optimizer(config: dict | None, settings: Training, default_rate: float, l2: float):
    """The optimizer, and λ: that of a model file without an optimizer, else none, for the optimizer has its own."""
    import keras

    from vis.influence.update_rules import update_rule

    with option("--optimizer"):
        if settings.optimizer is not None:
            chosen, l2 = settings.optimizer, 0.0
        elif config is not None:
            chosen, l2 = keras.optimizers.deserialize(config), 0.0
        else:
            chosen = keras.optimizers.SGD(default_rate)
        config = update_rule(chosen).config
        if settings.learning_rate is not None:
            config = {**config, "config": {**config["config"], "learning_rate": settings.learning_rate}}
    return config, l2


def _compile_config(path: Path) -> dict:
    """The optimizer and loss that a model file was compiled with, if it says so."""
    import zipfile

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return json.loads(file.read("config.json")).get("compile_config") or {}
    if path.suffix.lower() in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path) as file:
            config = json.loads(file.attrs.get("training_config", "{}"))
        return {"loss": config.get("loss"), "optimizer": config.get("optimizer_config")}
    return {}


def _compiled_loss(path: Path) -> str | dict | None:
    loss = _compile_config(path).get("loss")
    return loss if isinstance(loss, str | dict) else None


def _loss(config):
    import keras

    with option("--model"):
        return config if config is None or isinstance(config, str) else keras.losses.deserialize(config)


def _labels(network: keras.Model, loss, y: np.ndarray) -> np.ndarray:
    """Labels as the loss takes them: class numbers, rows of probabilities, or numbers as they are."""
    import numpy as np

    # A loss that is a function is saved by its name alone.
    details = loss.get("config") if isinstance(loss, dict) else loss
    name = details.get("name", "") if isinstance(details, dict) else details or ""
    if name == "sparse_categorical_crossentropy" and y.ndim == 2:
        return y.argmax(axis=-1)
    if name == "categorical_crossentropy" and y.ndim == 1:
        outputs = network.output_shape[-1]
        if not np.isin(y, np.arange(outputs)).all():
            raise ValueError(f"the label is {y[0]:g}, but the model has the classes 0 to {outputs - 1}.")
        return np.eye(outputs, dtype=np.float32)[y.astype(np.int64)]
    whole = y.ndim == 1 and (y == np.round(y)).all()
    regression = getattr(network.layers[-1], "units", None) == 1 and name not in ("binary_crossentropy",)
    return y.astype(np.int64) if whole and not regression else y
