"""The types that methods and the engine exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.layout import Layout


class Source(NamedTuple):
    """Tensors that are read or differentiated with respect to, in one traced function.

    Attributes:
        name: Their name in messages: an input's name, or a layer's path.
        count: Their number: one per call of a layer that is called several times.
        rank: Their number of axes, including the sample axis.
        layout: The `Layout` of the first tensor.
        input: The position of the input that it is, or None for a layer.
        connected: Whether the gradient reaches them.
        note: A warning about how they were chosen, a pair (code, problem), or None.
        numbers: Their numbers among the tensors that a change may modify; -1 for a tensor that is never changed.
    """

    name: str
    count: int  # type: ignore[assignment]  # a field, which hides the method of tuples
    rank: int
    layout: Layout
    input: int | None = None
    connected: bool = True
    note: tuple | None = None
    numbers: tuple = ()


class Change(NamedTuple):
    """An intervention on the differentiated tensors, or else on the inputs: one per copy of a sample.

    Attributes:
        to: A function `(value, k, index, *arguments) -> value` in the graph: of a tensor whose rows are copies of one
            sample, of the numbers of these copies (int64, (rows,)), of the tensor's number among those that are
            changed, and of `arguments`. A tensor that it returns unmodified stays unchanged. It may return a pair
            (value, factor): `Reduce` is then given the factor, of the value's shape, beside the gradient.
        key: The identity of this change, apart from its arguments.
        arguments: Arrays that may differ from call to call without a new trace.
        rows: Arrays with one row per sample, likewise, or lists of an array per sample, whose sizes may differ; `to`
            gets that of its sample, with an axis of one row before it, after `arguments`.
    """

    to: Callable
    key: tuple
    arguments: tuple = ()
    rows: tuple = ()


class Reduce(NamedTuple):
    """The reduction over the copies of a sample: weighted sums of functions of the gradient.

    Attributes:
        terms: Functions of the gradient, and of the change's factor if it has one, elementwise; one sum each, along a
            new last axis.
        weights: One weight per copy, or None for the mean.
    """

    terms: tuple = (tf.identity,)
    weights: np.ndarray | None = None


class Evaluated(NamedTuple):
    """The result for a number of samples.

    Attributes:
        sources: One `Source` for each tensor that was read or differentiated with respect to; else for the inputs.
        scores: An array of shape (losses, samples): each loss, unweighted.
        values: For each source a list of its values, one float32 array of shape (samples, ...) per call of its layer;
            empty if not asked for.
        gradients: The gradients of the weighted sum of the losses in the same lists; of copies their sums, with one
            entry per term along a new last axis.
    """

    sources: list[Source]
    scores: np.ndarray
    values: list[list[np.ndarray]]
    gradients: list[list[np.ndarray]]
