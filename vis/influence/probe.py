"""Check second derivatives before they are used, because those of some TensorFlow operations are wrong.

Influence needs the derivative of a gradient. That of bilinear resizing is silently wrong (by 30 to 50 % on TensorFlow
2.21), and that of a layer with a custom gradient may be. So, on a few training examples and for a random direction v,
the terms of the backward pass of a training step are compared with central finite differences:

    H v = ∂(gᵀv)/∂θ    with    (g(θ + εv) - g(θ - εv)) / 2ε
    ∂(gᵀv)/∂w_i        with    (L_i(θ + εv) - L_i(θ - εv)) / 2ε,    L_i the share of example i in the step's loss

in a copy of the model that computes in float64, where neither rounding nor the kinks of ReLU matter.
"""

from __future__ import annotations

import re

import keras
import numpy as np
import tensorflow as tf

from vis.engine import addressing
from vis.engine.copies import copy_model, set_values
from vis.engine.exact_moments import exact_moments, wrong_variances
from vis.influence.examples import Batch
from vis.influence.training import TrainingStep, dense_gradients
from vis.utils.errors import ArgumentError

_EXAMPLES = 8
# Pairs of ε and the relative error that passes. One of them must pass at one of a few points: a kink of ReLU between
# the two ends of a difference spoils it. The last pair is for layers that always compute in float32.
_PASSES = ((1e-7, 1e-3), (1e-8, 1e-3), (1e-3, 2e-2))
# If no copy in float64 can be made, rounding and kinks hide all but coarse errors.
_PASSES_FLOAT32 = ((3e-3, 0.2), (3e-2, 0.2))
_POINTS = 3


def check_second_order(step: TrainingStep, state, batch: Batch) -> None:
    """Refuse a training step whose second derivatives differ from finite differences.

    Args:
        step: A training step.
        state: A `State` to compare at.
        batch: Training examples; the first eight are used.

    Raises:
        ValueError: They differ, or a layer computes a variance by `tf.nn.moments`. The message names the layer.
    """
    batch = tf.nest.map_structure(lambda array: np.asarray(array)[:_EXAMPLES], batch)
    _check_variances(step, state, batch)
    inputs = keras.tree.map_structure(lambda array: array[:1], batch.inputs)
    try:
        model = copy_model(step.model, inputs, double=True)
        set_values(model, state.weights, state.buffers)
        copied = step.with_model(model)
        weights = [tf.cast(weight, tf.float64) for weight in state.weights]
        buffers = [tf.convert_to_tensor(variable) for variable in model.non_trainable_variables]
        doubled = tf.nest.map_structure(_double, batch)
        error = _least_error(copied, weights, buffers, doubled, _PASSES)
    except (ValueError, TypeError, tf.errors.OpError):
        # The model cannot be copied, or one of its layers cannot compute in float64.
        model = None
        weights, buffers = (list(map(tf.convert_to_tensor, values)) for values in state[:2])
        batch = tf.nest.map_structure(tf.convert_to_tensor, batch)
        error = _least_error(step, weights, buffers, batch, _PASSES_FLOAT32)
    passed = error == 0
    if model is not None:
        with exact_moments(model):
            culprits = [] if passed else [layer for layer in addressing.flatten(model) if _is_wrong(layer)]
    else:
        culprits = [layer for layer in addressing.flatten(step.model) if _resizes(layer)]
    if passed and not culprits:
        return
    reasons = _reasons(step, state, batch)
    found = [f"'{layer.name}' ({type(layer).__name__})" for layer in culprits]
    if not found:
        found = list(dict.fromkeys(owner for owner, _ in reasons.values()))
    resizing = bool(culprits) and _resizes(culprits[0])
    why = "TensorFlow's is wrong for such resizing" if resizing else _first_reason(reasons, culprits)
    remedy = (
        "Use interpolation='nearest'" if resizing else "Replace it" if found else "Replace the layer that is unusual"
    )
    raise ArgumentError(
        "model",
        f"must have second derivatives that agree with finite differences, not "
        f"{'the layer ' + ' and '.join(found) if found else 'one of its layers'}, whose one is off by "
        f"{100 * error:.0f} %{': ' + why if why else ''}",
        f"{remedy}, or call tracin or counterfactual_influence, which need no second derivative",
        kind="second_derivative",
    )


def _resizes(layer) -> bool:
    return getattr(layer, "interpolation", None) in ("bilinear", "bicubic")


def _first_reason(reasons: dict, culprits: list) -> str:
    names = [layer.name for layer in culprits] or list(reasons)
    return next((reasons[name][1] for name in names if name in reasons), "")


def _reasons(step: TrainingStep, state, batch: Batch) -> dict[str, tuple[str, str]]:
    """Return the layers that may have a wrong second derivative, by name: a description of each, and the reason."""
    found = {}
    for name, node in _operations(_traced(step, state, batch)):
        stops, custom = node.op == "StopGradient", "_gradient_op_type" in node.attr
        owner = _owner(step.model, name) if stops or custom else None
        if owner is not None:
            why = "it stops a gradient (stop_gradient)" if stops else "it has a custom gradient (tf.custom_gradient)"
            # A custom gradient that stops another gradient counts as custom.
            if custom or owner.name not in found:
                found[owner.name] = (f"'{owner.name}' ({type(owner).__name__})", why)
    return found


def _operations(graph: tf.Graph):
    """Yield `(name, node)` of each operation; those of branches and loops have the name of the calling operation."""
    definition = graph.as_graph_def()
    functions = {function.signature.name: function.node_def for function in definition.library.function}

    def walk(nodes, scope):
        for node in nodes:
            yield scope + node.name, node
            for attribute in node.attr.values():
                for called in (attribute.func, *attribute.list.func):
                    if called.name in functions:
                        yield from walk(functions[called.name], f"{scope}{node.name}/")

    yield from walk(definition.node, "")


def _owner(model, name: str):
    """Return the innermost layer whose scope contains an operation, or None."""
    layers = {layer.name: layer for layer in addressing.flatten(model)}
    # TensorFlow numbers a scope that is reopened: 'mine_1/moments/SquaredDifference'.
    names = [each for scope in reversed(name.split("/")) for each in (scope, re.sub(r"_\d+$", "", scope))]
    return next((layers[each] for each in names if each in layers), None)


def _traced(step: TrainingStep, state, batch: Batch) -> tf.Graph:
    weights, buffers, batch = tf.nest.map_structure(tf.convert_to_tensor, (state.weights, state.buffers, batch))
    function = tf.function(lambda: step.losses(weights, buffers, batch, training=True)[0], autograph=False)
    return function.get_concrete_function().graph


def _check_variances(step: TrainingStep, state, batch: Batch) -> None:
    """Refuse a layer that calls `tf.nn.moments`: its error of a few per cent is too small for finite differences."""
    found = wrong_variances(_traced(step, state, batch))
    if not found:
        return
    owner = _owner(step.model, found[0]) or step.model
    raise ValueError(
        f"the second derivative of the variance '{found[0]}' of layer '{owner.name}' ({type(owner).__name__}) is wrong "
        "in TensorFlow, and the scores would be too: tf.nn.moments and keras.ops.moments stop a gradient. Take the "
        "variance as the mean of tf.math.squared_difference(x, mean) there. tracin and counterfactual_influence need "
        "no second derivative."
    )


def _least_error(step: TrainingStep, weights, buffers, batch: Batch, passes) -> float:
    """Return 0 as soon as a comparison passes, else the smallest relative error."""
    errors = []
    for point in range(_POINTS):
        for shift, tolerance in passes:
            errors.append(_error(step, weights, buffers, batch, shift, point))
            if errors[-1] <= tolerance:
                return 0.0
    return min(errors)


def _error(step: TrainingStep, weights, buffers, batch: Batch, shift: float, seed: int) -> float:
    """Return the relative error of both comparisons: the norm of the difference of vectors."""
    rng = np.random.default_rng(seed)
    scale = [max(float(tf.math.reduce_std(weight)), 0.1) for weight in weights]
    v = [
        tf.constant(rng.normal(size=weight.shape) * size, weight.dtype)
        for weight, size in zip(weights, scale, strict=True)
    ]
    # With biases of zero, black pixels would put a ReLU exactly at its kink.
    weights = [
        weight + tf.constant(rng.normal(size=weight.shape) * 0.05 * size, weight.dtype)
        for weight, size in zip(weights, scale, strict=True)
    ]
    ones = tf.ones_like(batch.sample_weight)

    def gradient(sign):
        moved = [weight + sign * shift * direction for weight, direction in zip(weights, v, strict=True)]
        with tf.GradientTape() as tape:
            tape.watch(moved)
            objective, _ = step.objective(moved, buffers, batch, ones)
        losses, _, _ = step.losses(moved, buffers, batch, training=True)
        shares = step.shares(losses, moved, batch.sample_weight)
        return _zeros_for_none(dense_gradients(tape, objective, moved), weights), shares

    with tf.GradientTape() as outer:
        outer.watch([*weights, ones])
        with tf.GradientTape() as inner:
            inner.watch(weights)
            objective, _ = step.objective(weights, buffers, batch, ones)
        found = _zeros_for_none(dense_gradients(inner, objective, weights), weights)
        product = tf.add_n([tf.reduce_sum(g * direction) for g, direction in zip(found, v, strict=True)])
    *hessian, weight_gradients = outer.gradient(product, [*weights, ones], unconnected_gradients="zero")
    hessian = [tf.convert_to_tensor(value) for value in hessian]
    (above, shares_above), (below, shares_below) = gradient(+1), gradient(-1)
    differences = [(up - down) / (2 * shift) for up, down in zip(above, below, strict=True)]
    weight_differences = (shares_above - shares_below) / (2 * shift)
    return max(_relative(hessian, differences), _relative([weight_gradients], [weight_differences]))


def _relative(ours, theirs) -> float:
    ours, theirs = (np.concatenate([np.asarray(value).reshape(-1) for value in values]) for values in (ours, theirs))
    norm = max(np.linalg.norm(ours), np.linalg.norm(theirs))
    error = np.linalg.norm(ours - theirs) / norm if norm > 1e-7 else 0.0
    return float(error) if np.isfinite(error) else np.inf


def _is_wrong(layer) -> bool:
    """Return whether a single layer, of a model in float64, has wrong second derivatives with respect to its input.

    Half the square of its output is differentiated, because a linear layer such as bilinear resizing has no second
    derivative.
    """
    if not isinstance(layer, keras.layers.Layer) or addressing.children(layer):
        return False
    rng = np.random.default_rng(0)
    try:
        shape = [size or 8 for size in layer.input.shape[1:]]
        x = tf.constant(rng.normal(size=[2, *shape]))
        v = tf.constant(rng.normal(size=[2, *shape]))
        target = tf.constant(rng.random(size=layer(x).shape))

        def gradient(at):
            with tf.GradientTape() as tape:
                tape.watch(at)
                value = tf.reduce_sum(target * tf.square(layer(at)))
            return tape.gradient(value, at)

        with tf.GradientTape() as tape:
            tape.watch(x)
            product = tf.reduce_sum(gradient(x) * v)
        ours = tape.gradient(product, x, unconnected_gradients="zero")

        def passes(shift, tolerance):
            theirs = (gradient(x + shift * v) - gradient(x - shift * v)) / (2 * shift)
            return _relative([ours], [theirs]) <= tolerance

        return not any(passes(shift, tolerance) for shift, tolerance in _PASSES)
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError, tf.errors.OpError):
        # Layers with several inputs, integer inputs or randomness cannot be checked alone.
        return False


def _zeros_for_none(gradients, weights) -> list:
    return [
        tf.zeros_like(weight) if gradient is None else gradient
        for gradient, weight in zip(gradients, weights, strict=True)
    ]


def _double(array):
    array = np.asarray(array)
    return tf.constant(array, tf.float64 if array.dtype.kind == "f" else array.dtype)
