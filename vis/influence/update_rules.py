"""The update rules of Keras optimizers as pure functions, which can be differentiated and replayed.

A rule maps weights, gradients and the optimizer's variables (its slots: momenta, mean squares, ...) to new weights and
new slots. Each gives the same numbers as the Keras optimizer of its name. `keras.Optimizer.stateless_apply` would do
this, but Keras does not support it on TensorFlow.

The gradient of an `Embedding` is a `tf.IndexedSlices` with a row for each token of the batch. Where Adam and RMSprop
square the gradient, Keras squares every row, and only then sums the rows of the same token: so do the rules here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from vis.engine import keras_internals
from vis.utils.errors import ArgumentError

SUPPORTED = "SGD (momentum, nesterov), Adam, AdamW, RMSprop"
# Keras's other optimizers, each with the closest supported rule.
_NEAREST = {
    "Adadelta": "RMSprop",
    "Adafactor": "RMSprop",
    "Adagrad": "RMSprop",
    "Ftrl": "SGD",
    "Lamb": "AdamW",
    "Lion": "AdamW",
    "Muon": "SGD with momentum",
    "ScheduleFreeAdamW": "AdamW",
}


class UpdateRule(NamedTuple):
    """The update of an optimizer, as a pure function.

    Attributes:
        slots: The number of variables per weight.
        update: Maps a weight, its gradient, its slots, the learning rate and the number of the step (0, 1, ...) to the
            new weight and a tuple of new slots.
        config: The optimizer's configuration, as `keras.optimizers.serialize` returns it.
    """

    slots: int
    update: Callable
    config: dict

    def initial(self, weights: Sequence) -> tuple:
        """Return the slots before the first step, zeros.

        Args:
            weights: The weights, a sequence of tensors.

        Returns:
            A tuple of tuples of tensors, one for each weight.
        """
        return tuple(tuple(tf.zeros_like(weight) for _ in range(self.slots)) for weight in weights)

    def learning_rates(self, steps: int) -> list[float]:
        """Return the learning rate of each of the first steps.

        Args:
            steps: The number of steps.

        Returns:
            A list of floats.
        """
        rate = self.config["config"]["learning_rate"]
        if isinstance(rate, dict):
            rates = compiled_schedule(keras.optimizers.schedules.deserialize(rate))
            return rates(tf.constant(0), tf.constant(steps)).numpy().tolist()
        return [float(rate)] * steps

    def apply(self, weights: Sequence, gradients: Sequence, slots: Sequence, rate, step) -> tuple[tuple, tuple]:
        """Update all weights once.

        Args:
            weights: The weights, a sequence of tensors.
            gradients: For each weight a tensor, the `tf.IndexedSlices` of an embedding, or None for a weight that the
                loss does not depend on, which stays the same.
            slots: A tuple of slots for each weight.
            rate: The learning rate, a float scalar.
            step: The number of earlier steps, an integer scalar.

        Returns:
            The new weights and the new slots.
        """
        options = self.config["config"]
        used = [gradient for gradient in gradients if gradient is not None]
        clipped = iter(_clip(used, options))
        new_weights, new_slots = [], []
        for weight, gradient, own in zip(weights, gradients, slots, strict=True):
            if gradient is None:
                new_weights.append(weight)
                new_slots.append(tuple(own))
                continue
            cast_rate = tf.cast(rate, weight.dtype)
            if options.get("weight_decay") is not None:
                weight = weight - weight * tf.cast(options["weight_decay"], weight.dtype) * cast_rate
            weight, own = self.update(weight, next(clipped), own, cast_rate, step)
            new_weights.append(weight)
            new_slots.append(tuple(own))
        return tuple(new_weights), tuple(new_slots)


def update_rule(optimizer: keras.optimizers.Optimizer | str | dict) -> UpdateRule:
    """Return the update rule of a Keras optimizer.

    Args:
        optimizer: A Keras optimizer, its name, or its configuration. Its state (momenta, step count) is ignored.

    Returns:
        Its `UpdateRule`.

    Raises:
        ValueError: The optimizer is unknown to Keras or has no update rule here, or one of its options is not
            supported.

    Example:
        >>> update_rule(keras.optimizers.SGD(0.1, momentum=0.9)).slots
        1
    """
    given = optimizer
    try:
        optimizer = optimizer_of(given)
    except TypeError:  # a configuration, of a schedule that is not registered in this process
        rate = given["config"]["learning_rate"] if isinstance(given, dict) else given
        raise _unknown_schedule(rate["class_name"] if isinstance(rate, dict) else repr(rate)) from None
    except ValueError:
        raise ArgumentError("optimizer", f"must be one of {SUPPORTED}, not {given!r}", kind="unknown") from None
    make = _RULES.get(type(optimizer))
    if make is None:
        raise ArgumentError(
            "optimizer",
            f"must be one of {SUPPORTED}, not {type(optimizer).__name__}",
            _instead_of(optimizer),
            kind="unknown",
        )
    rate = keras_internals.learning_rate(optimizer)
    if callable(rate) and not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        raise ArgumentError(
            "optimizer",
            "must have a learning rate that can be replayed, not a function",
            "Give a number or a keras.optimizers.schedules.LearningRateSchedule",
        )
    try:
        config = keras.optimizers.serialize(optimizer)
        if isinstance(config["config"]["learning_rate"], dict):
            optimizer_of(config)
    except (TypeError, ValueError, NotImplementedError):
        raise _unknown_schedule(type(rate).__name__) from None
    options = config["config"]
    options.pop("name")  # Keras counts optimizers in their names
    for name in ("use_ema", "gradient_accumulation_steps"):
        if options.get(name):
            raise ArgumentError("optimizer", f"must not have {name}={options[name]!r}, which has no update rule here")
    if keras_internals.excludes_from_weight_decay(optimizer):
        raise ArgumentError("optimizer", "must not exclude weights from weight decay, which has no update rule here")
    slots, update = make(options)
    return UpdateRule(slots, update, config)


def optimizer_of(given: keras.optimizers.Optimizer | str | dict) -> keras.optimizers.Optimizer:
    """Return a Keras optimizer from its name or configuration, which is not changed.

    Args:
        given: A Keras optimizer, its name, or its configuration.

    Returns:
        The optimizer.
    """
    # Keras puts the class name in lower case into a configuration, and the schedule itself in place of its own.
    return keras.optimizers.get(copy.deepcopy(given) if isinstance(given, dict) else given)


def compiled_schedule(schedule: keras.optimizers.schedules.LearningRateSchedule) -> Callable:
    """Return a compiled function that maps a first step and a number of steps, int32 scalars, to learning rates.

    Args:
        schedule: A learning-rate schedule.

    Returns:
        A function whose result is a float32 tensor of shape (steps,).
    """

    def rates(first, count):
        return tf.map_fn(
            lambda step: tf.cast(schedule(step), tf.float32),
            tf.range(first, first + count),
            fn_output_signature=tf.TensorSpec([], tf.float32),
        )

    step = tf.TensorSpec([], tf.int32)
    try:
        return tf.function(rates, autograph=False, jit_compile=False).get_concrete_function(step, step)
    except (TypeError, ValueError, NotImplementedError):  # a schedule of Python's `if` or `math`
        return lambda first, count: tf.constant([float(schedule(int(first) + i)) for i in range(int(count))])


def unknown_rule(optimizer: keras.optimizers.Optimizer | dict) -> UpdateRule:
    """Return a placeholder for the rule of an optimizer whose steps are never repeated.

    Args:
        optimizer: A Keras optimizer, or its configuration.

    Returns:
        An `UpdateRule` with only the configuration, which refuses to update weights.
    """

    def update(*_):
        raise NotImplementedError("the update rule of this optimizer is not known")

    return UpdateRule(0, update, optimizer if isinstance(optimizer, dict) else keras.optimizers.serialize(optimizer))


def _unknown_schedule(name: str) -> ArgumentError:
    return ArgumentError(
        "optimizer",
        f"must have a learning-rate schedule that Keras can rebuild, not {name}",
        "Register its class with @keras.saving.register_keras_serializable(), and give it a get_config",
    )


def _instead_of(optimizer) -> str:
    """Return the remedy for an optimizer without an update rule."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        inner = type(optimizer.inner_optimizer).__name__
        return f"Give the optimizer inside it, optimizer.inner_optimizer, of the class {inner}"
    bases = [kind.__name__ for kind in type(optimizer).__mro__[1:] if kind in _RULES]
    nearest = bases[0] if bases else _NEAREST.get(type(optimizer).__name__, "Adam")
    return f"Its nearest is {nearest}"


def _clip(gradients: list, options: dict) -> list:
    if options.get("clipnorm"):
        return [tf.clip_by_norm(gradient, options["clipnorm"]) for gradient in gradients]
    if options.get("global_clipnorm"):
        limit = options["global_clipnorm"]
        gradients = list(map(tf.convert_to_tensor, gradients))
        norm = _sqrt(tf.add_n([tf.reduce_sum(tf.square(gradient)) for gradient in gradients]))
        return [gradient * (limit / tf.maximum(norm, tf.cast(limit, norm.dtype))) for gradient in gradients]
    if options.get("clipvalue"):
        return [tf.clip_by_value(gradient, -options["clipvalue"], options["clipvalue"]) for gradient in gradients]
    return gradients


def _dense(gradient, weight):
    dense = tf.convert_to_tensor(gradient)
    dense.set_shape(weight.shape)
    return dense


def _squared(gradient, weight):
    """Square a gradient; square an embedding's rows separately, as Keras does."""
    if isinstance(gradient, tf.IndexedSlices):
        gradient = tf.IndexedSlices(tf.square(gradient.values), gradient.indices, gradient.dense_shape)
        return _dense(gradient, weight)
    return tf.square(gradient)


def _sqrt(value):
    """Compute the square root, with the derivative 0 instead of infinity at 0.

    A weight that never had a gradient has a mean square of 0, which stays 0 whichever example is left out.
    """
    positive = value > 0
    return tf.where(positive, tf.sqrt(tf.where(positive, value, tf.ones_like(value))), tf.zeros_like(value))


def _sgd(options: dict):
    momentum, nesterov = options["momentum"], options["nesterov"]
    if momentum == 0:
        return 0, lambda weight, gradient, slots, rate, step: (weight - _dense(gradient, weight) * rate, ())

    def update(weight, gradient, slots, rate, step):
        gradient = _dense(gradient, weight)
        velocity = slots[0] * momentum - gradient * rate
        if nesterov:
            return weight + (velocity * momentum - gradient * rate), (velocity,)
        return weight + velocity, (velocity,)

    return 1, update


def _adam(options: dict):
    beta_1, beta_2, epsilon, amsgrad = (options[name] for name in ("beta_1", "beta_2", "epsilon", "amsgrad"))

    def update(weight, gradient, slots, rate, step):
        time = tf.cast(step + 1, weight.dtype)
        power_1 = tf.pow(tf.cast(beta_1, weight.dtype), time)
        power_2 = tf.pow(tf.cast(beta_2, weight.dtype), time)
        alpha = rate * tf.sqrt(1 - power_2) / (1 - power_1)
        mean, square, *largest = slots
        mean = mean + (_dense(gradient, weight) - mean) * (1 - beta_1)
        square = square + (_squared(gradient, weight) - square) * (1 - beta_2)
        slots = (mean, square, *(tf.maximum(value, square) for value in largest))
        return weight - mean * alpha / (_sqrt(slots[-1]) + epsilon), slots

    return (3 if amsgrad else 2), update


def _rmsprop(options: dict):
    rho, momentum, epsilon, centered = (options[name] for name in ("rho", "momentum", "epsilon", "centered"))

    def update(weight, gradient, slots, rate, step):
        square, *others = slots
        square = rho * square + (1 - rho) * _squared(gradient, weight)
        gradient = _dense(gradient, weight)
        new = [square]
        denominator = square + epsilon
        if centered:
            average = rho * others.pop(0) + (1 - rho) * gradient
            new.append(average)
            denominator = square - tf.square(average) + epsilon
        increment = rate * gradient / tf.sqrt(denominator)
        if momentum > 0:
            increment = momentum * others.pop(0) + increment
            new.append(increment)
        return weight - increment, tuple(new)

    return 1 + bool(centered) + (momentum > 0), update


_RULES = {
    keras.optimizers.SGD: _sgd,
    keras.optimizers.Adam: _adam,
    keras.optimizers.AdamW: _adam,
    keras.optimizers.RMSprop: _rmsprop,
}
