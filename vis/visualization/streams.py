"""Batches that come one after the other, in place of one array: a `tf.data.Dataset`, a generator, any iterable."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf
from PIL import Image


def over_batches(function: Callable) -> Callable:
    """Let a function of `seed_input` take batches too, for each of which it then yields its result.

    A batch is the samples `x`, or a pair `(x, y)` as `model.fit` takes it, further elements being left out. Where the
    caller leaves the question open, `y` answers it for each batch: `filter_indices=None` takes from it each sample's
    class, shape (N,), or classes, (N, k); `losses=None` the list of losses. Results keep their sample axis, so that a
    last batch of one sample is like the others.

    Args:
        function: has the parameters `seed_input` and `squeeze`, and `filter_indices` or `losses`.

    Returns:
        The function, which gives a generator when `seed_input` is a stream of batches.

    Example:
        >>> import keras
        >>> from vis.visualization import visualize_saliency
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax")])
        >>> data = tf.data.Dataset.from_tensor_slices((np.ones((5, 4)), [0, 1, 2, 0, 1])).batch(2)
        >>> [maps.shape for maps in visualize_saliency(model, -1, None, data)]
        [(2, 4), (2, 4), (1, 4)]
    """
    signature = inspect.signature(function)
    question = "losses" if "losses" in signature.parameters else "filter_indices"

    @functools.wraps(function)
    def with_batches(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        if not is_stream(bound.arguments["seed_input"]):
            return function(*args, **kwargs)
        return _results(function, dict(bound.arguments), question)

    return with_batches


def is_stream(seed_input) -> bool:
    """Whether a seed input is an iterable of batches rather than samples.

    Example:
        >>> is_stream(iter([np.ones((2, 4))])), is_stream(np.ones((2, 4))), is_stream([np.ones((2, 4))])
        (True, False, False)
    """
    if isinstance(seed_input, (list, tuple, dict, str, bytes, Image.Image)):
        return False
    if tf.is_tensor(seed_input) or hasattr(seed_input, "__array__"):
        return False
    return isinstance(seed_input, Iterable)


def _results(function, arguments: dict, question: str) -> Iterator:
    for batch in arguments["seed_input"]:
        x, y = (*batch, None)[:2] if isinstance(batch, tuple) else (batch, None)
        asked = arguments[question]
        if asked is None and y is not None:
            asked = _of_each_sample(y) if question == "filter_indices" else y
        yield function(**{**arguments, "seed_input": x, question: asked, "squeeze": False})


def _of_each_sample(y) -> np.ndarray:
    classes = np.asarray(y)
    return classes[:, None] if classes.ndim == 1 else classes
