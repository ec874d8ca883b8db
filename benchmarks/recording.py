"""What recording costs an ordinary training: `model.fit` with `vis.callbacks.RecordTraining` and without it."""

import shutil
import tempfile
from pathlib import Path

import keras

from benchmarks.harness import benchmark, compare
from vis.callbacks import RecordTraining
from vis.demo import build_model, load_digits

LIMIT = 1.05


@benchmark("recording")
def recording(quick):
    """An epoch of `model.fit` on the demo's digits, recorded, beside the same epoch alone."""
    digits = load_digits()
    count = 1024 if quick else len(digits.x_train)
    x, y = digits.x_train[:count], digits.y_train[:count]
    model = build_model()
    model.compile(keras.optimizers.Adam(0.001), "sparse_categorical_crossentropy")

    def fit(*callbacks):
        model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0, callbacks=list(callbacks))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run")

        def recorded():
            shutil.rmtree(path, ignore_errors=True)
            fit(RecordTraining(path))

        comparison = compare(recorded, fit, repeats=7 if quick else 15)
    yield comparison.row(f"demo network, {count:,} digits, 2 epochs", LIMIT)
