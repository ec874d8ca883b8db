"""Other threads see the model as it is while one traces: a server predicts, and a `fit` trains, beside first maps."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

SCRIPT = """
    import threading
    import keras, numpy as np
    from vis.visualization import smoothgrad, visualize_activation, visualize_cam, visualize_saliency

    L = keras.layers
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)

    def network():
        layers = [L.Conv2D(4, 3, activation="relu", name="conv"), L.BatchNormalization(), L.GlobalAveragePooling2D()]
        return keras.Sequential([keras.Input((8, 8, 1)), *layers, L.Dense(2)])

    served, trained = network(), network()
    trained.compile("sgd", "mse")
    x = rng.random((4, 8, 8, 1)).astype("float32")
    want = served(x, training=False).numpy()
    kinds = [
        lambda m: visualize_saliency(m, -1, 1, x),
        lambda m: visualize_saliency(m, -1, 1, x, backprop_modifier="guided"),
        lambda m: visualize_cam(m, -1, 1, x, grad_modifier="absolute"),
        lambda m: smoothgrad(m, -1, 1, x[0], wrt_tensor="conv", num_samples=3, seed=0),
        lambda m: visualize_activation(m, -1, 1, max_iter=2, seed=0),
    ]
    alone = [kind(served) for kind in kinds]
    failed, stop = [], threading.Event()

    def repeat(work):
        try:
            while not stop.is_set():
                work()
        except Exception as error:
            failed.append(repr(error))

    def predict():
        if not np.allclose(served(x, training=False).numpy(), want, atol=1e-5):
            failed.append("another prediction")

    threads = [threading.Thread(target=repeat, args=(work,)) for work in (
        predict, lambda: trained.fit(x, np.zeros((4, 2)), verbose=0), lambda: served.predict(x, verbose=0))]
    for thread in threads:
        thread.start()
    import vis
    for round in range(ROUNDS):
        vis.forget(served)
        for kind, expected in zip(kinds, alone):
            found = kind(served)
            if not np.allclose(found, expected, atol=1e-4):
                failed.append("another map")
        if failed:
            break
    stop.set()
    for thread in threads:
        thread.join(60)
    print("failed", failed)
"""


def test_predictions_and_training_beside_first_maps_of_every_kind():
    # 20 rounds of five kinds: a hundred first maps.
    script = textwrap.dedent(SCRIPT).replace("ROUNDS", "20")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip().endswith("failed []"), result.stdout
