"""NumPy functions of the caller's inside a compiled loop."""

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
    """What of a step is NumPy: the caller's gradient modifier, and input modifiers with a `pre` or `post`.

    The loop calls it by a number, so that a loop which is kept does not keep the caller's functions.

    Args:
        grad_modifier: A function of an array, or None.
        modifiers: Input modifiers that work on arrays.
    """

    def __init__(self, grad_modifier: Callable | None, modifiers: list):
        self.grad_modifier = grad_modifier
        self.modifiers = modifiers
        self.number = next(_numbers)
        self.error = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """While inside, loops find it; an error of the caller's functions comes out as it was raised."""
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
        """The gradient as its modifier makes it."""
        return array if self.grad_modifier is None else modified(array, self.grad_modifier)

    def pre(self, array):
        """The images before a step."""
        for modifier in self.modifiers:
            array = modifier.pre(array)
        return array

    def post(self, array):
        """The images after a step."""
        for modifier in reversed(self.modifiers):
            array = modifier.post(array)
        return array


def in_python(number, name: str, tensor):
    """A tensor as a method of the running `PythonSteps` of that number makes it."""

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
