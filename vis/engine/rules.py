"""Backprop rules, and models paired with a rule: the caller's model itself, unchanged."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from vis.engine.keys import key_of
from vis.utils.errors import ArgumentTypeError


class ModifiedModel:
    """A model with a backprop rule applied; pass it to any `visualize_` function in place of the model.

    Everything else (`layers`, `input`, `predict`, ...) is that of the model itself.
    """

    def __init__(self, model, rule: Rule):
        self.model = model
        self.rule = rule

    def __getattr__(self, name):
        if name in ("model", "rule"):
            raise AttributeError(name)
        return getattr(self.model, name)

    def __call__(self, *args, **kwargs):
        return self.model(*args, **kwargs)

    def __repr__(self):
        return f"<{self.rule.name}({self.model.name})>"


class Rule:
    """What happens to a gradient at a rectifier `y = activation(x)`.

    Attributes:
        name: The modifier's name.
        gradient: The function `(gradient, y) -> gradient`.
        through_activation: Whether the result then passes the activation's own derivative.
    """

    def __init__(self, name: str, gradient: Callable, through_activation: bool):
        self.name = name
        self.gradient = gradient
        self.through_activation = through_activation
        self._gates: dict = {}

    @property
    def key(self) -> tuple:
        """A key that is equal for rules that do the same."""
        return "rule", self.name, key_of(self.gradient), self.through_activation

    def apply(self, x, y):
        """Return the activation's output `y` so that the rule applies to gradients that pass back through it."""
        key = (y.dtype, self.key)
        if key not in self._gates:
            self._gates = {key: self._gate(y.dtype), **{k: gate for k, gate in self._gates.items() if k[1] == key[1]}}
        passed = self._gates[key](x, y)
        passed.set_shape(y.shape)
        return passed

    def _gate(self, dtype):
        # TensorFlow keeps every custom gradient that a graph creates forever, and the graph with it. Inside a
        # separate function, traced once for all shapes, it keeps only this tiny graph, not the user's model.
        @tf.custom_gradient
        def gate(x, y):
            def gradient(upstream):
                passed = self.gradient(upstream, y)
                nothing = tf.zeros_like(upstream)
                return (nothing, passed) if self.through_activation else (passed, nothing)

            return tf.identity(y), gradient

        anything = tf.TensorSpec(None, dtype)
        return tf.function(gate, input_signature=[anything, anything], autograph=False)


def from_rule(name: str, *, through_activation: bool = True) -> Callable:
    """Make a backprop modifier from a rule; a decorator.

    Args:
        name: The modifier's name, for messages.
        through_activation: True if the rule's result then passes the activation's own derivative, as in guided
            backpropagation; False if it takes the place of it, as in a deconvolution network.

    Returns:
        A decorator that turns `rule(gradient, output) -> gradient` (two tensors of the activation's shape: the incoming
        gradient and the output of the activation; the result has the same shape) into a modifier `model -> model`.

    Example:
        >>> import tensorflow as tf
        >>> @from_rule("clipped")
        ... def clipped(gradient, output):
        ...     return tf.clip_by_value(gradient, -1.0, 1.0)

        Now `visualize_saliency(model, -1, 3, image, backprop_modifier=clipped)` uses it.
    """

    def decorate(function):
        rule = Rule(name, function, through_activation)

        def modifier(model):
            if not isinstance(model, (keras.layers.Layer, ModifiedModel)):
                raise ArgumentTypeError("model", f"must be a Keras model, not {type(model).__name__}", kind="dtype")
            return ModifiedModel(underlying(model), rule)

        modifier.__name__ = modifier.__qualname__ = name
        modifier.__doc__, modifier.__module__ = function.__doc__, function.__module__
        return modifier

    return decorate


def underlying(model):
    """Return the Keras model itself, without its modifier."""
    return model.model if isinstance(model, ModifiedModel) else model


def rule_of(model) -> Rule | None:
    """Return the backprop rule of a modified model, or None."""
    return model.rule if isinstance(model, ModifiedModel) else None
