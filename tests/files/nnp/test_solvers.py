"""Solvers: steps of the Keras optimizer against nnabla's formulas, and learning rates against its schedulers."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from nnp_files import table

from vis.batch.influence_trials import Compiled, compiled_with, training_of
from vis.files import nnp
from vis.influence.update_rules import update_rule


def rule(tmp_path, solver):
    """The update rule of a solver, and what is done otherwise."""
    training = nnp.read(table(tmp_path / "a.nnp", 4, 3, solver=solver)).training
    return update_rule(keras.optimizers.deserialize(training.optimizer)), training


class Adam:
    """nnabla's Adam; with `wd` its AdamW, which takes the share wd of a weight, times alpha over its first value."""

    def __init__(self, wd=0.0):
        self.wd, self.m, self.v = wd, 0, 0

    def __call__(self, w, g, rate, t):
        self.m = 0.9 * self.m + 0.1 * g
        self.v = 0.999 * self.v + 0.001 * g * g
        step = rate * math.sqrt(1 - 0.999 ** (t + 1)) / (1 - 0.9 ** (t + 1))
        return w - step * self.m / (np.sqrt(self.v) + 1e-8) - rate / 0.01 * self.wd * w


class Momentum:
    """nnabla's Momentum and Nesterov."""

    def __init__(self, nesterov=False):
        self.nesterov, self.v = nesterov, 0

    def __call__(self, w, g, rate, t):
        before, self.v = self.v, 0.9 * self.v - rate * g
        return w - 0.9 * before + 1.9 * self.v if self.nesterov else w + self.v


BETAS = "alpha: 0.01 beta1: 0.9 beta2: 0.999 eps: 1e-08"


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        ('type: "Sgd" sgd_param { lr: 0.01 }', lambda: lambda w, g, rate, t: w - rate * g),
        ('type: "Momentum" momentum_param { lr: 0.01 momentum: 0.9 }', Momentum),
        ('type: "Nesterov" nesterov_param { lr: 0.01 momentum: 0.9 }', lambda: Momentum(nesterov=True)),
        (f'type: "Adam" adam_param {{ {BETAS} }}', Adam),
        (f'type: "AdamW" adamw_param {{ {BETAS} wd: 0.02 }}', lambda: Adam(wd=0.02)),
    ],
)
@pytest.mark.parametrize("schedule", ["", 'lr_scheduler_type: "Cosine" cosine_scheduler_param { max_iter: 8 }'])
def test_steps_are_those_of_nnabla(solver, expected, schedule, tmp_path):
    found, training = rule(tmp_path, f"{solver} {schedule}")
    expected = expected()
    assert training.differences == ()
    rng = np.random.default_rng(0)
    weight = rng.normal(size=5).astype(np.float32)
    weights, reference = (weight,), weight.astype(np.float64)
    slots = found.initial(weights)
    for step, rate in enumerate(found.learning_rates(6)):
        gradient = rng.normal(size=5).astype(np.float32)
        weights, slots = found.apply(weights, (gradient,), slots, rate, step)
        exact = 0.01 * (math.cos(step / 8 * math.pi) + 1) / 2 if schedule else 0.01
        reference = expected(reference, gradient, exact, step)
    np.testing.assert_allclose(weights[0], reference, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            'lr_scheduler_type: "Cosine" cosine_scheduler_param { max_iter: 12 }',
            lambda i: (math.cos(i / 12 * math.pi) + 1) / 2,
        ),
        (
            'lr_scheduler_type: "Polynomial" polynomial_scheduler_param { max_iter: 12 power: 0.5 }',
            lambda i: (1 - i / 12) ** 0.5,
        ),
        (
            'lr_scheduler_type: "Exponential" exponential_scheduler_param { gamma: 0.5 iter_interval: 3 }',
            lambda i: 0.5 ** (i // 3),
        ),
        ('lr_scheduler_type: "Exponential" exponential_scheduler_param { gamma: 1 iter_interval: 1 }', lambda i: 1),
        ("lr_decay: 0.5 lr_decay_interval: 3", lambda i: 0.5 ** (i // 3)),
        (
            'lr_scheduler_type: "Step" step_scheduler_param { gamma: 0.1 iter_steps: 4 iter_steps: 7 }',
            lambda i: 0.1 ** ((i >= 4) + (i >= 7)),
        ),
        ("", lambda i: 1),
    ],
)
def test_learning_rates_are_those_of_nnabla_s_schedulers(schedule, expected, tmp_path):
    found, training = rule(tmp_path, f'type: "Sgd" sgd_param {{ lr: 0.02 }} {schedule}')
    assert training.differences == ()
    np.testing.assert_allclose(found.learning_rates(12), [0.02 * expected(i) for i in range(12)], rtol=1e-5)


def test_weight_decay_is_added_to_the_loss(tmp_path):
    path = table(tmp_path / "a.nnp", 4, 3, solver='type: "Sgd" weight_decay: 0.003 sgd_param { lr: 0.02 }')
    compiled = compiled_with(path)
    assert compiled == Compiled("sparse_categorical_crossentropy", compiled.optimizer, 0.003)
    training = training_of(compiled)
    assert training.l2 == 0.003
    assert training.optimizer["config"]["weight_decay"] is None
    assert training_of(compiled, learning_rate=0.5).l2 == 0.003
    assert training_of(compiled, optimizer="adam").l2 == 0


@pytest.mark.parametrize(
    ("solver", "difference"),
    [
        (
            'type: "Lars" lars_param { lr: 0.1 }',
            "the solver of a.nnp, Lars, has no update rule here; SGD is taken instead",
        ),
        ('type: "RMSprop" rmsprop_param { lr: 0.1 decay: 0.9 eps: 1e-8 }', "Keras's RMSprop adds eps before the root"),
        (
            'type: "Sgd" sgd_param { lr: 0.1 } lr_warmup_scheduler_type: "Linear"',
            "the learning rate of a.nnp is taken without its warm-up",
        ),
        ('type: "Sgd" sgd_param { lr: 0.1 } lr_scheduler_type: "Custom"', "held at 0.1, not changed as 'Custom'"),
    ],
)
def test_what_is_done_otherwise_is_said(solver, difference, tmp_path):
    path = table(tmp_path / "a.nnp", 4, 3, solver=solver)
    (said,) = nnp.read(path).training.differences
    assert difference in said
    with pytest.warns(match="Give another optimizer or learning_rate") as caught:
        compiled = compiled_with(path)
    assert caught[0].message.code == "trained_otherwise"
    assert (compiled.optimizer is None) == ("Lars" in solver)
    assert training_of(compiled).optimizer["class_name"] == ("RMSprop" if "RMS" in solver else "SGD")
