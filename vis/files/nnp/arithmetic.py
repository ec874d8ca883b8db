"""Arithmetic: sums, products and powers of tensors, parameters and numbers."""

from __future__ import annotations

import functools

import numpy as np
from keras import layers, ops

from vis.files.nnp import layout
from vis.files.nnp.table import function

_OF_TENSORS = {
    "Add2": (layers.Add, ops.add),
    "AddN": (layers.Add, ops.add),
    "BcAdd2": (layers.Add, ops.add),
    "Sub2": (layers.Subtract, ops.subtract),
    "Mul2": (layers.Multiply, ops.multiply),
    "MulN": (layers.Multiply, ops.multiply),
    "Maximum2": (layers.Maximum, ops.maximum),
    "Minimum2": (layers.Minimum, ops.minimum),
    "Div2": (None, ops.divide),
    "Pow2": (None, ops.power),
}
_OF_A_NUMBER = {
    "PowScalar": ops.power,
    "MaximumScalar": ops.maximum,
    "MinimumScalar": ops.minimum,
    "RDivScalar": lambda x, number: ops.divide(number, x),
    "RPowScalar": lambda x, number: ops.power(number, x),
}
_OF_ONE = {"Abs": ops.abs, "Exp": ops.exp, "Log": ops.log, "Sin": ops.sin, "Cos": ops.cos}


@function(*_OF_TENSORS)
def of_tensors(call, *inputs):
    """A layer if all inputs are tensors of the same shape, else an operation that broadcasts them."""
    kind, operation = _OF_TENSORS[call.type]
    ranks = {len(each.shape) for each in inputs if not isinstance(each, np.ndarray)}
    if len(ranks) != 1:
        call.refuse("of tensors with different numbers of axes")
    (rank,) = ranks
    if any(isinstance(each, np.ndarray) and each.ndim == rank and each.shape[0] != 1 for each in inputs):
        call.refuse("with one parameter per sample of the batch")
    values = [layout.constant(each, rank) if isinstance(each, np.ndarray) else each for each in inputs]
    alike = len({id(each) for each in values}) > 1 and len({tuple(each.shape) for each in values}) == 1
    if kind is not None and alike and not any(isinstance(each, np.ndarray) for each in values):
        return call.layer(kind)(values)
    return functools.reduce(operation, values)


@function("MulScalar")
def mul_scalar(call, x):
    """The product with a number."""
    return call.layer(layers.Rescaling, call.options.val)(x)


@function("AddScalar")
def add_scalar(call, x):
    """The sum with a number."""
    return call.layer(layers.Rescaling, 1.0, offset=call.options.val)(x)


@function("RSubScalar")
def r_sub_scalar(call, x):
    """A number minus the input."""
    return call.layer(layers.Rescaling, -1.0, offset=call.options.val)(x)


@function(*_OF_A_NUMBER)
def of_a_number(call, x):
    """An operation on the input and a number."""
    return _OF_A_NUMBER[call.type](x, call.options.val)


@function(*_OF_ONE)
def of_one(call, x):
    """An elementwise function of the input."""
    return _OF_ONE[call.type](x)


@function("BatchMatmul")
def batch_matmul(call, a, b):
    """The matrix product of the last two axes."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        call.refuse("with a parameter")
    if len(a.shape) != len(b.shape):
        call.refuse("of tensors with different numbers of axes")
    a, b = layout.to_nnabla(a), layout.to_nnabla(b)
    a = ops.swapaxes(a, -1, -2) if call.options.transpose_a else a
    b = ops.swapaxes(b, -1, -2) if call.options.transpose_b else b
    return layout.from_nnabla(ops.matmul(a, b))
