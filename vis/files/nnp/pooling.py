"""Pooling."""

from __future__ import annotations

import math

import numpy as np
from keras import layers, ops

from vis.files.nnp import layout
from vis.files.nnp.table import dims, function


@function("MaxPooling")
def max_pooling(call, x):
    """The maximum of each window; the padding is never the maximum."""
    x, kernel, stride, pads = _windows(call, x)
    if any(map(any, pads)):
        x = ops.pad(x, ((0, 0), *pads, (0, 0)), constant_values=float(np.finfo(np.float32).min))
    return layout.signal(call.layer(getattr(layers, f"MaxPooling{len(kernel)}D"), kernel, stride)(x))


@function("AveragePooling")
def average_pooling(call, x):
    """The mean of each window, with or without the padding."""
    sizes = layout.channels_last(x).shape[1:-1]
    x, kernel, stride, pads = _windows(call, x)
    y = _average(call, x, kernel, stride, pads)
    # Keras divides by the whole window, nnabla by its part inside the input, or inside the declared padding.
    within = dims(call.options.pad, len(kernel), 0) if call.options.including_pad else (0,) * len(kernel)
    counts = np.ones(())
    for size, k, s, (before, _), pad, length in zip(sizes, kernel, stride, pads, within, y.shape[1:-1], strict=True):
        start = np.arange(length) * s - before
        counts = counts[..., None] * (np.minimum(start + k, size + pad) - np.maximum(start, -pad))
    if (counts != math.prod(kernel)).any():
        y = ops.multiply(y, (math.prod(kernel) / counts[..., None]).astype(np.float32))
    return layout.signal(y)


@function("SumPooling")
def sum_pooling(call, x):
    """The sum of each window."""
    x, kernel, stride, pads = _windows(call, x)
    y = _average(call, x, kernel, stride, pads)
    return layout.signal(call.layer(layers.Rescaling, float(math.prod(kernel)), part="sum")(y))


@function("GlobalAveragePooling")
def global_average_pooling(call, x):
    """The mean over all positions, keeping their axes with length 1."""
    count = len(x.shape) - 2
    if not 1 <= count <= 3:
        call.refuse(f"for an input of {len(x.shape)} axes")
    kind = getattr(layers, f"GlobalAveragePooling{count}D")
    return layout.signal(call.layer(kind, keepdims=True)(layout.channels_last(x)))


@function("Unpooling")
def unpooling(call, x):
    """Repeat each value over the kernel."""
    kernel = dims(call.options.kernel, len(x.shape) - 2, 1)
    _check(call, kernel)
    size = kernel if len(kernel) > 1 else kernel[0]
    kind = getattr(layers, f"UpSampling{len(kernel)}D")
    return layout.signal(call.layer(kind, size)(layout.channels_last(x)))


def _average(call, x, kernel, stride, pads):
    if any(map(any, pads)):
        x = ops.pad(x, ((0, 0), *pads, (0, 0)))
    return call.layer(getattr(layers, f"AveragePooling{len(kernel)}D"), kernel, stride)(x)


def _windows(call, x):
    """Return the input with its channels last, the windows, their strides, and the padding at each end."""
    kernel = dims(call.options.kernel, len(x.shape) - 2, 1)
    _check(call, kernel)
    x = layout.channels_last(x)
    stride = dims(call.options.stride, len(kernel), 0)
    stride = stride if all(stride) else kernel
    pads = []
    for size, k, s, pad in zip(x.shape[1:-1], kernel, stride, dims(call.options.pad, len(kernel), 0), strict=True):
        if call.options.ignore_border:
            pads.append((pad, pad))
        else:  # the last windows extend beyond the border
            length = (size + pad - 1) // s + 1
            pads.append((pad, max((length - 1) * s + k - size - pad, 0)))
    return x, kernel, stride, pads


def _check(call, kernel) -> None:
    if call.options.channel_last:
        call.refuse("with channel_last")
    if not 1 <= len(kernel) <= 3 or not all(kernel):
        call.refuse(f"over windows of {list(kernel)}")
