"""Regularizers: losses of the input itself, which keep an optimized input from turning into noise.

They are divided by the size of the input (channels and positions, not samples), as in keras-vis, so a weight means
the same for small and large images. Every sample has a separate value.
"""

from __future__ import annotations

import abc
import functools
import operator

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from vis.engine.inputs import symbolic_inputs
from vis.engine.rules import ModifiedModel
from vis.losses import Loss
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError


def normalize(input_tensor, output_tensor):
    """Divide a value by the size of the input, so that its weight means the same for small and large images.

    For regularizers of your own, as in keras-vis.

    Args:
        input_tensor: The images, (samples, ...): a tensor, an array or a Keras tensor such as `model.input`.
        output_tensor: The value to divide, such as one of shape (samples,).

    Returns:
        `output_tensor` / n, where n is the number of values of a sample: channels times positions.

    Example:
        >>> images = np.ones((2, 4, 5, 3), "float32")
        >>> normalize(images, ops.sum(images, axis=(1, 2, 3))).numpy()
        array([1., 1.], dtype=float32)
    """
    return output_tensor / _size(input_tensor)


class _Regularizer(Loss, abc.ABC):
    """A loss of the input alone, independent of the model; subclasses override `of`."""

    def __init__(self, img_input):
        symbols = [] if isinstance(img_input, (keras.Model, ModifiedModel)) else keras.tree.flatten(img_input)
        if not all(isinstance(symbol, keras.KerasTensor) for symbol in symbols):
            raise ArgumentTypeError("img_input", f"must be model.input or a model, not {type(img_input).__name__}")
        self.img = img_input
        self._symbols = symbols

    def build_loss(self):
        symbols = self._symbols or symbolic_inputs(self.img)
        return sum(self.of(symbol, keras.config.image_data_format()) for symbol in symbols)

    def __call__(self, run):
        own = symbolic_inputs(run.model)
        # For the model itself, or the input of a model that a backprop modifier made this one of: all inputs.
        meant = [any(symbol is mine for mine in self._symbols) for symbol in own]
        tensors = [tensor for i, tensor in enumerate(run.inputs) if not any(meant) or meant[i]]
        data_format = run.data_format()
        return sum(self.of(tensor, data_format) for tensor in tensors if tensor.dtype.is_floating)

    @abc.abstractmethod
    def of(self, images, data_format: str = "channels_last"):
        """Return the value for each image, (images,).

        Args:
            images: A float tensor of shape (images, ...).
            data_format: `'channels_last'` or `'channels_first'`.

        Returns:
            A tensor of shape (images,).
        """


@shared_docs
class TotalVariation(_Regularizer):
    """Total variation: how much neighbouring positions differ.

    TV = 1/n Σ (Σ over axes d of (x shifted by one along d − x)²)^(β/2), where n is the number of values of a sample
    (Mahendran and Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", arXiv 1412.0035,
    equation 5). The sum is over the positions that have a neighbour along every axis.

    Args:
        {{img_input}} Images may have one, two, three or more dimensions; an input without positions (a table) has no
            variation.
        beta: The exponent β, above 0; below 2 it favours few sharp edges, above 2 many smooth ones.

    Raises:
        TypeError: `img_input` is neither symbolic inputs nor a model.
        ValueError: `beta` is not above 0.

    Example:
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
        >>> image = np.array([[1.0, 3.0], [4.0, 0.0]], "float32").reshape(1, 2, 2, 1)
        >>> TotalVariation(model).of(image).numpy()  # (2² + 3²) / 4
        array([3.25], dtype=float32)
    """

    def __init__(self, img_input, beta: float = 2.0):
        super().__init__(img_input)
        if not beta > 0:
            raise ArgumentError("beta", f"must be above 0, not {beta}")
        self.beta = beta
        self.name = f"TV({beta}) Loss"

    @property
    def key(self):
        """Return what two regularizers must share to use one traced function: the inputs and β."""
        return TotalVariation, *(self._symbols or [self.img]), self.beta

    def of(self, images, data_format: str = "channels_last"):
        """Return the total variation of each image.

        Args:
            images: A float tensor of shape (images, positions..., channels), or (images, channels, positions...).
            data_format: Which of the two, `'channels_last'` or `'channels_first'`.

        Returns:
            A tensor of shape (images,).
        """
        rank = len(images.shape)
        axes = range(2, rank) if data_format == "channels_first" else range(1, rank - 1)
        if not axes:
            return _summed(images * 0)
        squares = 0
        for axis in axes:
            # The neighbour along this axis; along the other axes the last position has none and is dropped.
            shift = [int(each == axis) for each in range(rank)]
            lost = [int(each in axes) for each in range(rank)]
            squares += ops.square(_part(images, shift, lost) - _part(images, [0] * rank, lost))
        return _summed(_power(squares, self.beta / 2)) / _size(images)


@shared_docs
class LPNorm(_Regularizer):
    """The L-p norm, which keeps values from growing without bound.

    Lp = 1/n (Σ |x|^p)^(1/p), where n is the number of values of a sample; max |x| / n for p = inf. This is keras-vis's
    norm; Mahendran and Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", arXiv 1412.0035, use
    its p-th power, with p = 6.

    Args:
        {{img_input}}
        p: The order, 1 or more; `np.inf` for the largest value.

    Raises:
        TypeError: `img_input` is neither symbolic inputs nor a model.
        ValueError: `p` is below 1.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> LPNorm(model, p=2).of(np.array([[3.0, -4.0]], "float32")).numpy()
        array([2.5], dtype=float32)
    """

    def __init__(self, img_input, p: float = 6.0):
        super().__init__(img_input)
        if not p >= 1:
            raise ArgumentError("p", f"must be at least 1, not {p}")
        self.p = p
        self.name = f"L-{p} Norm Loss"

    @property
    def key(self):
        """Return what two regularizers must share to use one traced function: the inputs and p."""
        return LPNorm, *(self._symbols or [self.img]), self.p

    def of(self, images, data_format: str = "channels_last"):
        """Return the norm of each image.

        Args:
            images: A float tensor of shape (images, ...).
            data_format: Ignored.

        Returns:
            A tensor of shape (images,).
        """
        del data_format
        values = ops.abs(images)
        axes = tuple(range(1, len(images.shape)))
        if np.isinf(self.p):
            return ops.max(values, axis=axes) / _size(images)
        # In units of the largest value, as a constant, so that no power overflows.
        unit = ops.stop_gradient(ops.max(values, axis=axes, keepdims=True))
        unit = ops.where(unit > 0, unit, ops.ones_like(unit))
        norms = _power(_summed(_power(values / unit, self.p)), 1 / self.p)
        return norms * ops.reshape(unit, (-1,)) / _size(images)


def _part(images, start: list[int], lost: list[int]):
    """Return the part of images that begins at `start` and is smaller by `lost` positions along each axis."""
    if isinstance(images, keras.KerasTensor):
        ends = (first - short or None for first, short in zip(start, lost, strict=True))
        return images[tuple(slice(first, end) for first, end in zip(start, ends, strict=True))]
    # Its gradient takes a tenth of the time of that of an index.
    return tf.slice(images, start, tf.shape(images) - lost)


def _power(values, exponent: float):
    """Return a power of values that are not negative, whose gradient at 0 is 0 and not infinite."""
    if exponent in range(1, 9):  # in a fifth of the time, gradient included
        return functools.reduce(operator.mul, [values] * int(exponent))
    positive = values > 0
    safe = ops.where(positive, values, ops.ones_like(values))
    return ops.where(positive, safe**exponent, ops.zeros_like(values))


def _summed(values):
    return ops.sum(values, axis=tuple(range(1, len(values.shape))))


def _size(images):
    if isinstance(images, keras.KerasTensor) and None in images.shape[1:]:
        return ops.sum(ops.ones_like(images[0]))  # there is no symbolic shape
    return ops.cast(ops.prod(ops.shape(images)[1:]), images.dtype)
