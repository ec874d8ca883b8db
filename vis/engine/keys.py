"""Keys that compare functions and objects by what they compute, not by identity.

A lambda created for each image has the key of the last one if its code and all that it reads are the same; a lambda
that reads a changed loop variable, global or attribute has a different key.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import os
import sys
import sysconfig
import types
import weakref

import keras
import numpy as np
import tensorflow as tf

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis), np.generic, tf.DType)
_LIBRARIES = tuple({os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "purelib", "platlib")})
_OWN = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_BY_IDENTITY = (keras.KerasTensor, keras.Operation, keras.Variable, tf.Variable, type, weakref.ref)


def key_of(thing) -> tuple:
    """Return a key that is equal for two things if and only if they compute the same.

    Args:
        thing: A number, a text, a container, an array, a function (with all that it closes over, its defaults and the
            globals that it reads), a method, or an object (its class and its attributes). Layers, tensors of a graph
            and variables are compared by identity.

    Returns:
        A hashable tuple that keeps no layer and no model alive. The key of something that cannot be compared
        equals no other key.

    Example:
        >>> keys = [key_of(lambda x, k=k: x[k]) for k in (0, 1, 1)]
        >>> keys[0] == keys[1], keys[1] == keys[2]
        (False, True)
    """
    return _key(thing, ())


def _key(thing, inside: tuple):
    if isinstance(thing, _PLAIN):
        # 1, 1.0 and True are equal, but not as constants of a graph; nor is NaN equal to itself.
        return type(thing), repr(thing) if isinstance(thing, (float, np.floating)) else thing
    if any(thing is each for each in inside):
        return ("again", len(inside) - next(i for i, each in enumerate(inside) if each is thing))
    inside = (*inside, thing)
    if isinstance(thing, (tuple, list)):
        return type(thing), *(_key(each, inside) for each in thing)
    if isinstance(thing, (set, frozenset)):
        return type(thing), frozenset(_key(each, inside) for each in thing)
    if isinstance(thing, dict):
        return type(thing), *((_key(name, inside), _key(each, inside)) for name, each in thing.items())
    if isinstance(thing, np.ndarray) and thing.dtype != object:
        return np.ndarray, thing.shape, thing.dtype.str, hashlib.blake2b(np.ascontiguousarray(thing).tobytes()).digest()
    if isinstance(thing, _BY_IDENTITY):
        return ("is", _ref(thing))
    if isinstance(thing, tf.Tensor):
        return (tf.Tensor, _key(thing.numpy(), inside)) if hasattr(thing, "numpy") else ("is", _ref(thing))
    if isinstance(thing, types.ModuleType):
        return ("module", thing.__name__)
    if isinstance(thing, types.MethodType):
        return ("method", _key(thing.__func__, inside), _key(thing.__self__, inside))
    if isinstance(thing, types.FunctionType):
        return _function_key(thing, inside)
    if isinstance(thing, functools.partial):
        return ("partial", _key(thing.func, inside), _key(thing.args, inside), _key(thing.keywords, inside))
    if isinstance(thing, (types.BuiltinFunctionType, types.MethodWrapperType)):
        return ("builtin", thing.__qualname__, _key(getattr(thing, "__self__", None), inside))
    return _object_key(thing, inside)


def _function_key(function, inside: tuple):
    if function.__code__.co_filename.startswith(_LIBRARIES) and not function.__closure__:
        return ("function", function.__module__, function.__qualname__, _ref(function))
    cells = [cell.cell_contents if _filled(cell) else None for cell in function.__closure__ or ()]
    return (
        "function",
        function.__code__,
        _key(cells, inside),
        _key(function.__defaults__, inside),
        _key(function.__kwdefaults__, inside),
        _globals_key(function, inside),
    )


def _globals_key(function, inside: tuple) -> tuple:
    """Return what a function reads from its module, and by attribute from other modules of the user."""
    names, attributes = _names(function.__code__)
    found: list[tuple] = []
    for name in names:
        if name not in function.__globals__:
            continue
        value = function.__globals__[name]
        found.append((name, _key(value, inside)))
        if isinstance(value, types.ModuleType) and not _is_library(value):
            read = [other for other in attributes if hasattr(value, other)]
            found += [(name, other, _key(getattr(value, other), inside)) for other in read]
    return tuple(found)


@functools.lru_cache(1024)
def _names(code) -> tuple[tuple, tuple]:
    """Return the globals that some code reads, and the names of all attributes that it reads of anything."""
    read: dict[str, None] = {}
    attributes = dict.fromkeys(code.co_names)
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            read[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _names(constant)
            read.update(dict.fromkeys(inner[0]))
            attributes.update(dict.fromkeys(inner[1]))
    return tuple(read), tuple(attributes)


def _is_library(module) -> bool:
    path = getattr(module, "__file__", None)
    return (
        path is None
        or path.startswith((*_LIBRARIES, _OWN))
        or module.__name__.partition(".")[0] in (sys.stdlib_module_names)
    )


def _object_key(thing, inside: tuple):
    """Return the key of an object by its class, its class's functions, and its attributes."""
    kind = type(thing)
    names = [name for base in kind.__mro__ for name in _slots(base) if hasattr(thing, name)]
    if hasattr(thing, "__dict__") or names:
        state = {**{name: getattr(thing, name) for name in names}, **getattr(thing, "__dict__", {})}
        return ("object", _class_key(kind, inside), _key(state, inside))
    try:
        reduced = thing.__reduce_ex__(4)
    except Exception:  # objects that cannot be pickled may raise anything
        return ("unlike any other", object())
    if isinstance(reduced, str) or reduced[0] in (object.__reduce_ex__,):
        return ("is", _ref(thing))
    return ("object", kind, *(_key(part, inside) for part in reduced[:3]))


def _slots(base) -> tuple:
    slots = base.__dict__.get("__slots__", ())
    slots = (slots,) if isinstance(slots, str) else tuple(slots)
    return tuple(name for name in slots if name not in ("__dict__", "__weakref__"))


def _class_key(kind, inside: tuple):
    """Return the key of a class: itself, and what its functions read beside their arguments."""
    read: list[tuple] = []
    for base in kind.__mro__:
        for name, value in vars(base).items():
            if isinstance(value, types.FunctionType) and not value.__code__.co_filename.startswith((*_LIBRARIES, _OWN)):
                read.append((name, _key(value, inside)))
            elif isinstance(value, _PLAIN) and not name.startswith("__"):
                read.append((name, type(value), value))
    return ("class", _ref(kind), *read)


def _filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - it raises where the cell is empty
    except ValueError:
        return False
    return True


def _ref(thing):
    try:
        reference = weakref.ref(thing)
        hash(reference)  # which it keeps when the thing is gone
    except TypeError:
        return id(thing)
    return reference
