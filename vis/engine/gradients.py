"""Gradients of losses with respect to inputs and feature maps, by compiled functions that are made once a question.

Class indices, loss weights and samples are arguments of such a function, so that only a new question is traced.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine import taps
from vis.engine.cache import remember
from vis.engine.inputs import Samples
from vis.engine.rules import underlying
from vis.engine.tracing import Answer, Tap, ask
from vis.utils import checks
from vis.utils.errors import warn


class Differentiated(NamedTuple):
    """The result for some samples.

    Attributes:
        taps: What was differentiated with respect to, a `Tap` each.
        losses: An array of shape (losses, samples): each loss, unweighted.
        values: For each tap a list of its values, one float32 array of shape (samples, ...) for each call of its
            layer; empty if not asked for.
        gradients: The gradient of the weighted sum of the losses in the same lists, each sample's its own.
    """

    taps: list[Tap]
    losses: np.ndarray
    values: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]


class Function(NamedTuple):
    """A traced question.

    Attributes:
        call: Its compiled function of the question's arrays, of the losses' weights, and of whatever more it takes.
        taps: A `Tap` for each group of tensors that it differentiates with respect to.
        notes: What each loss noted about its target during the trace.
        batch_size: The only number of rows it takes, or None.
        warnings: What the user should know of every result.
    """

    call: object
    taps: list[Tap]
    notes: list[taps.Notes]
    batch_size: int | None
    warnings: list[str]

    def __call__(self, *arguments):
        """What the compiled function gives; a ValueError where an operation refuses what it is given."""
        try:
            return self.call(*arguments)
        except tf.errors.InvalidArgumentError as error:
            lines = [line.strip() for line in error.message.splitlines()]
            reason = next((line for line in reversed(lines) if line and not line.startswith("[[")), error.message)
            raise ValueError(f"the model cannot compute this input: {reason}") from error


class Question:
    """A model, losses, and what they are differentiated with respect to, for some samples.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        losses: A list of `(loss, weight)`, as `vis.losses.weighted` makes it.
        samples: The model's inputs.
        wrt: With respect to what: None for all inputs, a layer's address, a Keras tensor, a list of these, or
            `vis.engine.tracing.NEAREST_FEATURE_MAP`.
        batch_size: The most rows to compute at once; None chooses.
        argument: What the caller calls `wrt`, for error messages.

    Attributes:
        arrays: The inputs and the losses' arguments, with one row a sample each.
        weights: The losses' weights.
    """

    def __init__(
        self, model, losses, samples: Samples, wrt=None, batch_size: int | None = None, argument: str = "wrt_tensor"
    ):
        self.model = model
        self.losses = losses
        self.samples = samples
        self.wrt = wrt if isinstance(wrt, list) else [wrt]
        self.batch_size = checks.whole_number("batch_size", batch_size, or_none=True)
        self.argument = argument
        self._arguments = [loss.arguments(samples.count) for loss, _ in self.losses]
        self.arrays = [*samples.arrays, *itertools.chain(*self._arguments)]
        self.weights = tf.constant([weight for _, weight in self.losses], tf.float32)

    def rows_at_once(self, values_at_once: int) -> int:
        """How many rows to compute together: as said, or so many input values, and 8 rows to 128."""
        return self.batch_size or int(np.clip(values_at_once // self.samples.arrays[0][0].size, 8, 128))

    def ask(self, tensors, weights, noise=None) -> Answer:
        """Asks the question in the graph, of tensors for `arrays`."""
        count = len(self.samples.arrays)
        remaining = iter(tensors[count:])
        arguments = [[next(remaining) for _ in arrays] for arrays in self._arguments]
        inputs = tensors[:count]
        return ask(self.model, self.losses, self.samples, self.wrt, inputs, arguments, weights, noise, self.argument)

    def function(self, kind: tuple, trace: Callable[[list[tf.TensorSpec]], Function]) -> Function:
        """The traced function of a kind, and says what there is to say of it.

        Args:
            kind: What tells it from other functions of the same question.
            trace: Traces it, given what the arrays look like.
        """
        model = underlying(self.model)
        key = (
            *kind,
            tuple(loss.key for loss, _ in self.losses),
            tuple(None if address is model else address for address in self.wrt),
            tuple(
                (shape, array.dtype.name) for shape, array in zip(self.samples.shapes, self.samples.arrays, strict=True)
            ),
        )

        def traced():
            try:
                return trace(self._specs(self.samples.shapes))
            except Exception:
                # A model may need sizes that its input shape leaves open, the number of samples among them. If it is
                # something else, the same error comes again, from the simpler trace.
                return trace(self._specs([(1, *array.shape[1:]) for array in self.samples.arrays]))

        function = remember(self.model, key, traced)
        for text in function.warnings:
            warn(*text)
        for (loss, _), notes in zip(self.losses, function.notes, strict=True):
            loss.validate(notes.width)
        return function

    def _specs(self, shapes) -> list[tf.TensorSpec]:
        specs = [tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, self.samples.arrays, strict=True)]
        return specs + [tf.TensorSpec([shapes[0][0], None], array.dtype) for array in self.arrays[len(shapes) :]]

    def result(self, function: Function, scores, values, gradients) -> Differentiated:
        """The result of some samples, with a warning where a probability leaves no gradient."""
        for (loss, _), note, score in zip(self.losses, function.notes, scores, strict=True):
            if note.probability and np.any(-score > 1 - 1e-6):
                warn(
                    "saturated",
                    f"{loss.name}: the softmax or sigmoid is saturated (a probability above 1 - 1e-6), so that its "
                    "gradient is rounding error",
                    "Leave logits=True",
                )
        return Differentiated(
            function.taps, scores, _grouped(function.taps, values), _grouped(function.taps, gradients)
        )


def differentiate(question: Question, *, values: bool = False) -> Iterator[Differentiated]:
    """Differentiates the losses of a question, sample by sample.

    Args:
        question: The question.
        values: Whether to return the values of what is differentiated with respect to.

    Yields:
        The `Differentiated` of each internal batch, in the order of the samples.

    Raises:
        ValueError: A target that does not depend on what it is differentiated with respect to, an integer input,
            a filter out of range, a layer that is not there.

    Warns:
        VisWarning: Part of the gradient is cut off, a softmax is saturated, or a backprop modifier could not reach
            every activation.
    """
    function = question.function(("batch", values), batch_trace(question, values))
    count = question.samples.count
    size = function.batch_size or even(count, question.rows_at_once(1_200_000))
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        # A model for batches of just one size has its last one filled up.
        taken = np.resize(rows, size) if len(rows) < (function.batch_size or 0) else slice(rows.start, rows.stop)
        given = [tf.constant(array[taken]) for array in question.arrays]
        scores, outputs, slopes = function(question.weights, *given)
        if scores.shape[1] != len(given[0]):
            names = ", ".join(repr(loss.name) for loss, _ in question.losses)
            raise ValueError(
                f"the losses ({names}) give {scores.shape[1]} values for {len(given[0])} samples: one value a sample, "
                "or a scalar, is wanted"
            )
        yield question.result(
            function,
            scores.numpy()[:, : len(rows)],
            [output.numpy()[: len(rows)] for output in outputs],
            [slope.numpy()[: len(rows)] for slope in slopes],
        )


def batch_trace(question: Question, values: bool = False) -> Callable[[list[tf.TensorSpec]], Function]:
    """What traces the function of a batch of rows; for `Question.function`, kind `('batch', values)`.

    Args:
        question: The question.
        values: Whether the function gives the values of what is differentiated with respect to.

    Returns:
        A function that traces. The traced one takes `question.weights` and a tensor for each of `question.arrays`, and
        gives the losses, (losses, rows) and unweighted, a list of values, and a list of gradients.
    """

    def trace(specs):
        answers = []

        def batch(weights, *tensors):
            answer = question.ask(tensors, weights)
            answers.append(answer)
            sources = [tf.cast(source, tf.float32) for source in answer.sources] if values else []
            return answer.scores, sources, answer.slopes

        call = concrete(batch, tf.TensorSpec(question.weights.shape, tf.float32), *specs)
        return described(call, answers[-1], specs)

    return trace


def concrete(function: Callable, *specs):
    """A function of tensors, traced for what they look like; it keeps the graph, and not the Python function."""
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def described(call, answer: Answer, specs) -> Function:
    """A traced function with what its trace told."""
    scalar = any(note.scalar for note in answer.notes)  # a loss of a whole batch: one sample at a time
    return Function(call, answer.taps, answer.notes, specs[0].shape[0] or (1 if scalar else None), answer.warnings)


def even(count: int, size: int) -> int:
    """The size of batches of about one size, `size` at most: 25 go as 7, 7, 7, 4 and not as 8, 8, 8, 1."""
    return -(-count // -(-count // size))


def _grouped(found: list[Tap], arrays) -> list[list]:
    remaining = iter(arrays)
    return [list(itertools.islice(remaining, tap.count)) for tap in found] if arrays else []
