"""Functions that change the shape, in nnabla's order of axes and never along the batch axis."""

from __future__ import annotations

from keras import layers, ops

from vis.files.nnp import layout
from vis.files.nnp.table import function

_REDUCTIONS = {"Sum": ops.sum, "Mean": ops.mean, "Max": ops.max, "Min": ops.min, "Prod": ops.prod}
_PADDINGS = {"": "constant", "constant": "constant", "reflect": "reflect"}


@function("Identity")
def identity(call, x):
    """The input as it is."""
    return x


@function("Dropout")
def dropout(call, x):
    """Dropout, which Keras applies only in training."""
    return call.layer(layers.Dropout, call.options.p)(x)


@function("Reshape")
def reshape(call, x):
    """Another shape of the same numbers."""
    first, *shape = call.options.shape.dim
    if first not in (-1, call.batch_size):
        call.refuse(f"to a first axis of {first}, which is the batch's")
    return layout.from_nnabla(call.layer(layers.Reshape, shape)(layout.to_nnabla(x)))


@function("Transpose")
def transpose(call, x):
    """Another order of axes."""
    first, *axes = call.options.axes
    if first != 0:
        call.refuse("that moves the batch axis")
    return layout.from_nnabla(call.layer(layers.Permute, axes)(layout.to_nnabla(x)))


@function("Concatenate")
def concatenate(call, *inputs):
    """The inputs, concatenated along an axis."""
    if call.options.axis == 0:
        call.refuse("along the batch axis")
    axis = layout.axis(call.options.axis, len(inputs[0].shape))
    return call.layer(layers.Concatenate, axis=axis)(list(inputs)) if len(inputs) > 1 else inputs[0]


@function("Slice")
def slice_(call, x):
    """A slice of each of the last axes."""
    options, rank = call.options, len(x.shape)
    chosen = [slice(None)] * rank
    for number, part in enumerate(
        zip(options.start, options.stop, options.step, strict=True), rank - len(options.start)
    ):
        if number > 0:
            chosen[layout.axis(number, rank)] = slice(*part)
        elif part != (0, call.batch_size, 1):
            call.refuse("of the batch axis")
    return x[tuple(chosen)]


@function("Pad")
def pad(call, x):
    """The input, padded at the ends of the last axes."""
    options, rank = call.options, len(x.shape)
    if options.mode not in _PADDINGS:
        call.refuse(f"with mode {options.mode!r}")
    pairs = list(zip(options.pad_width[::2], options.pad_width[1::2], strict=True))
    widths = [(0, 0)] * rank
    for number, pair in enumerate(pairs, rank - len(pairs)):
        widths[layout.axis(number, rank)] = pair
    if any(widths[0]) or min(map(min, widths)) < 0:
        call.refuse(f"by {pairs}")
    mode = _PADDINGS[options.mode]
    if mode == "reflect" and any(max(pair) >= size for pair, size in zip(widths[1:], x.shape[1:], strict=True)):
        call.refuse(f"by {pairs} of an input of shape {x.shape[1:]}")
    return ops.pad(x, widths, mode, **({"constant_values": options.constant_value} if mode == "constant" else {}))


@function("Flip")
def flip(call, x):
    """The input, reversed along axes."""
    axes = [layout.axis(number, len(x.shape)) for number in call.options.axes]
    if 0 in axes:
        call.refuse("of the batch axis")
    return ops.flip(x, axes)


@function("Broadcast")
def broadcast(call, x):
    """The input, with axes of length 1 repeated."""
    shape = layout.sample_shape(tuple(call.options.shape.dim))
    if len(shape) != len(x.shape) - 1:
        call.refuse(f"to {len(shape) + 1} axes")
    return ops.tile(x, (1, *(new // old for new, old in zip(shape, x.shape[1:], strict=True))))


@function(*_REDUCTIONS)
def reduction(call, x):
    """A sum, mean, maximum, minimum or product over some axes."""
    options, rank = call.options, len(x.shape)
    axes = [number % rank for number in options.axes]
    if options.with_index or options.only_index:
        call.refuse("with an index")
    if not axes or 0 in axes:
        call.refuse("over the batch axis")
    if options.keep_dims:
        return _REDUCTIONS[call.type](x, axis=[layout.axis(number, rank) for number in axes], keepdims=True)
    return layout.from_nnabla(_REDUCTIONS[call.type](layout.to_nnabla(x), axis=axes))
