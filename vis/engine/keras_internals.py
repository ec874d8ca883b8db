"""Access to the parts of Keras that have no public name: private attributes are read only in this file.

`tests/engine/test_keras_internals.py` compares every function here with Keras, so that a change in a new version of
Keras fails there, and not in a map or a score.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator

import keras
import numpy as np
import tensorflow as tf

# The method of `keras.layers.BatchNormalization` from `(inputs, mask)` to the mean and the variance of a batch.
BATCH_MOMENTS = "_moments"

_replacing = threading.RLock()


def producer(symbol) -> tuple:
    """Return the operation that computes a symbolic tensor.

    Args:
        symbol: A `keras.KerasTensor`.

    Returns:
        The `keras.Operation`, the index of the call (the node), and the index of the output of that call.

    Example:
        >>> operation, node_index, tensor_index = producer(keras.layers.Dense(2, name="scores")(keras.Input((4,))))
        >>> operation.name, node_index, tensor_index
        ('scores', 0, 0)
    """
    operation, node_index, tensor_index = symbol._keras_history
    return operation, node_index, tensor_index


def nodes(operation) -> list:
    """Return the calls of an operation on symbolic tensors, in order: nodes with `input_tensors` and `outputs`."""
    return list(operation._inbound_nodes)


def node_inputs(operation, node_index: int) -> list:
    """Return the symbolic tensors that one call of an operation takes; none for an input layer."""
    return list(nodes(operation)[node_index].input_tensors)


def consumers(operation) -> list:
    """Return the nodes that take an output of an operation; `node.operation` is the operation of a node."""
    return list(operation._outbound_nodes)


def functional_of(model):
    """Return the `keras.Function` that a model runs.

    Args:
        model: A Keras model of any kind.

    Returns:
        The model itself if it is functional, the graph inside a built `keras.Sequential`, else None.
    """
    if isinstance(model, keras.Function):
        return model
    return model._functional if isinstance(model, keras.Sequential) else None


def node_order(function) -> list:
    """Return the nodes of a `keras.Function` in the order in which it runs them, input layers' included."""
    by_depth = function._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def sublayers(layer) -> list:
    """Return the layers directly inside a layer or a model, in the order in which they were added."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    return list(layer._layers)


def held_by(layer) -> list:
    """Return all that a layer or an operation holds as attributes: its initializers, regularizers and the like.

    Example:
        >>> regularizer = keras.regularizers.L2(0.1)
        >>> regularizer in held_by(keras.layers.Dense(2, kernel_regularizer=regularizer))
        True
    """
    return list(vars(layer).values())


def mask_of(tensor):
    """Return the mask that Keras carries along with a tensor (of an `Embedding`, say), or None."""
    return getattr(tensor, "_keras_mask", None)


def seed_states(model) -> list:
    """Return the variables with the states of a model's random generators, such as those of dropout.

    Args:
        model: A Keras model or layer.

    Returns:
        A list of `keras.Variable`s of two integers each.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.Dropout(0.5, seed=7)])
        >>> [variable.numpy().tolist() for variable in seed_states(model)]
        [[7, 0]]
    """
    # All public: `variables` are the weights, which `weights` lists, and the states of the generators.
    others = {id(variable) for variable in [*model.weights, *model.metrics_variables]}
    return [variable for variable in model.variables if id(variable) not in others]


def loss_weight(model) -> float:
    """Return the factor of the loss of a model with one output, which `compile(loss_weights=...)` gave; 1.0 without.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(loss="mse", loss_weights=[5.0])
        >>> loss_weight(model)
        5.0
    """
    given = keras.tree.flatten(getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None))
    return float(given[0]) if given and given[0] is not None else 1.0


def learning_rate(optimizer):
    """Return the learning rate that an optimizer was given: a schedule or a function as it is, a number as a variable.

    The public `optimizer.learning_rate` is the rate of the next step, whatever makes it.
    """
    return optimizer._learning_rate


def excludes_from_weight_decay(optimizer) -> bool:
    """Return whether `optimizer.exclude_from_weight_decay` has named any weight, which is in no configuration."""
    # An optimizer has these only after that method was called.
    names = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    return any(bool(getattr(optimizer, name, None)) for name in names)


# The lists of variables that an optimizer keeps, one per weight, in the order of the slots of `vis.influence`.
_SLOTS = {
    keras.optimizers.SGD: ("momentums",),
    keras.optimizers.Adam: ("_momentums", "_velocities", "_velocity_hats"),
    keras.optimizers.AdamW: ("_momentums", "_velocities", "_velocity_hats"),
    keras.optimizers.RMSprop: ("_velocities", "_average_gradients", "_momentums"),
}


def optimizer_slots(optimizer, weights) -> list[list] | None:
    """Return the variables that an optimizer keeps for each weight: momenta, mean squares, ...

    Args:
        optimizer: A built Keras optimizer.
        weights: Trainable variables that it was built for.

    Returns:
        A list of `keras.Variable`s for each weight; None for an unknown optimizer or weight.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> optimizer = keras.optimizers.SGD(momentum=0.9)
        >>> optimizer.build([weight])
        >>> [[tuple(slot.shape) for slot in slots] for slots in optimizer_slots(optimizer, [weight])]
        [[(1,)]]
    """
    positions = {id(variable): position for position, variable in enumerate(optimizer._trainable_variables)}
    if type(optimizer) not in _SLOTS or not all(id(weight) in positions for weight in weights):
        return None
    lists = [slots for name in _SLOTS[type(optimizer)] if (slots := getattr(optimizer, name, None))]
    return [[slots[positions[id(weight)]] for slots in lists] for weight in weights]


# What `fit_arguments` returns of the arguments of `model.fit`.
_OF_FIT = "x y sample_weight batch_size shuffle class_weight steps_per_epoch validation_split".split()


def fit_arguments() -> dict | None:
    """Return the arguments of the `model.fit` that is running, which Keras does not pass to callbacks.

    Returns:
        The arguments `x`, `y`, `sample_weight`, `batch_size`, `shuffle`, `class_weight`, `steps_per_epoch` and
        `validation_split` (what that split off is no longer in the first three); `steps`, the number of steps per
        epoch or None; and `callbacks`, all of them in the order in which they are called. None outside of `model.fit`.

    Example:
        >>> fit_arguments() is None
        True
    """
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and "epoch_iterator" in frame.f_locals:
            found = frame.f_locals
            arguments = {name: found[name] for name in _OF_FIT}
            steps, callbacks = found["epoch_iterator"].num_batches, list(found["callbacks"].callbacks)
            return {**arguments, "steps": steps, "callbacks": callbacks}
        frame = frame.f_back
    return None


def is_reordered(dataset) -> bool:
    """Return whether a `tf.data.Dataset` may differ each time it is read, by shuffling or random operations.

    Args:
        dataset: A `tf.data.Dataset`; it is not read.

    Returns:
        A bool; a Python function or generator inside is trusted.

    Example:
        >>> import tensorflow as tf
        >>> dataset = tf.data.Dataset.range(4)
        >>> is_reordered(dataset.batch(2)), is_reordered(dataset.shuffle(4).batch(2))
        (False, True)
    """
    if dataset.options().deterministic is False:
        return True
    todo = [dataset]
    while todo:
        each = todo.pop()
        kind = type(each).__name__
        if "Random" in kind or ("Shuffle" in kind and each._reshuffle_each_iteration is not False):
            return True
        if str(getattr(each, "_deterministic", None)).lower() == "false":
            return True
        operations = [op.type for made in each._functions() for op in made.function.graph.get_operations()]
        if any("Random" in kind and "Stateless" not in kind for kind in operations):
            return True
        todo += each._inputs()
    return False


def output_keys(model) -> list[str]:
    """Return the keys of a functional model's outputs in their flat order, where they are a dict; else nothing.

    Example:
        >>> x = keras.Input((4,))
        >>> output_keys(keras.Model(x, {"b": keras.layers.Dense(1)(x), "a": x}))
        ['a', 'b']
    """
    structure = getattr(model, "_outputs_struct", None)
    return [str(key) for key in sorted(structure)] if isinstance(structure, dict) else []


def attached(symbol, make: Callable):
    """Return an object that is kept beside a symbolic tensor and goes with it, made at the first call.

    Example:
        >>> symbol = keras.Input((4,))
        >>> attached(symbol, dict) is attached(symbol, dict)
        True
    """
    return vars(symbol).setdefault("_vis_attached", make())


def function_of(layer, name: str = "activation") -> Callable | None:
    """Return the function that a layer holds under a name, as `Dense(activation=f)` does, or None."""
    found = vars(layer).get(name)
    return found if callable(found) and not isinstance(found, keras.Operation) else None


@contextlib.contextmanager
def named_functions(layers: Iterable) -> Iterator[dict[str, types.FunctionType]]:
    """Let configurations name the functions that layers hold, lambdas too, inside a `with` statement.

    Keras writes a lambda's code into a configuration, if it can read its source, and refuses to make it again from
    there; functions that are not registered are looked up by a name, which several may have. So each has a name of its
    own here, for as long as it takes to read a configuration.

    Args:
        layers: Keras layers and operations.

    Yields:
        The functions by the names that they go by.

    Example:
        >>> layer = keras.layers.Lambda(lambda x: 2 * x)
        >>> with named_functions([layer]) as functions:
        ...     config = layer.get_config()
        >>> with keras.saving.custom_object_scope(functions):
        ...     float(keras.layers.Lambda.from_config(config)(keras.ops.ones(())))
        2.0
    """
    held = [value for layer in layers for value in vars(layer).values() if isinstance(value, types.FunctionType)]
    names = {
        value: value.__name__
        for value in held
        if not (value.__module__ or "").startswith("keras.")
        and keras.saving.get_registered_name(value) == value.__name__
    }
    functions = {f"function_{position}": function for position, function in enumerate(names)}
    with _replacing:
        try:
            for name, function in functions.items():
                function.__name__ = name
            yield functions
        finally:
            for function, name in names.items():
                function.__name__ = name


def calls(layer) -> list[tuple[str, Callable]]:
    """Return the methods by which Keras runs a layer, by name: `call`, and for a quantized one the other.

    Example:
        >>> [name for name, _ in calls(keras.layers.ReLU())]
        ['call']
    """
    names = ["call"] + ["quantized_call"] * (getattr(layer, "quantization_mode", None) is not None)
    return [(name, getattr(layer, name)) for name in names]


def not_rematerialized(layer) -> list[tuple[str, Callable]]:
    """Return what to replace of a layer made under a `keras.RematScope`, so that it runs without recomputation.

    Example:
        >>> with keras.RematScope(mode="full"):
        ...     layer = keras.layers.ReLU()
        >>> [name for name, _ in not_rematerialized(layer)], not_rematerialized(keras.layers.ReLU())
        (['rematerialized_call'], [])
    """
    if not getattr(layer, "_remat_mode", None):
        return []
    return [("rematerialized_call", lambda layer_call, *args, **kwargs: layer_call)]


# Attributes of Keras, some of which change when a layer is called.
_OF_EVERY_LAYER = frozenset(vars(keras.layers.Layer())) | {"_parent_path", "_saved_model_arg_spec", "_called"}
# Those without an underscore that a call does not depend on.
_BOOKKEEPING = frozenset("build built quantize call_signature_parameters activity_regularizer supports_jit".split())
# What `compile`, `fit`, `predict` and `evaluate` keep in a model, apart from these.
_OF_EVERY_MODEL = frozenset(vars(keras.Model(name="any"))) | frozenset(
    "optimizer history stop_training stop_predicting stop_evaluating _eval_epoch_iterator _compile_config "
    "_compiled_trainable_state".split()
)
_VARIABLES = ("_trainable_variables", "_non_trainable_variables")
_PLAIN = frozenset((bool, int, float, str, bytes, type(None)))
_MOST = 1000  # values of an attribute, as every call compares them


def fingerprint(layer) -> tuple:
    """Return the part of a layer that a trace depends on, apart from the values of its weights, for comparison.

    These are the identities of the layer and its variables, its precision, and its plain attributes: numbers, texts,
    flags, functions such as an activation, and small arrays and containers of these. Of the tensors that layers hold
    only those of Keras's layers count, such as what `Normalization` adapted to: others are often kept by a call.

    Example:
        >>> layer = keras.layers.LeakyReLU(negative_slope=0.25)
        >>> before = fingerprint(layer)
        >>> layer.negative_slope = 0.5
        >>> fingerprint(layer) == before
        False
    """
    attributes = vars(layer)
    trainable, others = (attributes.get(name, ()) for name in _VARIABLES)
    own = not type(layer).__module__.startswith("keras.")
    counting = _counting(own, isinstance(layer, keras.Model), tuple(attributes))
    return (
        _identity(layer),
        # The ids first, as references to variables that are alive would be compared by their values.
        tuple(map(id, trainable)),
        tuple(map(id, others)),
        tuple(map(weakref.ref, trainable)),
        tuple(map(weakref.ref, others)),
        getattr(getattr(layer, "dtype_policy", None), "name", None),
        *[_compared(attributes[name], own) for name in counting],
    )


def _identity(thing) -> tuple:
    """Return what is equal for the same thing only; a new one may have the id of one that is gone."""
    return id(thing), weakref.ref(thing)


def _compared(value, own: bool):
    """Return what stands for an attribute in a comparison; None where it does not count."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    compare = _comparison(kind, own)  # type: ignore[arg-type]
    return None if compare is None else compare(value, own)


@functools.lru_cache(4096)
def _comparison(kind: type, own: bool) -> Callable | None:
    """Return the function that stands in for values of a type in a comparison, or None if they do not count."""
    if issubclass(kind, (types.FunctionType, keras.Operation)) or (not own and issubclass(kind, tf.Tensor)):
        return lambda value, own: _identity(value)
    if issubclass(kind, functools.partial):
        return lambda value, own: [_compared(each, own) for each in (value.func, value.args, value.keywords)]
    if issubclass(kind, (tuple, list, dict)):
        return _contents
    if issubclass(kind, (np.generic, np.ndarray)):
        return lambda value, own: (value.dtype.str, value.shape, value.tobytes() if value.size <= _MOST else None)
    return None


def _contents(container, own: bool):
    if len(container) > _MOST:
        return len(container)
    items = itertools.chain(*container.items()) if isinstance(container, dict) else container
    return [each if type(each) in _PLAIN else _compared(each, own) for each in items]


@functools.lru_cache(4096)
def _counting(own: bool, is_model: bool, names: tuple) -> list:
    """Return which of a layer's attributes may count: of those of Keras that are private none, as bookkeeping."""
    # What begins with `_self_` is TensorFlow's record of these attributes.
    names = tuple(name for name in names if not (is_model and (name in _OF_EVERY_MODEL or name[:6] == "_self_")))
    return [
        name for name in names if name not in _BOOKKEEPING and (name[0] != "_" or (own and name not in _OF_EVERY_LAYER))
    ]


@contextlib.contextmanager
def replaced(replacements: Iterable[tuple[object, str, Callable]]):
    """Replace functions of layers, for what this thread calls inside a `with` statement.

    Other threads that run the same model meanwhile call the original functions. Only one thread at a time can be
    inside such a `with` statement; others wait.

    Args:
        replacements: `(layer, name, function)`: a layer or an operation, the name of its method or of an attribute
            that is a function (`"call"`, `"activation"`), and the function to call in its place. If a layer
            and a name occur twice, the later function is used.

    Example:
        >>> layer = keras.layers.ReLU()
        >>> x = keras.ops.convert_to_tensor([-1.0])
        >>> with replaced([(layer, "call", lambda inputs: 5 * inputs)]):
        ...     float(layer(x)[0])
        -5.0
        >>> float(layer(x)[0])
        0.0
    """
    thread = threading.get_ident()

    def chosen(function, before):
        @functools.wraps(before, updated=())
        def call(*args, **kwargs):
            return (function if threading.get_ident() == thread else before)(*args, **kwargs)

        return call

    with _replacing, contextlib.ExitStack() as restore:
        for layer, name, function in replacements:
            attributes = vars(layer)  # bypasses `Layer.__setattr__`, which tracks the parts of a layer
            if name in attributes:
                restore.callback(attributes.__setitem__, name, attributes[name])
            else:
                restore.callback(attributes.__delitem__, name)
            attributes[name] = chosen(function, getattr(layer, name))
        yield
