"""Remembers what was traced for a model, for as long as the model lives and is what it was."""

from __future__ import annotations

import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from vis.engine import addressing, keras_internals
from vis.engine.rules import rule_of, underlying

# What has been traced, by model; a model that is dropped takes it along. What is kept holds graphs, not the model.
_traced: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# By model, the `_States` that it was in.
_states: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_tracing = threading.RLock()
_MOST_TRACED = 64  # a model; the least recently used one goes


def remember(model, key: tuple, trace: Callable):
    """Return what was traced for a model under a key, traced now if it is not there.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        key: What tells one traced thing from another, beside the backprop rule and the state of the model. It is
            compared, but layers and functions in it are not kept alive.
        trace: A function of no arguments that traces it. What it returns must not lead to the model or its layers.

    Returns:
        What `trace` returned, now or earlier.
    """
    keras_model = underlying(model)
    rule = rule_of(model)
    key, state = _weakly(key, None if rule is None else rule.key), state_of(keras_model)
    known = _traced.setdefault(keras_model, OrderedDict())
    with _tracing:  # a thread that asks the same waits for the answer
        key = (key, _states.setdefault(keras_model, _States()).number_of(state))
        if key not in known:
            known[key] = trace()
            if len(known) > _MOST_TRACED:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]


class _States:
    """The states that a model was in, by numbers: a state is long, and is compared once and never hashed."""

    def __init__(self):
        self._seen: list[tuple[int, tuple]] = []  # the last one last
        self._count = 0

    def number_of(self, state: tuple) -> int:
        for place in range(len(self._seen) - 1, -1, -1):
            if self._seen[place][1] == state:
                self._seen.append(self._seen.pop(place))
                return self._seen[-1][0]
        self._count += 1
        self._seen = [*self._seen[1 - _MOST_TRACED :], (self._count, state)]
        return self._count


def traced(model) -> int:
    """Return how many functions have been traced for a model and are kept."""
    return len(_traced.get(underlying(model), ()))


def forget(model) -> None:
    """Drop what was traced for a model, so that the next call traces anew.

    A change of a model is noticed in its layers, their variables, their configuration and their plain attributes. Call
    this after another change: a dictionary or an object that a layer of your own reads, or a method replaced by hand.

    Args:
        model: A Keras model.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> import vis
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> _ = vis.visualization.visualize_saliency(model, -1, 0, np.ones(4))
        >>> vis.forget(model)
    """
    _traced.pop(underlying(model), None)
    _states.pop(underlying(model), None)


def state_of(model) -> tuple:
    """Return what a trace takes in of a model beside the values of its weights.

    That is which layers and variables it has, and the plain attributes of the layers: numbers, texts, flags, tuples of
    these, and functions such as an activation. It keeps none of them alive.
    """
    return tuple(part for layer in addressing.flatten(model) for part in keras_internals.fingerprint(layer))


def _weakly(*parts) -> tuple:
    """Return a key that compares as its parts do but keeps no layer, tensor or function alive, and so no model."""

    def weak(part):
        if isinstance(part, tuple) and type(part) is not types.CodeType:
            return tuple(map(weak, part))
        if isinstance(part, types.MethodType):
            return weakref.WeakMethod(part)
        if part is None or isinstance(part, (str, int, float, np.number, weakref.ref)):
            return part
        try:
            reference = weakref.ref(part)
            hash(reference)  # which it remembers when the part is gone
        except TypeError:
            return part
        return reference

    return weak(parts)
