"""Normalization that can be differentiated twice.

Keras computes variances with `tf.nn.moments`, around a mean whose gradient is stopped. The gradient of the variance is
still right, but its second derivative is wrong, by a third in a small convolutional network.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from vis.engine import addressing, keras_internals


def exact_moments(model):
    """Correct the second derivatives of a model's normalization, for this thread, inside a `with` statement.

    Values and first derivatives do not change, and nothing changes for other threads.

    Args:
        model: A Keras model. Its layers for batch, group and layer normalization are corrected, at any depth, and so
            are `keras.ops.moments` and `keras.ops.layer_normalization` in its functional graph, but not operations in
            the `call` of other layers.

    Returns:
        A context manager.
    """
    found = ((layer, _exact(layer)) for layer in addressing.flatten(model))
    return keras_internals.replaced([(layer, *exact) for layer, exact in found if exact is not None])


def wrong_variances(graph: tf.Graph) -> list[str]:
    """Return the names of the operations of a graph that compute a variance with a wrong second derivative.

    Args:
        graph: A traced graph; the functions that it calls count too.

    Example:
        >>> function = tf.function(lambda x: tf.nn.moments(x, [0])[1])
        >>> wrong_variances(function.get_concrete_function(tf.TensorSpec([3])).graph)
        ['moments/SquaredDifference']
    """
    definition = graph.as_graph_def()
    found = []
    for nodes in (definition.node, *(function.node_def for function in definition.library.function)):
        stopped = {node.name for node in nodes if node.op == "StopGradient"}
        squares = [node for node in nodes if node.op == "SquaredDifference"]
        found += [node.name for node in squares if any(name.partition(":")[0] in stopped for name in node.input)]
    return found


def _exact(layer) -> tuple[str, Callable] | None:
    """Return the function of a layer that computes a variance, by name, and its replacement."""
    if _runs(keras.layers.BatchNormalization, layer, keras_internals.BATCH_MOMENTS):
        # Over several replicas, and with a mask, Keras computes the variance without `tf.nn.moments`.
        return None if layer.synchronized else (keras_internals.BATCH_MOMENTS, _batch_moments(layer))
    if _runs(keras.layers.GroupNormalization, layer, "call"):
        return "call", lambda inputs: _group_normalization(layer, inputs)
    if _runs(keras.layers.LayerNormalization, layer, "call") and not layer.rms_scaling:
        return "call", lambda inputs: _layer_normalization(layer, inputs, layer.gamma, layer.beta)
    if _is_operation(layer, "LayerNorm") and not layer.rms_scaling:
        return "call", lambda x, gamma=None, beta=None: _layer_normalization(layer, x, gamma, beta)
    if _is_operation(layer, "Moments") and not layer.synchronized:
        return "call", lambda x: _moments(x, layer.axes, layer.keepdims)
    return None


def _runs(kind, layer, method: str) -> bool:
    """Return whether a layer is of a class, or of a subclass that does not override a method."""
    return isinstance(layer, kind) and getattr(type(layer), method) is getattr(kind, method)


def _is_operation(layer, name: str) -> bool:
    return type(layer).__name__ == name and not isinstance(layer, keras.layers.Layer)


def _batch_moments(layer) -> Callable:
    with_mask = getattr(layer, keras_internals.BATCH_MOMENTS)

    def moments(inputs, mask):
        rank = inputs.shape.rank
        axes = [axis for axis in range(rank) if axis != layer.axis % rank]
        return _moments(inputs, axes) if mask is None else with_mask(inputs, mask)

    return moments


def _group_normalization(layer, inputs):
    rank, shape = inputs.shape.rank, tf.shape(inputs)
    axis = layer.axis % rank
    groups = [layer.groups, shape[axis] // layer.groups]
    grouped = tf.reshape(_wide(inputs), tf.concat([shape[:axis], groups, shape[axis + 1 :]], axis=0))
    within_group = [i for i in range(rank + 1) if i not in (0, axis)]
    normalized = tf.reshape(_normalized(grouped, within_group, layer.epsilon), shape)
    normalized = _scaled(tf.ensure_shape(normalized, inputs.shape), [axis], layer.gamma, layer.beta)
    return tf.cast(normalized, inputs.dtype)


def _layer_normalization(layer, inputs, gamma, beta):
    axes = [layer.axis] if isinstance(layer.axis, int) else layer.axis
    axes = sorted(axis % inputs.shape.rank for axis in axes)
    epsilon = keras.config.epsilon() if layer.epsilon is None else layer.epsilon
    return tf.cast(_scaled(_normalized(_wide(inputs), axes, epsilon), axes, gamma, beta), inputs.dtype)


def _normalized(x, axes, epsilon: float):
    mean, variance = _moments(x, axes, keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + epsilon)


def _scaled(x, axes, gamma, beta):
    """x·γ + β, with γ and β along some axes; None for 1 and 0."""
    shape = [size if i in axes else 1 for i, size in enumerate(x.shape)]
    for weight, combine in ((gamma, tf.multiply), (beta, tf.add)):
        if weight is not None:
            x = combine(x, tf.reshape(keras.ops.convert_to_tensor(weight, x.dtype), shape))
    return x


def _moments(x, axes, keepdims: bool = False):
    wide = _wide(x)
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axes, keepdims=True)
    if not keepdims:
        mean, variance = tf.squeeze(mean, axes), tf.squeeze(variance, axes)
    return tf.cast(mean, x.dtype), tf.cast(variance, x.dtype)


def _wide(x):
    return tf.cast(x, tf.float32) if x.dtype in (tf.float16, tf.bfloat16) else x
