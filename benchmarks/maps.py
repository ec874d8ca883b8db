"""Saliency, Grad-CAM and SmoothGrad beside their lower bounds, on ImageNet classifiers with random weights."""

import functools
import time

import keras
import numpy as np

from benchmarks import lower_bounds
from benchmarks.harness import benchmark, compare, compare_first_calls
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

STEADY_LIMIT = 1.10
FIRST_CALL_LIMIT = 1.20

CLASS = 5  # its Grad-CAM maps are not negative everywhere, with the weights of seed 0


@benchmark("saliency")
def saliency(quick):
    """Saliency maps, beside one gradient."""

    def ours(model, images):
        return visualize_saliency(model, -1, CLASS, images)

    def lower_bound(model):
        maps = lower_bounds.saliency(model)
        return lambda images: maps(images, CLASS)

    yield from _rows(ours, lower_bound, quick)


@benchmark("gradcam")
def gradcam(quick):
    """Grad-CAM maps, beside one forward pass and the gradient of the head."""

    def ours(model, images):
        return visualize_cam(model, -1, CLASS, images)

    def lower_bound(model):
        maps = lower_bounds.gradcam(model)
        return lambda images: maps(images, CLASS)

    yield from _rows(ours, lower_bound, quick)


@benchmark("smoothgrad")
def smoothgrad_(quick):
    """SmoothGrad of 25 samples, beside the gradients of the noisy images in the best chunks."""

    def ours(model, images):
        return smoothgrad(model, -1, CLASS, images, num_samples=25, seed=0)

    def lower_bound(model):
        maps = functools.cache(lambda chunk: lower_bounds.smoothgrad(model, chunk))
        return lambda images: maps(_best_chunk(model, images))(images, CLASS, 0)

    # Sixteen images would be 400 gradients a call, and say no more than two images do.
    yield from _rows(ours, lower_bound, quick, batches=(1, 2), same_noise=False)


def _rows(ours, lower_bound, quick, batches=(1, 16), same_noise=True):
    for architecture in (keras.applications.MobileNetV2, keras.applications.ResNet50)[: 1 if quick else 2]:
        keras.utils.set_random_seed(0)
        model = architecture(weights=None)
        reference = lower_bound(model)
        for batch in batches[: 1 if quick else 2]:
            images = _images(batch)
            if same_noise:
                np.testing.assert_allclose(ours(model, images), np.squeeze(reference(images)), atol=1e-3)
            comparison = compare(
                functools.partial(ours, model, images),
                functools.partial(reference, images),
                repeats=7 if quick else 31,
            )
            yield comparison.row(f"{architecture.__name__}, batch {batch}", STEADY_LIMIT)

        comparison = compare_first_calls(
            functools.partial(_on_fresh_model, architecture, ours),
            functools.partial(_on_fresh_model, architecture, lambda model, images: lower_bound(model)(images)),
            repeats=1 if quick else 5,
        )
        yield comparison.row(f"{architecture.__name__}, first call", FIRST_CALL_LIMIT)


def _on_fresh_model(architecture, call):
    model, images = architecture(weights=None), _images(1)
    return lambda: call(model, images)


_BEST_CHUNKS = {}


def _best_chunk(model, images):
    """Tries chunk sizes, once for an architecture and a batch size, on the machine at hand."""
    key = model.name, len(images)
    if key not in _BEST_CHUNKS:
        seconds = {}
        for chunk in (1, 5, 25):
            maps = lower_bounds.smoothgrad(model, chunk)
            maps(images, CLASS, 0)
            begin = time.perf_counter()
            maps(images, CLASS, 0)
            seconds[chunk] = time.perf_counter() - begin
        _BEST_CHUNKS[key] = min(seconds, key=seconds.get)
    return _BEST_CHUNKS[key]


def _images(batch):
    return np.random.default_rng(0).random((batch, 224, 224, 3), np.float32)
