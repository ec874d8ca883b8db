"""Update rules: how an optimizer gets from parameters and gradients to new parameters, inside a compiled loop."""

from __future__ import annotations

import contextlib
import json
import threading

import keras
import tensorflow as tf

from vis.utils.errors import ArgumentError, ArgumentTypeError


class Rms:
    """keras-vis's rule, RMSprop: move each value by its gradient, divided by the root of its running mean square.

    c ← 0.95 c + 0.05 g²;  θ ← θ − η g / √(c + 1e-7). The rate η is 1/64 of the range, four gray levels of 256.
    """

    key = ("rms",)
    lock = contextlib.nullcontext()

    def initial(self, parameters: list) -> list:
        """Return the rule's tensors before the first step, zeros.

        Args:
            parameters: The parameters, a list of tensors.

        Returns:
            The mean squares c, a tensor for each.
        """
        return [tf.zeros_like(each) for each in parameters]

    def update(self, parameters: list, gradients: list, slots: list) -> tuple[list, list]:
        """Return the parameters and the rule's tensors after a step.

        Args:
            parameters: The parameters θ, a list of tensors.
            gradients: The gradients g, of the same shapes.
            slots: The mean squares c, of the same shapes.

        Returns:
            `(parameters, slots)`.
        """
        slots = [0.95 * slot + 0.05 * gradient**2 for slot, gradient in zip(slots, gradients, strict=True)]
        moved = [
            each - gradient / tf.sqrt(slot + 1e-7) / 64.0
            for each, gradient, slot in zip(parameters, gradients, slots, strict=True)
        ]
        return moved, slots


class KerasRule:
    """A new Keras optimizer with the settings of another, which stays as it is.

    Args:
        optimizer: A `keras.optimizers.Optimizer`, or its name.

    Raises:
        TypeError: It is neither.
        ValueError: No Keras optimizer has that name.
    """

    def __init__(self, optimizer):
        if isinstance(optimizer, str):
            try:
                optimizer = keras.optimizers.get(optimizer)
            except ValueError as error:
                raise ArgumentError(
                    "optimizer",
                    f"must be a Keras optimizer or the name of one, such as 'adam', not {optimizer!r}",
                    kind="unknown",
                ) from error
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise ArgumentTypeError(
                "optimizer", f"must be a Keras optimizer, its name or None, not {type(optimizer).__name__}"
            )
        config = optimizer.get_config()
        # Keras numbers the names of optimizers: one that is made anew is the same for all that.
        settings = {name: value for name, value in config.items() if name != "name"}
        self.key = (type(optimizer), json.dumps(settings, sort_keys=True, default=str))
        self.optimizer = type(optimizer).from_config(config)
        self.lock = threading.Lock()
        self._variables: list = []

    def initial(self, parameters: list) -> list:
        """Set the optimizer's variables back to their initial values.

        Args:
            parameters: The parameters, a list of tensors.

        Returns:
            An empty list: the optimizer keeps its state in variables, not in tensors of the loop.
        """
        if not self._variables:
            self._variables = [keras.Variable(each, name=f"input_{i}") for i, each in enumerate(parameters)]
            self.optimizer.build(self._variables)
            self._beginning = [variable.numpy() for variable in self.optimizer.variables]
        for variable, value in zip(self.optimizer.variables, self._beginning, strict=True):
            variable.assign(value)
        return []

    def update(self, parameters: list, gradients: list, slots: list) -> tuple[list, list]:
        """Return the parameters after a step.

        Args:
            parameters: The parameters, a list of tensors.
            gradients: The gradients, of the same shapes.
            slots: An empty list.

        Returns:
            `(parameters, slots)`.
        """
        for variable, value in zip(self._variables, parameters, strict=True):
            variable.assign(value)
        self.optimizer.apply(gradients, self._variables)
        return [tf.identity(variable.value) for variable in self._variables], slots
