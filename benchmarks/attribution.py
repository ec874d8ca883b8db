"""The methods of `vis.methods` beside their lower bounds, for one image on a classifier with random weights.

Saliency, Grad-CAM and SmoothGrad of the gradient are in `benchmarks.maps`.
"""

import functools

import keras
import numpy as np

from benchmarks import lower_bounds, lower_bounds_of_copies
from benchmarks.harness import benchmark, compare, compare_first_calls
from benchmarks.lower_bounds_of_copies import CLASS
from vis import visualization
from vis.visualization import visualize_cam, visualize_guided_cam
from vis.visualization.cam import AblationCAM, ScoreCAM

STEADY_LIMIT = 1.10
FIRST_CALL_LIMIT = 1.20
# What takes one pass is measured on whole pictures, what takes many on small ones.
SIDE, WHOLE_SIDE = 96, 224


@benchmark("cam-methods")
def cam_methods(quick):
    """The other class activation maps, beside the passes and the gradient that they need."""
    for method in ("gradcam++", "layercam", "xgradcam", "hirescam", "eigencam", "eigengradcam"):
        bare = functools.partial(lower_bounds.cam, method=method)
        # The others are traced as this one is.
        yield from _rows(method, _cam(method), bare, quick, first=method == "layercam", side=WHOLE_SIDE)
    filters = 64 if quick else 1280
    for name, method in (("scorecam", ScoreCAM), ("ablationcam", AblationCAM)):
        bare = functools.partial(getattr(lower_bounds_of_copies, name), filters=filters)
        ours = _cam(method(filters), interpolation=None, normalize=False)
        yield from _rows(f"{name}, {filters:,} filters", ours, bare, quick)
    yield from _rows("guided_cam", _method(visualize_guided_cam), lower_bounds.guided_cam, quick, side=WHOLE_SIDE)


@benchmark("gradients")
def gradients(quick):
    """The methods of many gradients, or of one, beside the bare gradients."""
    background = np.random.default_rng(1).random((20, SIDE, SIDE, 3), np.float32)
    bare = lower_bounds_of_copies
    ours, least = _method("gradient_times_input"), lower_bounds.gradient_times_input
    yield from _rows("gradient_times_input", ours, least, quick, side=WHOLE_SIDE)
    ours = _method("integrated_gradients", steps=50)
    yield from _rows("integrated_gradients, 50", ours, bare.integrated_gradients, quick)
    only = functools.partial(bare.gradients, copies=50)
    yield from _rows("  beside 50 gradients", ours, only, quick, first=False, same=False, limit=1.05)

    count = 50 if quick else 200
    ours = _method("expected_gradients", background=background, num_samples=count)
    least = functools.partial(bare.expected_gradients, background=background, copies=count)
    yield from _rows(f"expected_gradients, {count}", ours, least, quick, same=False)

    count = 25
    ours = _method("smoothgrad", of="gradient_times_input", num_samples=count)
    least = functools.partial(bare.smoothgrad_of, samples=count, steps=None)
    yield from _rows(f"smoothgrad, input, {count}", ours, least, quick, same=False)
    count = 2 if quick else 25
    ours = _method("smoothgrad", of="integrated_gradients", num_samples=count)
    least = functools.partial(bare.smoothgrad_of, samples=count, steps=50)
    yield from _rows(f"smoothgrad, integrated, {count} x 50", ours, least, quick, same=False)


@benchmark("perturbation")
def perturbation(quick):
    """RISE, occlusion, LIME and KernelSHAP, beside the bare forward passes."""
    bare = lower_bounds_of_copies
    count = 400 if quick else 4000
    ours = _method("rise", num_masks=count, logits=True)
    yield from _rows(f"rise, {count:,}", ours, functools.partial(bare.passes, copies=count), quick, same=False)
    ours = _method("occlusion", window=SIDE // 8, stride=SIDE // 16, normalize=False)
    least = functools.partial(bare.occlusion, window=SIDE // 8, stride=SIDE // 16)
    yield from _rows("occlusion, 226", ours, least, quick)
    count = 250 if quick else 1000
    least = functools.partial(bare.segments, vectors=count, penalty=1.0)
    yield from _rows(f"lime, {count:,}", _method("lime", num_samples=count), least, quick, same=False)
    count = 250 if quick else 2176
    least = functools.partial(bare.segments, vectors=count, penalty=1e-6)
    yield from _rows(f"kernel_shap, {count:,}", _method("kernel_shap", num_samples=count), least, quick, same=False)


def _rows(case, ours, lower_bound, quick, *, first=True, same=True, limit=STEADY_LIMIT, side=SIDE):
    model, image = _model(side), _image(side)
    bare = lower_bound(model)
    if same:
        expected = np.squeeze(bare(image))
        np.testing.assert_allclose(_unit(ours(model, image)), _unit(expected), atol=2e-3)
    calls = functools.partial(ours, model, image), functools.partial(bare, image)
    yield compare(*calls, repeats=7 if quick else 31, seconds=4.0 if quick else 60.0).row(case, limit)
    if first:
        fresh = functools.partial(_fresh, ours, side), functools.partial(_fresh_bare, lower_bound, side)
        yield compare_first_calls(*fresh, repeats=1 if quick else 5).row("  first call", FIRST_CALL_LIMIT)


def _unit(maps):
    return maps / np.abs(maps).max()


def _model(side):
    keras.utils.set_random_seed(0)
    return keras.applications.MobileNetV2((side, side, 3), weights=None)


def _image(side):
    return np.random.default_rng(0).random((1, side, side, 3), np.float32)


def _fresh(ours, side):
    model, image = _model(side), _image(side)
    return lambda: ours(model, image)


def _fresh_bare(lower_bound, side):
    bare, image = lower_bound(_model(side)), _image(side)
    return lambda: bare(image)


def _cam(method, **options):
    return lambda model, image: visualize_cam(model, -1, CLASS, image, method=method, **options)


def _method(function, **options):
    function = getattr(visualization, function) if isinstance(function, str) else function
    return lambda model, image: function(model, -1, CLASS, image, **options)
