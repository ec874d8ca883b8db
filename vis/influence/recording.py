"""Records a training run, and reads a record."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from vis.engine.adapted import adapted_state, set_adapted_state
from vis.engine.copies import copy_model, fresh_values
from vis.influence.examples import Examples, check_labels, check_not_overridden, example_loss, outputs_of
from vis.influence.runs import TrainingRun, check_model, checked_indices
from vis.influence.storage import Storage
from vis.influence.training import State, seeded
from vis.influence.update_rules import update_rule
from vis.utils.checks import real_number, whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, sentence, warn


@shared_docs
def record_training(
    model,
    x,
    y,
    *,
    loss=None,
    optimizer=None,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    l2: float = 0.0,
    init: str = "weights",
    batches: Sequence | None = None,
    sample_weight=None,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> TrainingRun:
    """Train with a copy of a model's weights and record the run, for replaying it and for computing influences.

    The weights are those of `model.fit` with the same examples in the same order.

    Args:
        model: A Keras model with one output; it is not changed.
        {{training_set}}
        {{loss}}
        optimizer: A Keras optimizer or its name; None for the one that the model is compiled with. It starts anew: its
            momenta and step count are not taken over. SGD (momentum, nesterov), Adam, AdamW and RMSprop are supported,
            with learning-rate schedules, weight decay and clipping.
        epochs: How often each example is seen.
        batch_size: The number of examples per step; the last batch of an epoch may be smaller.
        seed: The seed of the order, of dropout and of fresh weights, an int of at least 0.
        {{l2}}
        init: `'weights'` starts from the model's weights, `'fresh'` from newly drawn ones (frozen layers keep theirs,
            preprocessing layers what they learned in `adapt`).
        batches: A list of arrays of indices, one per step, that every epoch uses instead of seeded shuffling.
        {{sample_weight}}
        directory: A folder for the record; None for a temporary one. An interrupted run resumes after its last complete
            epoch when this function is called again with the same arguments, or with more epochs.
        progress: Whether to show a progress bar.

    Returns:
        The `TrainingRun`.

    Raises:
        ValueError: The model has several outputs or nothing to train, computes in float16, or has a `train_step` or
            `compute_loss` of its own; lengths differ or labels are out of range; a number or `init` is out of range or
            unknown; the optimizer has no update rule; neither the arguments nor the model name a loss or an optimizer;
            the loss has no reduction or becomes NaN; or `directory` holds another run.
        TypeError: `model` is not a Keras model, or the labels are not numeric.

    Warns:
        VisWarning: `directory` holds a run that began with other weights, which is resumed; or the loss is far higher
            at the end than at the beginning.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> run = record_training(model, x, 2 * x, optimizer='sgd', epochs=200, progress=False)
        >>> round(run.model().get_weights()[0].item(), 1)
        1.9
    """
    check_model(model)
    check_not_overridden(model, "train_step", "compute_loss")
    examples = Examples(model, x, y, sample_weight)
    epochs, batch_size = whole_number("epochs", epochs), whole_number("batch_size", batch_size)
    seed, l2 = whole_number("seed", seed, 0), real_number("l2", l2)
    if not l2 >= 0:
        raise ArgumentError("l2", f"must be at least 0, not {l2}")
    if init not in ("weights", "fresh"):
        raise ArgumentError("init", f"must be 'weights' or 'fresh', not {init!r}", kind="unknown")
    if batches is not None:
        batches = [checked_indices(batch, len(examples), "batches") for batch in batches]
        if not batches or not all(len(batch) for batch in batches):
            raise ArgumentError(
                "batches", "must hold at least one step, each with at least one example, not an empty list"
            )
    loss, each = example_loss(model, loss, examples.labels)
    ignores = getattr(loss, "ignore_class", None) is not None
    if ignores and each.reduction == "mean_with_sample_weight" and sample_weight is not None:
        raise ArgumentError(
            "loss",
            "must not have both ignore_class and reduction='mean_with_sample_weight' where examples have weights",
            "Give the examples to ignore the sample weight 0 instead",
        )
    check_labels(loss, examples.labels, outputs_of(model))
    if optimizer is None:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None:
            raise ArgumentError(
                "optimizer",
                "must be given, because the model is not compiled",
                "Give for example 'adam'",
                kind="missing",
            )
    rule = update_rule(optimizer)

    buffers = seeded(model, seed)
    weights = [variable.numpy() for variable in model.trainable_variables]
    if not weights:
        raise ArgumentError("model", "must have weights to train, not only frozen layers")
    if init == "fresh":
        weights, drawn = fresh_values(model, examples.batch(slice(0, 1)).inputs, seed)
        buffers = [old if old.dtype.kind in "iu" else new for old, new in zip(buffers, drawn, strict=True)]
    settings = {
        "examples": len(examples),
        "checksum": examples.checksum(),
        "batch_size": batch_size,
        "seed": seed,
        "l2": l2,
        "init": init,
        "batches": None if batches is None else [batch.tolist() for batch in batches],
        "without": [],
        "loss": _serialized(loss),
        "loss_weight": each.weight,
        "optimizer": rule.config,
        "model": _serialized(model),
        "adapted": adapted_state(model),
    }
    storage = Storage(directory)
    initial = State(tuple(weights), tuple(buffers), tf.nest.map_structure(np.asarray, rule.initial(weights)))
    _begin(storage, settings, initial)
    run = TrainingRun(model, examples, loss, optimizer, storage, settings, batches)
    run.train(epochs, progress=progress)
    run.epochs = epochs
    return run


def load_training(directory: str | os.PathLike, x=None, y=None, *, sample_weight=None, model=None) -> TrainingRun:
    """Read a training run that `TrainingRun.save` or `record_training(directory=...)` wrote.

    Args:
        directory: The folder.
        x: The training inputs, (examples, ...), which are not part of the record; None if only the weights are wanted.
        y: The training labels, (examples,) or (examples, ...); None if `x` is None.
        sample_weight: The weights that `record_training` was given, (examples,).
        model: A model of the same architecture; None to make it from the record, which Keras can do for models of its
            own layers and of registered classes.

    Returns:
        The `TrainingRun`, as far as it was recorded.

    Raises:
        ValueError: There is no run in the folder, its model or loss cannot be made again, or `x` and `y` are not what
            it was trained on.

    Example:
        >>> import keras, numpy as np, tempfile
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
    given = model
    model = _deserialized(settings["model"], "model") if given is None else given
    loss = _deserialized(settings["loss"], "loss")
    examples = None
    if x is not None:
        examples = Examples(model, x, y, sample_weight)
        if examples.checksum() != settings["checksum"]:
            raise ArgumentError("x", "must be what the run was trained on, with the same y and sample_weight")
    adapted = settings.get("adapted", [])
    if adapted and (given is None or adapted_state(given) != adapted):
        if given is not None:
            model = copy_model(given, examples and examples.batch(slice(0, 1)).inputs)
        set_adapted_state(model, adapted)
    batches = settings["batches"] and [np.array(batch) for batch in settings["batches"]]
    return TrainingRun(model, examples, loss, settings["optimizer"], storage, settings, batches)


def _begin(storage: Storage, settings: dict, initial: State) -> None:
    """Start a record, or check that the one in the folder is of this very run."""
    known = storage.read_settings()
    if known is None or storage.epochs() < 0:
        storage.write_settings(settings)
        storage.write_state(0, initial)
        return
    differing = [
        name for name, value in settings.items() if name not in ("model", "init") and known.get(name, value) != value
    ]
    if differing:
        # Another number of examples has another checksum, too.
        words = {"checksum": "x, y or sample_weight", "adapted": "what the model's preprocessing layers learned"}
        names = [words.get(name, name) for name in differing if name != "examples"]
        raise ArgumentError(
            "directory",
            f"must be a folder without another run, not {storage.directory}, whose run differs in {', '.join(names)}",
            "Give another folder, or the same arguments",
        )
    recorded = storage.read_state(0)
    if not all(np.array_equal(ours, theirs) for ours, theirs in zip(initial.weights, recorded.weights, strict=True)):
        warn(
            "other_weights",
            f"directory {storage.directory} holds a run that began with other weights than the model has now: it "
            "continues from its own",
        )


def _serialized(thing):
    try:
        with warnings.catch_warnings():
            # Of a lambda, which trains as well as any function.
            warnings.simplefilter("ignore", UserWarning)
            if isinstance(thing, keras.Model):
                return {"class_name": type(thing).__name__, "json": thing.to_json()}
            return keras.losses.serialize(thing)
    except (ValueError, TypeError, AttributeError, NotImplementedError, OSError):
        # Models and losses of one's own need no configuration to be trained; only loading asks for one.
        return None


def _deserialized(config, name: str):
    try:
        if name == "model":
            return keras.models.model_from_json(config["json"])
        return keras.losses.deserialize(config)
    except Exception as error:
        remedy = "Register its class with @keras.saving.register_keras_serializable()"
        if name == "model":
            raise ArgumentError(
                "model",
                f"must be given, because the record does not suffice to make it ({error})",
                f"{remedy}, or give a model of the same architecture",
                kind="missing",
            ) from error
        problem = f"the record does not suffice to make the loss of the run ({error})"
        raise ValueError(sentence(problem, remedy)) from error
