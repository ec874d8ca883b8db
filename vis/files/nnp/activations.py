"""Activations; those that backprop modifiers change are separate layers."""

from __future__ import annotations

from keras import layers, ops

from vis.files.nnp import layout
from vis.files.nnp.table import function

_ACTIVATIONS = {
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
    "Swish": "silu",
    "SoftSign": "softsign",
    "Mish": "mish",
    "LogSigmoid": "log_sigmoid",
}


@function(*_ACTIVATIONS)
def activation(call, x):
    """An activation that Keras computes by the same formula."""
    return call.layer(layers.Activation, _ACTIVATIONS[call.type])(x)


@function("ReLU")
def relu(call, x):
    """max(x, 0)."""
    return call.layer(layers.ReLU)(x)


@function("ReLU6")
def relu6(call, x):
    """min(max(x, 0), 6)."""
    return call.layer(layers.ReLU, max_value=6.0)(x)


@function("LeakyReLU")
def leaky_relu(call, x):
    """max(x, 0) + alpha * min(x, 0)."""
    return call.layer(layers.LeakyReLU, negative_slope=call.options.alpha)(x)


@function("ELU")
def elu(call, x):
    """x, or alpha * (exp(x) - 1) below 0."""
    return call.layer(layers.ELU, alpha=call.options.alpha)(x)


@function("SELU")
def selu(call, x):
    """A scaled ELU."""
    x = call.layer(layers.ELU, alpha=call.options.alpha)(x)
    return call.layer(layers.Rescaling, call.options.scale, part="scale")(x)


@function("PReLU")
def prelu(call, x, slope):
    """max(x, 0) + slope * min(x, 0), with one slope for all channels or one per channel."""
    if call.options.base_axis != 1:
        call.refuse(f"with base_axis {call.options.base_axis}")
    rank = len(x.shape)
    channel = layout.axis(1, rank)
    shared = [axis for axis in range(1, rank) if axis != channel or slope.size == 1]
    shape = [1 if axis in shared else x.shape[axis] for axis in range(1, rank)]
    return call.apply(x, [slope.reshape(shape)], layers.PReLU, shared_axes=shared)


@function("CReLU")
def crelu(call, x):
    """The ReLU of x and that of -x, concatenated."""
    return _both(call, x, lambda part: call.layer(layers.ReLU, part=part))


@function("CELU")
def celu(call, x):
    """The ELU of x and that of -x, concatenated."""
    return _both(call, x, lambda part: call.layer(layers.ELU, alpha=call.options.alpha, part=part))


@function("GELU")
def gelu(call, x):
    """The input times the normal cumulative distribution function, approximated by tanh."""
    return ops.gelu(x, approximate=True)


@function("SoftPlus")
def softplus(call, x):
    """log(1 + exp(beta * x)) / beta."""
    beta = call.options.beta or 1.0
    if beta == 1:
        return call.layer(layers.Activation, "softplus")(x)
    x = call.layer(layers.Rescaling, beta, part="beta")(x)
    x = call.layer(layers.Activation, "softplus")(x)
    return call.layer(layers.Rescaling, 1 / beta, part="scale")(x)


@function("HardSigmoid")
def hard_sigmoid(call, x):
    """0.2 * x + 0.5, clipped to [0, 1]; Keras's `hard_sigmoid` has another slope."""
    return ops.clip(call.layer(layers.Rescaling, 0.2, offset=0.5)(x), 0.0, 1.0)


@function("HardTanh")
def hard_tanh(call, x):
    """The input, clipped to [-1, 1]."""
    return ops.clip(x, -1.0, 1.0)


@function("TanhShrink")
def tanh_shrink(call, x):
    """The input minus its tanh."""
    return ops.subtract(x, call.layer(layers.Activation, "tanh")(x))


@function("Softmax")
def softmax(call, x):
    """The softmax over an axis."""
    return call.layer(layers.Softmax, axis=layout.axis(call.options.axis, len(x.shape)))(x)


@function("LogSoftmax")
def log_softmax(call, x):
    """The logarithm of the softmax over an axis."""
    return ops.log_softmax(x, axis=layout.axis(call.options.axis, len(x.shape)))


def _both(call, x, make):
    negative = call.layer(layers.Rescaling, -1.0, part="negated")(x)
    axis = layout.axis(call.options.axis, len(x.shape))
    return call.layer(layers.Concatenate, axis=axis)([make("positive")(x), make("negative")(negative)])
