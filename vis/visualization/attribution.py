"""The driver of all attribution methods: it resolves the target and turns raw maps into results.

A method returns raw maps of batches of samples. This module handles the rest: streams of batches, labels, checks,
several inputs or calls, normalization and the sample axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from vis import backprop_modifiers
from vis.engine import addressing
from vis.engine.addressing import NEAREST, symbolic_inputs
from vis.engine.addressing import model_of as model_of
from vis.engine.cache import unchanged
from vis.engine.evaluate import Objective, evaluate, width_of_loss
from vis.engine.inputs import ModelInputs, prepare
from vis.engine.rules import underlying
from vis.engine.types import Evaluated, Source
from vis.losses import ActivationMaximization, Labels, LabelScore, Prediction, Target, weighted
from vis.losses.filter_indices import is_ragged, marks
from vis.utils.errors import ArgumentError, warn
from vis.utils.utils import normalize as normalize_to_unit


class NotFiniteError(ArgumentError):
    """What is explained, or its gradient, is NaN or infinite."""


class Losses:
    """Explains losses.

    Args:
        model: A Keras model, with or without a backprop modifier.
        losses: A list of `(loss, weight)`; None takes them from the y of a stream.
    """

    def __init__(self, model, losses):
        self.model = model
        self.losses = losses

    def objective(self, inputs: ModelInputs, y=None) -> Objective:
        """Return what is differentiated for some samples, which came with `y` if they are of a stream."""
        return Objective(self.model, weighted(y if self.losses is None and y is not None else self.losses))


class Filter:
    """Explains a filter of a layer, or a function of its output.

    Args:
        model: A Keras model, with or without a backprop modifier.
        layer_idx: The layer's address.
        filter_indices: As in `visualize_saliency`; None takes the labels from the y of a stream.
        logits: Whether a class score is read before the softmax or sigmoid that ends the model.
    """

    def __init__(self, model, layer_idx, filter_indices, logits: bool):
        self.model = model
        self.given = layer_idx
        self.layer = addressing.resolve_target(model, layer_idx)
        self.filter_indices = filter_indices
        self.logits = logits

    def objective(self, inputs: ModelInputs, y=None) -> Objective:
        """Return what is differentiated for some samples, whose labels are `y` if they came with any."""
        wanted = self.filter_indices
        if callable(wanted):
            return self._objective(Target(wanted, self.layer, logits=self.logits), 1.0)
        if isinstance(wanted, str):
            if wanted != "predicted":
                raise ArgumentError(
                    "filter_indices", f"must be filters, a function or 'predicted', not {wanted!r}", kind="unknown"
                )
            labels = predicted(Objective(self.model, [(Prediction(self.layer), 1.0)]), inputs)
            return self._of_labels(labels, inputs)
        if isinstance(wanted, Labels):
            return self._of_labels(wanted.labels, inputs)
        if wanted is None and y is not None:
            return self._of_labels(np.asarray(y), inputs)
        _warn_of_flat_classes(wanted, inputs.count)
        width = width_of(self.model, self.layer)
        marked = marks(wanted, width)
        if marked is not None:
            warn(
                "marks",
                f"filter_indices has rows of 0 and 1 as wide as the output ({width}), which are taken for marks: 1 "
                "where a class is meant",
                "Give the classes' numbers, such as [[2], [0]]",
            )
            wanted = marked
        return self._objective(ActivationMaximization(self.layer, wanted, logits=self.logits), -1.0)

    def _of_labels(self, labels: np.ndarray, inputs: ModelInputs) -> Objective:
        width = width_of(self.model, self.layer, inputs)
        return self._objective(LabelScore(labels, width, self.layer, logits=self.logits), -1.0)

    def _objective(self, loss, weight: float) -> Objective:
        loss.given = self.given
        return Objective(self.model, [(loss, weight)])


class Attribution(NamedTuple):
    """Raw maps as data.

    Attributes:
        sources: What the maps are of, a `Source` each.
        maps: For each source an array of shape (samples, ...) per call of its layer.
        scores: What was explained: each loss unweighted, (losses, samples).
        inputs: The samples.
    """

    sources: list[Source]
    maps: list[list[np.ndarray]]
    scores: np.ndarray
    inputs: ModelInputs

    def total(self) -> np.ndarray:
        """Return the sum of each sample's maps over all sources and calls, float64 of shape (samples,)."""
        return sum(call.reshape(len(call), -1).sum(axis=1, dtype=np.float64) for calls in self.maps for call in calls)


def of_filter(model, layer_idx, filter_indices, logits, backprop_modifier, *addresses) -> tuple:
    """Return what explains a filter, and addresses in the model as addresses in what the modifier made of it."""
    seen, layer_idx, *addresses = modified(model, backprop_modifier, layer_idx, *addresses)
    return Filter(seen, layer_idx, filter_indices, logits), *addresses


def of_losses(input_tensor, losses) -> Losses:
    """Return what explains losses."""
    return Losses(model_of(input_tensor), losses)


def modified(model, backprop_modifier, *addresses):
    """Apply a backprop modifier to a model, and translate addresses of the model.

    Args:
        model: A Keras model.
        backprop_modifier: A name, a function `model -> model` or None.
        *addresses: Layers, tensors and other addresses of `model`.

    Returns:
        `(model, *addresses)`.
    """
    seen = backprop_modifiers.get(backprop_modifier)(model)
    original, result = underlying(model), underlying(seen)
    if original is result:
        return seen, *addresses

    def translate(address):
        if isinstance(address, list):
            return [translate(each) for each in address]
        if isinstance(address, keras.KerasTensor):
            symbols = symbolic_inputs(original)
            at = next((i for i, symbol in enumerate(symbols) if symbol is address), None)
            if at is not None:
                return symbolic_inputs(result)[at]
            return addressing.path_of(original, addressing.operation_of(address))
        if isinstance(address, keras.layers.Layer):
            return addressing.path_of(original, address)
        return address

    return seen, *(translate(address) for address in addresses)


def attribute(
    explained: Filter | Losses,
    seed_input,
    method: Callable,
    *,
    wrt=None,
    argument: str = "wrt_tensor",
    signed: bool = False,
    normalize: bool = True,
    squeeze: bool = True,
    also: Callable | None = None,
):
    """Explain samples, or a stream of batches of them, by a method.

    Args:
        explained: The target.
        seed_input: One sample, a batch, or an iterable of batches `x` or `(x, y)`.
        method: A function `(objective, inputs, wrt) -> iterator of (Evaluated, maps)`; `maps` has for each source a
            list of raw maps, one per call of its layer.
        wrt: An address, a list of them, or None for all inputs.
        argument: The caller's name for `wrt`.
        signed: Whether maps have both signs: each is then divided by its largest magnitude rather than brought to
            [0, 1].
        normalize: Whether to do that.
        squeeze: Whether a single sample's map loses its sample axis.
        also: A function of the `Attribution`; its result is returned together with the maps, as a pair.

    Returns:
        What the public functions return: an array; a list or dict of them; for a stream a generator of these.
    """
    finish = _signed_unit if signed else normalize_to_unit

    def one(x, y=None, squeeze=squeeze):
        found = explain(explained, x, method, wrt=wrt, argument=argument, y=y)
        maps = arrays(found, wrt, finish=finish if normalize else None, squeeze=squeeze)
        return maps if also is None else (maps, also(found))

    if is_stream(seed_input):
        return (one(x, y, squeeze=False) for x, y in _batches(seed_input))
    return one(seed_input)


def explain(explained: Filter | Losses, x, method: Callable, *, wrt=None, argument="wrt_tensor", y=None) -> Attribution:
    """Return the raw maps of samples, after the checks that all methods share."""
    inputs = prepare(explained.model, x)
    parts: list[tuple[Evaluated, list]] = []
    with unchanged(explained.model):
        objective = explained.objective(inputs, y)
        for part, maps in method(objective, inputs, list(wrt) if isinstance(wrt, list) else [wrt]):
            _check_finite(part)
            for source, gradients in zip(part.sources, part.gradients, strict=bool(part.gradients)):
                if source.connected:
                    _warn_of_zeros(source, gradients, sum(len(each.scores[0]) for each, _ in parts), argument)
            parts.append((part, maps))
    maps = [
        [np.concatenate(batches).astype(np.float32, copy=False) for batches in zip(*calls, strict=True)]
        for calls in zip(*(maps for _, maps in parts), strict=True)
    ]
    scores = np.concatenate([part.scores for part, _ in parts], axis=1)
    sources = parts[0][0].sources
    return Attribution(sources if len(sources) == len(maps) else sources[: len(maps)], maps, scores, inputs)


def arrays(found: Attribution, wrt, *, finish: Callable | None, squeeze: bool):
    """Return finished maps in the structure of the inputs, with several calls along axis 1."""
    alone = squeeze and found.inputs.count == 1
    results: list = []
    for calls in found.maps:
        if finish is not None:
            calls = [np.stack([finish(each) for each in call]).astype(np.float32, copy=False) for call in calls]
        calls = [call[0] if alone else call for call in calls]
        if len(calls) == 1:
            results.append(calls[0])
        elif len({call.shape for call in calls}) == 1:
            results.append(np.stack(calls, axis=0 if alone else 1))
        else:
            results.append(calls)
    keys = found.inputs.keys
    if wrt is NEAREST and len(results) > 1:
        names = [source.name if source.input is None else found.inputs.names[source.input] for source in found.sources]
        return dict(zip(names, results, strict=True))
    if isinstance(wrt, list) or (len(results) > 1 and not keys):
        return results
    if len(results) > 1:
        return dict(zip(keys, results, strict=True))
    return results[0]


def predicted(objective: Objective, inputs: ModelInputs) -> np.ndarray:
    """Return the predicted class of each sample, int64; for a single output, 1 or 0."""
    parts = evaluate(objective, inputs, wrt=())
    return np.concatenate([part.scores[0] for part in parts]).astype(np.int64)


def width_of(model, layer, inputs: ModelInputs | None = None) -> int | None:
    """Return the number of filters to choose from, or None if only a trace can tell.

    Args:
        model: A Keras model, with or without a backprop modifier.
        layer: The address of the layer, or None for the output.
        inputs: Samples, with which the model is traced where its symbols do not tell which axis has the filters.
    """
    seen, model = model, underlying(model)
    try:
        if isinstance(layer, addressing.Address):
            tensors = [model.outputs[layer.where]]
        elif isinstance(layer, keras.KerasTensor):
            tensors = [layer]
        else:
            tensors = model.outputs if layer is None else keras.tree.flatten(layer.output)
    except (AttributeError, ValueError, TypeError):
        tensors = []
    rank = len(tensors[0].shape) if len(tensors or ()) == 1 else 0
    if inputs is not None and rank != 2:
        return width_of_loss(Objective(seen, [(Prediction(layer), 1.0)]), inputs)
    return tensors[0].shape[-1] if rank > 1 else None


def is_stream(seed_input) -> bool:
    """Return whether a seed input is an iterable of batches rather than samples.

    Example:
        >>> is_stream(iter([np.ones((2, 4))])), is_stream(np.ones((2, 4))), is_stream([np.ones((2, 4))])
        (True, False, False)
    """
    if isinstance(seed_input, (list, tuple, dict, str, bytes, Image.Image)):
        return False
    if tf.is_tensor(seed_input) or hasattr(seed_input, "__array__"):
        return False
    return isinstance(seed_input, Iterable)


def _batches(stream) -> Iterator[tuple]:
    """Yield `(x, y)` of each batch, with y None if there is none; sample weights are dropped."""
    for batch in stream:
        yield (*batch, None)[:2] if isinstance(batch, tuple) else (batch, None)


def _signed_unit(map_: np.ndarray) -> np.ndarray:
    largest = np.abs(map_).max(initial=0)
    return map_ / largest if largest else map_


def _warn_of_flat_classes(wanted, samples: int) -> None:
    if wanted is None or samples < 2 or is_ragged(wanted) or np.ndim(wanted) != 1 or len(wanted) != samples:
        return
    if len(set(np.asarray(wanted).tolist())) == 1:
        return
    warn(
        "flat_classes",
        f"filter_indices is a flat list of {samples} filters for {samples} samples: every map explains the sum of all",
        f"For one filter per sample give an array of shape ({samples}, 1), such as np.reshape(classes, (-1, 1))",
    )


def _check_finite(part: Evaluated):
    for values in part.scores:
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise NotFiniteError(
                "model",
                f"must give finite numbers, but the target is {values[wrong[0]]:g} for {len(wrong)} of {len(values)} "
                "samples: a weight of the model is NaN or infinite, or its output overflows",
                kind="not_finite",
            )
    for source, gradients in zip(part.sources, part.gradients, strict=bool(part.gradients)):
        if not all(np.isfinite(gradient).all() for gradient in gradients):
            raise NotFiniteError(
                "model",
                f"must have a finite gradient, but that with respect to {source.name!r} is not, though the target is: "
                "an operation on the way has no finite slope there, such as a square root or a logarithm at 0, or the "
                "numbers of half precision overflow",
                kind="not_finite",
            )


def _warn_of_zeros(source: Source, gradients, first: int, argument: str):
    if not gradients or not gradients[0].size:
        return
    count = len(gradients[0])
    dead = [first + row for row in range(count) if not any(gradient[row].any() for gradient in gradients)]
    if dead:
        shown = ", ".join(map(str, dead[:5])) + (", ..." if len(dead) > 5 else "")
        which = "" if len(dead) == count else f" (numbers {shown})"
        warn(
            "zero_gradient",
            f"the gradient with respect to {source.name!r} is zero everywhere for {len(dead)} of {count} "
            f"samples{which}: the target does not change with it here (a dead ReLU, or a saturated activation, on "
            "every way)",
        )
