"""Cache traced functions per model, as long as the model lives and does not change."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from vis.engine import addressing, keras_internals
from vis.engine.rules import rule_of, underlying

# Traced results by model, freed together with the model. They reference graphs, not the model.
_traced: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
# The `_States` of each model.
_states: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_tracing = threading.RLock()
# The numbers of the states of the models that are `unchanged` here.
_compared: contextvars.ContextVar = contextvars.ContextVar("compared", default=types.MappingProxyType({}))
_MOST_TRACED = 64  # per model; the least recently used one is dropped


def remember(model, key: tuple, trace: Callable):
    """Return the traced result for a model and a key, tracing it if it is not cached.

    Args:
        model: A Keras model, with or without a backprop modifier.
        key: The identity of the result, apart from the backprop rule and the state of the model. It is compared, but
            layers and functions in it are not kept alive.
        trace: A function without arguments that traces. Its result must not reference the model or its layers.

    Returns:
        The result of `trace`, new or cached.
    """
    keras_model = underlying(model)
    rule = rule_of(model)
    key, state = _weakly(key, None if rule is None else rule.key), _compared.get().get(keras_model)
    known = _traced.setdefault(keras_model, OrderedDict())
    with _tracing:  # a thread with the same key waits for the result
        key = (key, _number_of_state(keras_model) if state is None else state)
        if key not in known:
            known[key] = trace()
            if len(known) > _MOST_TRACED:
                known.popitem(last=False)
        known.move_to_end(key)
        return known[key]


@contextlib.contextmanager
def unchanged(model):
    """Compare the state of a model once, for all that is remembered inside a `with` statement.

    Args:
        model: A Keras model, with or without a backprop modifier.
    """
    keras_model = underlying(model)
    token = _compared.set({**_compared.get(), keras_model: _number_of_state(keras_model)})
    try:
        yield
    finally:
        _compared.reset(token)


def _number_of_state(keras_model) -> int:
    state = state_of(keras_model)
    with _tracing:
        return _states.setdefault(keras_model, _States()).number_of(state)


class _States:
    """The past states of a model, numbered: states are long, so each is compared once and never hashed."""

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
    """Return the number of traced functions that are cached for a model."""
    return len(_traced.get(underlying(model), ()))


def forget(model) -> None:
    """Drop the traced functions of a model, so that the next call traces again.

    Changes of a model are detected in its layers, their variables, their configuration and their plain attributes:
    numbers, texts, flags, functions, and lists, dictionaries and arrays of up to 1000 of these. Call this after any
    other change: to a tensor, an object or a global that a custom layer reads, or a method replaced by hand.

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
    """Return the part of a model that a trace depends on, apart from the values of its weights.

    These are the layers and variables, and the plain attributes of the model and its layers, see
    `keras_internals.fingerprint`. It keeps none of them alive.
    """
    return tuple(map(keras_internals.fingerprint, [underlying(model), *addressing.flatten(model)]))


def _weakly(*parts) -> tuple:
    """Return a key that compares like its parts but keeps no layer, tensor, function or model alive."""

    def weak(part):
        if isinstance(part, tuple) and type(part) is not types.CodeType:
            return tuple(map(weak, part))
        if isinstance(part, types.MethodType):
            return weakref.WeakMethod(part)
        if part is None or isinstance(part, (str, int, float, np.number, weakref.ref)):
            return part
        try:
            reference = weakref.ref(part)
            hash(reference)  # which it keeps when the part is gone
        except TypeError:
            return part
        return reference

    return weak(parts)
