"""The table from nnabla's function types to what computes them in Keras.

To add one, write a function in the module of its kind and name the type above it; options that no other function has
are to be named in `vis.files.nnp.schema`:

    @function("LeakyReLU")
    def leaky_relu(call, x):
        return call.layer(layers.LeakyReLU, negative_slope=call.options.alpha)(x)

It takes the function's inputs, buffers as Keras tensors and parameters as NumPy arrays in nnabla's shape, and returns
its output. `vis.files.nnp.layout` tells where nnabla's axes are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vis.utils.errors import ArgumentError, warn

_LARGEST = 2**16

FUNCTIONS: dict[str, Callable] = {}


class Unsupported(Exception):  # noqa: N818 - why a function cannot be computed, which the builder words
    """A function that has no counterpart here, at least not with its options; the message says which."""


class Call(NamedTuple):
    """One function of a network, to be computed with Keras.

    Attributes:
        name: The name of its layer.
        type: Its type.
        options: Its options.
        batch_size: What stands for the batch axis in its options.
        parameters: The names of its parameters, which functions that share them have in common.
        shared: The layers with parameters so far, by their parameters and settings.
    """

    name: str
    type: str
    options: Any
    batch_size: int
    parameters: tuple[str, ...]
    shared: dict

    def layer(self, kind: Callable, *settings, part: str = "", **named):
        """Make the layer of this function.

        Args:
            kind: The layer's class.
            *settings: Its arguments.
            part: What its name ends in; nothing for the layer that has the function's own name.
            **named: Its keyword arguments.
        """
        return kind(*settings, **named, name=f"{self.name}.{part}" if part else self.name)

    def apply(self, x, weights: list[np.ndarray], kind: Callable, **named):
        """Apply a layer with parameters, the same one where another function has the same parameters.

        Args:
            x: The input.
            weights: The layer's weights.
            kind: The layer's class.
            **named: Its keyword arguments.

        Returns:
            The output.
        """
        key = (kind, self.parameters, repr(sorted(named.items())))
        same = self.shared.get(key)
        if same is not None and all(map(np.array_equal, same.get_weights(), weights)):
            return same(x)
        layer = self.layer(kind, **named)
        y = layer(x)
        layer.set_weights(weights)
        self.shared[key] = layer
        return y

    def refuse(self, reason: str) -> NoReturn:
        """Refuse this function.

        Args:
            reason: Why it cannot be computed: `"with a group of 2"`.
        """
        raise Unsupported(reason)

    def left_out(self, what: str) -> None:
        """Warn that a random part of this function is left out."""
        warn("random_part", f"{what} of {self.name!r} ({self.type}) is left out")


def function(*types: str) -> Callable:
    """Return a decorator that enters a function into the table under some types."""

    def enter(compute):
        FUNCTIONS.update(dict.fromkeys(types, compute))
        return compute

    return enter


def dims(shape, count: int, otherwise: int) -> tuple[int, ...]:
    """Return the numbers of an option such as a stride, or one number for all axes where the file has none."""
    found = tuple(shape.dim) or (otherwise,) * count
    # TensorFlow ends the process over a stride that is no 32-bit integer.
    if len(found) != count or not all(0 <= number <= _LARGEST for number in found):
        raise Unsupported(f"with {list(found)} for {count} axes")
    return found


def refusal(name: str, kind: str, reason: str) -> ArgumentError:
    """Return the error for a function that cannot be computed: its name, its type, and what can be."""
    why = f", {reason}" if reason else ""
    return ArgumentError(
        "path",
        f"must be a network of supported functions, not with {name!r} of type {kind}{why}",
        f"Supported are {', '.join(sorted(FUNCTIONS))}",
        kind="function",
    )
