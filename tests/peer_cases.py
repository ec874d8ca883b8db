"""What is asked of `vis` and of its peers alike: read by the tests, and by the script that makes the references."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "visualization" / "references" / "peers.npz"
SHAPE = (12, 10, 3)  # not square, and no multiple of most windows and strides below
OUTPUTS = 4
NETWORKS = ("vgg", "residual")
# One class per sample; in the second set all samples have the same one.
CLASSES = ((0, 2, 3), (1, 1, 1))
# What stands for a baseline or a fill that is the picture stored under this name.
PICTURE = "picture"


class Line(NamedTuple):
    """Integrated gradients from a baseline."""

    quadrature: str
    steps: int
    baseline: float | str
    classes: tuple[int, ...]


class Windows(NamedTuple):
    """Occlusion, sizes along the position axes."""

    window: tuple[int, int]
    stride: tuple[int, int]
    fill: float | str
    classes: tuple[int, ...]


LINES = (
    Line("gausslegendre", 50, 0.0, CLASSES[0]),
    Line("gausslegendre", 7, PICTURE, CLASSES[1]),
    Line("gausslegendre", 16, 0.4, CLASSES[0]),
    Line("midpoint", 20, 0.0, CLASSES[1]),
    Line("midpoint", 5, PICTURE, CLASSES[0]),
)
# Captum wants the stride to be no larger than the window and the window no larger than the input. Beyond these,
# `vis` gives 0 where no window reaches, and cuts a window that is too large: there is nothing to compare with.
WINDOWS = (
    Windows((3, 3), (3, 3), 0.0, CLASSES[0]),
    Windows((4, 3), (3, 2), 0.4, CLASSES[1]),
    Windows((5, 4), (2, 3), PICTURE, CLASSES[0]),
    Windows((2, 2), (1, 1), 0.0, CLASSES[1]),
    Windows((12, 2), (1, 1), 0.0, CLASSES[0]),
)
# The methods whose formulas are the same in pytorch-grad-cam 1.5.7, but for 1e-7 that XGradCAM adds to a channel's sum.
# Its others are left out, for they differ from those of `vis`: Grad-CAM++ adds 1e-6 to its denominator, Score-CAM
# enlarges maps with their corners aligned and scales them with an epsilon, Ablation-CAM divides by the score with its
# sign, and Eigen-CAM and EigenGrad-CAM project what is left without the mean and leave the sign as the decomposition
# has it.
METHODS = ("gradcam", "layercam", "xgradcam", "hirescam")
# Layers by their names in Keras and in torch. The second of the residual network has values of both signs.
LAYERS = {
    "vgg": (("conv2", "relu2"), ("conv4", "relu4")),
    "residual": (("block1_out", "block1.out"), ("block2_bn2", "block2.bn2")),
}


def key(network: str, *case) -> str:
    """The name in the file of what a network gives in a case.

    >>> key("vgg", *Line("midpoint", 5, 0.0, (1, 2)))
    'vgg/midpoint/5/0.0/(1, 2)'
    """
    return "/".join(map(str, (network, *case)))
