"""Taps: read any layer of any model while the model runs.

A tap is a layer whose output is to be read, or differentiated with respect to. No model is rebuilt: for one call of the
model, the `call` of each of its layers is wrapped to record what it returns, and restored afterwards. The recorded
tensor is the one that the rest of the model computed with, so it is on the tape of a surrounding `tf.GradientTape`.
This works for functional, sequential, nested, shared and subclassed models alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from vis.engine import addressing, fused_batch_norm, graphs, keras_internals
from vis.engine.inputs import ModelInputs
from vis.engine.layout import Axes, Layout
from vis.engine.rules import Rule, rule_of, underlying
from vis.utils.errors import ArgumentError

_STRIDE = 1_000_003  # between the states of two seed generators
_RECTIFYING_LAYERS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.ELU, keras.layers.PReLU)
_RECTIFYING_OPERATIONS = frozenset(
    "Relu ReLU Relu6 LeakyRelu Elu Selu Celu Silu Gelu Softplus Squareplus HardSilu Mish".split()
)
# Any other `activation=` counts as a rectifier, custom ones too.
_NOT_RECTIFYING = frozenset(
    "linear identity softmax log_softmax sparsemax sigmoid hard_sigmoid log_sigmoid sparse_sigmoid tanh hard_tanh "
    "tanh_shrink soft_shrink hard_shrink softsign exponential exp glu threshold".split()
)


class Call(NamedTuple):
    """One call of one layer: the layer and the flat list of tensors that it returned."""

    layer: object
    outputs: list


@dataclasses.dataclass
class Notes:
    """Facts about its target that a loss notes while it is traced.

    Attributes:
        width: The number of filters to choose from, or None.
        probability: Whether the target is the output of a final softmax or sigmoid.
        layout: The `Layout` of the target, if the loss used it.
        scalar: Whether the loss is a single number for a whole batch.
    """

    width: int | None = None
    probability: bool = False
    layout: Layout | None = None
    scalar: bool = False


class Run:
    """The record of one call of a model: its inputs, its outputs, and the outputs of its layers, in order.

    A run is a function from addresses to tensors, with which a loss reads the layers it needs: `run(None)` is the
    model's output, `run('block5_conv3')` that of a layer, `run(tensor)` the value of a symbolic Keras tensor.

    Attributes:
        model: The Keras model.
        inputs: The flat list of input tensors.
        outputs: The flat list of output tensors.
        structure: The outputs in the structure in which the model returns them.
        called_with: For each tensor that a layer returned, by name, the first argument of that layer.
        calls: A list of `Call`, in the order in which the layers finished.
        notes: The `Notes` of the loss that is being evaluated.
        reached: The number of activations that a backprop rule was applied to.
    """

    def __init__(self, model, inputs):
        self.model = model
        self.inputs = inputs
        self.outputs: list = []
        self.structure = None
        self.called_with: dict[str, tf.Tensor] = {}
        self._axes: Axes | None = None
        self.calls: list[Call] = []
        self.notes = Notes()
        self.reached = 0

    def __call__(self, address=None):
        """Return the tensor at an address; raise a ValueError if there are none or several."""
        found = self.tensors(address)
        if len(found) != 1:
            name = "the model" if address is None else f"layer {name_of(address)!r}"
            outputs = ", ".join(map(repr, addressing.output_names(self.model))) if address is None else ""
            raise ArgumentError(
                "layer_idx",
                f"must name one output: {name} gave {len(found)} outputs "
                f"({', '.join(str(tuple(t.shape)) for t in found)})",
                f"Give the name of one ({outputs}), or the layer that gives it"
                if outputs
                else "Give the layer that gives it",
                kind="outputs",
            )
        return found[0]

    def tensors(self, address=None, argument: str = "layer_idx") -> list:
        """Return all tensors at an address: one per call of a shared layer, one per output of a layer with several."""
        if address is None:
            return self.outputs
        if isinstance(address, addressing.Address):
            if address.kind == "output":
                return [self.outputs[address.where]]
            address = address.where
        if isinstance(address, keras.KerasTensor):
            return [self._evaluate(address)]
        layer = addressing.find_layer(self.model, address, argument)
        if layer is self.model:
            return self.outputs
        found = self._of(layer)
        if not found or any(tensor.graph is not tf.compat.v1.get_default_graph() for tensor in found):
            raise ArgumentError(
                argument,
                f"must be a layer whose output can be read, not '{layer.name}': it is not called when the model runs, "
                "or runs inside a loop or a @tf.function of its own",
                "Choose the layer around it",
                kind="unreadable",
            )
        return found

    def _of(self, layer) -> list:
        calls = [call for call in self.calls if call.layer is layer]
        order = _node_order(self.model, layer) if len(calls) > 1 else []
        if len(order) == len(calls):  # the layer's call when the graph was built, not when the graph runs
            calls = [calls[order.index(node)] for node in keras_internals.nodes(layer) if node in order]
        return [tensor for call in calls for tensor in call.outputs]

    def _evaluate(self, symbol):
        """Return the value of a symbolic tensor in this run: as a layer returned it, or computed from there."""
        known, seen = {}, set()
        stack = [symbol]
        while stack:
            tensor = stack.pop()
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            value = self._read(tensor)
            if value is not None:
                known[id(tensor)] = (tensor, value)
                continue
            operation, node_index, _ = keras_internals.producer(tensor)
            parents = keras_internals.node_inputs(operation, node_index)
            if not parents:
                raise ArgumentError(
                    "layer_idx",
                    f"must be of the model's graph, but the tensor {symbol.name!r} is not part of the graph of the "
                    f"model '{self.model.name}'",
                    kind="unknown",
                )
            stack.extend(parents)
        if id(symbol) in known:
            return known[id(symbol)][1]
        symbols, values = zip(*known.values(), strict=True)
        return keras.Function(list(symbols), symbol)(list(values))

    def _read(self, symbol):
        operation, node_index, tensor_index = keras_internals.producer(symbol)
        if isinstance(operation, keras.layers.InputLayer):
            for mine, value in zip(getattr(self.model, "inputs", None) or [], self.inputs, strict=False):
                if mine is symbol:
                    return value
        calls = [call for call in self.calls if call.layer is operation]
        if not calls:
            return None
        if len(calls) == 1:
            return calls[0].outputs[tensor_index]
        order = _node_order(self.model, operation)
        node = keras_internals.nodes(operation)[node_index]
        return calls[order.index(node)].outputs[tensor_index] if node in order else None

    def logits(self, address=None, kinds=graphs.ENDS):
        """Return the tensor at an address, before the final softmax or sigmoid if the tensor is its output.

        The softmax is found among the traced operations, however it was written: as an `activation=`, a layer, an
        operation of a graph or of a subclassed `call`, with or without casts and reshapes after it.
        """
        return self.logits_of(self(address), kinds)

    def logits_of(self, target, kinds=graphs.ENDS):
        """Return the values before the final softmax or sigmoid, if a tensor is its output."""
        found = (graphs.logits_of(output, target, kinds) for output in self.outputs)
        return next((logits for logits in found if logits is not None), target)

    def ends_in_probability(self, address=None) -> bool:
        """Return whether the tensor at an address is the output of a final softmax or sigmoid."""
        found = self(address)
        return self.logits(address, graphs.PROBABILITIES) is not found or graphs.ends_in_probability_call(found)

    @property
    def axes(self) -> Axes:
        """The axes of the tensors of the graph traced so far."""
        if self._axes is None:
            self._axes = Axes(self.outputs[0].graph, self.inputs, self.called_with)
        return self._axes

    def layout(self, tensor) -> Layout:
        """Return the layout of a tensor of this run."""
        if self._axes is not None and self._axes.of(tensor) is None:
            self._axes = None  # created after the model had run
        return self.axes.layout(tensor)

    def channel(self, tensor) -> int | None:
        """Return the channel axis of a tensor of this run, counting the sample axis as 0, or None if there is none."""
        channel = self.layout(tensor).channel
        return None if channel is None else channel + 1

    def data_format(self) -> str:
        """Return `'channels_first'` or `'channels_last'`: that of the first input."""
        first = self.layout(self.inputs[0]).channel == 0 and (self.inputs[0].shape.rank or 0) > 2
        return "channels_first" if first else "channels_last"


def run(
    model,
    inputs,
    on_output: Callable = lambda layer, tensor: tensor,
    differentiated: Callable[[], bool] = lambda: True,
    state=None,
) -> Run:
    """Call a model in inference mode and record what each of its layers returns. Must be called while tracing.

    Args:
        model: A Keras model, with or without a backprop modifier.
        inputs: The model's input tensors, in the structure the model takes.
        on_output: A function `(layer, tensor) -> tensor` that gets each tensor that a layer returns, and returns the
            tensor with which the rest of the model continues.
        differentiated: Returns whether a gradient will pass through the layer that is about to be called.
        state: The state of the model's seed generators in this run, a tensor of shape (2,); None keeps their state.

    Returns:
        The `Run`.
    """
    record = Run(underlying(model), keras.tree.flatten(inputs))
    rule = rule_of(model)

    def wrapped(layer, call):
        rectifies = rule is not None and _rectifies(layer)
        fast = fused_batch_norm.fast(layer, call)

        def noted_call(*args, **kwargs):
            if rule is not None and rectifies:
                with tf.name_scope(graphs.REACHED):
                    outputs = call(*args, **kwargs)
                record.reached += 1
                outputs = rule.apply(args[0] if args else next(iter(kwargs.values())), outputs)
            else:
                outputs = (call if differentiated() else fast)(*args, **kwargs)
            outputs = keras.tree.map_structure(
                lambda value: on_output(layer, value) if tf.is_tensor(value) else value, outputs
            )
            record.calls.append(Call(layer, [value for value in keras.tree.flatten(outputs) if tf.is_tensor(value)]))
            given = next((value for value in keras.tree.flatten((args, kwargs)) if tf.is_symbolic_tensor(value)), None)
            if given is not None:
                for value in record.calls[-1].outputs:
                    record.called_with.setdefault(value.name, given)
            return outputs

        return noted_call

    layers = addressing.flatten(record.model)
    replacements = [
        (layer, name, wrapped(layer, call)) for layer in layers for name, call in keras_internals.calls(layer)
    ]
    # A layer that is recomputed for its gradient would hide its outputs from the tape.
    replacements += [
        (layer, *each) for layer in [record.model, *layers] for each in keras_internals.not_rematerialized(layer)
    ]
    if rule is not None:
        replacements += [
            (layer, "activation", _ruled(keras_internals.function_of(layer), rule, record))
            for layer in layers
            if _has_rectifying_activation(layer)
        ]
    # For this thread only: a prediction or a `fit` in another thread runs the unmodified model.
    with keras_internals.replaced(replacements):
        # What the model assigns to its variables, as a stateful layer does, holds for this one run: no later one, and
        # nothing of the caller's, sees it.
        states = [] if state is None else keras_internals.seed_states(record.model)
        mapping = [(each, tf.cast(state + i * _STRIDE, each.dtype)) for i, each in enumerate(states)]
        with keras.StatelessScope(state_mapping=mapping):
            record.structure = record.model(inputs, training=False)
    record.outputs = keras.tree.flatten(record.structure)
    return record


def input_layouts(model, inputs: ModelInputs | None = None) -> list[Layout]:
    """Return the layout of each input of a model, by tracing the model once.

    Args:
        model: A Keras model, with or without a backprop modifier.
        inputs: Samples that show the model's inputs; None uses its symbolic inputs.

    Returns:
        One `Layout` per input; an empty list without samples if the model has no symbolic inputs.
    """
    found: list[Layout] = []
    if inputs is None:
        symbols = addressing.symbolic_inputs(model)
        structure = model.input if isinstance(model, keras.Function) else symbols[0] if symbols else None
        specs = [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in symbols]
    else:
        structure = inputs.structure
        specs = [tf.TensorSpec(*each) for each in zip(inputs.shapes, (a.dtype for a in inputs.arrays), strict=True)]

    def forward(*tensors):
        record = run(model, keras.tree.pack_sequence_as(structure, list(tensors)))
        found[:] = [record.layout(tensor) for tensor in record.inputs]

    if specs:
        tf.function(forward, autograph=False).get_concrete_function(*specs)
    return found


def output_layout(symbol: keras.KerasTensor) -> Layout:
    """Return the layout of a symbolic tensor, by tracing the layers before it.

    Args:
        symbol: A tensor of a functional graph.

    Returns:
        Its `Layout`.
    """
    sources = keras.utils.get_source_inputs(symbol)
    model, found = keras.Model(sources, symbol), []

    def forward(*tensors):
        record = run(model, list(tensors))
        found.append(record.layout(record.outputs[0]))

    specs = [tf.TensorSpec(source.shape, source.dtype) for source in sources]
    tf.function(forward, autograph=False).get_concrete_function(*specs)
    return found[0]


def _ruled(activation, rule: Rule, record: Run):
    def ruled_activation(x, *args, **kwargs):
        record.reached += 1
        with tf.name_scope(graphs.REACHED):
            y = activation(x, *args, **kwargs)
        return rule.apply(x, y)

    return ruled_activation


def _rectifies(layer) -> bool:
    if isinstance(layer, keras.layers.Layer):
        return isinstance(layer, _RECTIFYING_LAYERS)
    return type(layer).__name__ in _RECTIFYING_OPERATIONS


def _has_rectifying_activation(layer) -> bool:
    activation = keras_internals.function_of(layer)
    return activation is not None and getattr(activation, "__name__", "") not in _NOT_RECTIFYING


def _node_order(model, operation) -> list:
    """Return the nodes of an operation in the order in which the functional graphs of a model run them."""
    functions = [layer for layer in [model, *addressing.flatten(model)] if isinstance(layer, keras.Function)]
    functional = keras_internals.functional_of(model)
    if functional is not None and functional is not model:
        functions.append(functional)
    order = (node for function in functions for node in keras_internals.node_order(function))
    return [node for node in order if node.operation is operation]


def name_of(address) -> str:
    """Return the name of an address for messages."""
    return getattr(address, "name", str(address))
