"""Record a training run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from vis.engine.adapted import adapted_state
from vis.engine.copies import fresh_values
from vis.influence import sources
from vis.influence.checks import check_model
from vis.influence.examples import Examples, check_labels_of, check_not_overridden, example_loss
from vis.influence.order import checked_batches, consecutive, is_per_epoch, to_json
from vis.influence.runs import TrainingRun
from vis.influence.storage import Storage, sound_epochs
from vis.influence.training import State, seeded
from vis.influence.update_rules import update_rule
from vis.influence.watching import Watch
from vis.utils.checks import real_number, whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError, warn


@shared_docs
def record_training(
    model,
    x,
    y=None,
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
    class_weight: Mapping | None = None,
    validation_data=None,
    callbacks: Sequence | None = None,
    directory: str | os.PathLike | None = None,
    progress: bool = True,
) -> TrainingRun:
    """Train a copy of a model and record the run, to replay it and to compute influence scores.

    The weights are those that `model.fit` reaches with the same examples in the same order.

    Args:
        model: A Keras model with one output; it is not changed.
        x: The training inputs, an array of shape (examples, ...); for several inputs a list or dict of arrays. Or a
            `tf.data.Dataset` or `keras.utils.PyDataset` of batches `(x, y)` or `(x, y, sample_weight)`, finite and in a
            fixed order, which every epoch follows; it is read into memory twice.
        y: The training labels, of shape (examples,) or (examples, ...); None for a data set.
        {{loss}}
        optimizer: A Keras optimizer or its name; None for that of the compiled model. Its momenta and step
            count start at zero. SGD (momentum, nesterov), Adam, AdamW and RMSprop are supported,
            with learning-rate schedules, weight decay and clipping.
        epochs: The number of passes over the examples.
        batch_size: The number of examples per step; the last batch of an epoch may be smaller. Data sets set it
            themselves.
        seed: The seed of the order, of dropout and of fresh weights, an int of at least 0.
        {{l2}}
        init: `'weights'` starts from the model's weights, `'fresh'` from freshly initialized ones (frozen layers keep
            their weights, preprocessing layers what they learned in `adapt`).
        batches: The steps, instead of seeded shuffling: a list of arrays of indices, one per step of every epoch; or a
            list of one such list per epoch.
        {{sample_weight}}
        class_weight: A dict of class numbers to factors of the loss of their examples; other classes have 1.
        validation_data: `(x_val, y_val)`, `(x_val, y_val, sample_weight)` or a data set, whose loss is computed at the
            end of each epoch, for `run.history["val_loss"]` and the callbacks.
        callbacks: Keras callbacks. They see the losses and a model with the weights at the end of the epoch, and may
            change the learning rate or stop the training. Changes they make to weights are not part of the run.
        directory: A folder for the record; None for a temporary one. An interrupted run resumes after its last complete
            epoch when this function is called again with the same arguments, or with more epochs; callbacks start
            afresh.
        progress: Whether to show a progress bar.

    Returns:
        The `TrainingRun`.

    Raises:
        ValueError: The model has several outputs or nothing to train, computes in float16, or overrides `train_step` or
            `compute_loss`; lengths differ or labels are out of range; a number or `init` is out of range or
            unknown; the optimizer has no update rule; neither the arguments nor the model name a loss or an optimizer;
            the loss has no reduction or becomes NaN; a data set is infinite or has no fixed order; or `directory` holds
            another run.
        TypeError: `model` is not a Keras model, the labels are not numeric or missing, or a callback or
            `validation_data` has the wrong type.

    Warns:
        VisWarning: `directory` holds a run that started from other weights, which is resumed; or a damaged file, and
            the run is resumed from before it; the loss is much higher at the end than at the beginning; or a callback
            changed weights.

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
    if batches is not None and sources.is_data_set(x):
        raise ArgumentTypeError("batches", f"must not be given besides a {type(x).__name__}, which has its own")
    source = sources.read(x, y, sample_weight, class_weight)
    examples = Examples(model, source.x, source.y, source.sample_weight)
    epochs, batch_size = whole_number("epochs", epochs), whole_number("batch_size", batch_size)
    seed, l2 = whole_number("seed", seed, 0), real_number("l2", l2)
    if not l2 >= 0:
        raise ArgumentError("l2", f"must be at least 0, not {l2}")
    if init not in ("weights", "fresh"):
        raise ArgumentError("init", f"must be 'weights' or 'fresh', not {init!r}", kind="unknown")
    if source.sizes is not None:
        batches = consecutive(source.sizes)
    elif batches is not None:
        batches = checked_batches(batches, len(examples), epochs)
    loss, each = example_loss(model, loss, examples.labels)
    ignores = getattr(loss, "ignore_class", None) is not None
    if ignores and each.reduction == "mean_with_sample_weight" and source.sample_weight is not None:
        raise ArgumentError(
            "loss",
            "must not have both ignore_class and reduction='mean_with_sample_weight' if examples have weights",
            "Give the examples to ignore the sample weight 0 instead",
        )
    check_labels_of(model, loss, examples.labels)
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
        buffers = tuple(old if old.dtype.kind in "iu" else new for old, new in zip(buffers, drawn, strict=True))
    settings = {
        "examples": len(examples),
        "checksum": examples.checksum(),
        "batch_size": batch_size,
        "seed": seed,
        "l2": l2,
        "init": init,
        "batches": to_json(batches),
        "class_weight": None if class_weight is None else {str(label): float(f) for label, f in class_weight.items()},
        "without": [],
        "optimizer": rule.config,
        **descriptions(model, loss, each),
    }
    storage = Storage(directory)
    initial = State(tuple(weights), tuple(buffers), tf.nest.map_structure(np.asarray, rule.initial(weights)))
    _begin(storage, settings, initial)
    run = TrainingRun(model, examples, loss, optimizer, storage, settings, batches)
    if run.epochs < epochs:
        watch = Watch(run, epochs, validation_data, callbacks)
        watch.begins()
        run.train(epochs, progress=progress, watch=watch)
        watch.ends(run.state(run.epochs))
    run.epochs = min(run.epochs, epochs)
    return run


def _begin(storage: Storage, settings: dict, initial: State) -> None:
    """Start a record, or check that the record in the folder is of the same run and drop its damaged files."""
    known = storage.read_settings()
    if known is None or storage.epochs() < 0:
        storage.write_settings(settings)
        storage.write_state(0, initial)
        return
    differing = [
        name for name, value in settings.items() if name not in ("model", "init") and known.get(name, value) != value
    ]
    if "batches" in differing and _is_longer(settings["batches"], known["batches"]):
        differing.remove("batches")
        storage.write_settings({**known, "batches": settings["batches"]})
    if differing:
        # A different number of examples changes the checksum, too.
        words = {"checksum": "x, y or sample_weight", "adapted": "what the model's preprocessing layers learned"}
        names = [words.get(name, name) for name in differing if name != "examples"]
        raise ArgumentError(
            "directory",
            f"must be a folder without another run, not {storage.directory}, whose run differs in {', '.join(names)}",
            "Give another folder, or the same arguments",
        )
    storage.discard(1 + sound_epochs(storage))
    if not storage.recorded():
        storage.write_state(0, initial)
    recorded = storage.read_state(0)
    if not all(np.array_equal(ours, theirs) for ours, theirs in zip(initial.weights, recorded.weights, strict=True)):
        warn(
            "other_weights",
            f"directory {storage.directory} holds a run that started from other weights than the model's: it resumes "
            "from its own weights",
        )


def _is_longer(ours, theirs) -> bool:
    """Return whether one list of steps per epoch is the beginning of the other."""
    lists = all(isinstance(batches, list) and is_per_epoch(batches) for batches in (ours, theirs))
    return lists and all(a == b for a, b in zip(ours, theirs, strict=False))


def descriptions(model, loss, each) -> dict:
    """Return the description of a model and a loss in a record, from which `load_training` rebuilds them.

    Args:
        model: A Keras model.
        loss: A Keras loss or a function.
        each: Its `ExampleLoss`.

    Returns:
        A dict that JSON can hold; None means that Keras has no configuration.
    """
    return {
        "loss": _serialized(loss),
        "loss_weight": each.weight,
        "model": _serialized(model),
        "adapted": adapted_state(model),
    }


def _serialized(thing):
    try:
        with warnings.catch_warnings():
            # A lambda, which trains as well as any function.
            warnings.simplefilter("ignore", UserWarning)
            if isinstance(thing, keras.Model):
                return {"class_name": type(thing).__name__, "json": thing.to_json()}
            return keras.losses.serialize(thing)
    except (ValueError, TypeError, AttributeError, NotImplementedError, OSError):
        # Training custom models and losses needs no configuration; only loading them does.
        return None
