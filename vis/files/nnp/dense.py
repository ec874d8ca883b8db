"""Affine layers, convolutions and normalizations: the functions with weights."""

from __future__ import annotations

import math

import numpy as np
from keras import layers, ops

from vis.files.nnp import layout
from vis.files.nnp.table import dims, function


@function("Affine")
def affine(call, x, weight, bias=None):
    """Dense over all axes from `base_axis` on, which are flattened."""
    base, rank = call.options.base_axis, len(x.shape)
    if not 1 <= base < rank:
        call.refuse(f"with base_axis {base} for an input of {rank} axes")
    out = weight.shape[1:]
    units = math.prod(out)
    weight = weight.reshape(-1, units)
    if base == 1 and rank > 2:
        if rank > 3:  # its rows are in the order of channels first
            sizes = (x.shape[-1], *x.shape[1:-1], units)
            weight = np.moveaxis(weight.reshape(sizes), 0, -2).reshape(-1, units)
        x = call.layer(layers.Flatten, part="flatten")(x)
    elif base > 1:
        x = layout.to_nnabla(x)
        x = call.layer(layers.Reshape, (*x.shape[1:base], math.prod(x.shape[base:])), part="flatten")(x)
    weights = [weight] if bias is None else [weight, bias.reshape(-1)]
    between = x.shape[1:-1]
    x = call.apply(x, weights, layers.Dense, units=units, use_bias=bias is not None)
    if len(out) != 1:
        x = call.layer(layers.Reshape, (*between, *out), part="shape")(x)
    return layout.from_nnabla(x)


@function("Convolution")
def convolution(call, x, weight, bias=None):
    """A convolution; with strides it is padded separately, because TensorFlow's "same" pads unevenly."""
    count = weight.ndim - 2
    _check_signal(call, x, count)
    pad, stride, dilation = _geometry(call, count)
    x = layout.channels_last(x)
    kernel = weight.shape[2:]
    even = all(2 * p == d * (k - 1) for p, d, k in zip(pad, dilation, kernel, strict=True))
    same = set(stride) == {1} and even
    if any(pad) and not same:
        x = _padded(call, x, pad)
    y = call.apply(
        x,
        [weight.transpose(*range(2, weight.ndim), 1, 0)] + ([] if bias is None else [bias]),
        getattr(layers, f"Conv{count}D"),
        filters=weight.shape[0],
        kernel_size=kernel,
        strides=stride,
        dilation_rate=dilation,
        groups=call.options.group or 1,
        padding="same" if same else "valid",
        use_bias=bias is not None,
    )
    return layout.signal(y)


@function("DepthwiseConvolution")
def depthwise_convolution(call, x, weight, bias=None):
    """A convolution of each channel with `multiplier` separate kernels."""
    count = weight.ndim - 1
    _check_signal(call, x, count)
    pad, stride, dilation = _geometry(call, count)
    if count > 2 or len(set(stride)) > 1:
        call.refuse(f"in {count} dimensions with strides {stride}")
    x = layout.channels_last(x)
    multiplier = call.options.multiplier or 1
    if any(pad):
        x = _padded(call, x, pad)
    kernel = weight.reshape(-1, multiplier, *weight.shape[1:])
    y = call.apply(
        x,
        [kernel.transpose(*range(2, kernel.ndim), 0, 1)] + ([] if bias is None else [bias]),
        getattr(layers, f"DepthwiseConv{count}D"),
        kernel_size=weight.shape[1:],
        strides=stride,
        dilation_rate=dilation,
        depth_multiplier=multiplier,
        use_bias=bias is not None,
    )
    return layout.signal(y)


@function("Deconvolution")
def deconvolution(call, x, weight, bias=None):
    """A transposed convolution, cropped by the padding."""
    count = weight.ndim - 2
    _check_signal(call, x, count)
    pad, stride, dilation = _geometry(call, count)
    if (call.options.group or 1) != 1 or any(dims(call.options.output_padding, count, 0)):
        call.refuse("with groups or output_padding")
    sizes = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
    y = call.apply(
        layout.channels_last(x),
        [weight.transpose(*range(2, weight.ndim), 1, 0)] + ([] if bias is None else [bias]),
        getattr(layers, f"Conv{count}DTranspose"),
        filters=weight.shape[1],
        kernel_size=weight.shape[2:],
        strides=stride,
        dilation_rate=dilation,
        use_bias=bias is not None,
    )
    # If the stride is longer than the kernel, Keras continues to the end of the last stride.
    crop = [(p, p + max(s - size, 0)) for p, s, size in zip(pad, stride, sizes, strict=True)]
    if any(map(any, crop)):
        y = call.layer(getattr(layers, f"Cropping{count}D"), crop if count > 1 else crop[0], part="crop")(y)
    return layout.signal(y)


@function("BinaryConnectAffine", "BinaryConnectConvolution", "BinaryWeightAffine", "BinaryWeightConvolution")
def binary(call, x, weight, _, *others):
    """An affine layer or convolution with the signs of the weights; scaled by `alpha` in binary weight networks."""
    signs = np.where(weight == 0, call.options.quantize_zero_to, np.sign(weight)).astype(np.float32)
    compute = affine if call.type.endswith("Affine") else convolution
    if call.type.startswith("BinaryWeight"):
        alpha, others = others[0], others[1:]
        # The outputs are the last axis of an affine layer's weights, the first of a convolution's.
        signs = signs * (alpha if compute is affine else alpha.reshape(-1, *(1,) * (weight.ndim - 1)))
    return compute(call, x, signs, *others)


@function("BatchNormalization")
def batch_normalization(call, x, *parameters):
    """Batch normalization over one axis; `no_bias` and `no_scale` leave a parameter out."""
    options, parameters = call.options, tuple(each.reshape(-1) for each in parameters)
    if len(options.axes) != 1:
        call.refuse(f"over the axes {list(options.axes)}")
    center, scale = not options.no_bias, not options.no_scale
    beta, parameters = ([parameters[0]], parameters[1:]) if center else ([], parameters)
    gamma, statistics = ([parameters[0]], parameters[1:]) if scale else ([], parameters)
    return call.apply(
        x,
        [*gamma, *beta, *statistics],
        layers.BatchNormalization,
        axis=layout.axis(options.axes[0], len(x.shape)),
        momentum=options.decay_rate,
        epsilon=options.eps,
        center=center,
        scale=scale,
    )


@function("FusedBatchNormalization")
def fused_batch_normalization(call, x, beta, gamma, mean, variance, added=None):
    """Batch normalization, plus the second input if there is one, then a ReLU."""
    if call.options.nonlinearity not in ("", "relu"):
        call.refuse(f"with nonlinearity {call.options.nonlinearity!r}")
    y = batch_normalization(call, x, beta, gamma, mean, variance)
    if added is not None:
        y = call.layer(layers.Add, part="add")([y, added])
    return call.layer(layers.ReLU, part="relu")(y)


@function("MeanSubtraction")
def mean_subtraction(call, x, mean, _):
    """The input minus the running mean from training."""
    return ops.subtract(x, layout.constant(mean, len(x.shape)))


def _check_signal(call, x, count: int) -> None:
    """Refuse an input unless it has one channel axis followed by `count` spatial axes."""
    if call.options.channel_last:
        call.refuse("with channel_last")
    if len(x.shape) != count + 2 or call.options.base_axis > 1 or not 1 <= count <= 3:
        call.refuse(f"in {count} dimensions for an input of {len(x.shape)} axes")


def _padded(call, x, pad):
    widths = [(p, p) for p in pad] if len(pad) > 1 else pad[0]
    return call.layer(getattr(layers, f"ZeroPadding{len(pad)}D"), widths, part="pad")(x)


def _geometry(call, count: int) -> tuple[tuple[int, ...], ...]:
    """Return pad, stride and dilation; Keras does not support both a stride and a dilation above 1."""
    options = call.options
    pad, stride, dilation = (
        dims(options.pad, count, 0),
        dims(options.stride, count, 1),
        dims(options.dilation, count, 1),
    )
    if max(stride) > 1 and max(dilation) > 1:
        call.refuse(f"with both strides {stride} and dilation {dilation}")
    return pad, stride, dilation
