"""The one primitive: run a model on samples, intervene, read, differentiate, and reduce over copies of each sample.

One compiled function serves all samples of one question. Class indices, loss weights, samples and the arguments of a
change are its arguments, so only a new question is traced. Copies are made, changed, differentiated and summed in the
compiled function, a batch at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine import addressing, graphs, taps
from vis.engine.cache import remember
from vis.engine.inputs import ModelInputs
from vis.engine.result_warnings import not_the_output
from vis.engine.tracing import Answer, trace
from vis.engine.types import Change, Evaluated, Reduce, Source
from vis.utils import checks
from vis.utils.errors import ArgumentError, warn
from vis.utils.threads import overlapped

# The number of input values to compute at once: of samples, and of copies, of which several batches may overlap.
_VALUES_OF_SAMPLES, _VALUES_OF_COPIES = 1_200_000, 750_000
# The number of batches of copies to compute at once: one uses the processor time that another leaves.
_BATCHES_AT_ONCE = 2

# Half-precision gradients below 6e-8 vanish and those above 65504 overflow: the score is scaled, and the gradient back
# in float32; by the next factor where a gradient is not finite.
_HALF_SCALES = (1024.0, 1.0, 2.0**-10, 2.0**-20)


class Objective:
    """A model, with or without a backprop rule, and the losses to differentiate.

    Args:
        model: A Keras model, with or without a backprop modifier.
        losses: A list of `(loss, weight)`, from `vis.losses.weighted`. The layers of losses are resolved here, once.
    """

    def __init__(self, model, losses):
        self.model = model
        self.losses = [(loss.bound(model), weight) for loss, weight in losses]

    def total(self, scores: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the losses, from an array (losses, ...) of them."""
        return np.tensordot([weight for _, weight in self.losses], scores, 1)


class Function(NamedTuple):
    """A traced question.

    Attributes:
        call: The compiled function of the losses' weights, the scale, any further arguments, and the arrays.
        sources: A `Source` for each group of tensors that it differentiates with respect to.
        notes: What each loss noted about its target during the trace.
        batch_size: The only number of rows it accepts, or None.
        warnings: Warnings that hold for every result.
        scales: The factors with which to try the losses.
    """

    call: Callable
    sources: list[Source]
    notes: list[taps.Notes]
    batch_size: int | None
    warnings: list[tuple]
    scales: list[tf.Tensor]

    def __call__(self, *arguments):
        """Return what the compiled function gives."""
        try:
            return self.call(*arguments)
        except tf.errors.InvalidArgumentError as error:
            raise ArgumentError(
                "seed_input", f"must be something that the model can compute: {reason(error)}", kind="computation"
            ) from error


def reason(error: tf.errors.OpError) -> str:
    """Return why an operation failed: the last line of TensorFlow's report, which begins with where it failed.

    Args:
        error: An error of a compiled function.

    Returns:
        A sentence without its full stop.

    Example:
        >>> reason(tf.errors.InvalidArgumentError(None, None, "Detected at node x\\nThe size is negative.\\n[[x]]"))
        'The size is negative'
    """
    lines = [line.strip() for line in error.message.splitlines()]
    last = next((line for line in reversed(lines) if line and not line.startswith("[[")), error.message)
    return last.rstrip(".")


class Question:
    """An objective, samples, and the tensors to differentiate with respect to.

    Args:
        objective: The `Objective`.
        inputs: The model's inputs.
        wrt: The addresses of what to differentiate with respect to, of any kind that `addressing.resolve` takes;
            empty for the scores alone.
        batch_size: The most rows to compute at once; None chooses.
        argument: What the caller calls `wrt`, for error messages.

    Attributes:
        arrays: The inputs and the losses' arguments, with one row per sample each.
        weights: The losses' weights.
    """

    def __init__(
        self,
        objective: Objective,
        inputs: ModelInputs,
        wrt: Sequence = (None,),
        batch_size: int | None = None,
        argument: str = "wrt_tensor",
    ):
        self.model = objective.model
        self.losses = objective.losses
        self.inputs = inputs
        self.wrt = [addressing.resolve(self.model, address, argument, inputs.keys) for address in wrt]
        self.batch_size = checks.whole_number("batch_size", batch_size, or_none=True)
        self.argument = argument
        self._arguments = [loss.arguments(inputs.count) for loss, _ in self.losses]
        self.arrays = [*inputs.arrays, *itertools.chain(*self._arguments)]
        self.weights = tf.constant([weight for _, weight in self.losses], tf.float32)

    def rows_at_once(self, values_at_once: int = _VALUES_OF_SAMPLES) -> int:
        """Return how many rows to compute together: as said, or so many input values, and 8 rows to 128."""
        return self.batch_size or int(np.clip(values_at_once // self.inputs.arrays[0][0].size, 8, 128))

    def trace(self, tensors, weights, scale, change=None, state=None) -> Answer:
        """Answer the question in the graph, of tensors for `arrays`."""
        count = len(self.inputs.arrays)
        remaining = iter(tensors[count:])
        arguments = [[next(remaining) for _ in arrays] for arrays in self._arguments]
        answer = trace(
            self.model, self.losses, self.inputs, self.wrt, tensors[:count], arguments, weights * scale,
            change, self.argument, state,
        )  # fmt: skip
        return answer._replace(gradients=[gradient / scale for gradient in answer.gradients])

    def function(self, kind: tuple, make: Callable[[list[tf.TensorSpec]], Function]) -> Function:
        """Return the traced function of a kind, and warn of what its trace found.

        Args:
            kind: What tells it from other functions of the same question.
            make: Traces it, given what the arrays look like.
        """
        function = self._remembered(kind, make)
        for found in (*not_the_output(self.model, self.losses), *function.warnings):
            warn(*found)
        for (loss, _), notes in zip(self.losses, function.notes, strict=True):
            loss.validate(notes.width)
        return function

    def batch(self, read: bool = False) -> Function:
        """Return the function of a batch of rows, of kind `('batch', read)`, without a warning."""
        return self._remembered(("batch", read), batch_trace(self, read))

    def _remembered(self, kind: tuple, make: Callable[[list[tf.TensorSpec]], Function]) -> Function:
        key = (
            *kind,
            tuple(loss.key for loss, _ in self.losses),
            tuple(address[:2] for address in self.wrt),
            tuple(
                (shape, array.dtype.name) for shape, array in zip(self.inputs.shapes, self.inputs.arrays, strict=True)
            ),
        )

        def traced():
            try:
                return make(self._specs(self.inputs.shapes))
            except ArgumentError:
                raise
            except Exception:
                # A model may need sizes that its input shape leaves open, the number of samples among them. If it is
                # something else, the same error comes again, from the simpler trace.
                return make(self._specs([(1, *array.shape[1:]) for array in self.inputs.arrays]))

        return remember(self.model, key, traced)

    def _specs(self, shapes) -> list[tf.TensorSpec]:
        specs = [tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, self.inputs.arrays, strict=True)]
        return specs + [
            tf.TensorSpec([shapes[0][0], *[None] * (array.ndim - 1)], array.dtype)
            for array in self.arrays[len(shapes) :]
        ]

    def result(self, function: Function, scores, values, gradients, rows=slice(None)) -> Evaluated:
        """Return the result of some samples, and warn where a probability leaves no gradient."""
        self._warn_of_saturation(function, scores, gradients, rows)
        return Evaluated(
            function.sources, scores, _grouped(function.sources, values), _grouped(function.sources, gradients)
        )

    def _warn_of_saturation(self, function, scores, gradients, rows):
        saturated = any(
            note.probability and np.any(-score > 1 - 1e-6) for note, score in zip(function.notes, scores, strict=True)
        )
        each = itertools.chain(*([source] * source.count for source in function.sources))
        flat = zip(each, gradients, strict=True) if gradients else ()
        # Even a change of the whole input would change the score by less than its last digit.
        least = 1e-7 * np.abs(self.weights.numpy() @ scores)
        for source, gradient in flat:
            if saturated or source.input is None or gradient.ndim != source.rank:
                continue
            values = gradient.reshape(len(gradient), -1)
            highest = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
            low = highest < least  # elsewhere the sum is not lower either, and need not be computed
            if low.any():
                largest = np.abs(self.inputs.arrays[source.input][rows].astype(np.float32)).max(initial=0)
                sums = np.abs(values[low]).sum(axis=1)
                saturated = bool(((sums > 0) & (sums * max(largest, 1) < least[low])).any())
        if saturated:
            names = ", ".join(loss.name for loss, _ in self.losses)
            warn(
                "saturated",
                f"{names}: the target is saturated (a softmax or sigmoid near 0 or 1, or a similarity at its highest), "
                "so that its gradient is rounding error",
                "For a probability, leave logits=True, or explain the scores before the softmax or sigmoid",
            )


def evaluate(
    objective: Objective,
    inputs: ModelInputs,
    *,
    wrt: Sequence = (None,),
    read: bool = False,
    change: Change | None = None,
    copies: int | Sequence[int] = 1,
    reduce: Reduce | None = Reduce(),  # noqa: B008 - immutable
    batch_size: int | None = None,
    argument: str = "wrt_tensor",
    seed: int = 0,
    progress: Callable[[int], object] = lambda copies: None,
    known: Sequence = (),
) -> Iterator[Evaluated]:
    """Run a model on samples, change it, and differentiate the losses, sample by sample.

    Args:
        objective: The objective.
        inputs: The samples.
        wrt: The addresses to differentiate with respect to: None for all inputs, a layer's address, a Keras
            tensor, `addressing.NEAREST`; empty for the scores alone.
        read: Whether to return the values of the tensors at `wrt`.
        change: The intervention on those tensors, one per copy; without `wrt`, on the inputs.
        copies: The number of copies of each sample: one number, or one per sample.
        reduce: The reduction of the gradients of the copies; None returns the score of each copy instead, as an array
            of shape (losses, copies) per sample.
        batch_size: The most rows to compute at once; None chooses. The result does not depend on it.
        argument: What the caller calls `wrt`, for error messages.
        seed: Of what a model draws by itself, such as the masks of a dropout that is always on.
        progress: A function that is told how many more copies are done.
        known: Where the scores of copies alone are wanted, the `wrt` of a call for the same samples that was read and
            not changed: what it traced is used again.

    Yields:
        The `Evaluated` of each internal batch, in the order of the samples; with a change that of each sample.

    Raises:
        ArgumentError: The target does not depend on the tensors at `wrt`, an input holds integers, a filter is out of
            range, or a layer does not exist.

    Warns:
        VisWarning: Part of the gradient is cut off, the target is saturated, or a backprop modifier could not reach
            every activation.
    """
    question = Question(objective, inputs, wrt, batch_size, argument)
    if change is None:
        yield from _batches(question, read)
    else:
        numbers = [copies] * inputs.count if isinstance(copies, int) else list(copies)
        of_scores = Question(objective, inputs, known, batch_size, argument) if reduce is None and not wrt else None
        yield from _copies(question, change, numbers, reduce, seed, progress, of_scores)


def sources_of(objective: Objective, inputs: ModelInputs, batch_size: int | None = None) -> list[Source]:
    """Return a `Source` for each input of a model, by tracing the model without running it.

    Args:
        objective: The objective.
        inputs: Samples.
        batch_size: As `evaluate` takes it.

    Returns:
        The sources. A later call of `evaluate` for scores alone uses the same trace.

    Raises:
        ArgumentError: As `evaluate` does.
    """
    question = Question(objective, inputs, (), batch_size)
    return question.function(("batch", False), batch_trace(question)).sources


def width_of_loss(objective: Objective, inputs: ModelInputs) -> int | None:
    """Return the number of filters that the first loss of an objective chooses from, by tracing the model.

    Args:
        objective: The objective.
        inputs: Samples.

    Returns:
        What the loss noted, or None. A later call of `evaluate` for scores alone uses the same trace.
    """
    return Question(objective, inputs, ()).batch().notes[0].width


def _batches(question: Question, read: bool) -> Iterator[Evaluated]:
    function = question.function(("batch", read), batch_trace(question, read))
    count = question.inputs.count
    size = function.batch_size or even(count, question.rows_at_once())
    for start in range(0, count, size):
        rows = range(start, min(start + size, count))
        # For a model with a fixed batch size, the last batch is padded.
        taken = np.resize(rows, size) if len(rows) < (function.batch_size or 0) else slice(rows.start, rows.stop)
        given = [tf.constant(array[taken]) for array in question.arrays]
        for scale in function.scales:
            scores, outputs, gradients = function(question.weights, scale, *given)
            scores, gradients = scores.numpy(), [gradient.numpy()[: len(rows)] for gradient in gradients]
            if len(function.scales) == 1 or all(np.isfinite(gradient).all() for gradient in gradients):
                break
        scores = _one_each(question, scores, len(given[0]), "samples")
        outputs = [output.numpy()[: len(rows)] for output in outputs]
        yield question.result(function, scores[:, : len(rows)], outputs, gradients, slice(rows.start, rows.stop))


def batch_trace(question: Question, read: bool = False) -> Callable[[list[tf.TensorSpec]], Function]:
    """Return a function that traces a batch of rows; for `Question.function`, kind `('batch', read)`.

    Args:
        question: The question.
        read: Whether the traced function returns the values of the tensors at `wrt`.

    Returns:
        A function that traces. The traced one takes `question.weights`, a scale and a tensor for each of
        `question.arrays`, and gives the losses, (losses, rows) and unweighted, a list of values, and a list of
        gradients.
    """

    def make(specs):
        answers = []

        def batch(weights, scale, *tensors):
            answer = question.trace(tensors, weights, scale, state=tf.zeros([2], tf.int64))
            answers.append(answer)
            values = [tf.cast(tensor, tf.float32) for tensor in answer.tensors] if read else []
            return answer.scores, values, answer.gradients

        call = compile_for(batch, *_weights_and_scale(question), *specs)
        return _described(question, call, answers[-1], specs)

    return make


def _copies(
    question: Question,
    change: Change,
    copies: list[int],
    reduce: Reduce | None,
    seed: int,
    progress: Callable[[int], object],
    of_scores: Question | None,
) -> Iterator[Evaluated]:
    terms = () if reduce is None else reduce.terms
    rowwise = [[np.asarray(row)[None] for row in array] for array in change.rows]
    fixed = [tf.convert_to_tensor(argument) for argument in change.arguments]
    looks = tuple((each.shape.rank, each.dtype.name) for each in fixed)
    looks += tuple((array[0].ndim, array[0].dtype.name) for array in rowwise)

    def make(specs):
        return _traced_copies(question, change, terms, of_scores, specs, fixed, rowwise)

    function = question.function(("copies", change.key, terms, looks), make)
    for row, total in enumerate(copies):
        step = function.batch_size or even(total, question.rows_at_once(_VALUES_OF_COPIES))
        weights = np.full(total, 1 / total) if reduce is None or reduce.weights is None else reduce.weights
        sample = [tf.constant(array[row : row + 1]) for array in question.arrays]
        sample += [tf.constant(array[row]) for array in rowwise]

        def batch(start, total=total, step=step, weights=weights, sample=sample):
            numbers = range(start, min(start + step, total))
            # For a model with a fixed batch size, all batches are padded; the extra copies have no weight.
            size = function.batch_size or len(numbers)
            share = np.resize(weights[numbers.start : numbers.stop], size) * (np.arange(size) < len(numbers))
            taken = [tf.constant(number, tf.int64) for number in (seed, start, start + size)]
            taken.append(tf.constant(share, tf.float64))
            for scale in function.scales:
                scores, gradients = function(question.weights, scale, *taken, *fixed, *sample)
                gradients = [gradient.numpy() for gradient in gradients]
                if len(function.scales) == 1 or all(np.isfinite(gradient).all() for gradient in gradients):
                    break
            return _one_each(question, scores.numpy(), size, "copies")[:, : len(numbers)], gradients

        each: list[np.ndarray] = []
        sums: list[np.ndarray] = []
        # A model that draws numbers, of which batches hold one copy, draws them in the order of the copies.
        at_once = 1 if function.batch_size == 1 else _BATCHES_AT_ONCE
        for scores, gradients in overlapped(batch, range(0, total, step), at_once):
            each.append(scores.astype(np.float64))
            sums = [np.add(*pair) for pair in zip(sums, gradients, strict=True)] if sums else gradients
            progress(scores.shape[1])
        scores = np.concatenate(each, axis=1)
        scores = scores if reduce is None else scores @ weights[:, None]
        gradients = [total[None].astype(np.float32) for total in sums]
        yield question.result(function, scores, [], gradients, slice(row, row + 1))


def _traced_copies(question: Question, change: Change, terms, of_scores: Question | None, specs, fixed, rowwise):
    """Trace a batch of copies of one sample.

    Returns:
        A `Function` of the losses' weights, the scale, the seed, the numbers of the first copy and of that after the
        last, each copy's share of the sums, the change's arguments, the sample, and the sample's rows of the change. It
        gives the losses, (losses, copies), and for each tensor the sum of the terms over the copies, (..., terms).
    """
    answers: list[Answer] = []
    factors: dict[str, tf.Tensor] = {}
    # The model need not be traced once more for the scores of changed inputs, unless it draws numbers or takes
    # batches of one size.
    batch = of_scores.batch(read=bool(of_scores.wrt)) if of_scores is not None else None
    batch = None if batch is None or batch.batch_size or specs[0].shape[0] else batch

    def run(weights, scale, seed, start, stop, share, *rest):
        fixed_, rest = rest[: len(fixed)], rest[len(fixed) :]
        sample, rows_ = rest[: len(specs)], rest[len(specs) :]
        numbers = tf.range(start, stop)

        def changed(tensor, index):
            with tf.name_scope(graphs.CHANGED):
                value = change.to(tensor, numbers, index, *fixed_, *rows_)
                value, factor = value if isinstance(value, tuple) else (value, None)
            if value is tensor:
                return tensor
            value = tf.ensure_shape(tf.cast(value, tensor.dtype), tensor.shape)
            if factor is not None:
                factors[value.name] = tf.cast(factor, tf.float32)
            return value

        rows = [
            tf.ensure_shape(tf.repeat(array, tf.size(numbers), axis=0), spec.shape)
            for array, spec in zip(sample, specs, strict=True)
        ]
        if batch is not None:
            count = len(question.inputs.arrays)
            rows = [changed(tensor, index) for index, tensor in enumerate(rows[:count])] + rows[count:]
            return batch.call(weights, scale, *rows)[0], []
        answer = question.trace(rows, weights, scale, changed, tf.stack([seed, start]))
        answers.append(answer)
        sums = []
        for tensor, gradient in zip(answer.tensors, answer.gradients, strict=True) if terms else ():
            given = [gradient, factors.get(tensor.name, tf.zeros_like(gradient))] if factors else [gradient]
            summed = [tf.einsum("k,k...->...", share, tf.cast(term(*given), tf.float64)) for term in terms]
            sums.append(tf.stack(summed, axis=-1))
        return answer.scores, sums

    call = compile_for(
        run,
        *_weights_and_scale(question),
        *[tf.TensorSpec([], tf.int64)] * 3,
        tf.TensorSpec([specs[0].shape[0]], tf.float64),
        *(tf.TensorSpec([None] * tensor.shape.rank, tensor.dtype) for tensor in fixed),
        *(tf.TensorSpec([1, *spec.shape[1:]], spec.dtype) for spec in specs),
        *(tf.TensorSpec([1, *[None] * (array[0].ndim - 1)], array[0].dtype) for array in rowwise),
    )
    return batch._replace(call=call) if batch is not None else _described(question, call, answers[-1], specs)


def _one_each(question: Question, scores: np.ndarray, count: int, what: str) -> np.ndarray:
    """Return the losses, (losses, rows), after the check that there is one for each sample or copy."""
    if scores.shape[1] != count:
        names = ", ".join(repr(loss.name) for loss, _ in question.losses)
        raise ArgumentError(
            "losses",
            f"must give one value per sample, or a scalar, but {names} give {scores.shape[1]} values for {count} "
            f"{what}",
            kind="values",
        )
    return scores


def _weights_and_scale(question: Question) -> list[tf.TensorSpec]:
    return [tf.TensorSpec(question.weights.shape, tf.float32), tf.TensorSpec([], tf.float32)]


def compile_for(function: Callable, *specs):
    """Return a function of tensors, traced for what they look like; it keeps the graph, and not the Python function."""
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def _described(question: Question, call, answer: Answer, specs) -> Function:
    """Return a traced function with what its trace found."""
    # A loss of a whole batch, and a model that draws numbers, take one sample at a time.
    alone = answer.is_random or any(note.scalar for note in answer.notes)
    batch_size = specs[0].shape[0] or (1 if alone else None)
    half = any(getattr(layer, "compute_dtype", None) == "float16" for layer in addressing.flatten(question.model))
    scales = [tf.constant(scale, tf.float32) for scale in (_HALF_SCALES if half else (1.0,))]
    return Function(call, answer.sources, answer.notes, batch_size, answer.warnings, scales)


def even(count: int, size: int) -> int:
    """Return the size of batches of about one size, `size` at most: 25 go as 7, 7, 7, 4 and not as 8, 8, 8, 1."""
    return -(-count // -(-count // size))


def _grouped(sources: list[Source], arrays) -> list[list]:
    remaining = iter(arrays)
    return [list(itertools.islice(remaining, source.count)) for source in sources] if len(arrays) else []
