"""The validation loss: the mean over validation examples in prediction mode (no dropout, moving averages)."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.influence.examples import Examples, check_labels_of, same_examples
from vis.influence.runs import TrainingRun
from vis.influence.training import State, TrainingStep, compiled, dense_gradients, signature
from vis.utils.docs import shared_docs
from vis.utils.errors import warn

_BATCH = 128


@shared_docs
class ValidationLoss:
    """The validation loss, as a function of the model's variables.

    Args:
        step: A training step, for its model and the loss of an example.
        state: A `State`, for its shapes.
        loss: The Keras loss.
        training: The training examples.
        x_val: (examples, ...), or several inputs.
        y_val: (examples,) or (examples, ...).

    Attributes:
        examples: The validation `Examples`.
        step: As given.

    Raises:
        {{validation_error}}

    Warns:
        {{validation_warning}}
    """

    def __init__(self, step: TrainingStep, state: State, loss, training: Examples, x_val, y_val):
        self.examples = Examples(step.model, x_val, y_val, names=("x_val", "y_val", ""), least=1)
        check_labels_of(step.model, loss, self.examples.labels, "y_val")
        if same_examples(training, self.examples):
            warn(
                "training_as_validation",
                "the validation examples are the training examples: the scores show what lowers the training loss, not "
                "what helps on new data",
            )
        self.step = step
        state, *_ = signature(state, training)
        batch = self.examples.specification()
        self._value = compiled(self.total, [state.weights, state.buffers, batch])
        self._gradient = compiled(self._differentiated, [state.weights, state.buffers, batch])

    @classmethod
    @shared_docs
    def of_run(cls, run: TrainingRun, x_val, y_val) -> ValidationLoss:
        """Return the validation loss of a training run.

        Args:
            {{run}}
            {{validation_set}}

        Returns:
            The `ValidationLoss`.

        Raises:
            {{validation_error}}
        """
        return cls(run.step, run.state(0), run.loss, run.examples, x_val, y_val)

    def __call__(self, state: State) -> float:
        """Compute the mean loss.

        Args:
            state: A `State`.

        Returns:
            A float.
        """
        total = sum(float(self._value(state.weights, state.buffers, batch)) for batch in self.batches())
        return total / len(self.examples)

    def gradient(self, state: State) -> tuple[list, list]:
        """Compute the derivatives of the mean loss with respect to the weights and to the buffers.

        Args:
            state: A `State`.

        Returns:
            A tensor for each weight, and for each buffer a tensor, or None if it holds whole numbers.
        """
        sums = None
        for batch in self.batches():
            part = self._gradient(state.weights, state.buffers, batch)
            sums = part if sums is None else tf.nest.map_structure(tf.add, sums, part)
        weights, floating = tf.nest.map_structure(lambda value: value / len(self.examples), sums)
        remaining = iter(floating)
        buffers = [next(remaining) if _is_floating(buffer) else None for buffer in state.buffers]
        return list(weights), buffers

    def total(self, weights, buffers, batch):
        """Compute the sum of the losses of a batch.

        Args:
            weights: The trainable weights, a sequence of tensors.
            buffers: The model's other variables.
            batch: The examples.

        Returns:
            A scalar.
        """
        losses, _, _ = self.step.losses(weights, buffers, batch, training=False)
        return tf.reduce_sum(losses)

    def _differentiated(self, weights, buffers, batch):
        floating = [buffer for buffer in buffers if buffer.dtype.is_floating]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weights, floating])
            loss = self.total(weights, buffers, batch)
        sources = [*weights, *floating]
        gradients = [
            tf.zeros_like(source) if gradient is None else gradient
            for gradient, source in zip(dense_gradients(tape, loss, sources), sources, strict=True)
        ]
        return gradients[: len(weights)], gradients[len(weights) :]

    def batches(self):
        """Iterate over the validation examples.

        Yields:
            A `Batch` at a time.
        """
        for start in range(0, len(self.examples), _BATCH):
            yield self.examples.batch(slice(start, start + _BATCH))


def _is_floating(array) -> bool:
    return tf.as_dtype(np.asarray(array).dtype if not hasattr(array, "dtype") else array.dtype).is_floating
