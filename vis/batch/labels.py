"""Explains each sample's own label by any method of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vis import methods


def explain_labels(method: methods.Method, options: Mapping[str, Any], model, labels, width: int, x) -> np.ndarray:
    """Explain each sample's own label; a single output speaks for label 1 and, negated, for label 0.

    So for label 0 of a binary classifier what decreases the output is explained.

    Args:
        method: A row of `vis.methods.METHODS`.
        options: Values by the options' names.
        model: A Keras model with one output.
        labels: int, (samples,).
        width: How many outputs the model has.
        x: The images, with their sample axis.

    Returns:
        float32, one map per sample.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> model.layers[-1].set_weights([np.array([[1.0, 2.0, 0.0], [4.0, 2.0, 1.0]]), np.zeros(3)])
        >>> saliency = methods.METHODS["saliency"]
        >>> explain_labels(saliency, {}, model, np.array([0, 2]), 3, np.zeros((2, 2)))
        array([[0., 1.],
               [0., 1.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if width > 1:
        return method.explain(model, labels[:, None], x, options)
    if method.name in _TWINS:
        return _explain_through_losses(method, options, model, labels, x)
    maps: dict[int, np.ndarray] = {}
    for label, target in ((1, 0), (0, decrease)):
        rows = np.flatnonzero(labels == label)
        if len(rows):
            maps.update(zip(rows.tolist(), method.explain(model, target, x[rows], options), strict=True))
    return np.stack([maps[row] for row in range(len(labels))])


def decrease(output):
    """Return minus a model's single output, the mean over positions where there are any: the score of label 0.

    Args:
        output: A tensor of shape (samples, ...).

    Returns:
        A float32 tensor of shape (samples,).

    Example:
        >>> decrease(np.array([[2.0], [-3.0]])).numpy()
        array([-2.,  3.], dtype=float32)
    """
    import tensorflow as tf

    return -tf.reduce_mean(tf.reshape(tf.cast(output, tf.float32), [tf.shape(output)[0], -1]), axis=1)


# Until `filter_indices` of these takes a function, their functions of losses explain label 0 of a single output.
_TWINS = {
    "saliency": "vis.visualization:visualize_saliency_with_losses",
    "smoothgrad": "vis.visualization:smoothgrad_with_losses",
    "gradcam": "vis.visualization:visualize_cam_with_losses",
}


def _explain_through_losses(method, options, model, labels, x):
    from vis import backprop_modifiers
    from vis.batch.predictions import LabelScore

    arguments = method.arguments(options, x)
    losses = [(LabelScore(labels, 1, logits=arguments.pop("logits")), -1)]
    model = backprop_modifiers.get(arguments.pop("backprop_modifier"))(model)
    if "penultimate_layer_idx" in arguments:
        arguments["penultimate_layer"] = arguments.pop("penultimate_layer_idx")
    return methods.resolve(_TWINS[method.name])(model, losses, x, **arguments)
