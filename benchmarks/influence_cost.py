"""What scores of training data cost: time beside training, and memory, by parameters and by steps."""

import resource
import sys
import time
from functools import partial
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from benchmarks.harness import Comparison, Row, benchmark, compare
from benchmarks.memory import in_fresh_process

# The units of each of two hidden layers, between 100 numbers and 10 classes, for so many parameters.
UNITS = {"10k": 58, "100k": 265, "1M": 946}
STEPS = {"10k": (100, 400, 1600), "100k": (100, 400), "1M": (100, 400)}
# The most times that a method may take what training takes.
LIMITS = {"sgd_influence": 8.0, "final weights": 4.0, "tracin": 3.0, "self_influence": 12.0}
BATCH = 32


class Cost(NamedTuple):
    """What scoring costs.

    Attributes:
        compared: By method, its seconds beside those of training again.
        memory: By how many MB the process had grown at most when `sgd_influence` was done.
        weights: The MB of a set of weights.
    """

    compared: dict[str, Comparison]
    memory: float
    weights: float


@benchmark("influence-cost")
def influence_cost(quick):
    """Scores of training data: time beside training, and memory, by parameters and by steps."""
    for parameters, units in UNITS.items():
        for steps in (100,) if quick else STEPS[parameters]:
            cost = in_fresh_process(measure, units, steps)
            for method, compared in cost.compared.items():
                yield compared.row(f"{method}, {parameters}, {steps} steps", LIMITS[method])
            kept = 2 * np.sqrt(steps) * cost.weights  # about as many states are held at once
            limit = 100 + 2 * kept
            yield Row(
                f"memory, {parameters}, {steps} steps",
                f"{cost.memory:.0f} MB",
                f"{kept:.0f} MB",
                cost.memory,
                limit,
                "MB",
            )


def measure(units: int, steps: int) -> Cost:
    """Train for an epoch, and score the training examples; to be called in a fresh process, for its memory.

    Args:
        units: The units of each of two hidden layers.
        steps: The number of steps.

    Returns:
        The `Cost`.
    """
    from vis.influence import record_training, self_influence, sgd_influence, tracin

    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH * steps, 100)).astype(np.float32)
    y = (x[:, :10] + rng.normal(size=(len(x), 10))).argmax(axis=1)
    model = keras.Sequential(
        [keras.Input((100,)), layers.Dense(units, "relu"), layers.Dense(units, "relu"), layers.Dense(10, "softmax")]
    )
    validation = x[:100] + np.float32(0.1), y[:100]

    methods = {"sgd_influence": lambda run: sgd_influence(run, *validation, progress=False)}
    if steps == 100:  # the others take as much time for each example, however many there are
        methods |= {
            "final weights": lambda run: sgd_influence(run, *validation, weights="final", progress=False),
            "tracin": lambda run: tracin(run, *validation, progress=False),
            "self_influence": lambda run: self_influence(run, progress=False),
        }
    run = record_training(model, x, y, optimizer=keras.optimizers.SGD(0.01), batch_size=BATCH, progress=False)
    run.retrain()
    before = _peak()
    methods["sgd_influence"](run)
    memory = _peak() - before
    compared = {
        name: compare(partial(method, run), run.retrain, 3, clock=time.process_time) for name, method in methods.items()
    }
    return Cost(compared, memory, 4 * model.count_params() / 2**20)


def _peak() -> float:
    """Return the most memory that this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**10 if sys.platform == "linux" else 2**20)
