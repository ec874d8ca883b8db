"""Record an ordinary `model.fit` from a callback, and find out whether its steps can be replayed."""

from __future__ import annotations

import os

import keras
import numpy as np
import tensorflow as tf

from vis.engine import keras_internals
from vis.influence import sources
from vis.influence.checks import check_model
from vis.influence.examples import Examples, check_one_output, example_loss
from vis.influence.order import consecutive, sizes_of, to_json
from vis.influence.recording import descriptions
from vis.influence.replayable import batch_size_of, is_arrays, unknown_order, unknown_steps
from vis.influence.storage import Storage
from vis.influence.training import State
from vis.influence.update_rules import compiled_schedule, update_rule
from vis.utils.checks import whole_number
from vis.utils.errors import ArgumentError


class RecordTraining(keras.callbacks.Callback):
    """Record the training of `model.fit`, for `vis.influence.load_training`.

    The weights, the optimizer's state and the learning rates are written to the folder during training, which remains
    readable if the process is killed. The training itself is unchanged, bit for bit. If the order of the examples is
    known (`model.fit(shuffle=False)`, a `tf.data.Dataset` that does not shuffle, a `keras.utils.PyDataset` with
    `shuffle=False`), the run can be replayed, as `sgd_influence` requires; `tracin` accepts every run.

    Args:
        directory: A folder without a training run; it is created if needed.
        every: The number of epochs between checkpoints. The last epoch always has one.

    Raises:
        ValueError: `directory` holds a training run or cannot be created, or `every` is below 1. When training begins:
            the model has several outputs, or `vis.influence` does not take its arrays.

    Example:
        >>> import tempfile
        >>> from vis.influence import load_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mean_squared_error")
        >>> x = np.array([[1.0], [2.0], [3.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = RecordTraining(folder)
        ...     history = model.fit(x, 2 * x, epochs=2, shuffle=False, callbacks=[record], verbose=0)
        ...     run = load_training(folder, x, 2 * x)
        ...     print(run, run.replayable)
        <TrainingRun: 3 examples, 2 epochs, SGD> True
    """

    def __init__(self, directory: str | os.PathLike, *, every: int = 1):
        super().__init__()
        self._every = whole_number("every", every)
        self._storage = Storage(os.fspath(directory))
        self._storage.check_vacant()
        self._settings: dict = {}
        self._rates: list[float] = []
        self._history: list[dict[str, float]] = []
        self._epochs = 0

    def on_train_begin(self, logs=None):
        self._settings = {}

    def on_epoch_begin(self, epoch, logs=None):
        if not self._settings:
            # Not in `on_train_begin`, where other callbacks may still restore weights.
            self._begin()
        optimizer = self.model.optimizer
        self._first_step = int(optimizer.iterations.numpy())
        # The learning rates of the epoch as `(first step, rate)`; each holds until the next.
        self._changes: list[tuple[int, float]] = []
        self._step = 0

    def on_train_batch_begin(self, batch, logs=None):
        if self._schedule is None and (self._in_epochs or not self._changes):
            # The rate that another callback has set for this step, or for the step before.
            self._note_rate(self._step if self._is_late else batch)
        self._step = batch
        if batch and self._settings["batch_size"] is None:
            self._note_batch_size(batch)

    def on_test_begin(self, logs=None):
        # Before the metrics are reset.
        if self._settings and self._settings["batch_size"] is None:
            self._note_batch_size(self._step + 1)

    def on_epoch_end(self, epoch, logs=None):
        steps = int(self.model.optimizer.iterations.numpy()) - self._first_step
        if self._is_late and self._schedule is None:
            self._note_rate(self._step)
        self._rates += self._rates_of_epoch(steps)
        self._history.append({name: float(value) for name, value in (logs or {}).items() if np.ndim(value) == 0})
        self._epochs += 1
        self._note_steps(steps)
        last = epoch + 1 >= self.params.get("epochs", 0) or self.model.stop_training
        if last or self._epochs % self._every == 0:
            self._storage.write_state(self._epochs, self._state(), self._rates, self._history, **self._others())
            self._rates, self._history = [], []

    def _begin(self) -> None:
        """Write the settings of the training, and the state before it."""
        self._storage.check_vacant()
        model, optimizer = self.model, self.model.optimizer
        check_model(model)
        check_one_output(model)
        if getattr(model, "loss", None) is None:
            raise ArgumentError(
                "model", "must be compiled with a loss, not without one", "Give model.compile(loss=...) its loss"
            )
        fit = keras_internals.fit_arguments()
        examples = _examples_of_fit(model, fit)
        if not model.built:
            raise ArgumentError(
                "model", "must be built before it is recorded on a data set", "Call it on a batch of inputs first"
            )
        if not optimizer.built:
            optimizer.build(model.trainable_variables)  # as Keras does in the first step
        self._plan_rates(fit["callbacks"] if fit else [])
        self._rates, self._history, self._epochs = [], [], 0
        unknown = unknown_steps(model, self._slots() is None) or unknown_order(fit)
        loss, each = example_loss(model, None, np.zeros(1))
        self._settings = {
            "fit": {"steps": None, "validation_split": fit and fit["validation_split"]},
            "unknown": unknown,
            "seed": 0,
            "l2": 0.0,
            "init": "weights",
            "without": [],
            "iterations": int(optimizer.iterations.numpy()),
            "optimizer": _configuration(optimizer) if unknown else update_rule(optimizer).config,
            **_of_examples(fit, examples),
            **descriptions(model, loss, each),
        }
        self._storage.write_settings(self._settings)
        if fit and (fit["sample_weight"] is not None or fit["class_weight"] is not None) and examples is not None:
            self._storage.write_sample_weight(examples.sample_weight)
        self._storage.write_state(0, self._state(), **self._others())

    def _plan_rates(self, callbacks: list) -> None:
        """Find out when a callback may change the learning rate."""
        rate = keras_internals.learning_rate(self.model.optimizer)
        is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
        self._schedule = compiled_schedule(rate) if is_schedule else None
        later = callbacks[callbacks.index(self) + 1 :] if self in callbacks else []
        self._is_late = any(_acts(callback, "begin") for callback in later)
        # Reading a learning rate costs a hundredth of a small step, and most rates do not change within an epoch.
        self._in_epochs = any(
            _acts(callback, when) for callback in callbacks for when in ("begin", "end") if callback is not self
        )

    def _state(self) -> State:
        weights, buffers = self.model.trainable_variables, self.model.non_trainable_variables
        slots = self._slots() or [()] * len(weights)
        return State(_values(weights), _values(buffers), tuple(map(_values, slots)))

    def _slots(self) -> list | None:
        return keras_internals.optimizer_slots(self.model.optimizer, self.model.trainable_variables)

    def _others(self) -> dict:
        """Return the state of an optimizer whose variables a `State` cannot hold."""
        if self._slots() is not None:
            return {}
        return {f"optimizer_{i}": variable.numpy() for i, variable in enumerate(self.model.optimizer.variables)}

    def _note_rate(self, step: int) -> None:
        rate = float(self.model.optimizer.learning_rate)
        if not self._changes or self._changes[-1][1] != rate:
            self._changes.append((step, rate))

    def _rates_of_epoch(self, steps: int) -> list[float]:
        if self._schedule is not None:
            return self._schedule(tf.constant(self._first_step), tf.constant(steps)).numpy().tolist()
        ends = [step for step, _ in self._changes[1:]] + [steps]
        return [rate for (first, rate), end in zip(self._changes, ends, strict=True) for _ in range(first, end)]

    def _note_batch_size(self, steps: int) -> None:
        """Derive the batch size of a data set from the first metric, the mean loss, which counts examples."""
        count = getattr(next(iter(self.model.metrics), None), "count", None)
        self._settings["batch_size"] = 0 if count is None else round(float(count) / steps)

    def _note_steps(self, steps: int) -> None:
        """Record the number of steps per epoch, which `model.fit` may know only after the first epoch."""
        fit, first = self._settings["fit"], self._settings["fit"]["steps"] is None
        if first:
            fit["steps"] = steps
            if self._settings["batch_size"] is None:
                self._note_batch_size(steps)
        problem = None
        if not self._settings["batch_size"]:
            problem = "with batches of an unknown size"
        elif fit["steps"] != steps:
            problem = f"whose epoch {self._epochs - 1} had {steps} steps and the first one {fit['steps']}"
        if problem and not self._settings["unknown"]:
            self._settings["unknown"] = {"problem": problem, "remedy": "Train whole epochs with model.fit"}
        elif not first:
            return
        self._storage.write_settings(self._settings)


def _examples_of_fit(model, fit: dict | None) -> Examples | None:
    """Return the arrays passed to `model.fit`, with their weights; None for a data set, which is not read."""
    if fit is None or not is_arrays(fit["x"]):
        return None
    source = sources.read(fit["x"], fit["y"], fit["sample_weight"], fit["class_weight"])
    sample_weight = None if source.sample_weight is None else np.asarray(source.sample_weight)
    if sample_weight is not None and sample_weight.ndim == 2 and sample_weight.shape[1] == 1:
        sample_weight = sample_weight[:, 0]
    return Examples(model, source.x, source.y, sample_weight)


def _of_examples(fit: dict | None, examples: Examples | None) -> dict:
    """Return the entries of the record about the examples; most are unknown for a data set before training."""
    if fit is None or examples is None:
        weights = fit["class_weight"] if fit else None
        weights = None if weights is None else {str(label): float(factor) for label, factor in weights.items()}
        unseen = dict.fromkeys(("examples", "checksum", "batch_size", "batches"))
        return {**unseen, "class_weight": weights}
    count = len(examples)
    batch_size = batch_size_of(fit, count)
    return {
        "examples": count,
        "checksum": examples.checksum(),
        "batch_size": batch_size,
        "batches": to_json(consecutive(sizes_of(count, batch_size))),
        "class_weight": None,
    }


def _configuration(optimizer) -> dict:
    """Return the configuration of an optimizer; only its name if its schedule has no `get_config`."""
    try:
        return keras.optimizers.serialize(optimizer)
    except NotImplementedError:
        return {"class_name": type(optimizer).__name__, "config": {}}


def _acts(callback, when: str) -> bool:
    """Return whether a callback acts at the `'begin'` or `'end'` of a step, where it may set the rate."""
    if type(callback).__module__.startswith("keras.") and not isinstance(callback, keras.callbacks.LambdaCallback):
        return False
    names = (f"on_train_batch_{when}", f"on_batch_{when}")
    plain = keras.callbacks.Callback
    # Look at the object, not its class: a callback may replace its methods by functions.
    return any(getattr(getattr(callback, name), "__func__", None) is not getattr(plain, name) for name in names)


def _values(variables) -> tuple:
    return tuple(variable.numpy() for variable in variables)
