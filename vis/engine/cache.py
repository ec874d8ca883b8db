"""Remembers what was traced for a model, for as long as the model lives."""

from __future__ import annotations

import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from vis.engine import addressing
from vis.engine.rules import rule_of, underlying

# What has been traced, by model; a model that is dropped takes it along. What is kept holds graphs, not the model.
_traced: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_tracing = threading.RLock()
_MOST_TRACED = 64  # a model; the least recently used one goes


def remember(model, key: tuple, trace: Callable):
    """What was traced for a model under a key, traced now if it is not there.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        key: What tells one traced thing from another, beside the model's layers, activations and backprop rule. It is
            compared, but layers and functions in it are not kept alive.
        trace: A function of no arguments that traces it. What it returns must not lead to the model or its layers.

    Returns:
        What `trace` returned, now or earlier.
    """
    keras_model = underlying(model)
    key = _weakly(key, rule_of(model), _state(keras_model))
    known = _traced.setdefault(keras_model, OrderedDict())
    with _tracing:  # a thread that asks the same waits for the answer
        if key not in known:
            known[key] = trace()
            if len(known) > _MOST_TRACED:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]


def traced(model) -> int:
    """How many functions have been traced for a model and are kept."""
    return len(_traced.get(underlying(model), ()))


def _weakly(*parts) -> tuple:
    """A key that compares as its parts do but keeps no layer, tensor or function alive, and so no model."""

    def weak(part):
        if isinstance(part, tuple):
            return tuple(map(weak, part))
        if isinstance(part, types.MethodType):
            return weakref.WeakMethod(part)
        if part is None or isinstance(part, (str, int, float, np.number)):
            return part
        return weakref.ref(part)

    return weak(parts)


def _state(model) -> tuple:
    """What a trace takes in of a model beside its weights: which layers, and with which activations."""
    layers = addressing.flatten(model)
    activations = (vars(layer).get("activation") for layer in layers)
    return " ".join(layer.name for layer in layers), tuple(each for each in activations if each is not None)
