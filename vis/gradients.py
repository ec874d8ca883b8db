"""Gradients of losses with respect to inputs and feature maps, by compiled functions that are made once a question.

A question is a model, a list of losses, and what they are differentiated with respect to. Class indices, loss weights
and samples are arguments of its function, so that only a new question is traced.
"""

from __future__ import annotations

import itertools
import types
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis import VisWarning, addressing, taps
from vis.backprop_modifiers import rule_of, underlying
from vis.losses import weighted
from vis.samples import Samples, symbolic_inputs

# The nearest feature map in front of the target, as something to differentiate with respect to.
NEAREST_FEATURE_MAP = "nearest feature map in front of the target"

# Functions by model; a model that is dropped takes its functions along. They hold graphs, not the model.
_functions: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_MOST_FUNCTIONS = 64  # a model; the least recently used one goes

# Samples at once where the caller does not say: on CPUs more is slower, as the activations leave the caches.
_BATCH_SIZE = 8

# Half-precision gradients below 6e-8 vanish: the score is scaled up, and the gradient down again in float32.
_HALF_SCALE = 1024.0


class Tap(NamedTuple):
    """What a function differentiates with respect to: `count` tensors at an address."""

    name: str
    count: int
    data_format: str
    connected: bool = True


class Differentiated(NamedTuple):
    """The result for some samples.

    Attributes:
        taps: What was differentiated with respect to, a `Tap` each.
        rows: The number of the sample that each row belongs to.
        losses: An array of shape (losses, rows): each loss, unweighted.
        values: For each tap a list of its values, one float32 array of shape (rows, ...) for each call of its
            layer; empty if not asked for.
        gradients: The gradient of the weighted sum of the losses in the same lists, each row's its own.
    """

    taps: list[Tap]
    rows: np.ndarray
    losses: np.ndarray
    values: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]


class Function(NamedTuple):
    """A traced question.

    Attributes:
        call: Its compiled function of the inputs, the losses' arguments and their weights.
        taps: A `Tap` for each group of tensors that it differentiates with respect to.
        notes: What each loss noted about its target during the trace.
        batch_size: The only batch size it takes, or None.
        warnings: What the user should know of every result.
    """

    call: object
    taps: list[Tap]
    notes: list[taps.Notes]
    batch_size: int | None
    warnings: list[str]


class Noise(NamedTuple):
    """Gaussian noise on what is differentiated with respect to, drawn several times for each sample.

    Attributes:
        level: The standard deviation, in units of each sample's own range (maximum minus minimum).
        draws: How many noisy copies of each sample.
        seed: The seed; the draws depend on it and on nothing else.
    """

    level: float
    draws: int
    seed: int


def differentiate(
    model,
    losses,
    samples: Samples,
    wrt=None,
    *,
    values: bool = False,
    noise: Noise | None = None,
    batch_size: int | None = None,
) -> Iterator[Differentiated]:
    """Differentiates losses, sample by sample.

    Args:
        model: A Keras model, or one seen through a backprop modifier.
        losses: A list of `(loss, weight)`, or what `vis.losses.weighted` makes one of.
        samples: The model's inputs.
        wrt: With respect to what: None for all inputs, a layer's address, a Keras tensor, a list of these, or
            `NEAREST_FEATURE_MAP`.
        values: Whether to return the values of what is differentiated with respect to.
        noise: Noise to be added there; each sample then has a row for each draw.
        batch_size: The most rows to compute at once; None chooses.

    Yields:
        The `Differentiated` of each internal batch, in the order of the samples.

    Raises:
        ValueError: A target that does not depend on what it is differentiated with respect to, an integer input,
            a filter out of range, a layer that is not there.

    Warns:
        VisWarning: Part of the gradient is cut off, or a backprop modifier could not reach every activation.
    """
    losses = weighted(losses)
    if batch_size is not None and (isinstance(batch_size, bool) or batch_size != int(batch_size) or batch_size < 1):
        raise ValueError(f"batch_size must be a whole number of at least 1, or None, not {batch_size!r}")
    arguments = [loss.arguments(samples.count) for loss, _ in losses]
    function = _function(model, losses, samples, arguments, wrt, values, noise is not None)
    for text in function.warnings:
        warnings.warn(text, VisWarning, stacklevel=4)
    for (loss, _), notes in zip(losses, function.notes, strict=True):
        loss.validate(notes.width)
    weights = tf.constant([weight for _, weight in losses], tf.float32)
    by_row = [*samples.arrays, *(array for arrays in arguments for array in arrays)]
    draws = noise.draws if noise else 1
    size = function.batch_size or batch_size or _BATCH_SIZE
    for start in range(0, samples.count * draws, size):
        chosen = np.arange(start, min(start + size, samples.count * draws))
        count = len(chosen)
        if function.batch_size:  # a model for batches of just this size: fill the last one up
            chosen = np.resize(chosen, size)
        rows = chosen // draws
        inputs = [tf.constant(array[rows]) for array in by_row]
        if noise:
            seeds = np.stack([np.full(len(chosen), noise.seed), chosen % draws], axis=1)
            inputs += [tf.constant(seeds, tf.int64), tf.constant(noise.level, tf.float32)]
        scores, outputs, slopes = function.call(*inputs, weights)
        scores = scores.numpy()[:, :count]
        _warn_of_saturation(losses, function.notes, scores)
        yield Differentiated(
            function.taps,
            rows[:count],
            scores,
            _grouped(function.taps, [output.numpy()[:count] for output in outputs]),
            _grouped(function.taps, [slope.numpy()[:count] for slope in slopes]),
        )


def _grouped(found: list[Tap], arrays) -> list[list]:
    remaining = iter(arrays)
    return [list(itertools.islice(remaining, tap.count)) for tap in found] if arrays else []


def traced(model) -> int:
    """How many functions have been traced for a model and are kept."""
    return len(_functions.get(underlying(model), ()))


def _function(model, losses, samples, arguments, wrt, values, noisy) -> Function:
    keras_model = underlying(model)
    wrt = wrt if isinstance(wrt, list) else [wrt]
    key = _weakly(
        tuple(loss.key for loss, _ in losses),
        tuple(None if address is keras_model else address for address in wrt),
        values,
        noisy,
        rule_of(model),
        tuple((shape, array.dtype.name) for shape, array in zip(samples.shapes, samples.arrays, strict=True)),
        _state(keras_model),
    )
    known = _functions.setdefault(keras_model, OrderedDict())
    if key in known:
        known.move_to_end(key)
        return known[key]
    try:
        function = _trace(model, losses, samples, samples.shapes, arguments, wrt, values, noisy)
    except Exception:
        # A model may need sizes that its input shape leaves open, the number of samples among them. If it is
        # something else, the same error comes again, from the simpler trace.
        one = [(1, *array.shape[1:]) for array in samples.arrays]
        function = _trace(model, losses, samples, one, arguments, wrt, values, noisy)
    known[key] = function
    if len(known) > _MOST_FUNCTIONS:
        known.popitem(last=False)
    return function


def _weakly(*parts) -> tuple:
    """A key that compares as its parts do but keeps no layer, tensor or function alive, and so no model."""

    def weak(part):
        if isinstance(part, tuple):
            return tuple(map(weak, part))
        if isinstance(part, types.MethodType):
            return weakref.WeakMethod(part)
        try:
            return weakref.ref(part)
        except TypeError:  # numbers, names and None, which lead to no model
            return part

    return weak(parts)


def _state(model) -> tuple:
    """What a trace takes in of a model beside its weights: which layers, and with which activations."""
    return tuple((layer.name, vars(layer).get("activation")) for layer in addressing.flatten(model))


def _trace(model, losses, samples, shapes, arguments, wrt, values, noisy) -> Function:
    keras_model = underlying(model)
    inputs_wrt, layers_wrt = _resolve(keras_model, samples, wrt)
    nearest = wrt == [NEAREST_FEATURE_MAP]
    scale = _HALF_SCALE if _computes_in_half(keras_model) else 1.0
    traced = {}

    def question(*tensors):
        inputs, rest = list(tensors[: len(shapes)]), list(tensors[len(shapes) :])
        weights = rest.pop()
        noise = Gaussian(*rest[-2:]) if noisy else None

        def tap(tensor):
            if not tensor.dtype.is_floating:
                return tensor
            if noisy:
                tensor = noise(tensor)
            tape.watch(tensor)
            return tensor

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for i in inputs_wrt:
                inputs[i] = tap(inputs[i])
            run = taps.run(
                model,
                keras.tree.pack_sequence_as(samples.structure, inputs),
                lambda layer, tensor: tap(tensor) if nearest or layer in layers_wrt else tensor,
            )
            scores, notes = _scores(losses, run, [[rest.pop(0) for _ in arrays] for arrays in arguments])
            total = tf.reduce_sum(weights[:, None] * scores) * scale
        groups = _nearest(run, losses) if nearest else _tapped(run, wrt, samples)
        sources = [tensor for _, found in groups for tensor in found]
        slopes, cut, texts = _slopes(tape, total, sources, groups)
        traced.update(
            taps=[tap._replace(connected=tap.name not in cut) for tap, _ in groups],
            notes=notes,
            warnings=texts + _unreached(model, run, total),
        )
        slopes = [tf.cast(slope, tf.float32) / scale for slope in slopes]
        return scores, [tf.cast(tensor, tf.float32) for tensor in sources] if values else [], slopes

    specs = [tf.TensorSpec(shape, array.dtype) for shape, array in zip(shapes, samples.arrays, strict=True)]
    specs += [tf.TensorSpec([shapes[0][0], None], array.dtype) for arrays in arguments for array in arrays]
    specs += [tf.TensorSpec([shapes[0][0], 2], tf.int64), tf.TensorSpec([], tf.float32)] if noisy else []
    specs += [tf.TensorSpec([len(losses)], tf.float32)]
    call = tf.function(question, autograph=False).get_concrete_function(*specs)
    scalar = any(note.scalar for note in traced["notes"])
    if scalar and shapes[0][0] is None:
        shapes = [(1, *shape[1:]) for shape in shapes]
    return Function(call, traced["taps"], traced["notes"], shapes[0][0], traced["warnings"])


class Gaussian:
    """Noise for one run of a model, reproducible for each of its rows.

    Args:
        seeds: An int64 tensor of shape (rows, 2).
        level: The standard deviation, in units of each row's own range.
    """

    def __init__(self, seeds, level):
        self.seeds = seeds
        self.level = level
        self.used = 0

    def __call__(self, tensor):
        """The tensor with noise, another one at each call."""
        self.used += 1
        axes = list(range(1, tensor.shape.rank))
        span = tf.reduce_max(tensor, axes, keepdims=True) - tf.reduce_min(tensor, axes, keepdims=True)
        noise = tf.map_fn(
            lambda seed: tf.random.stateless_normal(
                tf.shape(tensor)[1:], tf.random.experimental.stateless_fold_in(seed, self.used)
            ),
            self.seeds,
            fn_output_signature=tf.TensorSpec(tensor.shape[1:], tf.float32),
        )
        return tensor + tf.cast(self.level * noise, tensor.dtype) * span


def _scores(losses, run, arguments):
    """An array of shape (losses, samples), and what each loss noted."""
    scores, notes = [], []
    for (loss, _), tensors in zip(losses, arguments, strict=True):
        run.notes = taps.Notes()
        value = tf.cast(tf.convert_to_tensor(loss(run, *tensors)), tf.float32)
        run.notes.scalar = value.shape.rank == 0
        value = tf.reshape(value, [1]) if run.notes.scalar else value
        scores.append(tf.reduce_sum(value, axis=list(range(1, value.shape.rank))))
        notes.append(run.notes)
    return tf.stack(scores), notes


def _resolve(model, samples, wrt):
    """The positions of the inputs, and the layers, that `wrt` names."""
    symbols = symbolic_inputs(model)
    inputs, layers = [], []
    for address in wrt:
        position = _input_position(model, symbols, samples, address)
        if address is None:
            inputs += range(len(samples.arrays))
        elif position is not None:
            inputs.append(position)
        elif isinstance(address, keras.KerasTensor):
            layers.append(address._keras_history.operation)
        elif address is not NEAREST_FEATURE_MAP:
            layers.append(addressing.find_layer(model, address, "wrt_tensor"))
    if inputs and not layers and not any(samples.arrays[i].dtype.kind == "f" for i in inputs):
        embeddings = [path for path, layer in addressing.paths(model) if isinstance(layer, keras.layers.Embedding)]
        hint = (
            f"wrt_tensor={embeddings[0]!r}" if embeddings else "the layer that makes real numbers of it by wrt_tensor"
        )
        raise ValueError(
            f"seed_input is of integers ({samples.arrays[inputs[0]].dtype}), which have no gradient: choose {hint}"
        )
    return inputs, layers


def _input_position(model, symbols, samples, address):
    if isinstance(address, str) and samples.keys and address in samples.keys:
        return samples.keys.index(address)
    if isinstance(address, keras.KerasTensor):
        return next((i for i, symbol in enumerate(symbols) if symbol is address), None)
    if address is None or address is NEAREST_FEATURE_MAP or not symbols:
        return None
    layer = addressing.find_layer(model, address, "wrt_tensor")
    return next((i for i, symbol in enumerate(symbols) if symbol._keras_history.operation is layer), None)


def _tapped(run, wrt, samples) -> list[tuple[Tap, list]]:
    """The tensors to differentiate with respect to, by what names them."""
    symbols = symbolic_inputs(run.model)
    groups = []
    for address in wrt:
        position = _input_position(run.model, symbols, samples, address)
        if address is None or position is not None:
            for i in range(len(run.inputs)) if address is None else [position]:
                name = samples.keys[i] if samples.keys else symbols[i].name if symbols else f"input {i}"
                groups.append((Tap(name, 1, run.data_format(taps.INPUT)), [run.inputs[i]]))
        else:
            found = run.tensors(address, "wrt_tensor")
            groups.append((Tap(taps.name_of(address), len(found), run.data_format(address)), found))
    return groups


def _nearest(run, losses) -> list[tuple[Tap, list]]:
    """The last feature map of more than one position that the losses' targets were computed from."""
    targets, own = [], []
    for loss, _ in losses:
        found = run.tensors(getattr(loss, "layer", None))
        targets += found
        own += [*found, *([run.logits(loss.layer)] if getattr(loss, "logits", False) else [])]
    before = set().union(*(taps.behind(target) for target in targets))
    for layer, outputs in reversed(run.calls):
        for tensor in outputs:
            if any(tensor is mine for mine in own) or tensor.op.name not in before:
                continue
            data_format = run.data_format(layer)
            if _positions(tensor.shape, data_format) > 1:
                return [(Tap(addressing.path_of(run.model, layer), 1, data_format), [tensor])]
    raise ValueError(
        f"the model '{run.model.name}' has no feature map (a layer's output with more than one position) in front of "
        "the target, which a class activation map needs: choose a layer by penultimate_layer_idx, or use saliency"
    )


def _positions(shape, data_format) -> float:
    if shape.rank is None or shape.rank < 3:
        return 0
    spatial = shape[2:] if data_format == "channels_first" else shape[1:-1]
    return np.prod([np.inf if size is None else size for size in spatial])


def _slopes(tape, total, sources, groups):
    """The gradients, zeros where they are cut off on the way, and what to say of that."""
    given = tape.gradient(total, sources)
    slopes = [
        tf.zeros_like(source) if slope is None else tf.convert_to_tensor(slope)
        for source, slope in zip(sources, given, strict=True)
    ]
    if all(slope is not None for slope in given):
        return slopes, set(), []
    computed_from = taps.behind(total)
    names = [tap.name for tap, found in groups for _ in found]
    reached = [source.op.name in computed_from for source in sources]
    if not any(reached):
        raise ValueError(
            f"the target does not depend on {', '.join(map(repr, dict.fromkeys(names)))}: no computation leads from "
            "there to the target, so there is no gradient; choose another target, or another wrt_tensor"
        )
    texts = []
    for i, slope in enumerate(given):
        if slope is None:
            why = (
                "an operation on the way has no gradient (a rounding, an argmax, a cast to integers, a stop_gradient)"
                if reached[i]
                else "the target does not depend on it"
            )
            texts.append(f"the gradient with respect to {names[i]!r} is disconnected and given as zeros: {why}")
    cut = {name for name, slope in zip(names, given, strict=True) if slope is None}
    return slopes, cut, texts


def _unreached(model, run, total) -> list[str]:
    rule = rule_of(model)
    if rule is None:
        return []
    names = taps.unreached_activations(total)
    texts = []
    if not run.reached:
        texts.append(f"{rule.name} changed nothing: the model '{run.model.name}' has no activation that it could reach")
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        texts.append(
            f"{rule.name} did not reach {len(names)} activation{'s' if len(names) > 1 else ''} called as a bare "
            f"operation, where the gradient passes as usual: {shown}; use a layer such as keras.layers.ReLU there"
        )
    return texts


def _warn_of_saturation(losses, notes, scores):
    for (loss, _), note, score in zip(losses, notes, scores, strict=True):
        if note.probability and np.any(-score > 1 - 1e-6):
            warnings.warn(
                f"{loss.name}: the softmax or sigmoid is saturated (a probability above 1 - 1e-6), so that its "
                "gradient is rounding error; leave logits=True",
                VisWarning,
                stacklevel=5,
            )


def _computes_in_half(model) -> bool:
    return any(getattr(layer, "compute_dtype", None) == "float16" for layer in addressing.flatten(model))
