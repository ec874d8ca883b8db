"""Influence functions: how the optimum moves without an example, to first order, from the Hessian at the optimum.

Koh & Liang, "Understanding Black-box Predictions via Influence Functions" (2017, arXiv 1703.04730), equation 2. With H
the Hessian of the mean training loss at the trained weights, and δ a damping that makes it positive definite,

    score_i = (1/n) ∇ℓ_iᵀ (H + δI)⁻¹ ∇L_val

is the change in validation loss if example i is left out: the optimum moves by (1/n) H⁻¹∇ℓ_i. This holds for a
model at the minimum of its training loss; `sgd_influence` does not need one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from vis.influence.checks import check_model
from vis.influence.examples import Examples, check_labels_of, example_loss
from vis.influence.probe import check_second_order
from vis.influence.tracin import gradients_along
from vis.influence.training import State, TrainingStep, compiled, seeded, signature
from vis.influence.update_rules import update_rule
from vis.influence.validation import ValidationLoss
from vis.utils.checks import real_number, whole_number
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, warn

_BATCH = 128


@shared_docs
def influence_functions(
    model,
    x,
    y,
    x_val,
    y_val,
    *,
    loss=None,
    damping: float = 0.01,
    solver: str = "cg",
    l2: float = 0.0,
    sample_weight=None,
    iterations: int | None = None,
    tolerance: float = 1e-4,
    scale: float = 10.0,
    batch_size: int = 32,
    samples: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> np.ndarray:
    """Score every training example by influence functions, from the trained model alone.

    score_i = (1/n) ∇ℓ_iᵀ (H + δI)⁻¹ ∇L_val, with H the Hessian of the mean training loss over n examples (Koh & Liang
    2017, "Understanding Black-box Predictions via Influence Functions", arXiv 1703.04730, equation 2). Dropout is off
    and batch normalization uses its moving averages.

    Args:
        model: A trained Keras model with one output; it is not changed.
        {{training_set}}
        {{validation_set}}
        {{loss}}
        damping: δ, at least 0, added to the diagonal of the Hessian.
        solver: `'cg'`: conjugate gradient over all examples. `'lissa'`: the stochastic Neumann series of Agarwal,
            Bullins & Hazan (2016, arXiv 1602.03943), one batch per iteration, for data that is too large for `'cg'`.
        {{l2}}
        {{sample_weight}}
        iterations: The largest number of iterations; None for 100 (`'cg'`) or 1000 (`'lissa'`).
        tolerance: `'cg'` ends when the residual is this small relative to ‖∇L_val‖.
        scale: `'lissa'` divides the Hessian by it; it must exceed the largest eigenvalue.
        batch_size: The number of examples per iteration of `'lissa'`.
        samples: The number of `'lissa'` runs to average.
        seed: The seed of the batches of `'lissa'`, an int of at least 0.
        {{progress}}

    Returns:
        {{scores}}

    Raises:
        ValueError: The model has several outputs, or a layer whose second derivatives are wrong in TensorFlow; the
            lengths of arrays differ or labels are out of range; `solver` or `loss` is unknown, a number is out of
            range; or `'lissa'` does not converge.
        TypeError: `model` is not a Keras model, the labels are not numeric, or an option is not a number.

    Warns:
        VisWarning: The validation examples are the training examples; the Hessian has a negative eigenvalue beyond the
            damping, where conjugate gradient stops; or there are too few iterations.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='ones')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([1.1, 2.0, 2.9, -9.0])  # the last one is wrong
        >>> influence_functions(model, x, y, x[:3] + 0.5, y[:3] + 0.6, progress=False).argmin().item()
        3
    """
    check_model(model)
    if solver not in ("cg", "lissa"):
        raise ArgumentError("solver", f"must be 'cg' or 'lissa', not {solver!r}", kind="unknown")
    damping, tolerance, l2 = (
        _at_least_0(name, value) for name, value in (("damping", damping), ("tolerance", tolerance), ("l2", l2))
    )
    scale = real_number("scale", scale)
    if not scale > 0:
        raise ArgumentError("scale", f"must be above 0, not {scale}")
    iterations = whole_number("iterations", iterations, or_none=True)
    batch_size, samples = whole_number("batch_size", batch_size), whole_number("samples", samples)
    seed = whole_number("seed", seed, 0)
    examples = Examples(model, x, y, sample_weight)
    loss, each = example_loss(model, loss, examples.labels)
    check_labels_of(model, loss, examples.labels)
    step = TrainingStep(model, each, update_rule("sgd"), l2)
    state = step.initial([variable.numpy() for variable in model.trainable_variables], seeded(model, seed))
    check_second_order(step, state, examples.batch(slice(0, 8)))
    validation = ValidationLoss(step, state, loss, examples, x_val, y_val)
    gradient = [value.numpy().astype(np.float64) for value in validation.gradient(state)[0]]
    product = _hessian_product(step, state, examples)

    if solver == "cg":
        rows = [np.arange(start, min(start + _BATCH, len(examples))) for start in range(0, len(examples), _BATCH)]

        def of_all(v):
            parts = [(len(part) / len(examples), product(v, part)) for part in rows]
            hessian = [sum(share * part[i] for share, part in parts) for i in range(len(v))]
            return [h + damping * u for h, u in zip(hessian, v, strict=True)]

        solution = _conjugate_gradient(of_all, gradient, iterations or 100, tolerance, progress)
    else:
        solution = _lissa(
            product, gradient, len(examples), damping, scale, iterations or 1000, batch_size, samples, seed, progress
        )

    along = gradients_along(step, state, examples)
    direction = tuple(tf.constant(value, weight.dtype) for value, weight in zip(solution, state.weights, strict=True))
    scores = [
        along(state.weights, state.buffers, examples.batch(slice(start, start + _BATCH)), direction).numpy()
        for start in range(0, len(examples), _BATCH)
    ]
    return np.concatenate(scores).astype(np.float64) / len(examples)


def _at_least_0(name: str, value) -> float:
    number = real_number(name, value)
    if not 0 <= number < np.inf:
        raise ArgumentError(name, f"must be at least 0, not {value}")
    return number


def _hessian_product(step: TrainingStep, state: State, examples: Examples) -> Callable:
    """Return a function that multiplies a direction by the Hessian of the mean loss of indexed examples."""

    def product(batch, direction):
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(weights)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(weights)
                ones = tf.ones_like(batch.sample_weight)
                objective, _ = step.objective(weights, state.buffers, batch, ones, training=False)
            gradients = inner.gradient(objective, weights, unconnected_gradients="zero")
            along = tf.add_n(
                [tf.reduce_sum(tf.convert_to_tensor(g) * v) for g, v in zip(gradients, direction, strict=True)]
            )
        found = outer.gradient(along, weights, unconnected_gradients="zero")
        return [tf.convert_to_tensor(value) for value in found]

    weights = state.weights
    specs = signature(state, examples)
    call = compiled(product, [specs[3], specs[0].weights])

    def of(direction, indices):
        direction = tuple(tf.constant(v, weight.dtype) for v, weight in zip(direction, weights, strict=True))
        return [value.numpy().astype(np.float64) for value in call(examples.batch(indices), direction)]

    return of


def _dot(left, right) -> float:
    return sum(float(np.vdot(a, b)) for a, b in zip(left, right, strict=True))


def _conjugate_gradient(product: Callable, b: list, iterations: int, tolerance: float, progress: bool) -> list:
    """Solve A s = b for a positive definite A (Hestenes & Stiefel, 1952)."""
    s = [np.zeros_like(value) for value in b]
    residual, direction = b, b
    square = first = _dot(b, b)
    with tqdm(total=iterations, desc="Solving", unit="iteration", disable=not progress) as bar:
        for _ in range(iterations):
            if square <= tolerance**2 * first:
                return s
            product_of = product(direction)
            curvature = _dot(direction, product_of)
            if curvature <= 0:
                warn(
                    "negative_curvature",
                    "the Hessian has a negative eigenvalue beyond the damping, so the model is not at a minimum; the "
                    "solution found so far is used",
                    "Raise damping, or use sgd_influence",
                )
                return s if any(value.any() for value in s) else b
            length = square / curvature
            s = [value + length * step for value, step in zip(s, direction, strict=True)]
            residual = [value - length * step for value, step in zip(residual, product_of, strict=True)]
            previous, square = square, _dot(residual, residual)
            direction = [value + square / previous * step for value, step in zip(residual, direction, strict=True)]
            bar.update()
    if square > tolerance**2 * first:
        warn(
            "not_converged",
            f"conjugate gradient left a residual of {np.sqrt(square / first):.1e} after {iterations} iterations, above "
            f"tolerance={tolerance}",
            "Raise iterations or damping, or use sgd_influence",
        )
    return s


def _lissa(product, b, count, damping, scale, iterations, batch_size, samples, seed, progress) -> list:
    """Iterate h ← b + h - (H_batch + δI) h / scale, whose fixed point is scale (H + δI)⁻¹ b."""
    total = [np.zeros_like(value) for value in b]
    rng = np.random.default_rng(seed)
    limit = 1e6 * np.sqrt(_dot(b, b)) * iterations
    with tqdm(total=samples * iterations, desc="Solving", unit="iteration", disable=not progress) as bar:
        for _ in range(samples):
            h = b
            for _ in range(iterations):
                hessian = product(h, rng.choice(count, min(batch_size, count), replace=False))
                h = [v + u - (hu + damping * u) / scale for v, u, hu in zip(b, h, hessian, strict=True)]
                bar.update()
                if not np.sqrt(_dot(h, h)) < limit:
                    raise ArgumentError(
                        "scale",
                        f"must be above the largest eigenvalue of the Hessian for lissa to converge, not {scale}",
                    )
            total = [t + u / (scale * samples) for t, u in zip(total, h, strict=True)]
    return total
