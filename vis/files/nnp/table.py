"""The table of nnabla's function types and their Keras implementations.

To add one, write a function in the module of its kind, with its type in the decorator. Add options that no other
function has to `vis.files.nnp.schema`:

    @function("LeakyReLU")
    def leaky_relu(call, x):
        return call.layer(layers.LeakyReLU, negative_slope=call.options.alpha)(x)

It takes the inputs of the function, buffers as Keras tensors and parameters as NumPy arrays in nnabla's shape, and
returns its output. `vis.files.nnp.layout` maps nnabla's axes to those of Keras.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from vis.utils.errors import ArgumentError, warn

_LARGEST = 2**16

FUNCTIONS: dict[str, Callable] = {}


class Unsupported(Exception):  # noqa: N818 - a reason, from which the builder makes an error
    """A function, or one of its options, is not supported; the message gives the reason."""


class Call(NamedTuple):
    """One function of a network, to be computed with Keras.

    Attributes:
        name: The name of its layer.
        type: Its type.
        options: Its options.
        batch_size: The length of the batch axis in its options.
        parameters: The names of its parameters; functions that share parameters have the same names.
        shared: The layers with parameters built so far, by their parameters and settings.
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
            part: The suffix of its name; empty for the layer with the name of the function.
            **named: Its keyword arguments.
        """
        return kind(*settings, **named, name=f"{self.name}.{part}" if part else self.name)

    def apply(self, x, weights: list[np.ndarray], kind: Callable, **named):
        """Apply a layer with parameters; functions with the same parameters share one layer.

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
    """Return a decorator that enters a function into the table under its types."""

    def enter(compute):
        FUNCTIONS.update(dict.fromkeys(types, compute))
        return compute

    return enter


def dims(shape, count: int, otherwise: int) -> tuple[int, ...]:
    """Return the numbers of an option such as a stride, or the default for all axes if the file has none."""
    found = tuple(shape.dim) or (otherwise,) * count
    # TensorFlow aborts the process if a stride is not a 32-bit integer.
    if len(found) != count or not all(0 <= number <= _LARGEST for number in found):
        raise Unsupported(f"with {list(found)} for {count} axes")
    return found


def refusal(name: str, kind: str, reason: str) -> ArgumentError:
    """Return the error for an unsupported function: its name, its type, and the supported types."""
    why = f", {reason}" if reason else ""
    return ArgumentError(
        "path",
        f"must be a network of supported functions, not with {name!r} of type {kind}{why}",
        f"Supported are {', '.join(sorted(FUNCTIONS))}",
        kind="function",
    )
