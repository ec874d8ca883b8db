"""TracIn: how much the steps on each example lowered the validation loss, from the recorded checkpoints.

Pruthi, Liu, Kale & Sundararajan, "Estimating Training Data Influence by Tracing Gradient Descent" (2020, arXiv
2002.08484), TracInCP. With θ_k the weights at the end of epoch k, η_k the learning rate there and B the batch size,

    score_i = Σ_k (η_k / B) ∇ℓ_i(θ_k)·∇L_val(θ_k)

If checkpoints are several epochs apart, an example counts once per epoch. TracIn needs no second derivatives, and
ignores how later steps change the effect of an earlier one.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.influence.checkpoints import summed_over_checkpoints
from vis.influence.checks import check_run
from vis.influence.examples import Batch
from vis.influence.runs import TrainingRun
from vis.influence.training import TrainingStep, compiled, signature
from vis.influence.validation import ValidationLoss
from vis.utils.docs import shared_docs


@shared_docs
def tracin(run: TrainingRun, x_val, y_val, *, progress: bool = True) -> np.ndarray:
    """Score every training example from the checkpoints of a run.

    score_i = Σ_k (η_k / B) ∇ℓ_i(θ_k)·∇L_val(θ_k), over the weights θ_k at the end of each epoch k, with the learning
    rate η_k and the batch size B (Pruthi et al. 2020, "Estimating Training Data Influence by Tracing Gradient Descent",
    arXiv 2002.08484, TracInCP). Dropout is off and batch normalization uses its moving averages. It needs no replay, so
    it accepts every recorded run; a run recorded every few epochs has one term per checkpoint, in which an example
    counts once per epoch.

    Args:
        {{run}}
        {{validation_set}}
        {{progress}}

    Returns:
        A float64 array of shape (training examples,), in units of the loss. Negative: the example's steps raised the
        validation loss, so it is harmful.

    Raises:
        ValueError: The validation set does not fit the model, or the run was loaded without its examples.
        {{run_error}}

    Warns:
        {{validation_warning}}

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([2.0, 4.0, 6.0, -9.0])  # the last one is wrong
        >>> run = record_training(model, x, y, optimizer='sgd', epochs=3, progress=False)
        >>> tracin(run, x[:3] + 0.5, y[:3] + 1, progress=False).argmin().item()
        3
    """
    check_run(run)
    validation = ValidationLoss.of_run(run, x_val, y_val)
    along = run.cached("gradients along", lambda: gradients_along(run.step, run.state(0), run.examples))

    def at(state):
        gradient = tuple(validation.gradient(state)[0])
        return lambda batch: along(state.weights, state.buffers, batch, gradient).numpy()

    return summed_over_checkpoints(run, at, progress)


def gradients_along(step: TrainingStep, state, examples):
    """Return the derivative of each example's loss along a direction in the space of weights, as one compiled function.

    Args:
        step: A training step.
        state: A `State`, for its shapes.
        examples: The examples, for their shapes.

    Returns:
        A function that maps weights, buffers, a batch and the direction (a tuple of tensors like the weights) to
        ∇ℓ_i·v, (examples,), with the model in prediction mode: without dropout, with moving averages.
    """

    def along(weights, buffers, batch: Batch, direction):
        # ∂(∇Σ w_i ℓ_i · v)/∂w_i: one pass for all examples; linear in w, so it contains no second derivative.
        ones = tf.ones_like(batch.sample_weight)
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(ones)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(weights)
                losses, _, _ = step.losses(weights, buffers, batch, training=False)
                losses = losses * batch.sample_weight + step.decay(weights)
                total = tf.reduce_sum(ones * losses)
            gradients = inner.gradient(total, weights, unconnected_gradients="zero")
            product = tf.add_n(
                [tf.reduce_sum(tf.convert_to_tensor(g) * v) for g, v in zip(gradients, direction, strict=True)]
            )
        return outer.gradient(product, ones)

    specs = signature(state, examples)
    return compiled(along, [specs[0].weights, specs[0].buffers, specs[3], specs[0].weights])
