"""The base class of losses, and losses of any function of an output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing
from vis.engine.keys import key_of
from vis.losses.output_functions import OutputFunction
from vis.utils import checks
from vis.utils.errors import ArgumentError, ArgumentTypeError

_WEIGHT = "have a number as the weight of {!r}"


class Loss:
    """Base class of losses, as in keras-vis: override `build_loss`, or `__call__`.

    Losses are minimized: to find what increases a quantity, use minus that quantity as the loss, or the weight -1.

    Attributes:
        name: A short name, shown in messages and by callbacks.

    Example:
        >>> import keras
        >>> class MeanActivation(Loss):
        ...     def __init__(self, layer):
        ...         self.name = "mean activation"
        ...         self.layer = layer
        ...     def build_loss(self):
        ...         return keras.ops.mean(self.layer.output)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        >>> MeanActivation(model.layers[-1]).build_loss().shape
        ()
    """

    name = "Unnamed Loss"

    def build_loss(self):
        """Return the loss as a symbolic expression of `keras.ops` on `layer.output` or on other tensors of the graph.

        Returns:
            A Keras tensor: one value per sample, so that a batch is computed at once, or a scalar.

        Raises:
            ArgumentTypeError: The class overrides neither this nor `__call__`.
        """
        raise ArgumentTypeError(
            "losses",
            f"must compute something: {self.name!r} ({type(self).__name__}) overrides neither build_loss() nor "
            "__call__()",
            kind="abstract",
        )

    def __call__(self, run, *arguments):
        """Return the loss in one run of the model. Override it if a symbolic expression is not possible.

        Args:
            run: A `vis.engine.taps.Run`: `run(layer)` is the tensor that a layer returned, `run(None)` the output.
            *arguments: The arrays of `arguments`, as tensors.

        Returns:
            A tensor of shape (samples,), or a scalar.
        """
        return run(self.build_loss())

    def arguments(self, samples: int) -> list[np.ndarray]:
        """Return arrays that may change from call to call without a new trace; `__call__` gets them as tensors.

        Args:
            samples: The number of samples.

        Returns:
            Arrays of shape (samples, ...).
        """
        return []

    def validate(self, width: int | None) -> None:
        """Refuse arguments that do not fit the layer; called before each computation, after the trace.

        Args:
            width: The number of filters to choose from, if `__call__` set it in `run.notes.width`; else None.
        """

    def bound(self, model) -> Loss:
        """Return this loss with its layer resolved in a model.

        Args:
            model: A Keras model.

        Returns:
            A copy whose `layer` is the layer itself; the loss itself, if it names no layer or has no key.
        """
        layer = getattr(self, "layer", None)
        found = addressing.resolve_target(model, layer)
        if found is layer or type(self).key is Loss.key:
            return self
        bound: Any = copy.copy(self)
        bound.layer, bound.given = found, layer
        return bound

    @property
    def key(self):
        """Return the loss's part of the key of a traced function: losses with equal keys share one trace.

        By default it contains the class, the attributes and everything that the methods read, by value.
        """
        return key_of(self)

    def __str__(self) -> str:
        return self.name


class Target(Loss):
    """Any function of a layer's output as a target: a class margin, a masked sum, the score of a box.

    It keeps the sign of the function: `Target(fn)` with weight 1 explains what increases `fn`. In a list of losses, a
    plain function means a `Target` of the model's output.

    Args:
        function: `function(output) -> values` of TensorFlow or `keras.ops` operations. The result is one value
            per sample (shape (samples,), or more axes, which are summed), or a scalar, for which samples run one by
            one. For a model with several outputs, `output` has the structure of the model's outputs: a list or a dict.
        layer: The layer whose output is used: the object itself, or its index, name or path. None for the model's
            output.
        logits: Whether to read that output before the final softmax or sigmoid.

    Raises:
        ArgumentTypeError: `function` is not a function.

    Example:
        >>> margin = Target(lambda output: output[:, 3] - output[:, 5], logits=True)
    """

    def __init__(self, function: Callable, layer=None, *, logits: bool = False):
        if not callable(function):
            raise ArgumentTypeError("function", f"must be a function of the output, not {type(function).__name__}")
        self.function = function
        self.layer = layer
        self.logits = logits
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def key(self):
        function = self.function
        key = function.key if isinstance(function, OutputFunction) else key_of(function)
        return Target, key, self.layer, self.logits

    def __call__(self, run, *arguments):
        if isinstance(self.function, OutputFunction):
            output, logits = (_channels_last(run, each(self.layer), self.layer) for each in (run, run.logits))
            run.notes.width = output.shape[-1]
            return self.function.of(logits if self.logits else output, logits, *arguments)
        if self.layer is None:
            read = [run.logits_of(tensor) for tensor in run.outputs] if self.logits else run.outputs
            return self.function(keras.tree.pack_sequence_as(run.structure, read))
        if self.logits:
            return self.function(run.logits(self.layer))
        found = run.tensors(self.layer)
        return self.function(found[0] if len(found) == 1 else found)

    def arguments(self, samples: int) -> list[np.ndarray]:
        return self.function.arguments(samples) if isinstance(self.function, OutputFunction) else []

    def validate(self, width: int | None) -> None:
        if isinstance(self.function, OutputFunction):
            self.function.validate(width)


def weighted(losses) -> list[tuple[Loss, float]]:
    """Return a list of `(loss, weight)` from the argument of a user.

    Args:
        losses: A list of `(loss, weight)`; or of losses, with weight 1; or a single loss. A plain function means a
            `Target` of the model's output. A loss with weight None or 0 is dropped.

    Returns:
        The list of pairs.

    Raises:
        TypeError: An element is neither a loss nor a function.
        ValueError: No loss is left.

    Example:
        >>> [(loss.name, weight) for loss, weight in weighted([(lambda output: output[:, 0], 2)])]
        [('<lambda>', 2.0)]
    """
    pairs = []
    for element in losses if isinstance(losses, (list, tuple)) else [losses]:
        pair = element if isinstance(element, (list, tuple)) else (element, 1.0)
        if len(pair) != 2:
            raise ArgumentTypeError(
                "losses", f"must hold pairs (loss, weight), not a {type(pair).__name__} of {len(pair)}", kind="pair"
            )
        loss, weight = pair
        if not isinstance(loss, Loss):
            if not callable(loss):
                raise ArgumentTypeError(
                    "losses", f"must hold losses of vis.losses or functions, not {type(loss).__name__}", kind="dtype"
                )
            if isinstance(loss, keras.losses.Loss):
                raise ArgumentTypeError(
                    "losses",
                    f"must hold losses of vis.losses or functions of the output, not the Keras loss {loss.name!r}",
                    "Give a function, such as lambda output: loss(y_true, output)",
                    kind="keras_loss",
                )
            loss = Target(loss)
        weight = 0.0 if weight is None else checks.real_number("losses", weight, _WEIGHT.format(loss.name))
        if weight:
            pairs.append((loss, weight))
    if not pairs:
        raise ArgumentError("losses", "must hold a loss with a weight other than 0", kind="empty")
    return pairs


def _channels_last(run, tensor, layer):
    """Return an output in float32 with its channels last, adding a channel axis if there is none."""
    tensor, rank = tf.cast(tensor, tf.float32), tensor.shape.rank
    channel = run.channel(run(layer)) if rank > 2 else rank - 1 or None
    if channel is None:
        return tensor[..., None]
    return tf.transpose(tensor, [*(axis for axis in range(rank) if axis != channel), channel])
