"""Gradients of losses with respect to inputs and feature maps, by compiled functions that are made once a question.

A question is a model, a list of losses, and what they are differentiated with respect to. Class indices, loss weights
and samples are arguments of its function, so that only a new question is traced.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis import VisWarning, taps
from vis.backprop_modifiers import underlying
from vis.losses import weighted
from vis.samples import Samples
from vis.tracing import Tap, ask, remember

# Samples at once where the caller does not say: on CPUs more is slower, as the activations leave the caches.
_BATCH_SIZE = 8


class Differentiated(NamedTuple):
    """The result for some samples.

    Attributes:
        taps: What was differentiated with respect to, a `Tap` each.
        rows: The number of the sample that each row belongs to.
        losses: An array of shape (losses, rows): each loss, unweighted.
        values: For each tap a list of its values, one float32 array of shape (rows, ...) for each call of its
            layer; empty if not asked for.
        gradients: The gradient of the weighted sum of the losses in the same lists, each row's its own.
    """

    taps: list[Tap]
    rows: np.ndarray
    losses: np.ndarray
    values: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]


class Function(NamedTuple):
    """A traced question.

    Attributes:
        call: Its compiled function of the inputs, the losses' arguments and their weights.
        taps: A `Tap` for each group of tensors that it differentiates with respect to.
        notes: What each loss noted about its target during the trace.
        batch_size: The only batch size it takes, or None.
        warnings: What the user should know of every result.
    """

    call: object
    taps: list[Tap]
    notes: list[taps.Notes]
    batch_size: int | None
    warnings: list[str]


class Noise(NamedTuple):
    """Gaussian noise on what is differentiated with respect to, drawn several times for each sample.

    Attributes:
        level: The standard deviation, in units of each sample's own range (maximum minus minimum).
        draws: How many noisy copies of each sample.
        seed: The seed; the draws depend on it and on nothing else.
    """

    level: float
    draws: int
    seed: int


def differentiate(
    model,
    losses,
    samples: Samples,
    wrt=None,
    *,
    values: bool = False,
    noise: Noise | None = None,
    batch_size: int | None = None,
) -> Iterator[Differentiated]:
    """Differentiates losses, sample by sample.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        losses: A list of `(loss, weight)`, or what `vis.losses.weighted` makes one of.
        samples: The model's inputs.
        wrt: With respect to what: None for all inputs, a layer's address, a Keras tensor, a list of these, or
            `NEAREST_FEATURE_MAP`.
        values: Whether to return the values of what is differentiated with respect to.
        noise: Noise to be added there; each sample then has a row for each draw.
        batch_size: The most rows to compute at once; None chooses.

    Yields:
        The `Differentiated` of each internal batch, in the order of the samples.

    Raises:
        ValueError: A target that does not depend on what it is differentiated with respect to, an integer input,
            a filter out of range, a layer that is not there.

    Warns:
        VisWarning: Part of the gradient is cut off, or a backprop modifier could not reach every activation.
    """
    losses = weighted(losses)
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size != int(batch_size) or batch_size < 1):
        raise ValueError(f"batch_size must be a whole number of at least 1, or None, not {batch_size!r}")
    arguments = [loss.arguments(samples.count) for loss, _ in losses]
    function = _function(model, losses, samples, arguments, wrt, values, noise is not None)
    for text in function.warnings:
        warnings.warn(text, VisWarning, stacklevel=4)
    for (loss, _), notes in zip(losses, function.notes, strict=True):
        loss.validate(notes.width)
    weights = tf.constant([weight for _, weight in losses], tf.float32)
    by_row = [*samples.arrays, *(array for arrays in arguments for array in arrays)]
    draws = noise.draws if noise else 1
    size = function.batch_size or batch_size or _BATCH_SIZE
    if not function.batch_size:  # as even batches as may be: 25 rows as 7, 6, 6, 6 and not as 8, 8, 8, 1
        size = -(-samples.count * draws // -(-samples.count * draws // size))
    for start in range(0, samples.count * draws, size):
        chosen = np.arange(start, min(start + size, samples.count * draws))
        count = len(chosen)
        if function.batch_size:  # a model for batches of just this size: fill the last one up
            chosen = np.resize(chosen, size)
        rows = chosen // draws
        inputs = [tf.constant(array[rows]) for array in by_row]
        if noise:
            seeds = np.stack([np.full(len(chosen), noise.seed), chosen % draws], axis=1)
            inputs += [tf.constant(seeds, tf.int64), tf.constant(noise.level, tf.float32)]
        scores, outputs, slopes = function.call(*inputs, weights)
        scores = scores.numpy()[:, :count]
        _warn_of_saturation(losses, function.notes, scores)
        yield Differentiated(
            function.taps,
            rows[:count],
            scores,
            _grouped(function.taps, [output.numpy()[:count] for output in outputs]),
            _grouped(function.taps, [slope.numpy()[:count] for slope in slopes]),
        )


def _grouped(found: list[Tap], arrays) -> list[list]:
    remaining = iter(arrays)
    return [list(itertools.islice(remaining, tap.count)) for tap in found] if arrays else []


def _function(model, losses, samples, arguments, wrt, values, noisy) -> Function:
    keras_model = underlying(model)
    wrt = wrt if isinstance(wrt, list) else [wrt]
    key = (
        "gradients",
        tuple(loss.key for loss, _ in losses),
        tuple(None if address is keras_model else address for address in wrt),
        values,
        noisy,
        tuple((shape, array.dtype.name) for shape, array in zip(samples.shapes, samples.arrays, strict=True)),
    )

    def trace():
        try:
            return _trace(model, losses, samples, samples.shapes, arguments, wrt, values, noisy)
        except Exception:
            # A model may need sizes that its input shape leaves open, the number of samples among them. If it is
            # something else, the same error comes again, from the simpler trace.
            one = [(1, *array.shape[1:]) for array in samples.arrays]
            return _trace(model, losses, samples, one, arguments, wrt, values, noisy)

    return remember(model, key, trace)


def _trace(model, losses, samples, shapes, arguments, wrt, values, noisy) -> Function:
    answers = []

    def question(*tensors):
        inputs, rest = tensors[: len(shapes)], list(tensors[len(shapes) :])
        weights = rest.pop()
        noise = Gaussian(*rest[-2:]) if noisy else None
        taken = [[rest.pop(0) for _ in arrays] for arrays in arguments]
        answer = ask(model, losses, samples, wrt, inputs, taken, weights, noise)
        answers.append(answer)
        return (
            answer.scores,
            [tf.cast(source, tf.float32) for source in answer.sources] if values else [],
            answer.slopes,
        )

    specs = [tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, samples.arrays, strict=True)]
    specs += [tf.TensorSpec([shapes[0][0], None], array.dtype) for arrays in arguments for array in arrays]
    specs += [tf.TensorSpec([shapes[0][0], 2], tf.int64), tf.TensorSpec([], tf.float32)] if noisy else []
    specs += [tf.TensorSpec([len(losses)], tf.float32)]
    call = tf.function(question, autograph=False).get_concrete_function(*specs)
    answer = answers[-1]
    scalar = any(note.scalar for note in answer.notes)
    return Function(call, answer.taps, answer.notes, shapes[0][0] or (1 if scalar else None), answer.warnings)


class Gaussian:
    """Noise for one run of a model, reproducible for each of its rows.

    Args:
        seeds: An int64 tensor of shape (rows, 2).
        level: The standard deviation, in units of each row's own range.
    """

    def __init__(self, seeds, level):
        self.seeds = seeds
        self.level = level
        self.used = 0

    def __call__(self, tensor):
        """The tensor with noise, another one at each call."""
        self.used += 1
        axes = list(range(1, tensor.shape.rank))
        span = tf.reduce_max(tensor, axes, keepdims=True) - tf.reduce_min(tensor, axes, keepdims=True)
        noise = tf.map_fn(
            lambda seed: tf.random.stateless_normal(
                tf.shape(tensor)[1:], tf.random.experimental.stateless_fold_in(seed, self.used)
            ),
            self.seeds,
            fn_output_signature=tf.TensorSpec(tensor.shape[1:], tf.float32),
        )
        return tensor + tf.cast(self.level * noise, tensor.dtype) * span


def _warn_of_saturation(losses, notes, scores):
    for (loss, _), note, score in zip(losses, notes, scores, strict=True):
        if note.probability and np.any(-score > 1 - 1e-6):
            warnings.warn(
                f"{loss.name}: the softmax or sigmoid is saturated (a probability above 1 - 1e-6), so that its "
                "gradient is rounding error; leave logits=True",
                VisWarning,
                stacklevel=5,
            )
