"""Find a layer in any model: by index, by name, by a path through nested models, or as the layer itself."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras

from vis.engine import keras_internals
from vis.engine.rules import ModifiedModel, underlying
from vis.utils.errors import ArgumentError, ArgumentTypeError

_LISTED = 8

# Graph operations after a layer that preserve the order and the sign of its scores.
_KEEP_SCORES = frozenset(
    "Softmax LogSoftmax Sigmoid LogSigmoid HardSigmoid Tanh Relu Relu6 LeakyRelu Elu Selu Softplus Identity Cast "
    "Reshape Squeeze ExpandDims Transpose Mean".split()
)


def flatten(model) -> list:
    """Return every layer and graph operation of a model, nested ones too, each once, without the model itself.

    Args:
        model: A Keras model of any kind.

    Returns:
        A list of `keras.Operation` objects; most are layers, some are operations of a functional graph, such as the
        one that `keras.ops.relu(x)` creates.

    Example:
        >>> import keras
        >>> x = keras.Input((4,))
        >>> model = keras.Model(x, keras.ops.relu(keras.layers.Dense(2)(x)))
        >>> [type(operation).__name__ for operation in flatten(model)]
        ['InputLayer', 'Dense', 'Relu']
    """
    found: dict[int, object] = {}

    def visit(parent):
        for child in children(parent):
            if id(child) not in found:
                found[id(child)] = child
                visit(child)

    visit(underlying(model))
    return list(found.values())


def children(parent) -> list:
    """Return the layers and graph operations directly inside a model or a layer, in order of computation."""
    if isinstance(parent, keras.Function):
        return list(parent.operations)
    if isinstance(parent, keras.Sequential):
        return list(parent.layers)
    if isinstance(parent, keras.layers.Layer):
        return keras_internals.sublayers(parent)
    return []


def paths(model) -> Iterator[tuple[str, object]]:
    """Yield `(path, layer)` for every layer at every depth, outer layers before the ones inside them."""
    level = [("", underlying(model))]
    seen = set()
    while level:
        below = []
        for prefix, parent in level:
            for child in children(parent):
                path = f"{prefix}{child.name}"
                yield path, child
                if id(child) not in seen:
                    seen.add(id(child))
                    below.append((f"{path}/", child))
        level = below


def find_layer(model, address, argument: str = "layer_idx"):
    """Return the layer at an address.

    Args:
        model: A Keras model of any kind.
        address: An index into `model.layers` (negative too), a layer's name, a path of names through nested models
            such as `'backbone/block5_conv3'`, or a layer of the model itself. A name may be that of a layer deep
            inside the model if only one layer has it.
        argument: The name of the caller's argument, for the error message.

    Returns:
        The layer.

    Raises:
        ValueError: There is no such layer, or a name fits several.
        TypeError: The address is of another type.

    Example:
        >>> import keras
        >>> backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="features")], name="backbone")
        >>> model = keras.Sequential([keras.Input((4,)), backbone, keras.layers.Dense(2, name="scores")])
        >>> find_layer(model, -1).name, find_layer(model, "backbone/features").name
        ('scores', 'features')
    """
    model = underlying(model)
    if isinstance(address, bool) or not (hasattr(address, "__index__") or isinstance(address, (str, keras.Operation))):
        raise ArgumentTypeError(
            argument,
            "must be a layer's index, its name, a path such as 'backbone/conv5' or a layer, "
            f"not {type(address).__name__}: {address!r}",
            kind="dtype",
        )
    if isinstance(address, str):
        return _find_by_name(model, address, argument)
    if isinstance(address, keras.Operation):
        if address is model or any(address is layer for layer in flatten(model)):
            return address
        raise ArgumentError(
            argument, f"must be a layer of the model '{model.name}', not '{address.name}', which is not", kind="unknown"
        )
    index, layers = address.__index__(), model.layers
    if not -len(layers) <= index < len(layers):
        raise ArgumentError(
            argument,
            f"must be the index of a layer, not {index}: the model '{model.name}' has {len(layers)} layers "
            f"(0 to {len(layers) - 1}, or -1 for the last)",
            kind="range",
        )
    return layers[index]


def _find_by_name(model, name, argument):
    everything = list(paths(model))
    exact = [layer for path, layer in everything if path == name]
    if exact:
        return exact[0]
    found = {id(layer): (path, layer) for path, layer in reversed(everything) if path.endswith(f"/{name}")}
    if len(found) == 1:
        return next(iter(found.values()))[1]
    if found:
        choices = ", ".join(repr(path) for path, _ in reversed(found.values()))
        raise ArgumentError(
            argument,
            f"must be the name of one layer, not {name!r}, which fits several",
            f"Give the path of one: {choices}",
            kind="ambiguous",
        )
    known = [path for path, _ in everything]
    by_last_name = {path.rsplit("/", 1)[-1]: path for path in reversed(known)}
    near = difflib.get_close_matches(name, known, n=3)
    near += [by_last_name[last] for last in difflib.get_close_matches(name, by_last_name, n=3)]
    if near:
        hint = f"The nearest names are {', '.join(map(repr, dict.fromkeys(near)))}"
    else:
        hint = f"The layers are {', '.join(map(repr, known[:_LISTED]))}{', ...' if len(known) > _LISTED else ''}"
    problem = f"must be a layer of the model '{model.name}', which has no layer {name!r}"
    raise ArgumentError(argument, problem, hint, kind="unknown")


def operations_after_last_layer(model) -> list[str]:
    """Return the graph operations that change the scores after the last layer of a functional model.

    Args:
        model: A Keras model of any kind.

    Returns:
        Their names, the last one first; empty if the model's only output ranks like that of its last layer.

    Example:
        >>> import keras
        >>> x = keras.Input((4,))
        >>> operations_after_last_layer(keras.Model(x, keras.ops.softmax(-keras.layers.Dense(2)(x))))
        ['Negative']
    """
    if not isinstance(model, keras.Function) or len(model.outputs) != 1:
        return []
    names, tensors = [], model.outputs
    while len(tensors) == 1 and not isinstance(operation_of(tensors[0]), keras.layers.Layer):
        operation, node_index, _ = keras_internals.producer(tensors[0])
        names += [type(operation).__name__] if type(operation).__name__ not in _KEEP_SCORES else []
        tensors = keras_internals.node_inputs(operation, node_index)
    return names


def path_of(model, layer) -> str:
    """Return the path of names to a layer, such as `'backbone/block5_conv3'`, or its name if it is not inside."""
    return next((path for path, found in paths(model) if found is layer), layer.name)


def model_of(input_tensor):
    """Return the model that an input tensor leads to.

    Args:
        input_tensor: A model, or the symbolic input (a Keras tensor, or a list or dict of them) of one.

    Returns:
        The model itself; for a symbolic input, a model of everything computed from it.

    Raises:
        TypeError: `input_tensor` is neither.
    """
    if isinstance(input_tensor, (keras.Model, ModifiedModel)):
        return input_tensor
    symbols = keras.tree.flatten(input_tensor)
    if not symbols or not all(isinstance(symbol, keras.KerasTensor) for symbol in symbols):
        if type(input_tensor).__module__.startswith("tf_keras."):
            raise ArgumentTypeError(
                "input_tensor",
                f"must be a model of Keras 3, not of the old Keras ({type(input_tensor).__module__})",
                "Build or load it with `import keras`",
                kind="old_keras",
            )
        raise ArgumentTypeError(
            "input_tensor", f"must be model.input or a model, not {type(input_tensor).__name__}", kind="dtype"
        )
    # Kept on the tensor, so that it is freed with the graph and the functions traced for it are reused.
    known = keras_internals.attached(symbols[0], dict)
    key = tuple(id(symbol) for symbol in symbols)
    ends = _ends(symbols)
    if key not in known or [id(end) for end in known[key].outputs] != [id(end) for end in ends]:
        known[key] = keras.Model(input_tensor, ends)
    return known[key]


def _ends(symbols) -> list:
    """Return the tensors that can be computed from symbolic inputs and from which nothing else is computed."""
    reachable = {id(symbol): symbol for symbol in symbols}
    used: set = set()
    waiting = [operation_of(symbol) for symbol in symbols]
    while waiting:
        for node in keras_internals.consumers(waiting.pop()):
            if not all(id(tensor) in reachable for tensor in node.input_tensors):
                continue
            used.update(id(tensor) for tensor in node.input_tensors)
            new = [tensor for tensor in node.outputs if id(tensor) not in reachable]
            reachable.update((id(tensor), tensor) for tensor in new)
            if new:
                waiting.append(node.operation)
    return [tensor for key, tensor in reachable.items() if key not in used]


class Address(NamedTuple):
    """A resolved address: the key of a trace, and the place where the trace reads.

    Attributes:
        kind: `"inputs"` (all), `"input"`, `"layer"`, `"symbol"`, `"output"` or `"nearest"`.
        where: The position of the input or output, the layer, or the Keras tensor; None if the kind is enough.
        name: The name for messages.
    """

    kind: str
    where: Any = None
    name: str = ""


# The nearest feature map before the target, as a tensor to differentiate with respect to.
NEAREST = Address("nearest", name="the nearest feature map before the target")


def resolve(model, address, argument: str = "layer_idx", keys=None) -> Address:
    """Resolve an address in any of its forms.

    Args:
        model: A Keras model of any kind.
        address: What `find_layer` takes; a Keras tensor; None for all inputs; an input's key or name; an `Address`.
        argument: The name of the caller's argument, for the error message.
        keys: The user's keys of the model's inputs, if they came in a dict.

    Returns:
        The `Address`; equal for all forms of one address.

    Raises:
        ArgumentError: There is no such layer, or a name fits several.
        ArgumentTypeError: The address is of another type.
    """
    model = underlying(model)
    if isinstance(address, Address):
        return address
    if address is None or underlying(address) is model:
        return Address("inputs", name="the inputs")
    if isinstance(address, str) and keys and address in keys:
        return Address("input", keys.index(address), address)
    symbols = symbolic_inputs(model)
    if isinstance(address, keras.KerasTensor):
        position = next((i for i, symbol in enumerate(symbols) if symbol is address), None)
        return (
            Address("symbol", address, address.name) if position is None else Address("input", position, address.name)
        )
    layer = find_layer(model, address, argument)
    position = next((i for i, symbol in enumerate(symbols) if operation_of(symbol) is layer), None)
    return (
        Address("layer", layer, path_of(model, layer)) if position is None else Address("input", position, layer.name)
    )


def resolve_target(model, address, argument: str = "layer_idx"):
    """Find the layer whose output is explained.

    Args:
        model: A Keras model of any kind.
        address: What `find_layer` takes; a Keras tensor; None for the model's output; the key or name of one of its
            outputs, if no layer has that name.
        argument: The name of the caller's argument, for the error message.

    Returns:
        None, a Keras tensor, a layer, or an `Address` of kind `"output"`.
    """
    model = underlying(model)
    if address is None or address is model or isinstance(address, (keras.KerasTensor, Address)):
        return None if address is model else address
    if isinstance(address, str):
        names = output_names(model)
        if address in names and not any(path == address for path, _ in paths(model)):
            return Address("output", names.index(address), address)
    return find_layer(model, address, argument)


def operation_of(symbol):
    """Return the layer or graph operation that produces a Keras tensor."""
    return keras_internals.producer(symbol)[0]


def output_names(model) -> list[str]:
    """Return the names of a functional model's outputs, in their flat order: its keys, where they are a dict.

    Example:
        >>> import keras
        >>> x = keras.Input((4,))
        >>> output_names(keras.Model(x, {"b": keras.layers.Dense(1)(x), "a": x}))
        ['a', 'b']
    """
    keys = keras_internals.output_keys(underlying(model))
    return keys or [str(name) for name in getattr(underlying(model), "output_names", None) or []]


def symbolic_inputs(model) -> list:
    """Return the flat list of a model's symbolic inputs; empty for a subclassed model or an unbuilt `Sequential`."""
    try:
        return keras.tree.flatten(model.inputs or [])
    except AttributeError:
        return []
