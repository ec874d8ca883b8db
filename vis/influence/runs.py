"""A recorded training run: replayed bit for bit, continued, or repeated without some examples."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.engine.copies import Borrowed, copy_model, predicts_as, set_values
from vis.influence.examples import Examples, example_loss
from vis.influence.losses import divisor
from vis.influence.order import Order, checked_indices, from_json
from vis.influence.storage import Storage
from vis.influence.training import State, TrainingStep
from vis.influence.update_rules import unknown_rule, update_rule
from vis.utils.errors import ArgumentError, sentence, warn

# A loss above this, and that many times its first value, shows that the model does not learn.
_DIVERGED = 10
# The largest distance from the recorded weights at which a replay of an epoch of `model.fit` may end, relative to the
# distance that the weights moved. Rounding alone gives about 1e-5 after a hundred steps.
_SAME = 0.01
# The same for the losses of the first examples, which are compared if the weights are farther away.
_SAME_LOSSES, _COMPARED = 0.02, 128


class TrainingRun:
    """A recorded training run, made by `record_training`, `load_training` or `retrain`.

    Args:
        model: The Keras model; it is not changed.
        examples: The training `Examples`, or None.
        loss: The Keras loss, its name or a function.
        optimizer: The Keras optimizer, its name or its configuration.
        storage: The folder with the states.
        settings: How the run was made, as `Storage.read_settings` returns it.
        batches: Arrays of indices, one per step of every epoch, or a list of these per epoch; None follows the
            settings, by default seeded shuffling.
        rates: The learning rates of the first steps, if the storage does not have them yet.

    Attributes:
        epochs: The number of recorded epochs.
        batch_size: The number of examples per step.
        seed: The seed of the order, of dropout and of fresh initial weights.
        l2: As given to `record_training`.
        without: The examples that were left out, a sorted tuple of indices.
        loss: The Keras loss.
        step: The `TrainingStep`.

    Example:
        >>> import keras
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

    def __init__(self, model, examples, loss, optimizer, storage: Storage, settings: dict, batches=None, rates=()):
        self._model = model
        self._examples = examples
        labels = examples.labels if examples else np.zeros(1)
        self.loss, each = example_loss(model, loss, labels, settings.get("loss_weight", 1.0))
        self._rule = unknown_rule(optimizer) if settings.get("unknown") else update_rule(optimizer)
        self._storage = storage
        self._settings = settings
        self._batches = from_json(settings["batches"]) if batches is None else batches
        self._order = Order(settings["examples"], settings["batch_size"], settings["seed"], self._batches)
        self._functions: dict = {}
        self._rates = list(rates)
        # Whether a replay is known to end where the recorded training did; training by `record_training` always does.
        self._is_exact = not (settings.get("fit") and not settings["fit"].get("replayed"))
        self.epochs = storage.epochs()
        self.batch_size = settings["batch_size"]
        self.seed = settings["seed"]
        self.l2 = settings["l2"]
        self.without = tuple(settings["without"])
        self.step = TrainingStep(model, each, self._rule, self.l2, each.reduction)

    def __len__(self) -> int:
        """Return the number of training examples, including those left out."""
        count = self._settings["examples"]
        return len(self.examples) if count is None else count

    def __repr__(self) -> str:
        count = "?" if self._settings["examples"] is None else len(self) - len(self.without)
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
        """Return the number of steps per epoch: of the first epoch, if `batches` has one list per epoch."""
        if not self.replayable:
            return len(self._storage.read_rates(self.recorded[1])) // self.recorded[1] if self.epochs else 0
        return self._order.steps(0)

    @property
    def replayable(self) -> bool:
        """Return whether the steps of the run can be repeated, as `sgd_influence` and `retrain` require.

        A run made inside `model.fit` can be replayed if the order of its examples is known and `vis.influence` knows
        the optimizer. Every run has weights, learning rates and losses, which is all that `tracin` needs.
        """
        return not self._settings.get("unknown")

    @property
    def recorded(self) -> list[int]:
        """Return the epochs at whose start a state is on disk, from 0; the last is `epochs`: after training."""
        return [epoch for epoch in self._storage.recorded() if epoch <= self.epochs]

    @property
    def history(self) -> dict[str, list[float]]:
        """Return the metrics of each epoch by name, such as `'loss'` and `'val_loss'`: one number per epoch.

        The losses are those of Keras: means over the examples, with the model's regularization.
        """
        epochs = [noted for epoch in self.recorded[1:] for noted in self._storage.read_history(epoch)]
        return {
            name: [noted.get(name, float("nan")) for noted in epochs]
            for name in dict.fromkeys(name for noted in epochs for name in noted)
        }

    def order(self, epoch: int) -> list[np.ndarray]:
        """Return the examples of each step of an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            An array of indices for each step.

        Raises:
            ValueError: The run was made inside `model.fit`, in an order that is not known.
        """
        self._check_order()
        return self._order(epoch)

    def first_step(self, epoch: int) -> int:
        """Return the number of steps of the run before an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            The number of steps.
        """
        return self._order.first_step(epoch)

    def share(self, epoch: int) -> np.ndarray:
        """Return the share of each example in the steps of an epoch: Σ 1/D over its steps.

        D is the divisor of the loss of a batch: the number of its examples, for most losses. If the order is unknown,
        all examples have equal shares.

        Args:
            epoch: The epoch, from 0.

        Returns:
            A float64 array of shape (examples,).
        """
        reduction, weights = self.step.reduction, self.examples.sample_weight
        if not self.replayable:
            times = 1 if reduction == "sum" else self.steps_per_epoch
            return np.full(len(self), times / float(divisor(reduction, weights)))
        share = np.zeros(len(self))
        for indices in self.order(epoch):
            np.add.at(share, indices, self.example_weights(indices) / float(divisor(reduction, weights[indices])))
        return share

    def last_rate(self, epoch: int) -> float:
        """Return the learning rate of the last step before an epoch.

        Args:
            epoch: One of `recorded`, from 1.

        Returns:
            A float.
        """
        recorded = self._storage.read_rates(epoch)
        return recorded[-1] if recorded else self.learning_rates()[self.first_step(epoch) - 1]

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
        recorded = self._storage.recorded()
        if epoch in recorded or not recorded or not recorded[0] < epoch < self.epochs:
            return self._storage.read_state(epoch)
        # Recorded every few epochs: recomputed from the last state before it.
        start = max(known for known in recorded if known < epoch)
        state = self._storage.read_state(start)
        for between in range(start, epoch):
            *_, state = self.replay(between, state=state)
        return tf.nest.map_structure(np.asarray, state)

    def example_weights(self, indices: np.ndarray) -> np.ndarray:
        """Return the weights of examples in the training loss: 1, or 0 for those left out.

        Args:
            indices: Indices of examples, an array of any shape.

        Returns:
            An array of the same shape, in the dtype of the model.
        """
        return (~np.isin(indices, self.without)).astype(self.examples.sample_weight.dtype)

    def replay(self, epoch: int, steps: int | None = None, start: int = 0, state: State | None = None) -> Iterator:
        """Recompute the states after the steps of an epoch.

        Args:
            epoch: The epoch, from 0.
            steps: The number of steps; None for the rest of the epoch.
            start: The first of them, from 0.
            state: The `State` before that step; None, with `start=0`, for the recorded one.

        Yields:
            The `State` after each step; the last one of an epoch is, bit for bit, the start of the next.

        Raises:
            ValueError: The loss is NaN or infinite, the run was loaded without its examples, or the order is not known.
        """
        stop = len(self.order(epoch)) if steps is None else start + steps
        yield from self._steps(self.state(epoch) if state is None else state, epoch, start, stop)

    def model(self):
        """Return a copy of the model with the final weights, not compiled.

        If Keras cannot rebuild the model from its configuration, because its class lacks `get_config` or a layer keeps
        something besides variables, the copy runs the layers of the recorded model with separate weights.
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

        An example that is left out keeps its place in its batches with weight 0: the order, the dropout masks and the
        divisor of each batch's loss stay the same. With batch normalization it still counts in the statistics of its
        batch.

        Args:
            without: Indices of the training examples to leave out, besides those that this run leaves out.
            directory: A folder to keep the run in; None for a temporary one.
            progress: Whether to show a progress bar.

        Returns:
            The new `TrainingRun`.

        Raises:
            ValueError: An index is out of range, no example is left, `directory` holds a run already, the loss becomes
                NaN or infinite, or the run cannot be replayed.
        """
        self.check_replay()
        left_out = {*self.without, *checked_indices(without, len(self), "without").tolist()}
        if len(left_out) == len(self):
            raise ArgumentError("without", f"must leave at least one of the {len(self)} examples to train on, not none")
        settings = {**self._settings, "without": sorted(left_out)}
        if settings.get("fit"):
            settings["fit"] = {**settings["fit"], "replayed": True}
        storage = Storage(directory)
        storage.check_vacant()
        storage.write_settings(settings)
        storage.write_sample_weight(self._storage.read_sample_weight())
        storage.write_state(0, self.state(0))
        again = TrainingRun(
            self._model,
            self.examples,
            self.loss,
            self._rule.config,
            storage,
            settings,
            self._batches,
            self.learning_rates(),
        )
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

    def train(self, epochs: int, *, progress: bool = False, watch=None) -> None:
        """Continue from the last recorded epoch until a number of epochs are recorded.

        Args:
            epochs: The number of epochs in all.
            progress: Whether to show a progress bar.
            watch: A `watching.Watch` that follows each epoch and step, and may change learning rates and stop; or None.

        Raises:
            ValueError: The loss is NaN or infinite, or the run was loaded without its examples.

        Warns:
            VisWarning: The loss is much higher at the end than at the beginning.
        """
        rates = self._rates = self._rates_for(epochs)
        begun = self.epochs > 0
        losses: list = []
        state = self.state(self.epochs)
        total = self.first_step(epochs) - self.first_step(self.epochs)
        with tqdm(total=total, desc="Training", unit="step", disable=not progress) as bar:
            for epoch in range(self.epochs, epochs):
                steps = slice(self.first_step(epoch), self.first_step(epoch + 1))
                losses.append([])
                if watch is not None:
                    watch.epoch_begins(epoch, state)
                for after in self._steps(state, epoch, 0, steps.stop - steps.start, rates, bar, losses[-1], watch):
                    state = after
                noted = {"loss": float(np.average(losses[-1], weights=[len(step) for step in self.order(epoch)]))}
                if watch is not None:
                    noted |= watch.epoch_ends(epoch, state, noted)
                self._storage.write_state(epoch + 1, state, rates[steps], [noted])
                self.epochs = epoch + 1
                if watch is not None and watch.stopped:
                    break
        if losses and not begun:
            _check_convergence(losses[0][0], float(np.mean(losses[-1])))

    def check_replay(self) -> None:
        """Refuse a run that cannot be replayed: an unknown order, or a replay that does not end where `model.fit` did.

        Raises:
            ValueError: The run cannot be replayed.
        """
        self._check_order()
        if self._is_exact or self.epochs == 0:
            return
        start = recorded = self.state(0)
        epoch = self.recorded[1]
        for between in range(epoch):
            *_, start = self.replay(between, state=start)
        reached = self._storage.read_state(epoch)
        ends = (recorded, start, reached)
        off = _relative(*(state.weights for state in ends))
        # A bias before batch normalization has only rounding for a gradient, which Adam turns into larger steps. It has
        # no effect, so the losses of a training pass stay the same.
        losses = (self._losses_in_training(state.weights, reached.buffers) for state in ends)
        if not (off < _SAME or _relative(*losses) < _SAME_LOSSES):
            raise ArgumentError(
                "run",
                f"must be a run that can be replayed, not one whose replay of epoch {epoch - 1} ends {100 * off:.2g} % "
                "away from the recorded weights, relative to how far they moved",
                "Load it with the examples in the order that model.fit saw them, or call tracin, which needs no replay",
                kind="replay",
            )
        self._is_exact = True

    def _losses_in_training(self, weights, buffers) -> list[np.ndarray]:
        """Return the losses of the first examples in a training pass, an array in a list."""
        batch = tf.nest.map_structure(tf.convert_to_tensor, self.examples.batch(slice(0, _COMPARED)))
        weights, buffers = (list(map(tf.convert_to_tensor, values)) for values in (weights, buffers))
        return [self.step.losses(weights, buffers, batch, training=True)[0].numpy()]

    def _check_order(self) -> None:
        unknown = self._settings.get("unknown")
        if unknown:
            raise ArgumentError(
                "run",
                f"must be a run that can be replayed, not one {unknown['problem']}",
                f"{unknown['remedy']}, or call tracin, which needs no replay",
                kind="replay",
            )

    def compiled(self):
        """Return the training step as a compiled function."""
        return self.cached("step", lambda: self.step.compiled(self.state(0), self.examples))

    def cached(self, name: str, make):
        """Return a compiled function for this run's shapes, made once and shared with the runs that `retrain` makes.

        Args:
            name: A name for the function.
            make: A function without arguments that makes it.

        Returns:
            The result of the first call of `make`.
        """
        if name not in self._functions:
            self._functions[name] = make()
        return self._functions[name]

    def step_arguments(self, number: int, indices: np.ndarray, rate: float | None = None) -> tuple:
        """Return the arguments of a training step, apart from the state.

        Args:
            number: The step, counted from the start of the run.
            indices: Its examples.
            rate: Its learning rate; None for the recorded one.

        Returns:
            How many steps the optimizer did before, the learning rate, the `Batch` and the example weights.
        """
        if rate is None:
            rate = (self._rates if number < len(self._rates) else self.learning_rates())[number]
        done = self._settings.get("iterations", 0) + number
        return (
            tf.constant(done, tf.int64),
            tf.constant(rate, tf.float32),
            self.examples.batch(indices),
            self.example_weights(indices),
        )

    def _rates_for(self, epochs: int) -> list[float]:
        if not self.replayable:
            return [rate for epoch in self.recorded[1:] for rate in self._storage.read_rates(epoch)]
        count = self.first_step(epochs)
        if len(self._rates) < count:
            known = [rate for epoch in self.recorded[1:] for rate in self._storage.read_rates(epoch)]
            if len(known) < count:
                done = self._settings.get("iterations", 0)
                known += self._rule.learning_rates(done + count)[done + len(known) :]
            self._rates = known
        return self._rates[:count]

    def _steps(
        self, state: State, epoch: int, start: int, stop: int, rates=None, bar=None, losses=None, watch=None
    ) -> Iterator[State]:
        rates = self.learning_rates() if rates is None else rates
        call = self.compiled()
        state = tf.nest.map_structure(tf.convert_to_tensor, state)
        first = self.first_step(epoch)
        for position, indices in enumerate(self.order(epoch)[start:stop], start):
            number = first + position
            if watch is not None:
                rates[number] = watch.step_begins(position, number, rates[number])
            state, loss = call(state, *self.step_arguments(number, indices, rates[number]))
            if not np.isfinite(loss):
                problem = f"the training loss is {loss.numpy()} at step {number} (epoch {epoch}, both from 0)"
                raise ValueError(sentence(problem, "Lower the learning rate, or scale the inputs"))
            if losses is not None:
                losses.append(float(loss))
            if watch is not None:
                watch.step_ends(position, float(loss))
            if bar is not None:
                bar.update()
            yield state


def _relative(start, ours, theirs) -> float:
    """Return the distance of two ends relative to that from the start to the second."""
    return _distance(ours, theirs) / max(_distance(start, theirs), 1e-30)


def _distance(ours, theirs) -> float:
    return float(
        np.sqrt(sum(np.sum(np.square(np.subtract(a, b, dtype=np.float64))) for a, b in zip(ours, theirs, strict=True)))
    )


def _check_convergence(first: float, last: float) -> None:
    if last > _DIVERGED and last > _DIVERGED * first:
        warn(
            "diverging_run",
            f"the training loss rose from {first:.3g} at the first step to {last:.3g} in the last epoch: the run "
            "diverges, and its influence scores are meaningless",
            "Lower the learning rate",
        )
