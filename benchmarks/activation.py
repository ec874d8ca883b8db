"""Activation maximization beside bare passes: what the loop costs over the network's own forward and backward."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.harness import benchmark, compare
from vis.visualization import visualize_activation

STEPS = 100


@benchmark("activation")
def activation(quick):
    """100 steps of activation maximization, regularizers included, beside 100 bare forward and backward passes."""
    cases = [("MobileNetV2 96", lambda: keras.applications.MobileNetV2((96, 96, 3), weights=None))]
    if not quick:
        cases.append(("VGG16 224", lambda: keras.applications.VGG16(weights=None)))
    for name, build in cases:
        model = build()
        # On a small network the loop's own work weighs more; the promise is about VGG16.
        limit = 1.10 if name.startswith("VGG16") else 1.50
        yield compare(_ours(model), _bare(model), 5, seconds=60.0).row(f"{name}, {STEPS} steps", limit)


def _ours(model):
    return lambda: visualize_activation(model, -1, 3, max_iter=STEPS, seed=0)


def _bare(model):
    head = model.layers[-1]
    features = keras.Model(model.input, model.layers[-2].output)
    kernel, bias = head.kernel, head.bias

    @tf.function
    def gradient(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            score = tf.linalg.matmul(features(image, training=False), kernel)[:, 3] + bias[3]
        return tape.gradient(score, image)

    image = tf.constant(np.random.default_rng(0).uniform(0, 255, (1, *model.input_shape[1:])), tf.float32)

    def passes():
        for _ in range(STEPS):
            result = gradient(image)
        return result.numpy()

    return passes
