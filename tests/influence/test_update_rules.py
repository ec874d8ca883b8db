"""Each update rule beside the Keras optimizer of its name, step by step."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import optimizers

from vis.influence.update_rules import compiled_schedule, update_rule

SCHEDULE = optimizers.schedules.CosineDecay(0.05, 15)
OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rmsprop centered with momentum": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "sgd, schedule": lambda: optimizers.SGD(SCHEDULE, momentum=0.9),
    "adam, schedule": lambda: optimizers.Adam(optimizers.schedules.PiecewiseConstantDecay([5, 9], [0.1, 0.01, 0.003])),
    "sgd, weight decay and schedule": lambda: optimizers.SGD(SCHEDULE, weight_decay=0.2),
    "rmsprop, weight decay": lambda: optimizers.RMSprop(0.01, weight_decay=0.05),
    "clipnorm": lambda: optimizers.SGD(0.1, clipnorm=0.8),
    "clipvalue": lambda: optimizers.Adam(0.01, clipvalue=0.3),
    "global_clipnorm": lambda: optimizers.SGD(0.1, momentum=0.9, global_clipnorm=1.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_are_those_of_the_keras_optimizer(name):
    rng = np.random.default_rng(0)
    optimizer = OPTIMIZERS[name]()
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in [(3, 4), (4,), (5,)]]
    rule = update_rule(OPTIMIZERS[name]())
    weights = tuple(tf.constant(variable.numpy()) for variable in variables)
    slots = rule.initial(weights)
    for step, rate in enumerate(rule.learning_rates(20)):
        # Large and small ones, so that clipping does cut some and not others; zeros, as of a ReLU that never fires.
        gradients = [tf.constant(rng.normal(size=v.shape) * rng.choice([0.05, 1.0]), tf.float32) for v in variables]
        gradients[2] = tf.zeros([5])
        optimizer.apply(gradients, variables)
        weights, slots = rule.apply(weights, gradients, slots, rate, tf.constant(step, tf.int64))
        for weight, variable in zip(weights, variables, strict=True):
            np.testing.assert_allclose(weight, variable.numpy(), rtol=1e-6, atol=1e-6)


def test_a_weight_without_a_gradient_stays_as_it_is():
    rule = update_rule(optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1))
    weights = (tf.ones([2]), tf.ones([2]))
    weights, _ = rule.apply(weights, [None, tf.ones([2])], rule.initial(weights), 0.1, 0)
    np.testing.assert_array_equal(weights[0], np.ones(2))
    np.testing.assert_allclose(weights[1], np.full(2, 1 - 0.01 - 0.1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_weight_that_never_had_a_gradient_has_a_finite_derivative(name):
    rule = update_rule(OPTIMIZERS[name]())
    weights, gradients = (tf.ones([3]),), (tf.zeros([3]),)
    slots = rule.initial(weights)
    with tf.GradientTape() as tape:
        tape.watch((weights, gradients, slots))
        after = rule.apply(weights, gradients, slots, 0.1, 0)
    derivatives = tape.gradient(tf.nest.flatten(after), tf.nest.flatten((weights, gradients, slots)))
    assert all(np.isfinite(derivative).all() for derivative in derivatives)


def test_the_state_of_an_optimizer_is_not_taken_over():
    optimizer = optimizers.Adam(0.1)
    optimizer.apply([tf.ones([2])], [keras.Variable(np.ones(2, np.float32))])
    rule = update_rule(optimizer)
    assert all(np.all(slot == 0) for slot in rule.initial([tf.ones([2])])[0])


@pytest.mark.parametrize(
    ("name", "nearest"), [("Lion", "AdamW"), ("Nadam", "Adam"), ("Adagrad", "RMSprop"), ("Muon", "SGD with momentum")]
)
def test_other_optimizers_are_refused_with_the_list_and_the_nearest(name, nearest):
    optimizer = getattr(optimizers, name)(0.1)
    words = rf"optimizer must be one of SGD \(momentum, nesterov\), Adam, AdamW, RMSprop, not {name}\. Its nearest is"
    with pytest.raises(ValueError, match=rf"{words} {nearest}\.$"):
        update_rule(optimizer)


def test_a_wrapped_optimizer_is_refused_with_the_one_inside():
    with pytest.raises(
        ValueError, match=r"not LossScaleOptimizer\. Give the optimizer inside it, .*, of the class Adam\."
    ):
        update_rule(optimizers.LossScaleOptimizer(optimizers.Adam(0.1)))


def test_a_name_that_is_no_optimizer_is_refused_with_the_list():
    with pytest.raises(ValueError, match=r"optimizer must be one of .* AdamW, RMSprop, not 'foo'"):
        update_rule("foo")


def test_a_subclass_of_a_supported_optimizer_is_refused():
    class Special(optimizers.SGD):
        pass

    with pytest.raises(ValueError, match="optimizer must be one of .* not Special. Its nearest is SGD."):
        update_rule(Special())


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (lambda: optimizers.SGD(lambda: 0.1), "learning rate that can be replayed, not a function"),
        (lambda: optimizers.SGD(0.1, use_ema=True), "use_ema"),
        (lambda: optimizers.Adam(0.1, gradient_accumulation_steps=2), "gradient_accumulation_steps=2"),
    ],
)
def test_options_without_an_update_rule_are_refused(optimizer, words):
    with pytest.raises(ValueError, match=words):
        update_rule(optimizer())


class Unregistered(optimizers.schedules.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {}


class WithoutConfig(Unregistered):
    get_config = optimizers.schedules.LearningRateSchedule.get_config


@pytest.mark.parametrize(
    "given",
    [
        optimizers.SGD(Unregistered()),
        optimizers.SGD(WithoutConfig()),
        optimizers.serialize(optimizers.SGD(Unregistered())),
    ],
)
def test_a_schedule_that_keras_cannot_rebuild_is_refused(given):
    words = (
        r"^optimizer must have a learning-rate schedule that Keras can rebuild, not (Unregistered|WithoutConfig)\. Reg"
    )
    with pytest.raises(ValueError, match=words):
        update_rule(given)


def test_a_schedule_that_tensorflow_cannot_compile_is_followed():
    class Steps(optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 if step < 2 else 0.01

    assert compiled_schedule(Steps())(tf.constant(1), tf.constant(2)).numpy().tolist() == pytest.approx([0.1, 0.01])


def test_weights_excluded_from_weight_decay_are_refused():
    optimizer = optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    with pytest.raises(ValueError, match="optimizer must not exclude weights from weight decay"):
        update_rule(optimizer)
