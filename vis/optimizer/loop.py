"""Gradient descent on a model's input in one compiled loop: evaluate, modify, update, keep the best, repeat."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.cache import remember
from vis.engine.evaluate import Question, batch_trace, compile_for, even
from vis.input_modifiers import Transform
from vis.optimizer.host_calls import PythonSteps, in_python
from vis.optimizer.updates import Rms


class State(NamedTuple):
    """The state of a descent between two steps.

    Attributes:
        step: The number of steps done.
        parameters: For each moving input, the parameters it is decoded from.
        slots: The tensors of the update rule.
        best: For each moving input, the images with the lowest loss so far, separately per image.
        best_loss: The losses of those images, (images,).
        loss_to_beat: The losses that must be beaten to count as progress, (images,).
        idle_steps: The number of consecutive steps without progress for any image.
        finite: Whether the last step's losses and gradients were finite.
        losses: The last step's losses, (losses, images), unweighted.
        gradients: For each moving input, the last step's gradients, normalized and modified.
        images: For each moving input, the images that those were computed from.
    """

    step: tf.Tensor
    parameters: list
    slots: list
    best: list
    best_loss: tf.Tensor
    loss_to_beat: tf.Tensor
    idle_steps: tf.Tensor
    finite: tf.Tensor
    losses: tf.Tensor
    gradients: list
    images: list


class EarlyStopping(NamedTuple):
    """The condition to stop early: `patience` consecutive steps in which no loss fell by `min_delta`.

    Attributes:
        patience: The number of steps; None for no such limit.
        min_delta: The smallest difference that counts.
    """

    patience: int | None
    min_delta: float


class Descent:
    """A compiled loop that moves some inputs of a question.

    Args:
        question: The losses, the inputs to start from, and (`wrt`) only the inputs that move.
        moved: The positions of the inputs that move.
        parameterization: A `Pixels` or a `Fourier`.
        rule: An `Rms` or a `KerasRule`.
        transforms: A list of `Transform`.
        data_format: `'channels_last'` or `'channels_first'`, of the inputs.
        norm_grads: Whether each image's gradient is scaled to length 1.
        steps: The NumPy part of a step.
        ranges: For each input that moves its `(low, high)`, float32 arrays that broadcast against it.
    """

    def __init__(
        self, question: Question, moved: list[int], parameterization, rule, transforms: list[Transform],
        data_format: str, norm_grads: bool, steps: PythonSteps, ranges: list,
    ):  # fmt: skip
        self.question = question
        self.moved = moved
        self.parameterization = parameterization
        self.transforms = transforms
        self.data_format = data_format
        self.norm_grads = norm_grads
        self.steps = steps
        self.ranges = ranges
        self.function = question.function(("batch", False), batch_trace(question))
        key = (
            "descent", self.function.call, tuple(moved), parameterization.key, rule.key, norm_grads, data_format,
            tuple(transform.key for transform in transforms), steps.grad_modifier is not None, bool(steps.modifiers),
            question.batch_size, tuple(array.shape for array in question.arrays),
        )  # fmt: skip
        self._call, self.rule = remember(question.model, key, lambda: self._trace(rule))

    def start(self, parameters: list, images: list) -> State:
        """Return the state before the first step; hold `rule.lock` during the call, as for `advance`.

        Args:
            parameters: For each moving input its parameters, float32, of the images' shape.
            images: For each moving input the images they decode to.

        Returns:
            The `State`.
        """
        count = self.question.inputs.count
        highest = tf.fill([count], np.finfo(np.float32).max)
        return State(
            tf.constant(0), parameters, self.rule.initial(parameters), images, highest, highest, tf.constant(0),
            tf.constant(True), tf.zeros([len(self.question.losses), count]), [tf.zeros_like(each) for each in images],
            images,
        )  # fmt: skip

    def advance(self, state: State, stop: int, limits: EarlyStopping, seed: int) -> State:
        """Continue to a step, or until the descent stops early.

        Args:
            state: A `State` from `start` or `advance`.
            stop: The total number of steps to reach.
            limits: The condition to stop early.
            seed: The seed of the transforms.

        Returns:
            The `State` after it.
        """
        numbers = (stop, np.iinfo(np.int32).max if limits.patience is None else limits.patience)
        arguments = [
            *(tf.constant(number, tf.int32) for number in numbers),
            tf.constant(limits.min_delta, tf.float32),
            tf.constant([seed & 0x7FFFFFFF, seed >> 31 & 0x7FFFFFFF], tf.int32),
            tf.constant(self.steps.number, tf.int64),
            self.question.weights,
            *(tf.constant(end, tf.float32) for end in itertools.chain(*self.ranges)),
            *map(tf.constant, self.question.arrays),
        ]
        with self.steps.running():
            return tf.nest.pack_sequence_as(state, self._call(*arguments, *tf.nest.flatten(state)))

    def _trace(self, rule):
        arrays = self.question.arrays
        inputs = [tf.TensorSpec(arrays[i].shape, tf.float32) for i in self.moved]
        rule.initial([tf.zeros(spec.shape) for spec in inputs])
        count, losses = self.question.inputs.count, len(self.question.losses)
        number, per_image = tf.TensorSpec([], tf.int32), tf.TensorSpec([count], tf.float32)
        slots = [tf.TensorSpec(spec.shape, tf.float32) for spec in inputs] if isinstance(rule, Rms) else []
        state = State(
            number, inputs, slots, inputs, per_image, per_image, number, tf.TensorSpec([], tf.bool),
            tf.TensorSpec([losses, count], tf.float32), inputs, inputs,
        )  # fmt: skip
        ends = [tf.TensorSpec(end.shape, tf.float32) for end in itertools.chain(*self.ranges)]
        fixed = [tf.TensorSpec(array.shape, array.dtype) for array in arrays]

        def loop(stop, patience, min_delta, seed, token, weights, *tensors):
            ends_, rest = tensors[: len(ends)], tensors[len(ends) :]
            ranges = list(zip(ends_[::2], ends_[1::2], strict=True))
            begin = tf.nest.pack_sequence_as(state, list(rest[len(fixed) :]))

            def body(*flat):
                now = tf.nest.pack_sequence_as(state, list(flat))
                after = self._step(rule, now, weights, list(rest[: len(fixed)]), ranges, seed, token, min_delta)
                return tf.nest.flatten(after)

            def unfinished(*flat):
                now = tf.nest.pack_sequence_as(state, list(flat))
                return (now.step < stop) & now.finite & (now.idle_steps < patience)

            return tf.while_loop(unfinished, body, tf.nest.flatten(begin), parallel_iterations=1)

        specs = [number, number, tf.TensorSpec([], tf.float32), tf.TensorSpec([2], tf.int32)]
        specs += [tf.TensorSpec([], tf.int64), tf.TensorSpec([losses], tf.float32), *ends, *fixed]
        return compile_for(loop, *specs, *tf.nest.flatten(state)), rule

    def _step(self, rule, now: State, weights, arrays, ranges, seed, token, min_delta) -> State:
        parameters = now.parameters
        if self.steps.modifiers:
            parameters = self._modified("pre", parameters, ranges, token)
        with tf.GradientTape() as to_images:
            to_images.watch(parameters)
            images = [self.parameterization.decode(each, *ends) for each, ends in zip(parameters, ranges, strict=True)]
        with tf.GradientTape() as to_shown:
            to_shown.watch(images)
            shown = [self._transformed(each, seed, now.step) for each in images]
        losses, gradients = self._evaluate(weights, arrays, shown)
        if self.transforms:
            gradients = to_shown.gradient(shown, images, output_gradients=gradients)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(each)) for each in [losses, *gradients]])
        if self.norm_grads:
            gradients = [_unit(each) for each in gradients]
        if self.steps.grad_modifier is not None:
            gradients = [in_python(token, "gradient", each) for each in gradients]
        parameter_gradients = to_images.gradient(images, parameters, output_gradients=gradients)
        moved, slots = rule.update(parameters, parameter_gradients, now.slots)
        moved = [self.parameterization.bounded(each) for each in moved]
        if self.steps.modifiers:
            moved = self._modified("post", moved, ranges, token)
        overall = tf.linalg.matvec(losses, weights, transpose_a=True)
        better, progress = overall < now.best_loss, overall < now.loss_to_beat - min_delta
        return State(
            now.step + 1,
            [tf.where(finite, new, old) for new, old in zip(moved, parameters, strict=True)],
            slots,
            [_chosen(better, new, old) for new, old in zip(images, now.best, strict=True)],
            tf.where(better, overall, now.best_loss),
            tf.where(progress, overall, now.loss_to_beat),
            tf.where(tf.reduce_any(progress), 0, now.idle_steps + 1),
            finite,
            losses,
            gradients,
            images,
        )

    def _modified(self, name, parameters, ranges, token):
        """Return the parameters of the images after NumPy modifiers."""
        changed = []
        for each, ends in zip(parameters, ranges, strict=True):
            images = in_python(token, name, self.parameterization.decode(each, *ends))
            changed.append(self.parameterization.bounded(self.parameterization.encode(images, *ends)))
        return changed

    def _transformed(self, images, seed, step):
        for i, transform in enumerate(self.transforms):
            own = tf.random.experimental.stateless_fold_in(seed, step * len(self.transforms) + i)
            images = transform.transform(images, own, self.data_format)
        return images

    def _evaluate(self, weights, arrays, shown):
        """Compute the losses and their gradients, in batches that bound the memory."""
        for position, images in zip(self.moved, shown, strict=True):
            arrays[position] = tf.cast(images, arrays[position].dtype)
        count = self.question.inputs.count
        size = self.function.batch_size or even(count, self.question.rows_at_once())
        if size == count:
            losses, _, gradients = self.function.call(weights, self.function.scales[0], *arrays)
            return losses, list(gradients)

        def batch(start):
            # The last batch is padded with images from the beginning.
            rows = (start + tf.range(size)) % count
            losses, _, gradients = self.function.call(
                weights, self.function.scales[0], *(tf.gather(array, rows) for array in arrays)
            )
            return losses, list(gradients)

        signature = (
            tf.TensorSpec([len(self.question.losses), size], tf.float32),
            [tf.TensorSpec([size, *images.shape[1:]], tf.float32) for images in shown],
        )
        losses, gradients = tf.map_fn(
            batch, tf.range(0, count, size), parallel_iterations=1, fn_output_signature=signature
        )
        losses = tf.reshape(tf.transpose(losses, [1, 0, 2]), [losses.shape[1], -1])[:, :count]
        return losses, [tf.reshape(each, [-1, *each.shape[2:]])[:count] for each in gradients]


def _unit(gradients):
    """Scale each image's gradient to length 1, first by its largest value, as squares may vanish; zero stays zero."""
    axes = list(range(1, gradients.shape.rank))
    scaled = tf.math.divide_no_nan(gradients, tf.reduce_max(tf.abs(gradients), axes, keepdims=True))
    return tf.math.divide_no_nan(scaled, tf.sqrt(tf.reduce_sum(scaled**2, axes, keepdims=True)))


def _chosen(which, new, old):
    """Return the new images where selected, the old ones elsewhere."""
    return tf.where(tf.reshape(which, [-1] + [1] * (new.shape.rank - 1)), new, old)
