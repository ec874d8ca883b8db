"""Read how a model was trained: its network, its loss and its solver."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vis.files.nnp.graph import Network
from vis.utils.errors import ArgumentError

_LOSSES: dict[str, str | dict] = {
    "CategoricalCrossEntropy": "sparse_categorical_crossentropy",
    "SoftmaxCrossEntropy": {
        "class_name": "SparseCategoricalCrossentropy",
        "config": {"from_logits": True, "name": "sparse_categorical_crossentropy"},
    },
    "BinaryCrossEntropy": "binary_crossentropy",
    "SigmoidCrossEntropy": {
        "class_name": "BinaryCrossentropy",
        "config": {"from_logits": True, "name": "binary_crossentropy"},
    },
    "SquaredError": "mean_squared_error",
    "AbsoluteError": "mean_absolute_error",
}
# Functions that become layers with weights; the parameters of others are constants, or signs in place of weights.
_WITH_WEIGHTS = (
    "Affine Convolution DepthwiseConvolution Deconvolution BatchNormalization FusedBatchNormalization PReLU".split()
)


class Training(NamedTuple):
    """How a model was trained.

    Attributes:
        network: The name of the network that was trained.
        inputs: Its input variables, without the labels.
        output: The variable that its loss compares with the labels.
        loss: The name or the configuration of the Keras loss.
        optimizer: The configuration of the Keras optimizer, or None if there is no equivalent.
        l2: λ of ½·λ·‖θ‖², which nnabla calls weight decay.
        batch_size: The number of examples per step, or None if the file does not say.
        frozen: The parameters that were not trained.
        differences: The ways in which training here differs from the file, one sentence each.
    """

    network: str
    inputs: tuple[str, ...]
    output: str
    loss: str | dict
    optimizer: dict | None
    l2: float
    batch_size: int | None
    frozen: tuple[str, ...]
    differences: tuple[str, ...]


def training_of(path: Path, message, network: Callable[[str], Network]) -> Training:
    """Read how a model was trained.

    Args:
        path: The file, for messages.
        message: The text of the file.
        network: A function of a network's name that returns the network.

    Returns:
        The `Training`.

    Raises:
        ArgumentError: The file has no optimizer or several, or Keras does not have its loss.
    """
    if not message.optimizer:
        raise ArgumentError(
            "model",
            f"must say how it was trained, not only how it is executed as {path} does",
            "Give a results.nnp",
            kind="loss",
        )
    if len(message.optimizer) > 1 or len(message.optimizer[0].loss_variable) != 1:
        counts = len(message.optimizer), sum(len(each.loss_variable) for each in message.optimizer)
        raise ArgumentError(
            "model",
            f"must have been trained by one optimizer and one loss, not by {counts[0]} and {counts[1]} as {path}",
            kind="loss",
        )
    (optimizer,) = message.optimizer
    graph = network(optimizer.network_name)
    (variable,) = (each.variable_name for each in optimizer.loss_variable)
    function = graph.producers().get(variable)
    if function is None or function.type not in _LOSSES or len(function.inputs) != 2:
        kind = f"{variable!r} of type {function.type}" if function is not None else f"{variable!r}"
        raise ArgumentError(
            "model", f"must have been trained by one of {', '.join(_LOSSES)}, not by {kind} as {path}", kind="loss"
        )
    output, labels = function.inputs
    data = tuple(each.variable_name for each in optimizer.data_variable if each.variable_name != labels)
    used = {name for before in graph.before(output) for name in before.inputs}
    multipliers = {
        each.variable_name: each.learning_rate_multiplier if each.HasField("learning_rate_multiplier") else 1.0
        for each in optimizer.parameter_variable
    }
    differences = []
    if set(multipliers.values()) - {0.0, 1.0}:
        differences.append(f"{path.name} trains parameters at several learning rates; one is used for all")
    frozen = _frozen(graph, multipliers)
    differences += [
        f"the parameters of {each.name!r} ({each.type}) are not trained as in {path.name}"
        for each in graph.before(output)
        if each.type not in _WITH_WEIGHTS and set(each.inputs) & (set(graph.parameters) - set(frozen))
    ]
    solver = optimizer.solver
    sizes = {each.name: each.batch_size for each in message.dataset}
    return Training(
        network=optimizer.network_name,
        inputs=tuple(name for name in data if name in used),
        output=output,
        loss=_LOSSES[function.type],
        optimizer=_optimizer(path, solver, differences),
        l2=solver.weight_decay,
        batch_size=next((sizes[name] for name in optimizer.dataset_name if sizes.get(name)), graph.batch_size or None),
        frozen=frozen,
        differences=tuple(differences),
    )


def _frozen(graph: Network, multipliers: dict[str, float]) -> tuple[str, ...]:
    """Return the parameters that the optimizer does not list, or lists with a learning rate multiplier of 0."""
    # A parameter in a loop is listed once, without its iterations.
    names = [re.escape(name) for name, multiplier in multipliers.items() if multiplier]
    trained = "|".join(re.sub(r"\\\{.*?\\\}", r"\\[\\d+\\]", name) + r"(_.+\[\d+\])?" for name in names)
    return tuple(name for name in graph.parameters if multipliers and not re.fullmatch(trained, name))


def _optimizer(path: Path, solver, differences: list[str]) -> dict | None:
    """Return the configuration of the equivalent Keras optimizer, or None; add any differences to the list."""
    if solver.type in ("Adam", "AdamW"):
        options = solver.adam_param if solver.type == "Adam" else solver.adamw_param
        rate = options.alpha
        config = {"beta_1": options.beta1, "beta_2": options.beta2, "epsilon": options.eps}
        if solver.type == "AdamW":
            # nnabla subtracts `wd` times the weight, Keras `weight_decay` times the learning rate times the weight.
            config["weight_decay"] = options.wd / rate if rate else 0.0
    elif solver.type == "Sgd":
        rate, config = solver.sgd_param.lr, {}
    elif solver.type in ("Momentum", "Nesterov"):
        options = solver.momentum_param if solver.type == "Momentum" else solver.nesterov_param
        rate, config = options.lr, {"momentum": options.momentum, "nesterov": solver.type == "Nesterov"}
    elif solver.type == "RMSprop":
        options = solver.rmsprop_param
        rate, config = options.lr, {"rho": options.decay, "epsilon": options.eps}
        differences.append("Keras's RMSprop adds eps before taking the root, nnabla's after it")
    else:
        differences.append(f"the solver of {path.name}, {solver.type}, has no update rule here; SGD is used instead")
        return None
    name = solver.type if solver.type in ("Adam", "AdamW", "RMSprop") else "SGD"
    return {"class_name": name, "config": {"learning_rate": _schedule(path, solver, rate, differences), **config}}


def _schedule(path: Path, solver, rate: float, differences: list[str]) -> float | dict:
    """Return the learning rate, or the configuration of the equivalent Keras schedule."""
    if solver.lr_warmup_scheduler_type not in ("", "None"):
        differences.append(f"the learning rate of {path.name} is used without its warm-up")
    kind = solver.lr_scheduler_type
    if kind == "Cosine":
        options = solver.cosine_scheduler_param
        return _config("CosineDecay", initial_learning_rate=rate, decay_steps=options.max_iter, alpha=0.0)
    if kind == "Polynomial":
        options = solver.polynomial_scheduler_param
        return _config(
            "PolynomialDecay",
            initial_learning_rate=rate,
            decay_steps=options.max_iter,
            end_learning_rate=0.0,
            power=options.power,
        )
    if kind in ("", "Exponential"):
        options = solver.exponential_scheduler_param
        # Older files have `lr_decay` and `lr_decay_interval` instead.
        gamma = options.gamma or solver.lr_decay or 1.0
        interval = options.iter_interval or solver.lr_decay_interval or 1
        if gamma == 1:
            return rate
        return _config(
            "ExponentialDecay", initial_learning_rate=rate, decay_steps=interval, decay_rate=gamma, staircase=True
        )
    if kind == "Step":
        options = solver.step_scheduler_param
        # Keras changes the rate after a boundary, nnabla at it.
        boundaries = [step - 1 for step in options.iter_steps]
        values = [rate * options.gamma**count for count in range(len(boundaries) + 1)]
        return _config("PiecewiseConstantDecay", boundaries=boundaries, values=values)
    if kind != "None":
        differences.append(f"the learning rate of {path.name} is kept at {rate:g}, not changed as by {kind!r}")
    return rate


def _config(name: str, **config) -> dict:
    return {"module": "keras.optimizers.schedules", "class_name": name, "config": config, "registered_name": None}
