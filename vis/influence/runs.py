"""A recorded training run: replayed bit for bit, continued, or repeated without some examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.engine import addressing
from vis.engine.copies import Borrowed, copy_model, predicts_as, set_values
from vis.influence.examples import Examples, example_loss
from vis.influence.storage import Storage
from vis.influence.training import State, TrainingStep
from vis.influence.update_rules import update_rule
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError, sentence, warn

# A loss that is above this, and so many times what it was, is not that of a model that learns.
_DIVERGED = 10


class TrainingRun:
    """A recorded training run, made by `record_training`, `load_training` or `retrain`.

    Args:
        model: The Keras model; it is not changed.
        examples: The training `Examples`, or None.
        loss: The Keras loss, its name or a function.
        optimizer: The Keras optimizer, its name or its configuration.
        storage: The folder with the states.
        settings: How the run was made, as `Storage.read_settings` returns it.
        batches: Arrays of indices, one per step of every epoch; None for seeded shuffling.

    Attributes:
        epochs: How many epochs are recorded.
        batch_size: The number of examples per step.
        seed: The seed of the order, of dropout and of fresh initial weights.
        l2: As given to `record_training`.
        without: The examples that were left out, a sorted tuple of indices.
        loss: The Keras loss.
        step: The `TrainingStep`.

    Example:
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
        >>> x = np.array([[1.0], [2.0], [3.0], [4.0]])
        >>> run = record_training(model, x, 2 * x, optimizer="sgd", epochs=2, batch_size=2, progress=False)
        >>> run, run.steps_per_epoch, len(run.order(0))
        (<TrainingRun: 4 examples, 2 epochs, SGD>, 2, 2)
        >>> *_, last = run.replay(0)
        >>> np.array_equal(last.weights[0], run.state(1).weights[0])
        True
        >>> run.retrain(without=[3])
        <TrainingRun: 3 examples, 2 epochs, SGD>
    """

    def __init__(self, model, examples, loss, optimizer, storage: Storage, settings: dict, batches=None):
        self._model = model
        self._examples = examples
        labels = examples.labels if examples else np.zeros(1)
        self.loss, each = example_loss(model, loss, labels, settings.get("loss_weight", 1.0))
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
        self.step = TrainingStep(model, each, self._rule, self.l2, each.reduction)

    def __len__(self) -> int:
        """Return how many training examples there are, those left out included."""
        return self._settings["examples"]

    def __repr__(self) -> str:
        count = len(self) - len(self.without)
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"<TrainingRun: {count} examples, {epochs}, {self._rule.config['class_name']}>"

    @property
    def examples(self) -> Examples:
        """Return the training examples.

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
        """Return how many steps an epoch has."""
        return len(self._batches) if self._batches is not None else -(-len(self) // self.batch_size)

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the examples of each step of an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            An array of indices for each step.
        """
        if self._batches is not None:
            return self._batches
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self))
        return [order[start : start + self.batch_size] for start in range(0, len(self), self.batch_size)]

    def learning_rates(self) -> list[float]:
        """Return the learning rate of each recorded step, a list of floats."""
        return self._rates_for(self.epochs)

    def state(self, epoch: int) -> State:
        """Read the recorded state at the start of an epoch.

        Args:
            epoch: The epoch, from 0; `epochs` for the final state.

        Returns:
            The `State`: weights, buffers and optimizer slots, NumPy arrays.

        Raises:
            ValueError: No such state is recorded, or its file is damaged.
        """
        return self._storage.read_state(epoch)

    def example_weights(self, indices: np.ndarray) -> np.ndarray:
        """Return the weight of each of some examples in the training loss: 1, or 0 for those left out.

        Args:
            indices: Indices of examples, an array of any shape.

        Returns:
            An array of the same shape, in the dtype of the model.
        """
        return (~np.isin(indices, self.without)).astype(self.examples.sample_weight.dtype)

    def replay(self, epoch: int, steps: int | None = None, start: int = 0, state: State | None = None) -> Iterator:
        """Compute the states after the steps of an epoch again.

        Args:
            epoch: The epoch, from 0.
            steps: The number of steps; None for the rest of the epoch.
            start: The first of them, from 0.
            state: The `State` before that step; None, with `start=0`, for the recorded one.

        Yields:
            The `State` after each step; the last one of an epoch is, bit for bit, the start of the next.

        Raises:
            ValueError: The loss is NaN or infinite, or the run was loaded without its examples.
        """
        stop = self.steps_per_epoch if steps is None else start + steps
        yield from self._steps(self.state(epoch) if state is None else state, epoch, start, stop)

    def model(self):
        """Return a copy of the model with the final weights, not compiled.

        Where Keras cannot make the model again from its configuration, as one of a class without `get_config` or with a
        layer that keeps something besides variables, the copy has weights of its own, and runs the layers of the model
        that was recorded.
        """
        state = self.state(self.epochs)
        inputs = self._examples.batch(slice(0, 2)).inputs if self._examples else None
        try:
            copy = copy_model(self._model, inputs)
        except ValueError:
            copy = Borrowed(self._model)
        set_values(copy, state.weights, state.buffers)
        if inputs is not None and not predicts_as(copy, self._model, inputs):
            copy = Borrowed(self._model)
            set_values(copy, state.weights, state.buffers)
        return copy

    def retrain(self, without: Sequence[int] = (), *, directory=None, progress: bool = False) -> TrainingRun:
        """Repeat the training without some examples, changing nothing else.

        An example left out keeps its place in its batches with the weight 0: the order, the dropout masks and the
        number that a batch's loss is divided by stay the same. With batch normalization it still counts in the batch's
        statistics.

        Args:
            without: Indices of the training examples to leave out, besides those that this run leaves out.
            directory: A folder to keep the run in; None for a temporary one.
            progress: Whether to show a progress bar.

        Returns:
            The new `TrainingRun`.

        Raises:
            ValueError: An index is out of range, no example is left, `directory` holds a run already, or the loss
                becomes NaN or infinite.
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
        """Write the run into a folder, for `load_training`: one set of weights per epoch and a few kilobytes.

        Args:
            directory: A folder that holds no run yet; it is created if needed.

        Raises:
            ValueError: The folder holds a run already, or cannot be created.
        """
        self._storage.copy_to(directory)

    def train(self, epochs: int, *, progress: bool = False) -> None:
        """Continue from the last recorded epoch until a number of epochs are recorded.

        Args:
            epochs: The number of epochs in all.
            progress: Whether to show a progress bar.

        Raises:
            ValueError: The loss is NaN or infinite, or the run was loaded without its examples.

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
        """Return the training step as a compiled function."""
        return self.cached("step", lambda: self.step.compiled(self.state(0), self.examples))

    def cached(self, name: str, make):
        """Return a compiled function for this run's shapes, made once and shared with the runs that `retrain` makes.

        Args:
            name: A name for the function.
            make: A function without arguments that makes it.

        Returns:
            What `make` returned the first time.
        """
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


@shared_docs
def check_run(run) -> None:
    """Refuse anything but a recorded training run.

    Args:
        run: The argument's value.

    Raises:
        {{run_error}}
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
    """Refuse anything but a Keras model that computes in float32 or the like and keeps nothing between batches.

    Args:
        model: The argument's value.

    Raises:
        ValueError: A layer computes in float16, or is recurrent and stateful.
        TypeError: `model` is not a Keras model.
    """
    if not isinstance(model, keras.Model):
        better = (
            "run.model(), its trained one"
            if isinstance(model, TrainingRun)
            else "one, such as keras.saving.load_model returns"
        )
        raise ArgumentTypeError("model", f"must be a Keras model, not {type(model).__name__}", f"Give {better}")
    # The influence of an example on weights in float16 is mostly rounding, and Keras skips steps that overflow.
    for layer in [model, *addressing.flatten(model)]:
        if getattr(layer, "compute_dtype", None) == "float16":
            raise ArgumentError(
                "model",
                f"must compute in float32, not in float16 as its layer '{layer.name}' with the dtype policy "
                f"'{layer.dtype_policy.name}' does",
                "Make it again after keras.config.set_dtype_policy('float32'), and set_weights(model.get_weights())",
                kind="dtype",
            )
        if getattr(layer, "stateful", False):
            raise ArgumentError(
                "model",
                f"must not keep states from batch to batch, as its layer '{layer.name}' does",
                "Make it with stateful=False",
            )


def checked_indices(values, count: int, name: str) -> np.ndarray:
    """Return indices of examples as an int64 array.

    Args:
        values: A list or array of whole numbers.
        count: How many examples there are.
        name: What the caller calls `values`, for the error message.

    Returns:
        An int64 array of shape (len(values),).

    Raises:
        ValueError: An index is out of range or not a whole number, or `values` is not a flat list.
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
