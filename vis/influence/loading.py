"""Read the record of a training run."""

from __future__ import annotations

import json
import math
import os

import keras
import numpy as np

from vis.engine.adapted import adapted_state, set_adapted_state
from vis.engine.copies import copy_model
from vis.influence import sources
from vis.influence.examples import Examples
from vis.influence.order import consecutive, sizes_of
from vis.influence.runs import TrainingRun
from vis.influence.storage import Storage, sound_epochs
from vis.utils.errors import ArgumentError, sentence


def load_training(directory: str | os.PathLike, x=None, y=None, *, sample_weight=None, model=None) -> TrainingRun:
    """Read a training run that `record_training`, `TrainingRun.save` or `vis.callbacks.RecordTraining` wrote.

    Args:
        directory: The folder.
        x: The training inputs, (examples, ...), or the data set of inputs and labels, which are not part of the record;
            None if you need only the weights. Examples that `model.fit` split off for validation may be included.
        y: The training labels, (examples,) or (examples, ...); None if `x` is None or a data set.
        sample_weight: The weights passed to `record_training`, (examples,); class weights, and the weights passed to
            `model.fit`, are part of the record.
        model: A model of the same architecture; None rebuilds it from the record, which works for models of Keras
            layers and registered classes.

    Returns:
        The `TrainingRun`, as far as it was recorded.

    Raises:
        ValueError: There is no run in the folder, its model or loss cannot be rebuilt, `x` and `y` are not what
            it was trained on, or the first file of the run is damaged.

    Warns:
        VisWarning: A file of the run is damaged: the run ends before it.

    Example:
        >>> import keras, numpy as np, tempfile
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> x = np.array([[1.0], [2.0], [3.0]])
        >>> run = record_training(model, x, 2 * x, optimizer='sgd', epochs=2, progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run.save(folder)
        ...     load_training(folder, x, 2 * x).epochs
        2
    """
    if not os.path.isdir(directory):
        raise ArgumentError(
            "directory",
            f"must be an existing folder, not {directory}",
            "Give a folder that a training run was saved to",
        )
    storage = Storage(directory)
    settings = storage.read_settings()
    if settings is None or storage.epochs() < 0:
        raise ArgumentError("directory", f"must be a folder that a training run was saved to, not {directory}")
    remedy = "Call record_training with the same arguments and directory, which continues from there"
    epochs = sound_epochs(storage, "" if settings.get("fit") else remedy)
    if epochs < 0:
        storage.read_state(0)  # raises an error that says what is wrong with it
    given = model
    model = _deserialized(settings["model"], "model") if given is None else given
    loss = _deserialized(settings["loss"], "loss")
    examples, batches = None, None
    if x is not None:
        examples, batches = _examples_of_record(storage, settings, model, x, y, sample_weight)
        settings["examples"] = len(examples)
    adapted = settings.get("adapted", [])
    if adapted and (given is None or adapted_state(given) != adapted):
        if given is not None:
            model = copy_model(given, examples and examples.batch(slice(0, 1)).inputs)
        set_adapted_state(model, adapted)
    run = TrainingRun(model, examples, loss, settings["optimizer"], storage, settings, batches)
    run.epochs = epochs
    return run


def _examples_of_record(storage: Storage, settings: dict, model, x, y, sample_weight) -> tuple[Examples, list | None]:
    """Return the examples that a run was trained on, and their batches if those are not part of the record."""
    known = storage.read_sample_weight()
    if sample_weight is None and known is None:
        source = sources.read(x, y, None, settings.get("class_weight"))
    else:
        source = sources.read(x, y, sample_weight)
    source = _without_validation(source, settings)
    examples = Examples(model, source.x, source.y, known if source.sample_weight is None else source.sample_weight)
    batches = None
    if settings["checksum"] is not None:
        same = examples.checksum() == settings["checksum"]
    else:
        sizes = source.sizes or sizes_of(len(examples), settings["batch_size"] or 1)
        same = bool(settings["unknown"]) or settings["fit"]["steps"] in (None, len(sizes))
        batches = consecutive(sizes)
    if not same:
        raise ArgumentError("x", "must be what the run was trained on, with the same y and sample_weight")
    return examples, batches


def _without_validation(source: sources.Source, settings: dict) -> sources.Source:
    """Return the examples without those at the end that `model.fit(validation_split=...)` held out."""
    split, count = (settings.get("fit") or {}).get("validation_split"), settings["examples"]
    if not split or math.floor(len(source.y) * (1 - split)) != count:
        return source

    def kept(part):
        return None if part is None else keras.tree.map_structure(lambda array: np.asarray(array)[:count], part)

    return sources.Source(kept(source.x), kept(source.y), kept(source.sample_weight), source.sizes)


def _deserialized(config, name: str):
    try:
        if name == "model":
            # Not as it was compiled, by metrics or an optimizer that nothing here needs and Keras may not know.
            return keras.models.model_from_json(json.dumps({**json.loads(config["json"]), "compile_config": None}))
        return keras.losses.deserialize(config)
    except Exception as error:
        remedy = "Register its class with @keras.saving.register_keras_serializable()"
        if name == "model":
            raise ArgumentError(
                "model",
                f"must be given, because the record does not suffice to rebuild it ({error})",
                f"{remedy}, or give a model of the same architecture",
                kind="missing",
            ) from error
        problem = f"the record does not suffice to rebuild the loss of the run ({error})"
        raise ValueError(sentence(problem, remedy)) from error
