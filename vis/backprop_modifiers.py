"""Backprop modifiers: rules for passing a gradient back through a rectifier such as ReLU.

A modifier is a function `model -> model`. Modifiers made by `from_rule` return a `ModifiedModel`: the caller's model,
paired with a rule that the visualization functions apply while they run it. The model is neither cloned nor changed, so
its weights stay shared.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from vis.engine.rules import ModifiedModel as ModifiedModel
from vis.engine.rules import from_rule
from vis.utils.errors import ArgumentError, ArgumentTypeError


@from_rule("guided")
def guided(gradient, output):
    """Apply guided backpropagation: a gradient passes where both it and the activation's output are positive.

    The source is Springenberg et al. 2015, "Striving for Simplicity" (arXiv 1412.6806), section 3.4.

    Args:
        model: A Keras model.

    Returns:
        The same model, with this rule applied.

    Raises:
        TypeError: `model` is not a Keras model.

    Example:
        >>> import keras
        >>> guided(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="net"))
        <guided(net)>
    """
    return tf.where((gradient > 0) & (output > 0), gradient, tf.zeros_like(gradient))


@from_rule("rectified", through_activation=False)
def rectified(gradient, output):
    """Apply the deconvolution network's rule: a gradient passes where it is positive, regardless of the activation.

    The source is Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks" (arXiv 1311.2901).

    Args:
        model: A Keras model.

    Returns:
        The same model, with this rule applied.

    Raises:
        TypeError: `model` is not a Keras model.

    Example:
        >>> import keras
        >>> rectified(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)], name="net"))
        <rectified(net)>
    """
    del output
    return tf.nn.relu(gradient)


relu = deconv = rectified

_KNOWN = {"guided": guided, "rectified": rectified, "relu": relu, "deconv": deconv}


def get(identifier: str | Callable | None) -> Callable:
    """Find a backprop modifier.

    Args:
        identifier: `'guided'`, `'rectified'` (also called `'relu'` and `'deconv'`), a function `model -> model`, or
            None for the ordinary gradient.

    Returns:
        A function `model -> model`.

    Raises:
        ValueError: No modifier has that name.
        TypeError: `identifier` is neither a name nor a function.

    Example:
        >>> get("deconv") is get("rectified")
        True
    """
    if identifier is None:
        return lambda model: model
    if isinstance(identifier, str):
        if identifier not in _KNOWN:
            known = ", ".join(repr(name) for name in _KNOWN)
            raise ArgumentError(
                "backprop_modifier",
                f"must be one of {known}, a function model -> model or None, not {identifier!r}",
                kind="unknown",
            )
        return _KNOWN[identifier]
    if not callable(identifier):
        raise ArgumentTypeError(
            "backprop_modifier", f"must be a name, a function model -> model or None, not {type(identifier).__name__}"
        )
    return identifier
