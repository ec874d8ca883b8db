"""How a model was trained: by which loss and solver, whose steps and learning rates are those of nnabla."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from nnp_files import ADAM, CROSS_ENTROPY, executor, function, network, optimizer, table, variable, write

from vis.batch.compiled import Compiled, compiled_with, training_of
from vis.files import nnp
from vis.influence.update_rules import update_rule
from vis.models import load_model


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
            "the solver of a.nnp, Lars, has no update rule here; SGD is used instead",
        ),
        (
            'type: "RMSprop" rmsprop_param { lr: 0.1 decay: 0.9 eps: 1e-8 }',
            "Keras's RMSprop adds eps before taking the root",
        ),
        (
            'type: "Sgd" sgd_param { lr: 0.1 } lr_warmup_scheduler_type: "Linear"',
            "the learning rate of a.nnp is used without its warm-up",
        ),
        ('type: "Sgd" sgd_param { lr: 0.1 } lr_scheduler_type: "Custom"', "kept at 0.1, not changed as by 'Custom'"),
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


def test_a_table_that_is_trained_by_adam(tmp_path):
    training = nnp.read(table(tmp_path / "a.nnp", 4, 3, dropout=0.5)).training
    assert (training.network, training.inputs, training.output) == ("Main", ("Input",), "Softmax")
    assert (training.loss, training.l2, training.batch_size) == ("sparse_categorical_crossentropy", 0, 16)
    assert (training.frozen, training.differences) == ((), ())
    assert training.optimizer == {
        "class_name": "Adam",
        "config": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    }


def test_several_losses_are_refused(tmp_path):
    text = network("Main", variable("x", -1, 1)) + 2 * optimizer(ADAM) + executor("Main", ["x"], ["x"])
    with pytest.raises(ValueError, match="must have been trained by one optimizer and one loss, not by 2 and 2"):
        _ = nnp.read(write(tmp_path / "a.nnp", text)).training


def test_a_composed_loss_is_refused(tmp_path):
    items = [*(variable(name, -1, 1) for name in "xl"), function("Sum", ["x"], "l")]
    text = network("Main", *items) + optimizer(ADAM, loss="l") + executor("Main", ["x"], ["l"])
    with pytest.raises(ValueError, match="one of CategoricalCrossEntropy, .* not by 'l' of type Sum"):
        _ = nnp.read(write(tmp_path / "a.nnp", text)).training


def test_what_is_not_trained_in_the_file_is_not_trained_here(tmp_path):
    def multiplied(name, by):
        return f'parameter_variable {{ variable_name: "{name}" learning_rate_multiplier: {by} }} '

    frozen = multiplied("Affine/affine/W", 0)  # and its bias, which is not listed
    path = table(tmp_path / "a.nnp", 4, 3, parameters=frozen + multiplied("Affine_2/affine/W", 1))
    assert nnp.read(path).training.frozen == ("Affine/affine/W", "Affine/affine/b", "Affine_2/affine/b")
    model = load_model(path, training=True)
    assert [layer.name for layer in model.layers if layer.trainable_variables] == ["Affine_2"]
    path = table(tmp_path / "a.nnp", 4, 3, parameters=multiplied("Affine/affine/W", 0.1))
    assert "several learning rates; one is used for all" in nnp.read(path).training.differences[0]


def test_a_parameter_in_a_loop_is_listed_once(tmp_path):
    weights = [("W{R}", "R"), ("V", "R"), ("U{R}", "R")]
    items = [
        'repeat_info { id: "R" times: 2 }', variable("Input", -1, 2), variable("Softmax", -1, 2),
        *(variable(name, 2, kind="Parameter", loop=loop) for name, loop in weights),
        function("Softmax", ["Input"], "Softmax", "softmax_param { axis: 1 }"), *CROSS_ENTROPY,
    ]  # fmt: skip
    listed = "".join(f'parameter_variable {{ variable_name: "{name}" }} ' for name in ("W{R}", "V"))
    text = network("Main", *items) + optimizer(ADAM, parameters=listed) + executor("Main")
    assert nnp.read(write(tmp_path / "a.nnp", text)).training.frozen == ("U[0]", "U[1]")


@pytest.mark.parametrize("multiplier", [0, 1])
def test_parameters_that_become_constants_are_named(tmp_path, multiplier):
    items = [
        *(variable(name, -1, 2) for name in ("Input", "z", "Softmax")), variable("w", 1, 2, kind="Parameter"),
        function("Mul2", ["Input", "w"], "z"),
        function("Softmax", ["z"], "Softmax", "softmax_param { axis: 1 }"), *CROSS_ENTROPY,
    ]  # fmt: skip
    listed = f'parameter_variable {{ variable_name: "w" learning_rate_multiplier: {multiplier} }}'
    text = network("Main", *items) + optimizer(ADAM, parameters=listed) + executor("Main")
    differences = nnp.read(write(tmp_path / "a.nnp", text)).training.differences
    assert differences == ("the parameters of 'z' (Mul2) are not trained as in a.nnp",)[:multiplier]
