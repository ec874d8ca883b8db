"""Wrong labels among Fashion-MNIST's: how many each score finds, and what training without the worst is worth."""

import gzip
import warnings
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from benchmarks.harness import Row, benchmark
from vis.batch import influence_trials
from vis.batch.compiled import Compiled
from vis.influence import TrainingRun, influence_functions, record_training, self_influence

FOLDER = Path("/usr/share/datasets/fashion-mnist")  # of the Debian package dataset-fashion-mnist
LOSS = "sparse_categorical_crossentropy"
PARTS = (0.05, 0.1, 0.2, 0.3)  # of the training examples, that are left out

# The least shares of the wrong labels in the worst tenth and fifth.
LEAST = {
    "loss after training": (0.60, 0.80),
    "sgd_influence": (0.60, 0.80),
    "self_influence": (0.45, 0.65),
    "influence functions": (0.0, 0.0),
}


@benchmark("influence-mislabels")
def influence_mislabels(quick):
    """Wrong labels of clothes: how many each score finds in the worst tenth and fifth, and what removing them does."""
    if not FOLDER.is_dir():
        warnings.warn(f"{FOLDER} is not there: install the Debian package dataset-fashion-mnist", stacklevel=2)
        return
    for name in ("MLP",) if quick else ("MLP", "CNN"):
        shares, curves = [], []
        for seed in range(1 if quick else 3):
            data = load_flipped(2000 if quick else 5000, seed)
            run = train(data, name, seed)
            scores = suspicion(run, data, trials=2 if quick else 6, slow=not quick)
            shares.append([[share_found(of, data.wrong, part) for part in (0.1, 0.2)] for of in scores.values()])
            scores["random"] = np.random.default_rng(seed).random(len(data.y))
            curves.append([removal_curve(run, data, np.argsort(-of)) for of in scores.values()])
        yield from _found(name, dict(zip(scores, np.mean(shares, axis=0), strict=False)))
        yield from _removed(name, dict(zip(scores, np.mean(curves, axis=0), strict=True)))


def _found(name, shares):
    for method, (tenth, fifth) in shares.items():
        least = LEAST[method]
        yield Row(f"{name}: {method}, missed in 10 %", f"{tenth:.1%}", "", 1 - tenth, 1 - least[0], "")
        yield Row(f"{name}: {method}, missed in 20 %", f"{fifth:.1%}", "", 1 - fifth, 1 - least[1], "")


def _removed(name, curves):
    random = curves.pop("random")
    for method, curve in curves.items():
        for part, ours, other in zip(PARTS, curve, random, strict=True):
            # As many as there are wrong labels: beyond, hard examples with right labels are taken away.
            limit = 1.0 if part == 0.1 and method != "influence functions" else np.inf
            case = f"{name}: error without {part:.0%}, {method}"
            yield Row(case, f"{ours:.3f}", f"{other:.3f}", ours / other, limit)


class Flipped(NamedTuple):
    """Images of clothes, of which every tenth that is trained on has a wrong label.

    Attributes:
        x: (examples, 28, 28, 1), from 0 to 1.
        y: (examples,), with the wrong labels.
        wrong: The examples whose labels are wrong.
        validation: 1,000 other images, (x, y), with the right labels.
        test: 5,000 others still, (x, y).
    """

    x: np.ndarray
    y: np.ndarray
    wrong: np.ndarray
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def load_flipped(count: int, seed: int) -> Flipped:
    """Read images, and replace a tenth of the labels by other classes at random.

    Args:
        count: How many to train with.
        seed: The seed of the choice and of the wrong labels.

    Returns:
        The `Flipped`.
    """

    def read(name: str, offset: int) -> np.ndarray:
        with gzip.open(FOLDER / name) as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    x = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28, 1)
    y = read("train-labels-idx1-ubyte.gz", 8).astype(np.int64)
    rng = np.random.default_rng(seed)
    training, validation, test = np.split(rng.permutation(len(x))[: count + 6000], [count, count + 1000])
    wrong = rng.permutation(count)[: count // 10]
    labels = y[training]
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, len(wrong))) % 10
    x = {name: (x[rows] / 255).astype(np.float32) for name, rows in (("t", training), ("v", validation), ("h", test))}
    return Flipped(x["t"], labels, wrong, (x["v"], y[validation]), (x["h"], y[test]))


def network(name: str, seed: int) -> keras.Sequential:
    """Build an untrained network.

    Args:
        name: `'CNN'`, two strided convolutions, or `'MLP'`, one hidden layer of 64 units.
        seed: The seed of its weights.

    Returns:
        A model of 28 by 28 pixels, with a softmax of 10 classes.
    """

    def drawn(layer: int):
        return keras.initializers.HeNormal(seed=10 * seed + layer)

    if name == "CNN":
        hidden = [
            layers.Conv2D(8, 5, strides=2, activation="relu", kernel_initializer=drawn(1)),
            layers.Conv2D(16, 3, strides=2, activation="relu", kernel_initializer=drawn(2)),
            layers.Flatten(),
        ]
    else:
        hidden = [layers.Flatten(), layers.Dense(64, activation="relu", kernel_initializer=drawn(1))]
    return keras.Sequential(
        [keras.Input((28, 28, 1)), *hidden, layers.Dense(10, activation="softmax", kernel_initializer=drawn(3))]
    )


def train(data: Flipped, name: str, seed: int) -> TrainingRun:
    """Record a training of eight epochs from the beginning.

    Args:
        data: What to train with.
        name: As in `network`.
        seed: The seed of the weights and the order.

    Returns:
        The run.
    """
    return record_training(
        network(name, seed), data.x, data.y, optimizer=keras.optimizers.Adam(0.002), epochs=8, batch_size=64, seed=seed,
        loss=LOSS, progress=False,
    )  # fmt: skip


def suspicion(run: TrainingRun, data: Flipped, trials: int = 6, slow: bool = True) -> dict[str, np.ndarray]:
    """Score the training examples by several methods.

    Args:
        run: The training, from the beginning.
        data: What was trained with.
        trials: How many shuffles `sgd_influence` is averaged over, as `vis influence` does.
        slow: Whether influence functions are wanted.

    Returns:
        For each method an array, (examples,), larger = more likely to have a wrong label.
    """
    model, compiled = run.model(), Compiled(LOSS)
    predicted = model.predict(data.x, batch_size=500, verbose=0)[np.arange(len(data.y)), data.y]
    scores = influence_trials.score(
        model, compiled, data.x, data.y, *data.validation, n_trials=trials, progress=False
    )  # fmt: skip
    found = {
        "loss after training": -np.log(predicted + 1e-30),
        "sgd_influence": -scores.influence.mean(axis=0),
        "self_influence": self_influence(run, progress=False),
    }
    if slow:
        found["influence functions"] = -influence_functions(
            model, data.x, data.y, *data.validation, loss=LOSS, progress=False
        )
    return found


def share_found(scores: np.ndarray, wrong: np.ndarray, part: float) -> float:
    """Tell which share of the wrong labels is among the most suspicious examples.

    Args:
        scores: (examples,), larger = more suspicious.
        wrong: The examples whose labels are wrong.
        part: The part of the examples that is looked at.

    Returns:
        From 0 to 1.
    """
    worst = np.argsort(-scores, kind="stable")[: round(part * len(scores))]
    return float(np.isin(wrong, worst).mean())


def removal_curve(run: TrainingRun, data: Flipped, order: np.ndarray, parts=PARTS) -> list[float]:
    """Measure the error on test images after training without the first examples of an order.

    Args:
        run: The training with all.
        data: What was trained with.
        order: The examples, the first to be removed first.
        parts: The parts of the examples that are left out.

    Returns:
        An error from 0 to 1 for each part.
    """
    return [error(run.retrain(order[: round(part * len(order))]), data) for part in parts]


def error(run: TrainingRun, data: Flipped) -> float:
    """Return the error on test images after a training, from 0 to 1."""
    x, y = data.test
    return float((run.model().predict(x, batch_size=500, verbose=0).argmax(axis=-1) != y).mean())
