"""Trains the network that steers.

    python -m applications.self_driving.train --output steering.keras
    python -m applications.self_driving.train --log recording/driving_log.csv --output steering.keras

Without a recording of one's own it learns from drawn roads.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

if __name__ == "__main__" and not __package__:
    # Run as a file: the folder of the file is on the path, but not the one it is in.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from applications.self_driving.data import read_log, read_recording
from applications.self_driving.model import SHAPE, build_model
from applications.self_driving.road import roads

EPOCHS = 8
_RATE = 1e-3


def batches(frames: np.ndarray, angles: np.ndarray, *, seed: int = 0, batch_size: int = 32) -> tf.data.Dataset:
    """Examples in a shuffled order.

    Args:
        frames: uint8 (N, 70, 180, 3).
        angles: (N,).
        seed: of the order, which differs from epoch to epoch.
        batch_size: frames in a batch.

    Returns:
        A data set of (frames, angles).

    Example:
        >>> len(batches(np.zeros((100, 70, 180, 3), np.uint8), np.zeros(100)))
        4
    """
    rng = np.random.default_rng(seed)

    def epoch():
        order = rng.permutation(len(frames))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield frames[rows], angles[rows]

    signature = (tf.TensorSpec((None, *SHAPE), tf.uint8), tf.TensorSpec((None,), tf.float32))
    data = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    return data.apply(tf.data.experimental.assert_cardinality(-(-len(frames) // batch_size))).prefetch(2)


def train(
    model: keras.Model,
    frames: np.ndarray,
    angles: np.ndarray,
    *,
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: bool = False,
) -> keras.Model:
    """Train a model from `build_model`.

    Args:
        model: trained in place.
        frames: uint8 (N, 70, 180, 3).
        angles: (N,), from -1 (left) to 1 (right).
        epochs: how often every frame is seen.
        seed: of the order.
        progress: whether to show a progress bar.

    Returns:
        The same model.

    Example:
        >>> examples = roads(64)
        >>> model = train(build_model(), examples.frames, examples.angles, epochs=1)
    """
    data = batches(frames, angles, seed=seed)
    model.compile(optimizer=keras.optimizers.Adam(_RATE), loss="mse", metrics=["mae"])
    with tqdm(total=epochs * len(data), desc="Training", unit="batch", disable=not progress) as bar:
        step = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: bar.update(),
            on_epoch_end=lambda epoch, logs: bar.set_postfix(epoch=epoch + 1, mae=f"{logs['mae']:.3f}"),
        )
        decay = keras.callbacks.LearningRateScheduler(lambda epoch, rate: _RATE * (1 - epoch / epochs))
        model.fit(data, epochs=epochs, callbacks=[step, decay], shuffle=False, verbose=0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            # The kernels are their own mirror images now, and the file can be read where `Mirrored` is not known.
            layer.kernel_constraint = None
    return model


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Train a network that steers.")
    parser.add_argument("--output", type=Path, default=Path("steering.keras"), help="the model's file, .keras")
    parser.add_argument("--log", type=Path, help="a driving_log.csv; without it, drawn roads")
    parser.add_argument("--frames", type=int, default=6000, help="how many roads to draw")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.output.suffix != ".keras" or not options.output.parent.is_dir():
        parser.error(f"--output {options.output}: give a name that ends in .keras, in a folder that exists")
    for name in ("frames", "epochs"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: give at least 1")
    if options.log is None:
        data, held_out = roads(options.frames, seed=options.seed), roads(500, seed=options.seed + 1_000_000)
        sets = (data.frames, data.angles), (held_out.frames, held_out.angles)
    else:
        try:
            sets = read_recording(read_log(options.log), seed=options.seed)
        except ValueError as error:
            parser.error(str(error))
    start = time.perf_counter(), time.process_time()
    model = train(build_model(options.seed), *sets[0], epochs=options.epochs, seed=options.seed, progress=True)
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    model.save(options.output)
    error = np.abs(model.predict(sets[1][0], verbose=0)[:, 0] - sets[1][1]).mean()
    print(
        f"{options.output}: mean absolute error {error:.4f} on {len(sets[1][1])} held-out frames, "
        f"{error / 2:.2%} of the range from -1 to 1; trained in {seconds:.0f} s ({cpu:.0f} s of processor time)"
    )


if __name__ == "__main__":
    main()
