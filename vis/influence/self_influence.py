"""Self-influence: how much the training steps on an example lowered its own loss.

A model can learn a wrong label only from the example itself, because no other example teaches it: its self-influence is
large
(Pruthi et al. 2020, "Estimating Training Data Influence by Tracing Gradient Descent", arXiv 2002.08484, section 4.1).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.influence.checkpoints import summed_over_checkpoints
from vis.influence.checks import check_run
from vis.influence.examples import Batch
from vis.influence.runs import TrainingRun
from vis.influence.training import TrainingStep, compiled, signature
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError


@shared_docs
def self_influence(run: TrainingRun, *, method: str = "tracin", progress: bool = True) -> np.ndarray:
    """Score every training example by how much its own training steps lowered its loss.

    score_i = Σ_k (η_k / B) ‖∇ℓ_i(θ_k)‖², over the weights θ_k at the end of each epoch k, with the learning rate η_k
    and the batch size B (Pruthi et al. 2020, "Estimating Training Data Influence by Tracing Gradient Descent", arXiv
    2002.08484, sections 3.3 and 4.1). Dropout is off and batch normalization uses its moving averages. It needs neither
    a validation set nor a replay, so it accepts every recorded run. In a network that has memorized its examples the
    gradients are almost 0, even those of wrong labels: record the training from its beginning.

    Args:
        {{run}}
        method: `"tracin"`, the only one so far.
        {{progress}}

    Returns:
        A float64 array of shape (training examples,), in units of the loss, at least 0: large for examples that
        the model could learn only from themselves, such as rare or mislabelled ones.

    Raises:
        ValueError: An unknown `method`, or the run was loaded without its examples.
        {{run_error}}

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([2.0, 4.0, 6.0, -30.0])  # the last one is wrong
        >>> run = record_training(model, x, y, optimizer='sgd', epochs=3, progress=False)
        >>> self_influence(run, progress=False).argmax().item()
        3
    """
    check_run(run)
    if method != "tracin":
        raise ArgumentError("method", f"must be 'tracin', not {method!r}", kind="unknown")
    squares = run.cached("squared gradients", lambda: squared_gradients(run.step, run.state(0), run.examples))

    def at(state):
        return lambda batch: squares(state.weights, state.buffers, batch).numpy()

    return summed_over_checkpoints(run, at, progress)


def squared_gradients(step: TrainingStep, state, examples):
    """Return the squared length of the gradient of each example's loss, as one compiled function.

    Args:
        step: A training step.
        state: A `State`, for its shapes.
        examples: The examples, for their shapes.

    Returns:
        A function that maps weights, buffers and a batch to s_i‖∇ℓ_i‖², (examples,), where s_i is the sample weight,
        with the model in prediction mode: without dropout, with moving averages.
    """

    def squares(weights, buffers, batch: Batch):
        def of_one(one: Batch):
            one = tf.nest.map_structure(lambda value: value[None], one)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                losses, _, _ = step.losses(weights, buffers, one, training=False)
                loss = tf.reduce_sum(losses) + step.decay(weights)
            gradients = tape.gradient(loss, weights, unconnected_gradients="zero")
            norms = [tf.reduce_sum(tf.square(tf.convert_to_tensor(gradient))) for gradient in gradients]
            return one.sample_weight[0] * tf.cast(tf.add_n(norms), one.sample_weight.dtype)

        # One example at a time, so that it does not matter whether operations couple the examples of a batch.
        return tf.map_fn(of_one, batch, fn_output_signature=batch.sample_weight.dtype, parallel_iterations=4)

    specs = signature(state, examples)
    return compiled(squares, [specs[0].weights, specs[0].buffers, specs[3]])
