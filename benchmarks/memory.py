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
    """Growth of the process over 300 calls on fresh models, beside what building the models leaves by itself.

    Keras 3 on TensorFlow keeps some 50 kB of kernels for each layer that was ever built, whether it is called or not,
    until `keras.utils.clear_session()`. So the calls are measured twice: with the session cleared now and then, and
    without, less the growth that the same models cause without a call.
    """
    calls = 60 if quick else 300
    cleared = [in_fresh_process(_growth, called, calls, True) for called in (True, False)]
    kept = [in_fresh_process(_growth, called, calls, False) for called in (True, False)]
    yield _row(f"{calls} calls, session cleared", *cleared, cleared[0])
    yield _row(f"{calls} calls, less models alone", *kept, kept[0] - kept[1])


def _row(case, ours, models_alone, measured):
    return Row(case, f"{ours:.1f} MB", f"{models_alone:.1f} MB", measured, LIMIT_MB, "MB")


def _growth(called, calls, clear_session):
    import keras

    from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

    methods = visualize_saliency, visualize_cam, smoothgrad
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    warm_up = 60  # until then the pools of TensorFlow and of the allocator fill
    for index in range(warm_up + calls):
        if index == warm_up:
            before = megabytes()
        model = _small_model()
        if called:
            methods[index % 3](model, -1, 3, images)
        del model
        if clear_session and index % 10 == 0:
            keras.utils.clear_session()
    return megabytes() - before


def _small_model():
    import keras
    from keras import layers

    inputs = keras.Input((32, 32, 3))
    features = layers.Conv2D(16, 3, activation="relu")(inputs)
    features = layers.Conv2D(32, 3, activation="relu")(layers.MaxPooling2D()(features))
    outputs = layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(features))
    return keras.Model(inputs, outputs)


def megabytes():
    """The memory of this process."""
    gc.collect()
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    # The peak, which is all that other systems tell without a further package; bytes on macOS.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_fresh_process(function, *arguments):
    """Call a function in a process of its own, and return what it returns."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
