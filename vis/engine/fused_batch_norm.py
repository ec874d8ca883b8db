"""Layers that compute faster where no gradient passes through them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf


def fast(layer, call: Callable) -> Callable:
    """Return the call of a layer in inference mode, or a faster equivalent.

    Keras normalizes a batch by a multiplication and an addition, each of which reads the whole feature map.
    TensorFlow's fused operation reads it once, and is itself fused with a convolution before it and a ReLU after it.
    It is not fused with a depthwise convolution; there, the multiplication is folded into the kernel. MobileNetV2 takes
    a quarter less time. The fused gradient is slower, so layers that are differentiated keep their call.

    Args:
        layer: A Keras layer.
        call: Its call, to be used where there is nothing faster.

    Returns:
        A function of the arguments of `call`.

    Example:
        >>> layer = keras.layers.BatchNormalization(epsilon=3)
        >>> layer.build((None, 2, 2, 1))
        >>> fast(layer, layer.call)(tf.ones((1, 2, 2, 1)), training=False)[0, 0, 0].numpy()
        array([0.5], dtype=float32)
    """
    if type(layer) is not keras.layers.BatchNormalization or layer.compute_dtype != "float32":
        return call

    def fused(inputs, training=None, **kwargs):
        if training or inputs.shape.rank != 4 or layer.axis not in (-1, 3):
            return call(inputs, training=training, **kwargs)
        scale = layer.gamma.value if layer.scale else tf.ones(layer.moving_mean.shape)
        offset = layer.beta.value if layer.center else tf.zeros(layer.moving_mean.shape)
        mean, variance = layer.moving_mean.value, layer.moving_variance.value
        if _is_depthwise(inputs):
            scale = scale * tf.math.rsqrt(variance + layer.epsilon)
            return tf.nn.bias_add(_scaled(inputs.op, scale), offset - mean * scale)
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=layer.epsilon, is_training=False
        )[0]

    return fused


def _is_depthwise(tensor: tf.Tensor) -> bool:
    """Return whether a tensor is the direct output of a channels-last depthwise convolution."""
    if not tf.is_symbolic_tensor(tensor) or tensor.op.type != "DepthwiseConv2dNative":
        return False
    return tensor.op.get_attr("data_format") == b"NHWC"


def _scaled(convolution: tf.Operation, scale: tf.Tensor) -> tf.Tensor:
    """What a depthwise convolution gives, times a number for each of its channels."""
    images, kernel = convolution.inputs
    return tf.raw_ops.DepthwiseConv2dNative(
        input=images,
        filter=kernel * tf.reshape(scale, kernel.shape[2:]),
        **{name: convolution.get_attr(name) for name in ("strides", "padding", "dilations", "explicit_paddings")},
    )
