"""An objective in the graph: run a model, compute losses of the run, and differentiate them.

This is the body of every compiled function: `vis.engine.evaluate` calls it once per batch, a loop at each step.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from vis.engine import addressing, graphs, nearest, taps
from vis.engine.addressing import NEAREST, Address
from vis.engine.inputs import ModelInputs, is_real
from vis.engine.result_warnings import result_warnings
from vis.engine.rules import underlying
from vis.engine.types import Source
from vis.utils.errors import ArgumentError, ArgumentTypeError


class Answer(NamedTuple):
    """The result of an objective in the graph.

    Attributes:
        scores: A tensor of shape (losses, rows): each loss, unweighted.
        tensors: The tensors that were differentiated with respect to, in the order of the sources.
        gradients: Their gradients in float32, separate for each row; zeros where the gradient is cut off.
        sources: A `Source` for each group of tensors; for each input, if nothing is differentiated with respect to.
        notes: What each loss noted about its target.
        warnings: Warnings that hold for every result, as triples (code, problem, remedy).
        is_random: Whether the model draws random numbers.
    """

    scores: tf.Tensor
    tensors: list[tf.Tensor]
    gradients: list[tf.Tensor]
    sources: list[Source]
    notes: list[taps.Notes]
    warnings: list[tuple]
    is_random: bool


def trace(
    model,
    losses,
    inputs: ModelInputs,
    wrt: list[Address],
    tensors: list,
    arguments: list[list],
    weights,
    change=None,
    argument: str = "wrt_tensor",
    state=None,
    watch_all: bool = False,
) -> Answer:
    """Run a model and differentiate the weighted sum of losses. Must be called while tracing.

    Args:
        model: A Keras model, with or without a backprop modifier.
        losses: A list of `(loss, weight)`; `weights` replaces these weights.
        inputs: Samples that show the structure of the model's inputs.
        wrt: The addresses to differentiate with respect to, or an empty list.
        tensors: The flat list of the model's input tensors, shape (rows, ...) each.
        arguments: The tensors of each loss's arguments.
        weights: A float32 tensor of shape (losses,).
        change: A function `(tensor, index) -> tensor` of each tensor that is differentiated with respect to (of each
            input, if `wrt` is empty), or None.
        argument: The caller's name for `wrt`, for error messages.
        state: The state of the model's seed generators, a tensor of shape (2,), or None.
        watch_all: Whether to keep every feature map on the tape, rather than only the last one.

    Returns:
        The `Answer`.
    """
    keras_model = underlying(model)
    given, tensors = tensors, list(tensors)
    positions, layers = _watched(keras_model, inputs, wrt, argument)
    wanted = {i: tensors[i] for i in positions if inputs.arrays[i].ndim > 2 and not is_real(inputs.arrays[i])}
    near = wrt == [NEAREST]
    only_latest = near and not watch_all
    latest: list = []
    watched: list = []
    seen: set = set()
    stand_ins: dict[int, tuple] = {}

    def differentiated():
        # Each feature map removes the earlier ones from the tape if only the last is wanted.
        return bool(watched) and not only_latest

    def on_output(layer, tensor):
        if not tensor.dtype.is_floating or tensor.name in seen:
            return tensor  # a model's output is that of a layer inside it, which was recorded already
        for i, symbol in wanted.items():
            if i not in stand_ins and tensor.shape.as_list() == symbol.shape.as_list():
                stand_ins[i] = (layer, tensor)
                return watch(tensor)
        if not near and not (layer is None or layer in layers):
            return tensor
        if only_latest and (tensor.shape.rank or 0) >= 3:
            tape.reset()
            latest[:] = [tensor]
        return watch(tensor)

    def watch(tensor):
        changed = tensor if change is None else change(tensor, len(watched))
        tape.watch(changed)
        watched.append(changed)
        seen.update((tensor.name, changed.name))
        if latest and latest[-1] is tensor:
            latest[:] = [changed]
        for i, (layer, found) in list(stand_ins.items()):
            if found is tensor:
                stand_ins[i] = (layer, changed)
        return changed

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        if change is not None and not wrt:
            tensors = [change(tensor, i) for i, tensor in enumerate(tensors)]
        for i in positions:
            if is_real(inputs.arrays[i]):
                tensors[i] = watch(tensors[i])
        run = taps.run(model, keras.tree.pack_sequence_as(inputs.structure, tensors), on_output, differentiated, state)
        scores, notes = _scores(losses, run, arguments)
        total = tf.reduce_sum(weights[:, None] * scores)
    groups = nearest.nearest(run, losses) if near else _groups(run, wrt, inputs, argument, stand_ins)
    sources = [tensor for _, found in groups for tensor in found]
    if only_latest and sources and (len(sources) > 1 or sources[0] is not latest[-1]):
        # The feature map is not the one that ran last: the tape must reach further back.
        more = (model, losses, inputs, wrt, given, arguments, weights, change, argument, state)
        return trace(*more, watch_all=True)
    gradients, cut, texts = _gradients(tape, total, sources, groups, losses, argument, run)
    random = graphs.draws_numbers(run.outputs[0].graph, total)
    numbers = {tensor.name: number for number, tensor in enumerate(watched)}
    return Answer(
        scores,
        sources,
        [tf.cast(gradient, tf.float32) for gradient in gradients],
        [
            source._replace(
                connected=source.name not in cut, numbers=tuple(numbers.get(tensor.name, -1) for tensor in found)
            )
            for source, found in groups
        ],
        notes,
        texts + result_warnings(model, run, total, random),
        random,
    )


def _scores(losses, run, arguments):
    """Return an array of shape (losses, samples), and the notes of each loss."""
    scores, notes = [], []
    for (loss, _), tensors in zip(losses, arguments, strict=True):
        run.notes = taps.Notes()
        try:
            value = loss(run, *tensors)
        except (tf.errors.OperatorNotAllowedInGraphError, NotImplementedError) as error:
            if "symbolic" not in str(error):
                raise  # of the function's own
            raise ArgumentTypeError(
                "losses",
                f"must be made of keras.ops or TensorFlow operations, but {loss.name!r} asks for the numbers "
                "themselves, as NumPy and a Python `if` do",
                "Write keras.ops.max(output) for np.max(output), and keras.ops.where(condition, a, b) for an `if`",
                kind="symbolic",
            ) from error
        if value is None:
            raise ArgumentTypeError(
                "losses", f"must return numbers, but {loss.name!r} returned None", "Return one value per sample"
            )
        value = tf.cast(tf.convert_to_tensor(value), tf.float32)
        run.notes.scalar = value.shape.rank == 0
        value = tf.reshape(value, [1]) if run.notes.scalar else value
        scores.append(tf.reduce_sum(value, axis=list(range(1, value.shape.rank))))
        notes.append(run.notes)
    return tf.stack(scores), notes


def _watched(model, inputs: ModelInputs, wrt: list[Address], argument: str):
    """Return the positions of the inputs, and the layers, that are differentiated with respect to."""
    positions: list[int] = []
    layers: list = []
    for address in wrt:
        if address.kind == "inputs":
            positions += range(len(inputs.arrays))
        elif address.kind == "input":
            positions.append(address.where)
        elif address.kind == "symbol":
            layers.append(addressing.operation_of(address.where))
        elif address.kind == "layer":
            layers.append(address.where)
    if positions and not layers and not any(is_real(inputs.arrays[i]) for i in positions):
        embeddings = [path for path, layer in addressing.paths(model) if isinstance(layer, keras.layers.Embedding)]
        if embeddings:
            raise ArgumentError(
                "seed_input",
                f"must be of real numbers to have a gradient, not of integers ({inputs.arrays[positions[0]].dtype})",
                f"Choose {argument}={embeddings[0]!r}",
                kind="integers",
            )
    return positions, layers


def _groups(run, wrt, inputs: ModelInputs, argument: str, stand_ins: dict) -> list[tuple[Source, list]]:
    """Return the tensors to differentiate with respect to, by address; the inputs, if there are none."""
    if not wrt:
        return [
            (Source(name, 1, tensor.shape.rank, run.layout(tensor), i), [])
            for i, (name, tensor) in enumerate(zip(inputs.names, run.inputs, strict=True))
        ]
    groups = []
    for address in wrt:
        if address.kind in ("inputs", "input"):
            for i in range(len(run.inputs)) if address.kind == "inputs" else [address.where]:
                groups.append(_input_group(run, i, inputs, argument, stand_ins))
        else:
            found = run.tensors(address, argument)
            if len(found) > 1 and isinstance(address.where, keras.layers.Embedding):
                # A layer that embeds the tokens and, reversed, makes the logits: the call that reads the input.
                found = [t for t in found if graphs.reads_directly(t, run.inputs)] or found
            source = Source(address.name, len(found), found[0].shape.rank, run.layout(found[0]))
            groups.append((source, found))
    return groups


def _input_group(run, i: int, inputs: ModelInputs, argument: str, stand_ins: dict):
    name = inputs.names[i]
    if is_real(inputs.arrays[i]):
        return Source(name, 1, run.inputs[i].shape.rank, run.layout(run.inputs[i]), i), [run.inputs[i]]
    if i not in stand_ins:
        if len(run.inputs) > 1:  # its gradient is disconnected; a warning says so
            return Source(name, 1, run.inputs[i].shape.rank, run.layout(run.inputs[i]), i), [run.inputs[i]]
        raise ArgumentError(
            "seed_input",
            f"must be of real numbers to have a gradient, not of integers ({inputs.arrays[i].dtype})",
            f"Choose the layer that makes real numbers of it by {argument}",
            kind="integers",
        )
    _, tensor = stand_ins[i]
    return Source(name, 1, tensor.shape.rank, run.layout(tensor), i), [tensor]


def _gradients(tape, total, sources, groups, losses, argument, run):
    """Return the gradients, which are zeros where they are cut off, and a warning about that."""
    given = tape.gradient(total, sources) if sources else []
    gradients = [
        tf.zeros_like(source) if gradient is None else tf.convert_to_tensor(gradient)
        for source, gradient in zip(sources, given, strict=True)
    ]
    if all(gradient is not None for gradient in given):
        return gradients, set(), []
    computed_from = graphs.ancestors(total)
    names = [source.name for source, found in groups for _ in found]
    reached = [source.op.name in computed_from for source in sources]
    if not any(reached):
        layers = [taps.name_of(loss.layer) for loss, _ in losses if getattr(loss, "layer", None) is not None]
        target = f"the target (layer {', '.join(map(repr, layers))})" if layers else "the target"
        raise ArgumentError(
            argument,
            f"must be something that {target} is computed from, not {', '.join(map(repr, dict.fromkeys(names)))}: the "
            "target does not depend on it, so there is no gradient",
            f"Choose another target, or another {argument}",
            kind="disconnected",
        )
    texts = []
    for i, gradient in enumerate(given):
        if gradient is None:
            why = (
                "an operation on the way has no gradient (a rounding, an argmax, a cast to integers, a stop_gradient)"
                if reached[i]
                else "the target does not depend on it"
            )
            problem = f"the gradient with respect to {names[i]!r} is disconnected and given as zeros: {why}"
            texts.append(("disconnected", problem))
    cut = {name for name, gradient in zip(names, given, strict=True) if gradient is None}
    return gradients, cut, texts
