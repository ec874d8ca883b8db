"""Analyze a traced graph: what a tensor was computed from, and where probabilities and rectifiers are."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

# Operations that turn logits into probabilities.
PROBABILITIES = ("Softmax", "Sigmoid")
# Operations before which a class score is read, if one of them ends the model.
ENDS = (*PROBABILITIES, "LogSoftmax")

_ASSIGNMENTS = ("AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_SHAPES = ("Shape", "ShapeN", "Size", "Rank")

# In the names of operations that a backprop rule was applied to.
REACHED = "vis_reached"
# In the names of operations of an intervention, such as SmoothGrad's noise.
CHANGED = "vis_changed"

_RANDOM = frozenset(
    "RandomUniform RandomStandardNormal TruncatedNormal RandomUniformInt Multinomial RandomShuffle "
    "StatelessRandomUniform StatelessRandomUniformV2 StatelessRandomNormal StatelessRandomNormalV2 "
    "StatelessTruncatedNormal StatelessTruncatedNormalV2 StatelessRandomUniformInt StatelessRandomUniformIntV2 "
    "StatelessMultinomial".split()
)

_RECTIFYING_OP_TYPES = frozenset("Relu Relu6 LeakyRelu Elu Selu Softplus Erf Erfc".split())
# Operations that only carry values along: a softmax or sigmoid before them is still the end of the model.
_CARRIERS: dict[str, Callable] = {
    "Identity": lambda op, value: value,
    "StopGradient": lambda op, value: tf.stop_gradient(value),
    "Cast": lambda op, value: tf.cast(value, op.outputs[0].dtype),
    "Reshape": lambda op, value: tf.reshape(value, op.inputs[1]),
    "Transpose": lambda op, value: tf.transpose(value, op.inputs[1]),
    "Squeeze": lambda op, value: tf.reshape(value, tf.shape(op.outputs[0])),
    "ExpandDims": lambda op, value: tf.reshape(value, tf.shape(op.outputs[0])),
}


def logits_of(output, target, kinds=ENDS):
    """Return the input of the final softmax, log-softmax or sigmoid that produced a tensor.

    Args:
        output: An output of a model.
        target: That tensor, or one with the same values before it, as before a cast or a reshape.
        kinds: The operations that count as a softmax or sigmoid.

    Returns:
        The tensor before the softmax or sigmoid, in the form of `target`; None if the output does not end in one, or
        `target` is none of these tensors.
    """
    tensor, carriers, passed = output, [], [output]
    while tensor.op.type in _CARRIERS:
        carriers.append(tensor.op)
        tensor = tensor.op.inputs[0]
        passed.append(tensor)
    found = [position for position, candidate in enumerate(passed) if candidate is target]
    if not found or tensor.op.type not in kinds:
        return None
    value = tensor.op.inputs[0]
    for op in reversed(carriers[found[0] :]):
        value = _CARRIERS[op.type](op, value)
    return value


def ends_in_probability_call(tensor) -> bool:
    """Return whether a tensor is the result of a function, such as a SavedModel, that ends in a softmax or sigmoid."""
    while tensor.op.type in _CARRIERS:
        tensor = tensor.op.inputs[0]
    if tensor.op.type not in _CALLS:
        return False
    functions = {each.signature.name: each for each in tensor.graph.as_graph_def().library.function}
    name, output = tensor.op.get_attr("f").name, tensor.value_index
    while True:
        nodes = {node.name: node for node in functions[name].node_def}
        source = functions[name].ret[functions[name].signature.output_arg[output].name]
        while (node := nodes.get(source.partition(":")[0])) is not None and node.op in _CARRIERS:
            source = node.input[0]
        if node is None or node.op not in _CALLS:
            return node is not None and node.op in PROBABILITIES
        name, output = node.attr["f"].func.name, int(source.rpartition(":")[2])


def ancestors(tensor, past=()) -> set:
    """Return the names of all operations that a tensor was computed from, including its own.

    Args:
        tensor: A tensor of the graph.
        past: Other tensors. If there are any, only operations on paths that avoid them count; paths that carry only
            a shape do not count.
    """
    found, stack = set(), [tensor.op]
    ends = {each.op.name for each in past}
    while stack:
        op = stack.pop()
        if op.name in found or (ends and (op.name in ends or op.type in _SHAPES)):
            continue
        found.add(op.name)
        stack.extend(source.op for source in op.inputs)
    return found


def descendants(tensor) -> set:
    """Return the names of all operations of the graph that are computed from a tensor, its own included."""
    found, stack = set(), [tensor.op]
    while stack:
        op = stack.pop()
        if op.name not in found:
            found.add(op.name)
            stack.extend(user for output in op.outputs for user in output.consumers())
    return found


def reads_directly(tensor, inputs) -> bool:
    """Return whether a tensor was computed from inputs of the model by the operations of a single lookup."""
    names, stack = {each.op.name for each in inputs}, [(tensor.op, 0)]
    while stack:
        op, depth = stack.pop()
        if op.name in names:
            return True
        stack += [(source.op, depth + 1) for source in op.inputs if depth < 6 and op.type not in ("MatMul", "Einsum")]
    return False


def draws_numbers(graph, tensor) -> bool:
    """Return whether a tensor is computed from random numbers that the model draws."""
    names = ancestors(tensor)
    random = (op.name for op in graph.get_operations() if op.type in _RANDOM and CHANGED not in op.name)
    return any(name in names for name in random)


def assigns(graph) -> bool:
    """Return whether a graph changes a variable."""
    return any(op.type in _ASSIGNMENTS for op in graph.get_operations())


def unreached_activations(tensor) -> list[str]:
    """Return the names of the rectifying operations before a tensor that no backprop rule was applied to."""
    operations = (tensor.graph.get_operation_by_name(name) for name in ancestors(tensor) if REACHED not in name)
    return sorted(op.name for op in operations if _rectifies(op))


def _rectifies(op) -> bool:
    """Return whether an operation is a rectifier, or the sigmoid or tanh of x·σ(x), as in swish and gelu."""
    if op.type in ("Sigmoid", "Tanh") or _is_hard_sigmoid(op):
        return _gates_itself(op)
    return op.type in _RECTIFYING_OP_TYPES


def _is_hard_sigmoid(op) -> bool:
    """Return whether an operation is the relu6(x + 3) of the hard sigmoid, relu6(x + 3) / 6."""
    if op.type != "Relu6" or op.inputs[0].op.type != "AddV2":
        return False
    return any(_is_three(value) for value in op.inputs[0].op.inputs)


def _is_three(tensor) -> bool:
    value = tf.get_static_value(tensor)
    return value is not None and value.size == 1 and float(value) == 3.0


def _gates_itself(op) -> bool:
    """Return whether the result of an operation on a tensor is multiplied by that tensor."""
    sources = {id(source) for source in _elementwise_sources(op.inputs[0], 6)}
    reached = [op.outputs[0]]
    for _ in range(3):
        users = [user for value in reached for user in value.consumers() if user.type in ("Mul", "RealDiv", "AddV2")]
        for user in users:
            factors = [value for value in user.inputs if all(value is not mine for mine in reached)]
            if user.type == "Mul" and any(
                id(source) in sources for factor in factors for source in _elementwise_sources(factor, 2)
            ):
                return True
        reached = [user.outputs[0] for user in users]
    return False


def _elementwise_sources(tensor, depth: int) -> list:
    """Return a tensor and those it was computed from elementwise, by a limited number of operations; no constants."""
    if tensor.op.type == "Const":
        return []
    found = [tensor]
    if depth and tensor.op.type in ("Mul", "AddV2", "Pow", "Square", "Identity"):
        found += [source for value in tensor.op.inputs for source in _elementwise_sources(value, depth - 1)]
    return found
