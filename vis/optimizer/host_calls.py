"""Call the user's NumPy functions from inside a compiled loop."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from vis.utils.checks import modified
from vis.utils.errors import ArgumentError

_running: dict = {}
_numbers = itertools.count()


class PythonSteps:
    """The NumPy part of a step: the user's gradient modifier, and input modifiers with a `pre` or `post`.

    The loop refers to it by a number, so a cached loop does not keep the user's functions alive.

    Args:
        grad_modifier: A function of an array that returns one of the same shape, or None.
        modifiers: Input modifiers that work on arrays.
    """

    def __init__(self, grad_modifier: Callable | None, modifiers: list):
        self.grad_modifier = grad_modifier
        self.modifiers = modifiers
        self.number = next(_numbers)
        self.error = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let loops find these functions inside a `with` block.

        Yields:
            Nothing.

        Raises:
            Exception: The original exception of a user's function.
        """
        _running[self.number] = self
        try:
            yield
        except tf.errors.OpError:
            if self.error is not None:
                raise self.error from None
            raise
        finally:
            del _running[self.number]

    def gradient(self, array):
        """Apply the gradient modifier.

        Args:
            array: A gradient, float32, (images, ...).

        Returns:
            An array of the same shape.
        """
        return array if self.grad_modifier is None else modified(array, self.grad_modifier)

    def pre(self, array):
        """Apply each modifier's `pre`, in order, before a step.

        Args:
            array: The images, float32, (images, ...), in the model's units.

        Returns:
            An array of the same shape.
        """
        for modifier in self.modifiers:
            array = modifier.pre(array)
        return array

    def post(self, array):
        """Apply each modifier's `post`, in reverse order, after a step.

        Args:
            array: The images, float32, (images, ...), in the model's units.

        Returns:
            An array of the same shape.
        """
        for modifier in reversed(self.modifiers):
            array = modifier.post(array)
        return array


def in_python(number, name: str, tensor):
    """Apply a method of the `PythonSteps` that is running under a number, as an operation of the graph.

    Args:
        number: The number of the `PythonSteps`, an int64 scalar.
        name: The method: `'gradient'`, `'pre'` or `'post'`.
        tensor: A float32 tensor.

    Returns:
        A float32 tensor of the same shape.

    Raises:
        ValueError: A modifier returns an array of another shape (when the graph runs).
    """

    def call(number, array):
        steps = _running[int(number)]
        try:
            result = np.asarray(getattr(steps, name)(array), np.float32)
            if result.shape != array.shape:
                raise ArgumentError(
                    "input_modifiers", f"must return images of the same shape, {array.shape}, not {result.shape}"
                )
            return result
        except Exception as error:
            steps.error = error
            raise

    result = tf.numpy_function(call, [number, tensor], tf.float32)
    result.set_shape(tensor.shape)
    return result
