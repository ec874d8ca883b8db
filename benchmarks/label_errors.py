"""Label errors: the share of flipped labels that is found in Fashion-MNIST, and what that costs beside the training."""

import gzip
import resource
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

from benchmarks.harness import Row, benchmark
from benchmarks.memory import in_fresh_process, megabytes
from vis.influence import label_errors as find_label_errors

FOLDER = Path("/usr/share/datasets/fashion-mnist")
MISSING = (
    f"Fashion-MNIST is not in {FOLDER}: install Debian's package dataset-fashion-mnist, or put its .gz files there."
)
# What may be missed in the worst 10 % and 20 % of the examples, of which 10 % have a wrong label.
TENTH, FIFTH = 0.15, 0.04
LIMIT = 1.5
LIMIT_MB = 300.0


@benchmark("label-errors")
def label_errors(quick):
    """Flipped labels found in Fashion-MNIST, and the time and memory of `label_errors` beside those of its training."""
    if not FOLDER.is_dir():
        print(MISSING, file=sys.stderr)
        return
    for name in list(NETWORKS)[: 1 if quick else None]:
        yield from _found(name, seeds=range(100, 101 if quick else 103))
    count, epochs = (6000, 1) if quick else (60000, 2)
    yield _time(count, epochs)
    ours, fit = (in_fresh_process(_peak, function, count) for function in (_ours, _fit))
    yield Row(f"peak memory, {count:,} images", f"{ours:.0f} MB", f"fit {fit:.0f} MB", ours, LIMIT_MB, "MB")


def fashion(count=60000):
    """The first images of Fashion-MNIST's training set, from 0 to 1, and their classes."""
    with gzip.open(FOLDER / "train-images-idx3-ubyte.gz") as file:
        x = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)[:count]
    images = np.empty(x.shape, np.float32)
    with gzip.open(FOLDER / "train-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[:count]
    return np.divide(x, 255, out=images, dtype=np.float32), y.astype(np.int64)


def flipped(seed, count=5000):
    """Images of which every tenth has another label than its own, drawn at random: x, y, and which ones."""
    x, y = fashion()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(x))[:count]
    x, y = x[rows], y[rows]
    wrong = rng.permutation(count)[: count // 10]
    y[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return x, y, wrong


def _network(*stack):
    return keras.Sequential([keras.Input((28, 28, 1)), *stack, layers.Flatten()])


def cnn():
    """Two convolutions with max pooling, the network whose results decided how the scores are combined."""
    model = _network(
        layers.Conv2D(16, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(32, 3, activation="relu"), layers.MaxPooling2D(),
    )  # fmt: skip
    model.add(layers.Dense(10, "softmax"))
    return model


def mlp():
    """Two wide layers, which memorize all labels; the second network that the scores were tuned on."""
    model = _network()
    for _ in range(2):
        model.add(layers.Dense(512, "relu"))
    model.add(layers.Dense(10, "softmax"))
    return model


def other_cnn():
    """Strided convolutions and a hidden layer."""
    model = _network(layers.Conv2D(8, 5, 2, activation="relu"), layers.Conv2D(16, 3, 2, activation="relu"))
    model.add(layers.Dense(64, "relu"))
    model.add(layers.Dense(10))
    return model


def other_mlp():
    """Three layers, tanh and ReLU."""
    model = _network()
    for units, activation in ((256, "tanh"), (256, "relu"), (128, "relu")):
        model.add(layers.Dense(units, activation))
    model.add(layers.Dense(10, "softmax"))
    return model


def normalized_cnn():
    """Strided convolutions with batch normalization, and dropout."""
    model = keras.Sequential([keras.Input((28, 28, 1))])
    for filters in (16, 32):
        for layer in (layers.Conv2D(filters, 3, 2, use_bias=False), layers.BatchNormalization(), layers.ReLU()):
            model.add(layer)
    for layer in (layers.Flatten(), layers.Dropout(0.3), layers.Dense(10, "softmax")):
        model.add(layer)
    return model


NETWORKS = {
    "CNN (tuned on)": cnn,
    "MLP (tuned on)": mlp,
    "other CNN": other_cnn,
    "other MLP": other_mlp,
    "normalized CNN": normalized_cnn,
}


def shares(name, seed):
    """The shares of the flipped labels in the worst tenth and fifth, and the number of errors that is estimated."""
    x, y, wrong = flipped(seed)
    table = find_label_errors(NETWORKS[name](), x, y, optimizer=keras.optimizers.Adam(), seed=seed, progress=False)
    found = np.isin(table["datasource_index"], wrong)
    tenth, fifth = (found[: len(y) // part].sum() / len(wrong) for part in (10, 5))
    return tenth, fifth, int(table["is_error"].sum())


def _found(name, seeds):
    tenth, fifth, errors = np.mean([shares(name, seed) for seed in seeds], axis=0)
    yield Row(f"{name}, missed in 10 %", f"{tenth:.1%}", f"{errors:.0f} of 500", 1 - tenth, TENTH, "")
    yield Row(f"{name}, missed in 20 %", f"{fifth:.1%}", "", 1 - fifth, FIFTH, "")


def _ours(x, y, epochs):
    find_label_errors(cnn(), x, y, epochs=epochs, optimizer=keras.optimizers.Adam(), progress=False)


def _fit(x, y, epochs):
    """The training that is in it: three times two thirds of the examples."""
    for fold in range(3):
        model = cnn()
        model.compile(keras.optimizers.Adam(), "sparse_categorical_crossentropy")
        trained = np.flatnonzero(np.arange(len(x)) % 3 != fold)
        model.fit(x[trained], y[trained], epochs=epochs, batch_size=32, verbose=0)


def _time(count, epochs):
    x, y = fashion(count)
    seconds = []
    for function in (_fit, _ours):
        begin = time.perf_counter()
        function(x, y, epochs)
        seconds.append(time.perf_counter() - begin)
    fit, ours = seconds
    return Row(f"{count:,} images, {epochs} epochs", f"{ours:.0f} s", f"fit {fit:.0f} s", ours / fit, LIMIT)


def _peak(function, count):
    """How far the peak of the process's memory is above what the images and TensorFlow take, in megabytes."""
    x, y = fashion(count)
    _ours(x[:300], y[:300], 1)
    before = megabytes()
    function(x, y, 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before
