"""Class activation maps beside those of tf-keras-vis, of the same convolution layer, and the memory of Score-CAM."""

import functools
import importlib.util
import resource
import sys

import keras
import numpy as np

from benchmarks.harness import Row, benchmark, compare
from benchmarks.memory import in_fresh_process
from vis.visualization import visualize_cam
from vis.visualization.cam import ScoreCAM

CLASS = 5
MEMORY_LIMIT_MB = 50.0


@benchmark("peers")
def peers(quick):
    """Grad-CAM++, LayerCAM and Score-CAM, beside tf-keras-vis: at least 3, 3 and 1.5 times as fast."""
    if importlib.util.find_spec("tf_keras_vis") is None:
        print('peers: left out; install tf-keras-vis by pip install ".[bench]"', file=sys.stderr)
        return
    from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
    from tf_keras_vis.layercam import Layercam
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.model_modifiers import ReplaceToLinear
    from tf_keras_vis.utils.scores import CategoricalScore

    keras.utils.set_random_seed(0)
    model, layer = keras.applications.ResNet50(weights=None), "conv5_block3_3_conv"
    image = np.random.default_rng(0).random((1, 224, 224, 3), np.float32)
    for name, peer in (("gradcam++", GradcamPlusPlus), ("layercam", Layercam)):
        theirs = functools.partial(
            peer(model, ReplaceToLinear(), clone=True), CategoricalScore(CLASS), image, penultimate_layer=layer
        )
        if name == "layercam":  # their Grad-CAM++ divides each channel's alpha by its sum
            _check_same(theirs, model, image, layer, name)
        ours = functools.partial(visualize_cam, model, -1, CLASS, image, layer, method=name)
        yield _compared(ours, theirs, quick).row(f"{name}, ResNet50", 1 / 3)

    keras.config.disable_interactive_logging()  # their Score-CAM calls `predict`, which shows a bar
    for case, model, layer in (
        ("MobileNetV2, 1,280", keras.applications.MobileNetV2((96, 96, 3), weights=None), "Conv_1"),
        ("VGG16, 512", _vgg16(), "block5_conv3"),
    ):
        image = np.random.default_rng(0).random((1, *model.input_shape[1:]), np.float32)
        theirs = functools.partial(Scorecam(model), CategoricalScore(CLASS), image, penultimate_layer=layer)
        ours = functools.partial(visualize_cam, model, -1, CLASS, image, layer, method="scorecam")
        yield _compared(ours, theirs, quick).row(f"scorecam, {case}", 1 / 1.5)


@benchmark("cam-memory")
def cam_memory(quick):
    """Peak memory of Score-CAM with 512 filters less that with 64."""
    few, many = (min(in_fresh_process(_peak, filters) for _ in range(1 if quick else 3)) for filters in (64, 512))
    yield Row("512 filters less 64", f"{many:.0f} MB", f"{few:.0f} MB", many - few, MEMORY_LIMIT_MB, "MB")


def _compared(ours, theirs, quick):
    return compare(ours, theirs, repeats=7 if quick else 31, seconds=12.0 if quick else 60.0)


def _check_same(theirs, model, image, layer, name):
    # Their interpolation aligns corners, so the maps are compared in their own size.
    expected = theirs(expand_cam=False)
    found = visualize_cam(model, -1, CLASS, image, layer, method=name, interpolation=None, squeeze=False)
    np.testing.assert_allclose(found, np.asarray(expected), atol=1e-3)


def _vgg16():
    return keras.applications.VGG16(weights=None, input_shape=(64, 64, 3), classes=10)


def _peak(filters):
    keras.utils.set_random_seed(0)
    model = _vgg16()
    image = np.random.default_rng(0).random((1, 64, 64, 3), np.float32)
    # Of itself it takes batches of 32 for 64 filters and of 57 for 512, and the larger ones take more memory.
    visualize_cam(model, -1, CLASS, image, "block5_conv3", method=ScoreCAM(max_filters=filters), batch_size=32)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS, kilobytes elsewhere
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
