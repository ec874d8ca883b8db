"""One question in the graph: a model is run, losses are taken of the run, and differentiated.

This is what a compiled function holds, whatever calls it: `vis.engine.gradients` once per batch, a loop at each step.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing, graphs, taps
from vis.engine.inputs import Samples, is_real, symbolic_inputs
from vis.engine.result_warnings import cautions
from vis.engine.rules import underlying

# The nearest feature map in front of the target, as something to differentiate with respect to.
NEAREST_FEATURE_MAP = "nearest feature map in front of the target"

# Half-precision gradients below 6e-8 vanish: the score is scaled up, and the gradient down again in float32.
_HALF_SCALE = 1024.0


class Tap(NamedTuple):
    """What a function differentiates with respect to: `count` tensors of a rank, at an address."""

    name: str
    count: int
    rank: int
    data_format: str
    connected: bool = True


class Answer(NamedTuple):
    """What a question gives in the graph.

    Attributes:
        scores: A tensor of shape (losses, rows): each loss, unweighted.
        sources: The tensors that were differentiated with respect to, in the order of the taps.
        slopes: Their gradients in float32, each row's its own; zeros where the gradient is cut off.
        taps: A `Tap` for each group of sources.
        notes: What each loss noted about its target.
        warnings: What the user should know of every result.
    """

    scores: tf.Tensor
    sources: list[tf.Tensor]
    slopes: list[tf.Tensor]
    taps: list[Tap]
    notes: list[taps.Notes]
    warnings: list[str]


def ask(
    model,
    losses,
    samples: Samples,
    wrt: list,
    inputs: list,
    arguments: list[list],
    weights,
    noise=None,
    argument: str = "wrt_tensor",
    watch_all: bool = False,
) -> Answer:
    """Runs a model and differentiates the weighted sum of losses. To be called while tracing.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        losses: A list of `(loss, weight)`; the weights are not these but `weights`.
        samples: The samples that show the structure of the model's inputs.
        wrt: The addresses of what to differentiate with respect to.
        inputs: The flat list of the model's input tensors, shape (rows, ...) each.
        arguments: The tensors of each loss's arguments.
        weights: A float32 tensor of shape (losses,).
        noise: A function that adds noise to a tensor which is differentiated with respect to, or None.
        argument: What the caller calls `wrt`, for error messages.
        watch_all: Whether every feature map is kept on the tape; only the last one, where only the nearest is wanted.

    Returns:
        The `Answer`.
    """
    keras_model = underlying(model)
    inputs_wrt, layers_wrt = _resolve(keras_model, samples, wrt, argument)
    nearest = wrt == [NEAREST_FEATURE_MAP]
    scale = _HALF_SCALE if _computes_in_half(keras_model) else 1.0
    given, inputs = inputs, list(inputs)
    latest, watched = [], []
    only_latest = nearest and not watch_all

    def differentiated():
        # Each feature map takes those before it off the tape, where only the latest is wanted.
        return bool(watched) and not only_latest

    def tap(layer, tensor):
        if not tensor.dtype.is_floating or not (nearest or layer is None or layer in layers_wrt):
            return tensor
        if only_latest and (tensor.shape.rank or 0) >= 3:
            tape.reset()
            latest[:] = [tensor]
        tensor = tensor if noise is None else noise(tensor)
        tape.watch(tensor)
        watched.append(tensor)
        return tensor

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for i in inputs_wrt:
            inputs[i] = tap(None, inputs[i])
        run = taps.run(model, keras.tree.pack_sequence_as(samples.structure, inputs), tap, differentiated)
        scores, notes = _scores(losses, run, arguments)
        total = tf.reduce_sum(weights[:, None] * scores) * scale
    groups = _nearest(run, losses) if nearest else _tapped(run, wrt, samples, argument)
    sources = [tensor for _, found in groups for tensor in found]
    if only_latest and sources[0] is not latest[-1]:
        # A branch beside the way to the target ran last: the tape must reach further back.
        return ask(model, losses, samples, wrt, given, arguments, weights, noise, argument, watch_all=True)
    slopes, cut, texts = _slopes(tape, total, sources, groups, losses, argument)
    return Answer(
        scores,
        sources,
        [tf.cast(slope, tf.float32) / scale for slope in slopes],
        [tap._replace(connected=tap.name not in cut) for tap, _ in groups],
        notes,
        texts + cautions(model, run, losses, total),
    )


def _scores(losses, run, arguments):
    """An array of shape (losses, samples), and what each loss noted."""
    scores, notes = [], []
    for (loss, _), tensors in zip(losses, arguments, strict=True):
        run.notes = taps.Notes()
        value = loss(run, *tensors)
        if value is None:
            raise TypeError(f"the loss {loss.name!r} returned None: one value a sample, or a scalar, is wanted")
        value = tf.cast(tf.convert_to_tensor(value), tf.float32)
        run.notes.scalar = value.shape.rank == 0
        value = tf.reshape(value, [1]) if run.notes.scalar else value
        scores.append(tf.reduce_sum(value, axis=list(range(1, value.shape.rank))))
        notes.append(run.notes)
    return tf.stack(scores), notes


def _resolve(model, samples, wrt, argument):
    """The positions of the inputs, and the layers, that `wrt` names."""
    symbols = symbolic_inputs(model)
    inputs, layers = [], []
    for address in wrt:
        position = _input_position(model, symbols, samples, address, argument)
        if address is None:
            inputs += range(len(samples.arrays))
        elif position is not None:
            inputs.append(position)
        elif isinstance(address, keras.KerasTensor):
            layers.append(address._keras_history.operation)
        elif address is not NEAREST_FEATURE_MAP:
            layers.append(addressing.find_layer(model, address, argument))
    if inputs and not layers and not any(is_real(samples.arrays[i]) for i in inputs):
        embeddings = [path for path, layer in addressing.paths(model) if isinstance(layer, keras.layers.Embedding)]
        hint = (
            f"{argument}={embeddings[0]!r}" if embeddings else f"the layer that makes real numbers of it by {argument}"
        )
        raise ValueError(
            f"seed_input is of integers ({samples.arrays[inputs[0]].dtype}), which have no gradient: choose {hint}"
        )
    return inputs, layers


def _input_position(model, symbols, samples, address, argument):
    if isinstance(address, str) and samples.keys and address in samples.keys:
        return samples.keys.index(address)
    if isinstance(address, keras.KerasTensor):
        return next((i for i, symbol in enumerate(symbols) if symbol is address), None)
    if address is None or address is NEAREST_FEATURE_MAP or not symbols:
        return None
    layer = addressing.find_layer(model, address, argument)
    return next((i for i, symbol in enumerate(symbols) if symbol._keras_history.operation is layer), None)


def _tapped(run, wrt, samples, argument) -> list[tuple[Tap, list]]:
    """The tensors to differentiate with respect to, by what names them."""
    symbols = symbolic_inputs(run.model)
    groups = []
    for address in wrt:
        position = _input_position(run.model, symbols, samples, address, argument)
        if address is None or position is not None:
            for i in range(len(run.inputs)) if address is None else [position]:
                name = samples.keys[i] if samples.keys else symbols[i].name if symbols else f"input {i}"
                groups.append((Tap(name, 1, run.inputs[i].shape.rank, run.data_format(taps.INPUT)), [run.inputs[i]]))
        else:
            found = run.tensors(address, argument)
            groups.append(
                (Tap(taps.name_of(address), len(found), found[0].shape.rank, run.data_format(address)), found)
            )
    return groups


def _nearest(run, losses) -> list[tuple[Tap, list]]:
    """The last feature map of more than one position that the losses' targets were computed from.

    If the target also reads the input past it, by a branch beside, it would tell half the truth: then the last one
    that all branches come from, if there is one.
    """
    targets, own = [], []
    for loss, _ in losses:
        found = run.tensors(getattr(loss, "layer", None))
        targets += found
        own += [*found, *([run.logits(loss.layer)] if getattr(loss, "logits", False) else [])]
    before = set().union(*(graphs.behind(target) for target in targets))
    inputs = {tensor.op.name for tensor in run.inputs}

    def is_passed_by(tensor):
        past = set().union(*(graphs.behind(target, tensor) for target in targets))
        return bool(past & inputs & graphs.behind(tensor))

    found = []
    for layer, outputs in reversed(run.calls):
        for tensor in outputs:
            if any(tensor is mine for mine in own) or tensor.op.name not in before:
                continue
            data_format = run.data_format(layer)
            if _positions(tensor.shape, data_format) > 1:
                found.append((layer, tensor))
                if not is_passed_by(tensor):
                    return [_as_tap(run, layer, tensor)]
    if found:
        return [_as_tap(run, *found[0])]
    raise ValueError(
        f"the model '{run.model.name}' has no feature map (a layer's output with more than one position) in front of "
        "the target, which a class activation map needs: choose a layer by penultimate_layer_idx, or use saliency"
    )


def _as_tap(run, layer, tensor) -> tuple[Tap, list]:
    path = addressing.path_of(run.model, layer)
    return Tap(path, 1, tensor.shape.rank, run.data_format(layer)), [tensor]


def _positions(shape, data_format) -> float:
    if shape.rank is None or shape.rank < 3:
        return 0
    spatial = shape[2:] if data_format == "channels_first" else shape[1:-1]
    return np.prod([np.inf if size is None else size for size in spatial])


def _slopes(tape, total, sources, groups, losses, argument):
    """The gradients, zeros where they are cut off on the way, and what to say of that."""
    given = tape.gradient(total, sources)
    slopes = [
        tf.zeros_like(source) if slope is None else tf.convert_to_tensor(slope)
        for source, slope in zip(sources, given, strict=True)
    ]
    if all(slope is not None for slope in given):
        return slopes, set(), []
    computed_from = graphs.behind(total)
    names = [tap.name for tap, found in groups for _ in found]
    reached = [source.op.name in computed_from for source in sources]
    if not any(reached):
        layers = [taps.name_of(loss.layer) for loss, _ in losses if getattr(loss, "layer", None) is not None]
        target = f"the target (layer {', '.join(map(repr, layers))})" if layers else "the target"
        raise ValueError(
            f"{target} does not depend on {', '.join(map(repr, dict.fromkeys(names)))}: no computation leads from "
            f"there to the target, so there is no gradient; choose another target, or another {argument}"
        )
    texts = []
    for i, slope in enumerate(given):
        if slope is None:
            why = (
                "an operation on the way has no gradient (a rounding, an argmax, a cast to integers, a stop_gradient)"
                if reached[i]
                else "the target does not depend on it"
            )
            problem = f"the gradient with respect to {names[i]!r} is disconnected and given as zeros: {why}"
            texts.append(("disconnected", problem))
    cut = {name for name, slope in zip(names, given, strict=True) if slope is None}
    return slopes, cut, texts


def _computes_in_half(model) -> bool:
    return any(getattr(layer, "compute_dtype", None) == "float16" for layer in addressing.flatten(model))
