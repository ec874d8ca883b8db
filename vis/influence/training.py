"""One training step as a pure function, on which everything in `vis.influence` is built.

With θ the trainable weights, the loss that a step minimizes is, for a batch of B examples with the weights w,

    L(θ; w) = (1/D) Σ_i w_i (s_i ℓ_i(θ) + ½ λ‖θ‖²) + R(θ)

where ℓ_i is the loss of an example, s_i its sample weight, D the divisor (B, or 1 and Σ s_i for the loss's `reduction`
`'sum'` and `'mean_with_sample_weight'`), λ is `l2` and R the model's own regularization. With w = 1 that is the loss
Keras trains on; w_i = 0 leaves an example out and changes nothing else: neither D nor dropout's masks.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine import keras_internals
from vis.engine.exact_moments import exact_moments
from vis.influence.examples import Batch, Examples
from vis.influence.losses import divisor
from vis.influence.update_rules import UpdateRule


class State(NamedTuple):
    """Everything that changes during training.

    Attributes:
        weights: The trainable weights, a tuple of tensors or arrays.
        buffers: The model's other variables: moving averages, dropout's seeds.
        slots: The optimizer's variables, a tuple for each weight.
    """

    weights: tuple
    buffers: tuple
    slots: tuple


class TrainingStep:
    """One training step of a model, as a function of only its arguments.

    Args:
        model: A built Keras model; its variables are neither read nor changed.
        loss: A function that maps labels and outputs to one loss per example, from `examples.example_loss`.
        rule: The optimizer's `UpdateRule`.
        l2: The factor λ.
        reduction: The `reduction` of a Keras loss, which determines D.

    Attributes:
        model: As given.
        rule: As given.
        reduction: As given.
    """

    def __init__(self, model, loss, rule: UpdateRule, l2: float = 0.0, reduction: str = "sum_over_batch_size"):
        self.model = model
        self.rule = rule
        self.reduction = reduction
        self._loss = loss
        self._l2 = l2
        self._constraints = [variable.constraint for variable in model.trainable_variables]

    def __call__(self, state: State, step, rate, batch: Batch, example_weights) -> tuple[State, tf.Tensor]:
        """Train for one step.

        Args:
            state: The `State` before.
            step: The number of steps before this one, an integer scalar.
            rate: The learning rate, a float scalar.
            batch: The examples.
            example_weights: (examples,), w.

        Returns:
            The `State` after it, and the loss, a scalar.
        """
        return self.with_outputs(state, step, rate, batch, example_weights)[:2]

    def with_outputs(self, state: State, step, rate, batch: Batch, example_weights) -> tuple:
        """Train for one step, and also return the model's outputs for the batch before it.

        Args:
            state: The `State` before.
            step: The number of steps before this one, an integer scalar.
            rate: The learning rate, a float scalar.
            batch: The examples.
            example_weights: (examples,), w.

        Returns:
            The `State` after it, the loss, and the model's outputs in training, as the model returns them.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.weights)
            losses, buffers, regularization, used, outputs = self._run(state.weights, state.buffers, batch, True)
            shares = self.shares(losses, used, batch.sample_weight)
            objective = tf.reduce_sum(example_weights * shares) + regularization
        gradients = tape.gradient(objective, used)
        weights, slots = self.rule.apply(used, gradients, state.slots, rate, step)
        weights = tuple(
            weight if constraint is None or gradient is None else constraint(weight)
            for weight, gradient, constraint in zip(weights, gradients, self._constraints, strict=True)
        )
        return State(weights, buffers, slots), objective, outputs

    def with_model(self, model) -> TrainingStep:
        """Return the same step for another model with the same variables.

        Args:
            model: A built Keras model.

        Returns:
            The `TrainingStep`.
        """
        return TrainingStep(model, self._loss, self.rule, self._l2, self.reduction)

    def objective(self, weights, buffers, batch: Batch, example_weights, training: bool = True):
        """Compute L(θ; w) of a batch.

        Args:
            weights: The trainable weights θ, a sequence of tensors.
            buffers: The model's other variables.
            batch: The examples.
            example_weights: (examples,), w.
            training: Whether layers run as in training (dropout, batch statistics) or as in prediction.

        Returns:
            L, a scalar, and the buffers after it.
        """
        losses, buffers, regularization = self.losses(weights, buffers, batch, training)
        shares = self.shares(losses, weights, batch.sample_weight)
        return tf.reduce_sum(example_weights * shares) + regularization, buffers

    def shares(self, losses, weights, sample_weight):
        """Compute the share of each example in L(θ; w), with w_i = 1 and without R.

        Args:
            losses: The ℓ_i, (examples,).
            weights: The trainable weights θ, a sequence of tensors.
            sample_weight: The s_i, (examples,).

        Returns:
            (s_i ℓ_i + ½ λ‖θ‖²) / D, (examples,).
        """
        sample_weight = tf.cast(sample_weight, losses.dtype)
        return (losses * sample_weight + self.decay(weights)) / divisor(self.reduction, sample_weight)

    def losses(self, weights, buffers, batch: Batch, training: bool):
        """Compute the losses ℓ_i of a batch.

        Args:
            weights: The trainable weights θ, a sequence of tensors.
            buffers: The model's other variables.
            batch: The examples.
            training: Whether layers run as in training or as in prediction.

        Returns:
            The ℓ_i, (examples,); the buffers after it, a tuple; and R, a scalar.
        """
        losses, buffers, regularization, _, _ = self._run(weights, buffers, batch, training)
        return losses, buffers, regularization

    def outputs(self, weights, buffers, inputs):
        """Compute the model's outputs in prediction: without dropout, with moving averages.

        Args:
            weights: The trainable weights θ, a sequence of tensors.
            buffers: The model's other variables.
            inputs: The inputs of a batch, in the model's structure.

        Returns:
            The outputs, as the model returns them.
        """
        with keras.StatelessScope(self._mapping(weights, buffers)):
            return self.model(inputs, **self._mode(False))

    def _mapping(self, weights, buffers) -> list[tuple]:
        """Return pairs of the model's variables and their values in this step."""
        trainable, others = self.model.trainable_variables, self.model.non_trainable_variables
        return [*zip(trainable, weights, strict=True), *zip(others, buffers, strict=True)]

    def _run(self, weights, buffers, batch: Batch, training: bool):
        """Return the ℓ_i, the buffers after, R, the weights that the layers used, and the outputs.

        The weights are θ, except the kernel of a layer in `keras.layers.SpectralNormalization`, which assigns it in its
        `call`: like Keras, we differentiate with respect to the assigned value.
        """
        trainable, others = self.model.trainable_variables, self.model.non_trainable_variables
        mapping = self._mapping(weights, buffers)
        with exact_moments(self.model), keras.StatelessScope(mapping, collect_losses=True) as scope:
            outputs = self.model(batch.inputs, **self._mode(training))
            added = self.model.losses
        used, after = (tuple(map(scope.get_current_value, variables)) for variables in (trainable, others))
        losses = self._loss(batch.labels, outputs)
        added = [tf.cast(tf.reduce_sum(each), losses.dtype) for each in added]
        return losses, after, tf.add_n([tf.zeros([], losses.dtype), *added]), used, outputs

    def _mode(self, training: bool) -> dict:
        """Return `training` as an argument for models whose `call` takes it, as Keras does."""
        parameters = inspect.signature(self.model.call).parameters.values()
        asks = any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)
        return {"training": training} if asks else {}

    def decay(self, weights):
        """Compute ½ λ‖θ‖².

        Args:
            weights: The trainable weights θ, a sequence of tensors.

        Returns:
            A scalar; 0.0 for λ = 0.
        """
        if not self._l2:
            return 0.0
        return 0.5 * self._l2 * tf.add_n([tf.reduce_sum(tf.square(weight)) for weight in weights])

    def initial(self, weights: Sequence, buffers: Sequence) -> State:
        """Return the `State` before the first step.

        Args:
            weights: The trainable weights, a sequence of arrays.
            buffers: The model's other variables, a sequence of arrays.

        Returns:
            The `State`, of tensors, with the optimizer's variables at zero.
        """
        weights = tuple(map(tf.convert_to_tensor, weights))
        return State(weights, tuple(map(tf.convert_to_tensor, buffers)), self.rule.initial(weights))

    def compiled(self, state: State, examples: Examples):
        """Return the step as one compiled function, for batches of any size.

        Args:
            state: A `State`, for its shapes.
            examples: The examples, for their shapes.

        Returns:
            A function of the arguments of `__call__`.
        """
        return compiled(self.__call__, signature(state, examples))


def compiled(function, specs: Sequence):
    """Return a function traced once.

    Args:
        function: A function of tensors.
        specs: The `tf.TensorSpec`s of its arguments.

    Returns:
        The concrete function.
    """
    return tf.function(function, autograph=False).get_concrete_function(*specs)


def signature(state: State, examples: Examples) -> tuple:
    """Return the `tf.TensorSpec`s of a step's arguments.

    Args:
        state: A `State`, for its shapes.
        examples: The examples, for their shapes.

    Returns:
        One specification (or structure of them) for each argument of `TrainingStep.__call__`.
    """
    rate = tf.TensorSpec([], tf.float32)
    example_weights = tf.TensorSpec([None], examples.sample_weight.dtype)
    specs = tf.nest.map_structure(lambda value: tf.TensorSpec(value.shape, value.dtype), state)
    return specs, tf.TensorSpec([], tf.int64), rate, examples.specification(), example_weights


def dense_gradients(tape, target, sources) -> list:
    """Compute gradients as tensors: those of embeddings are `tf.IndexedSlices`, which have no second derivative.

    Args:
        tape: A `tf.GradientTape` that recorded the target.
        target: The scalar to differentiate.
        sources: The tensors to differentiate it with respect to.

    Returns:
        A tensor for each source; None if the target does not depend on it.
    """
    return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in tape.gradient(target, sources)]


def seeded(model, seed: int) -> tuple[np.ndarray, ...]:
    """Return a model's untrained variables, with the states of its random generators (dropout's) set by a seed.

    Args:
        model: A built Keras model; it is not changed.
        seed: An int of at least 0.

    Returns:
        An array for each of `model.non_trainable_variables`.
    """
    states = {id(variable) for variable in keras_internals.seed_states(model)}
    buffers = []
    for position, variable in enumerate(model.non_trainable_variables):
        value = variable.numpy()
        if id(variable) in states:
            # Positive, of 31 bits: the first number of the state is the seed, the second counts the draws.
            drawn = np.random.default_rng([seed, position]).integers(1, 2**31 - 1)
            value = np.array([drawn, 0], value.dtype)
        buffers.append(value)
    return tuple(buffers)
