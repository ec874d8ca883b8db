"""A recorded training run: replayed bit for bit, gone on with, run again without some examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.engine.copies import copy_model, set_values
from vis.influence.examples import Examples, example_loss
from vis.influence.storage import Storage
from vis.influence.training import State, TrainingStep
from vis.influence.update_rules import update_rule
from vis.utils.errors import ArgumentError, ArgumentTypeError, sentence, warn

# A loss that is above this, and so many times what it was, is not that of a model that learns.
_DIVERGED = 10


class TrainingRun:
    """A recorded training run, made by `record_training`, `load_training` or `retrain`.

    Attributes:
        epochs: How many epochs are recorded.
        batch_size: Examples a step.
        seed: Of the order, of dropout, and of fresh initial weights.
        l2: As given to `record_training`.
        without: The examples that were left out, a sorted tuple of indices.
        loss: The Keras loss.
        step: The `TrainingStep`.
    """

    def __init__(self, model, examples, loss, optimizer, storage: Storage, settings: dict, batches=None):
        self._model = model
        self._examples = examples
        self.loss, each = example_loss(model, loss, examples.labels if examples else np.zeros(1))
        self._rule = update_rule(optimizer)
        self._storage = storage
        self._settings = settings
        self._batches = batches
        self._functions = {}
        self._rates = []
        self.epochs = storage.epochs()
        self.batch_size = settings["batch_size"]
        self.seed = settings["seed"]
        self.l2 = settings["l2"]
        self.without = tuple(settings["without"])
        self.step = TrainingStep(model, each, self._rule, self.l2)

    def __len__(self) -> int:
        """How many training examples there are."""
        return self._settings["examples"]

    def __repr__(self) -> str:
        count = len(self) - len(self.without)
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"<TrainingRun: {count} examples, {epochs}, {self._rule.config['class_name']}>"

    @property
    def examples(self) -> Examples:
        """The training examples.

        Raises:
            ValueError: The run was loaded without them.
        """
        if self._examples is None:
            raise ArgumentError(
                "run", "must have its examples, not only its record", "Load it with load_training(directory, x, y)"
            )
        return self._examples

    @property
    def steps_per_epoch(self) -> int:
        """How many steps an epoch has."""
        return len(self._batches) if self._batches is not None else -(-len(self) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """The examples of each step of an epoch, arrays of indices."""
        if self._batches is not None:
            return self._batches
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        return [order[start : start + self.batch_size] for start in range(0, len(self), self.batch_size)]

    def learning_rates(self) -> list[float]:
        """The learning rate of each step."""
        return self._rates_for(self.epochs)

    def state(self, epoch: int) -> State:
        """The recorded state at the start of an epoch, NumPy arrays; that of `epochs` is the final one."""
        return self._storage.read_state(epoch)

    def example_weights(self, indices: np.ndarray) -> np.ndarray:
        """1 for each of some examples, and 0 for those left out."""
        return (~np.isin(indices, self.without)).astype(self.examples.sample_weight.dtype)

    def replay(self, epoch: int, steps: int | None = None, start: int = 0, state: State | None = None) -> Iterator:
        """The states after the steps of an epoch, computed again.

        Args:
            epoch: 0 for the first.
            steps: How many steps; None for those that are left of the epoch.
            start: The first of them.
            state: The `State` before it; None, with `start=0`, for the recorded one.

        Yields:
            The `State` after each step; the last one of an epoch is, bit for bit, the start of the next.
        """
        stop = self.steps_per_epoch if steps is None else start + steps
        yield from self._steps(self.state(epoch) if state is None else state, epoch, start, stop)

    def model(self):
        """A copy of the model with the final weights, not compiled."""
        inputs = self._examples.batch(slice(0, 1)).inputs if self._examples else None
        copy = copy_model(self._model, inputs)
        state = self.state(self.epochs)
        set_values(copy, state.weights, state.buffers)
        return copy

    def retrain(self, without: Sequence[int] = (), *, directory=None, progress: bool = False) -> TrainingRun:
        """Runs the same training again without some examples, nothing else being changed.

        An example left out keeps its place in its batches with the weight 0: the order, the dropout masks and the
        number that a batch's loss is divided by stay. With batch normalization it still counts in the batch's
        statistics.

        Args:
            without: Indices of training examples.
            directory: Where to keep the run; None for a temporary folder.
            progress: Whether to show a progress bar.

        Returns:
            The other `TrainingRun`.

        Raises:
            ValueError: An index out of range, or no example left.
        """
        left_out = {*self.without, *checked_indices(without, len(self), "without").tolist()}
        if len(left_out) == len(self):
            raise ArgumentError("without", f"must leave at least one of the {len(self)} examples to train on, not none")
        settings = {**self._settings, "without": sorted(left_out)}
        storage = Storage(directory)
        storage.check_vacant()
        storage.write_settings(settings)
        storage.write_state(0, self.state(0))
        again = TrainingRun(self._model, self.examples, self.loss, self._rule.config, storage, settings, self._batches)
        again._functions = self._functions
        again.train(self.epochs, progress=progress)
        return again

    def save(self, directory: str | os.PathLike) -> None:
        """Writes the run into a folder, for `load_training`: a weight set an epoch and a few kilobytes.

        Args:
            directory: A folder that holds no run yet; made if need be.

        Raises:
            ValueError: The folder holds a run already, or cannot be made.
        """
        self._storage.copy_to(directory)

    def train(self, epochs: int, *, progress: bool = False) -> None:
        """Goes on from the last recorded epoch until so many are recorded.

        Args:
            epochs: The number of epochs in all.
            progress: Whether to show a progress bar.

        Raises:
            ValueError: The loss is NaN or infinite.

        Warns:
            VisWarning: The loss is far higher at the end than at the beginning.
        """
        rates = self._rates_for(epochs)
        begun = self.epochs > 0
        losses = []
        state = self.state(self.epochs)
        total = (epochs - self.epochs) * self.steps_per_epoch
        with tqdm(total=total, desc="Training", unit="step", disable=not progress) as bar:
            for epoch in range(self.epochs, epochs):
                for after in self._steps(state, epoch, 0, self.steps_per_epoch, rates, bar, losses):
                    state = after
                self._storage.write_state(epoch + 1, state)
                self.epochs = epoch + 1
        if losses and not begun:
            _check_convergence(losses[0], float(np.mean(losses[-self.steps_per_epoch :])))

    def compiled(self):
        """The training step as a compiled function."""
        return self.cached("step", lambda: self.step.compiled(self.state(0), self.examples))

    def cached(self, name: str, make):
        """A compiled function for this run's shapes, made once; shared with the runs that `retrain` makes."""
        if name not in self._functions:
            self._functions[name] = make()
        return self._functions[name]

    def _rates_for(self, epochs: int) -> list[float]:
        if len(self._rates) < epochs * self.steps_per_epoch:
            self._rates = self._rule.learning_rates(epochs * self.steps_per_epoch)
        return self._rates

    def _steps(
        self, state: State, epoch: int, start: int, stop: int, rates=None, bar=None, losses=None
    ) -> Iterator[State]:
        rates = self.learning_rates() if rates is None else rates
        call = self.compiled()
        state = tf.nest.map_structure(tf.convert_to_tensor, state)
        for position, indices in enumerate(self.order(epoch)[start:stop], start):
            number = epoch * self.steps_per_epoch + position
            state, loss = call(
                state,
                tf.constant(number, tf.int64),
                tf.constant(rates[number], tf.float32),
                self.examples.batch(indices),
                self.example_weights(indices),
            )
            if not np.isfinite(loss):
                problem = f"the training loss is {loss.numpy()} at step {number} (epoch {epoch}, both from 0)"
                raise ValueError(sentence(problem, "Lower the learning rate, or scale the inputs"))
            if losses is not None:
                losses.append(float(loss))
            if bar is not None:
                bar.update()
            yield state


def _check_convergence(first: float, last: float) -> None:
    if last > _DIVERGED and last > _DIVERGED * first:
        warn(
            "diverging_run",
            f"the training loss rose from {first:.3g} at the first step to {last:.3g} in the last epoch: the run "
            "diverges, and influences along it say nothing",
            "Lower the learning rate",
        )


def check_run(run) -> None:
    """Refuses what is no recorded training run.

    Args:
        run: What was given for one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(run, TrainingRun):
        other = (
            "use influence_functions(model, x, y, x_val, y_val), which takes a model"
            if isinstance(run, keras.Model)
            else "read one with load_training(directory, x, y)"
        )
        raise ArgumentTypeError(
            "run",
            f"must be a recorded training run, not {type(run).__name__}",
            f"Record one with record_training(model, x, y), or {other}",
        )


def check_model(model) -> None:
    """Refuses what is no Keras model.

    Args:
        model: What was given for one.

    Raises:
        TypeError: It is something else.
    """
    if not isinstance(model, keras.Model):
        better = (
            "run.model(), its trained one"
            if isinstance(model, TrainingRun)
            else "one, such as keras.saving.load_model returns"
        )
        raise ArgumentTypeError("model", f"must be a Keras model, not {type(model).__name__}", f"Give {better}")


def checked_indices(values, count: int, name: str) -> np.ndarray:
    """Indices of examples as an int64 array.

    Args:
        values: A list or array of whole numbers.
        count: How many examples there are.
        name: What the caller calls `values`, for the error message.

    Returns:
        (len(values),), int64.

    Raises:
        ValueError: An index out of range, or not a whole number.
    """
    array = np.asarray(values, dtype=np.int64 if np.size(values) == 0 else None)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentError(
            name, f"must hold indices of examples, whole numbers, not {array.dtype} of shape {array.shape}"
        )
    if array.size and (array.min() < 0 or array.max() >= count):
        wrong = array[(array < 0) | (array >= count)][0]
        raise ArgumentError(name, f"must hold indices of examples, 0 to {count - 1}, not {wrong}")
    return array.astype(np.int64)
