"""Draws what a network that steers looks at.

    python -m applications.self_driving.explain --model steering.keras --image frame.png --output explained.png

A positive angle is to the right. Where more light would increase it is "steer right", where it would decrease it "steer
left". "keep course" is where light would change nothing: the gradient's reciprocal.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
from matplotlib.figure import Figure

from applications.self_driving.data import read_frame
from vis import ArgumentError, VisWarning, plotting
from vis.files import outputs
from vis.models import load_model
from vis.visualization import visualize_cam, visualize_saliency

#: What a panel is called, and the gradient modifier that gives it.
PANELS = {"steer right": None, "steer left": "negate", "keep course": "small_values"}


def saliency(model: keras.Model, frames: np.ndarray, grad_modifier: str | None) -> np.ndarray:
    """The gradient of the angle with respect to each pixel.

    Args:
        model: with one angle as its output.
        frames: one, (height, width, 3), or N of them, in the model's units.
        grad_modifier: as in `visualize_saliency`.

    Returns:
        A map a frame, (height, width) or (N, height, width); not normalized.

    Example:
        >>> model = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[2.0], [-3.0]]), np.zeros(1)])
        >>> saliency(model, np.ones((1, 2, 1)), "negate")
        array([[-2.,  3.]], dtype=float32)
    """
    return visualize_saliency(model, None, 0, frames, grad_modifier=grad_modifier, normalize=False)


def gradcam(model: keras.Model, frames: np.ndarray, grad_modifier: str | None) -> np.ndarray:
    """Grad-CAM of the last convolution.

    Left to itself Grad-CAM takes the last feature map of any kind, which in our network is a mirrored copy that only
    one half of the answer comes from.

    Args:
        model: with one angle as its output.
        frames: one, (height, width, 3), or N of them, in the model's units.
        grad_modifier: as in `visualize_cam`.

    Returns:
        A map a frame, (height, width) or (N, height, width); not normalized.

    Example:
        >>> from applications.self_driving.model import build_model
        >>> from applications.self_driving.road import roads
        >>> gradcam(build_model(), roads(1).frames[0], None).shape
        (70, 180)
    """
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    last = convolutions[-1] if convolutions else None
    return visualize_cam(model, None, 0, frames, last, grad_modifier=grad_modifier, normalize=False)


def explain(model: keras.Model, frame: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The maps of a frame.

    Args:
        model: a network from `train.py`, or any other with one angle as its output, positive to the right.
        frame: (height, width, 3), in the model's units.

    Returns:
        For `'saliency'` and `'Grad-CAM'`, and for each of the three panels, a map (height, width) from 0 to 1. What
        speaks against the panel's answer is 0, and the last hundredth of the values is cut off. The reciprocals of
        saliency's 'keep course' are many powers of ten apart, so there it is their logarithm.

    Example:
        >>> from applications.self_driving.model import build_model
        >>> from applications.self_driving.road import roads
        >>> maps = explain(build_model(), roads(1).frames[0])
        >>> list(maps), list(maps["saliency"])
        (['saliency', 'Grad-CAM'], ['steer right', 'steer left', 'keep course'])
    """
    maps = {"saliency": {}, "Grad-CAM": {}}
    for panel, modifier in PANELS.items():
        gradient = saliency(model, frame, modifier)
        gradient = np.log10(gradient) if modifier == "small_values" else np.maximum(gradient, 0)
        maps["saliency"][panel] = plotting.clip_brightness(gradient)
        maps["Grad-CAM"][panel] = plotting.clip_brightness(gradcam(model, frame, modifier))
    return maps


def figure(frame: np.ndarray, maps: dict[str, dict[str, np.ndarray]], angle: float) -> Figure:
    """Draw the maps of a frame over it: a row a method, three panels a row.

    Args:
        frame: uint8 (height, width, 3).
        maps: from `explain`.
        angle: what the network answers.

    Returns:
        The figure.

    Example:
        >>> frame = np.zeros((70, 180, 3), np.uint8)
        >>> flat = {panel: np.zeros((70, 180)) for panel in PANELS}
        >>> len(figure(frame, {"saliency": flat}, 0.1).axes)
        6
    """
    rows = {name: list(panels.values()) for name, panels in maps.items()}
    drawn = plotting.grid([frame] * len(PANELS), rows, list(PANELS), alpha=0.65, width=3.0)
    drawn.axes[0].set_ylabel(f"angle {angle:+.2f}", fontsize=10, labelpad=4)
    return drawn


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Draw what a network that steers looks at.")
    parser.add_argument("--model", type=Path, default=Path("steering.keras"), help="from train.py")
    parser.add_argument("--image", type=Path, required=True, help="a frame, or a picture of the simulator's camera")
    parser.add_argument("--output", type=Path, default=Path("explained.png"), help="the picture to write")
    options = parser.parse_args(arguments)
    try:
        outputs.check_output(options.output)
    except ArgumentError as error:
        parser.error(str(error.about("--output")))
    try:
        frame = read_frame(options.image)
    except ValueError as error:
        parser.error(str(error))
    try:
        model = load_model(options.model)
    except ArgumentError as error:
        parser.error(str(error.about("--model")))
    if model.input_shape[1:] != frame.shape or model.output_shape[1:] != (1,):
        parser.error(f"--model {options.model} does not take frames {frame.shape} or does not give one angle")
    angle = float(model.predict(frame[None], verbose=0)[0, 0])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        maps = explain(model, frame)
    figure(frame, maps, angle).savefig(options.output, dpi=100)
    print(f"{options.output}: angle {angle:+.3f}")
    for warning in caught:
        print(f"note: {warning.message}")


if __name__ == "__main__":
    main()
