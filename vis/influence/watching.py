"""Observers of a recording: the validation loss, and Keras callbacks."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from vis.engine.copies import set_values
from vis.influence import sources
from vis.influence.examples import Batch, Examples, check_labels_of
from vis.influence.order import consecutive, sizes_of
from vis.influence.training import State, TrainingStep, compiled, signature
from vis.influence.update_rules import optimizer_of
from vis.utils.errors import ArgumentTypeError, warn


class MeanLoss:
    """The loss of validation data as `model.evaluate` computes it: the mean over batches, with the regularization.

    Args:
        step: The training step, for its model and the loss of an example.
        state: A `State`, for its shapes.
        loss: The Keras loss.
        data: `(x_val, y_val)`, `(x_val, y_val, sample_weight)`, a `tf.data.Dataset` or a `keras.utils.PyDataset`.
        batch_size: The number of examples per batch of arrays.

    Raises:
        ValueError: The data do not fit the model, or a label is out of range.
        TypeError: `data` has the wrong type.
    """

    def __init__(self, step: TrainingStep, state: State, loss, data, batch_size: int):
        names = ("validation_data",) * 3
        if not sources.is_data_set(data):
            if not isinstance(data, tuple | list) or len(data) not in (2, 3):
                raise ArgumentTypeError(
                    "validation_data",
                    f"must be (x_val, y_val), (x_val, y_val, sample_weight) or a data set, not {type(data).__name__}",
                )
            source = sources.read(*data)
        else:
            source = sources.read(data, name="validation_data")
        self.examples = Examples(step.model, source.x, source.y, source.sample_weight, names, least=1)
        check_labels_of(step.model, loss, self.examples.labels, "validation_data")

        self._batches = consecutive(source.sizes or sizes_of(len(self.examples), batch_size))

        def total(weights, buffers, batch: Batch):
            losses, _, regularization = step.losses(weights, buffers, batch, training=False)
            count = tf.cast(tf.shape(losses)[0], losses.dtype)
            return count * (tf.reduce_sum(step.shares(losses, weights, batch.sample_weight)) + regularization)

        specs = signature(state, self.examples)
        self._total = compiled(total, [specs[0].weights, specs[0].buffers, specs[3]])

    def __call__(self, state: State) -> float:
        """Compute the loss.

        Args:
            state: A `State`.

        Returns:
            A float.
        """
        parts = map(self.examples.batch, self._batches)
        total = sum(float(self._total(state.weights, state.buffers, part)) for part in parts)
        return total / len(self.examples)


class Watch:
    """Observes `TrainingRun.train`.

    Callbacks are called as by `model.fit`, with a separate model that has the weights at the end of the last epoch.
    They may change the learning rate or stop the training. Changes they make to weights are not part of the run.

    Args:
        run: The `TrainingRun`, before it trains.
        epochs: The total number of epochs.
        validation_data: Validation data, or None.
        callbacks: A list of `keras.callbacks.Callback`.

    Attributes:
        stopped: Whether a callback has stopped the training.

    Raises:
        ValueError: The validation data do not fit the model, or Keras cannot copy the model for the callbacks.
        TypeError: A callback or `validation_data` has the wrong type.
    """

    def __init__(self, run, epochs: int, validation_data=None, callbacks: Sequence | None = ()):
        self._loss = None
        if validation_data is not None:
            self._loss = MeanLoss(run.step, run.state(0), run.loss, validation_data, run.batch_size)
        self._callbacks = None
        self.stopped = False
        callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
        for callback in callbacks:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ArgumentTypeError(
                    "callbacks", f"must be a list of keras.callbacks.Callback, not of {type(callback).__name__}"
                )
        if callbacks:
            self._model = run.model()
            self._model.compile(optimizer_of(run.step.rule.config), run.loss)
            self._model.optimizer.build(self._model.trainable_variables)
            self._model.stop_training = False
            self._scheduled = isinstance(run.step.rule.config["config"]["learning_rate"], dict)
            if not self._scheduled and run.epochs:
                self._model.optimizer.learning_rate = run.learning_rates()[-1]
            self._callbacks = keras.callbacks.CallbackList(
                callbacks, model=self._model, epochs=epochs, steps=run.steps_per_epoch, verbose=0
            )

    def begins(self) -> None:
        """Tell the callbacks that the training begins."""
        if self._callbacks:
            self._callbacks.on_train_begin()

    def epoch_begins(self, epoch: int, state: State) -> None:
        """Tell the callbacks that an epoch begins.

        Args:
            epoch: The epoch, from 0.
            state: The `State` before it.
        """
        if self._callbacks:
            set_values(self._model, state.weights, state.buffers)
            self._callbacks.on_epoch_begin(epoch)

    def step_begins(self, position: int, number: int, rate: float) -> float:
        """Tell the callbacks that a step begins.

        Args:
            position: The step, counted from the start of the epoch.
            number: The step, counted from the start of the run.
            rate: The learning rate by the optimizer's configuration.

        Returns:
            The learning rate.
        """
        if not self._callbacks:
            return rate
        self._model.optimizer.iterations.assign(number)
        self._callbacks.on_train_batch_begin(position)
        return rate if self._scheduled else float(self._model.optimizer.learning_rate)

    def step_ends(self, position: int, loss: float) -> None:
        """Tell the callbacks that a step has ended.

        Args:
            position: The step, counted from the start of the epoch.
            loss: Its training loss.
        """
        if self._callbacks:
            self._callbacks.on_train_batch_end(position, {"loss": loss})

    def epoch_ends(self, epoch: int, state: State, noted: dict) -> dict:
        """Compute the validation loss and tell the callbacks that an epoch has ended.

        Args:
            epoch: The epoch, from 0.
            state: The `State` after it.
            noted: The epoch's training loss, by its name.

        Returns:
            The validation loss, by its name; nothing without validation data.
        """
        found = {} if self._loss is None else {"val_loss": self._loss(state)}
        if self._callbacks:
            set_values(self._model, state.weights, state.buffers)
            self._callbacks.on_epoch_end(epoch, {**noted, **found})
            self._check_weights(state)
            self.stopped = self._model.stop_training
        return found

    def ends(self, state: State) -> None:
        """Tell the callbacks that the training has ended.

        Args:
            state: The final `State`.
        """
        if self._callbacks:
            set_values(self._model, state.weights, state.buffers)
            self._callbacks.on_train_end()
            self._check_weights(state)

    def _check_weights(self, state: State) -> None:
        current = [variable.numpy() for variable in self._model.trainable_variables]
        if not all(np.array_equal(ours, theirs) for ours, theirs in zip(current, state.weights, strict=True)):
            warn(
                "changed_weights",
                "a callback changed the weights of the model, which is not part of the recorded run: the run keeps the "
                "weights of its steps",
                "To record such a training, use vis.callbacks.RecordTraining with model.fit",
            )
