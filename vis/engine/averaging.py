"""Gradients of noisy copies of each sample, averaged.

The copies are made, differentiated and averaged in one compiled loop, whose memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from vis.engine.gradients import Differentiated, Question, concrete, described, even


class Gaussian:
    """Noise on the tensors of one run of a model, whose rows are noisy copies of one sample.

    Args:
        seed: The seed, an int64 tensor.
        draws: The number of each copy, an int64 tensor of shape (rows,); its noise depends on it and the seed alone.
        level: The standard deviation, in units of the sample's own range (maximum minus minimum).
    """

    def __init__(self, seed, draws, level):
        self.seed = seed
        self.draws = draws
        self.level = level
        self.used = 0

    def __call__(self, tensor):
        """The tensor with noise, another one at each call."""
        self.used += 1
        axes = list(range(1, tensor.shape.rank))
        span = tf.reduce_max(tensor, axes, keepdims=True) - tf.reduce_min(tensor, axes, keepdims=True)

        def drawn(draw):
            key = tf.random.experimental.stateless_fold_in(tf.stack([self.seed, draw]), self.used)
            return tf.random.stateless_normal(tf.shape(tensor)[1:], key)

        noise = tf.map_fn(drawn, self.draws, fn_output_signature=tf.TensorSpec(tensor.shape[1:], tf.float32))
        return tensor + tf.cast(self.level * noise, tensor.dtype) * span


def averaged(
    question: Question, powers: list[Callable], *, level: float, draws: int, seed: int
) -> Iterator[Differentiated]:
    """Averages the gradients of noisy copies of each sample.

    Args:
        question: The question; the noise is added to what it differentiates with respect to.
        powers: Functions of the gradient, elementwise, whose averages are wanted.
        level: The noise's standard deviation, in units of each sample's own range.
        draws: The number of noisy copies.
        seed: The noise's seed. The noise depends on it and on nothing else, so that a sample gives the same in a
            batch and alone.

    Yields:
        A `Differentiated` for each sample, whose gradients have the powers' averages along a new last axis.

    Raises:
        ValueError: As `vis.engine.gradients.differentiate`.

    Warns:
        VisWarning: As `vis.engine.gradients.differentiate`.
    """

    def trace(specs):
        answers = []

        def average(weights, seed, level, draws, step, *sample):
            def some(start, sums, losses, _):
                # A model for batches of just one size has all of them filled; the copies too many count nothing.
                end = start + specs[0].shape[0] if specs[0].shape[0] else tf.minimum(start + step, draws)
                copies = tf.range(start, end)
                rows = [
                    tf.ensure_shape(tf.repeat(array, tf.size(copies), axis=0), spec.shape)
                    for array, spec in zip(sample, specs, strict=True)
                ]
                answer = question.ask(rows, weights, Gaussian(seed, copies, level))
                answers.append(answer)
                share = tf.cast(copies < draws, tf.float64) / tf.cast(draws, tf.float64)
                flat = tf.concat([tf.reshape(slope, [tf.size(copies), -1]) for slope in answer.slopes], axis=1)
                moments = [
                    tf.linalg.matvec(tf.cast(power(flat), tf.float64), share, transpose_a=True) for power in powers
                ]
                shapes = tf.concat([tf.shape(slope)[1:] for slope in answer.slopes], axis=0)
                losses += tf.linalg.matvec(tf.cast(answer.scores, tf.float64), share)
                return end, sums + tf.stack(moments, axis=-1), losses, shapes

            # What a layer's gradient looks like is known in the loop only: it starts from numbers that broadcast.
            unknown = [tf.TensorShape(None), tf.TensorShape([None]), tf.TensorShape([None])]
            zero = tf.zeros([], tf.float64)
            return tf.while_loop(
                lambda start, *_: start < draws,
                some,
                [tf.zeros([], tf.int64), zero, tf.zeros(weights.shape, tf.float64), tf.zeros([0], tf.int32)],
                shape_invariants=[tf.TensorShape([]), *unknown],
            )[1:]

        one = [tf.TensorSpec([1, *spec.shape[1:]], spec.dtype) for spec in specs]
        numbers = [tf.TensorSpec([], kind) for kind in (tf.int64, tf.float32, tf.int64, tf.int64)]
        call = concrete(average, tf.TensorSpec(question.weights.shape, tf.float32), *numbers, *one)
        return described(call, answers[-1], specs)

    function = question.function(("averaged", tuple(powers)), trace)
    step = function.batch_size or even(draws, question.rows_at_once(750_000))
    numbers = [
        tf.constant(seed, tf.int64),
        tf.constant(level, tf.float32),
        tf.constant(draws, tf.int64),
        tf.constant(step, tf.int64),
    ]
    for row in range(question.samples.count):
        sample = [tf.constant(array[row : row + 1]) for array in question.arrays]
        sums, scores, shapes = (value.numpy() for value in function(question.weights, *numbers, *sample))
        yield question.result(function, scores[:, None], [], _split(sums, shapes, function.taps))


def _split(sums: np.ndarray, shapes: np.ndarray, found) -> list[np.ndarray]:
    """The averages of each tensor, from those of all of them in one row, as float32."""
    arrays = []
    for rank in (tap.rank for tap in found for _ in range(tap.count)):
        shape, shapes = shapes[: rank - 1], shapes[rank - 1 :]
        size = int(np.prod(shape))
        arrays.append(sums[:size].reshape(1, *shape, -1).astype(np.float32))
        sums = sums[size:]
    return arrays
