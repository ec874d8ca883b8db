"""Memory: what calls on ever fresh models leave behind in the process."""

import gc
import multiprocessing
import resource
import sys

import numpy as np

from benchmarks.harness import Row, benchmark

LIMIT_MB = 30.0


@benchmark("memory")
def memory(quick):
    """Growth of the process over 300 calls, each on a fresh model, beside as many of a hand-written gradient."""
    calls = 60 if quick else 300
    ours, reference = _in_fresh_process(_growth_of_ours, calls), _in_fresh_process(_growth_of_reference, calls)
    yield Row(f"{calls} fresh models", f"{ours:.1f} MB", f"{reference:.1f} MB", ours, LIMIT_MB, "MB")


def _growth_of_ours(calls):
    from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

    methods = visualize_saliency, visualize_cam, smoothgrad
    return _growth(lambda index, model, images: methods[index % 3](model, -1, 3, images), calls)


def _growth_of_reference(calls):
    from benchmarks import lower_bounds

    return _growth(lambda index, model, images: lower_bounds.saliency(model)(images, 3), calls)


def _growth(call, calls):
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    warm_up = 30  # fills the pools of TensorFlow and of the allocator
    for index in range(warm_up + calls):
        if index == warm_up:
            before = _megabytes()
        call(index, _small_model(), images)
    return _megabytes() - before


def _small_model():
    import keras
    from keras import layers

    inputs = keras.Input((32, 32, 3))
    features = layers.Conv2D(16, 3, activation="relu")(inputs)
    features = layers.Conv2D(32, 3, activation="relu")(layers.MaxPooling2D()(features))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, outputs)


def _megabytes():
    gc.collect()
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    # The peak, which is all that other systems tell without a further package; bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _in_fresh_process(function, *arguments):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
