"""Draws what a network that steers looks at, for one frame or several side by side.

    python -m applications.self_driving.explain --model steering.keras --image left.png right.png --output explained.png

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
#: What a bright place of a panel means.
BRIGHT = {
    "steer right": "where light does",
    "steer left": "where light does",
    "keep course": "where light changes nothing",
}


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


def layercam(model: keras.Model, frames: np.ndarray, grad_modifier: str | None) -> np.ndarray:
    """LayerCAM of the first convolution that looks at more than a pixel (Jiang et al. 2021).

    Grad-CAM weighs a filter by the mean of its gradient over all positions, but a filter that finds lines speaks for
    the right at one place and for the left at another. LayerCAM weighs each place by its own gradient, which also
    serves at an early layer, where the lines are still told apart.

    Args:
        model: with one angle as its output.
        frames: one, (height, width, 3), or N of them, in the model's units.
        grad_modifier: as in `visualize_cam`.

    Returns:
        A map a frame, (height, width) or (N, height, width); not normalized.

    Example:
        >>> from applications.self_driving.model import build_model
        >>> from applications.self_driving.road import roads
        >>> layercam(build_model(), roads(1).frames[0], None).shape
        (70, 180)
    """
    first = next((each for each in model.layers if max(getattr(each, "kernel_size", (1,))) > 1), None)
    return visualize_cam(model, None, 0, frames, first, None, grad_modifier, method=_own_gradient, normalize=False)


def _own_gradient(activations: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    return (np.maximum(gradients, 0) * activations).sum(axis=-1)


def explain(model: keras.Model, frame: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The maps of a frame.

    Args:
        model: a network from `train.py`, or any other with one angle as its output, positive to the right.
        frame: (height, width, 3), in the model's units.

    Returns:
        For `'saliency'` each of the three panels, for `'LayerCAM'` the first two, as a map (height, width) from 0 to 1.
        What speaks against the panel's answer is 0, and the last hundredth of the values is cut off. The reciprocals
        of 'keep course' are many powers of ten apart, so there it is their logarithm.

    Example:
        >>> from applications.self_driving.model import build_model
        >>> from applications.self_driving.road import roads
        >>> maps = explain(build_model(), roads(1).frames[0])
        >>> list(maps["saliency"]), list(maps["LayerCAM"])
        (['steer right', 'steer left', 'keep course'], ['steer right', 'steer left'])
    """
    maps = {"saliency": {}, "LayerCAM": {}}
    for panel, modifier in PANELS.items():
        gradient = saliency(model, frame, modifier)
        gradient = np.log10(gradient) if modifier == "small_values" else np.maximum(gradient, 0)
        maps["saliency"][panel] = plotting.clip_brightness(gradient)
        if modifier != "small_values":
            maps["LayerCAM"][panel] = plotting.clip_brightness(layercam(model, frame, modifier))
    return maps


def figure(frames: list[np.ndarray], maps: list[dict[str, dict[str, np.ndarray]]], angles: list[float]) -> Figure:
    """Draw the maps of frames over them: one column per frame and one row per panel, named by what is bright in it.

    Args:
        frames: uint8 (height, width, 3) each.
        maps: from `explain`, of each frame.
        angles: what the network answers to each.

    Returns:
        The figure.

    Example:
        >>> frame = np.zeros((70, 180, 3), np.uint8)
        >>> maps = {"saliency": {panel: np.zeros((70, 180)) for panel in PANELS}}
        >>> [axes.get_ylabel() for axes in figure([frame], [maps], [0.1]).axes][3]
        'saliency\\nkeep course:\\nwhere light\\nchanges nothing'
    """
    rows = {
        f"{name}\n{panel}:\n{BRIGHT[panel]}": [each[name][panel] for each in maps]
        for name, panels in maps[0].items()
        for panel in panels
    }
    titles = [f"angle {angle:+.2f}" for angle in angles]
    return plotting.grid(frames, rows, titles, alpha=0.75, width=3.0)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Draw what a network that steers looks at.")
    parser.add_argument("--model", type=Path, default=Path("steering.keras"), help="from train.py")
    parser.add_argument(
        "--image", type=Path, nargs="+", required=True, help="frames, or pictures of the simulator's camera"
    )
    parser.add_argument("--output", type=Path, default=Path("explained.png"), help="the picture to write")
    options = parser.parse_args(arguments)
    try:
        outputs.check_output(options.output)
    except ArgumentError as error:
        parser.error(str(error.about("--output")))
    try:
        frames = [read_frame(image) for image in options.image]
    except ValueError as error:
        parser.error(str(error))
    try:
        model = load_model(options.model)
    except ArgumentError as error:
        parser.error(str(error.about("--model")))
    if model.input_shape[1:] != frames[0].shape or model.output_shape[1:] != (1,):
        parser.error(f"--model {options.model} does not take frames {frames[0].shape} or does not give one angle")
    angles = model.predict(np.stack(frames), verbose=0)[:, 0].tolist()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", VisWarning)
        maps = [explain(model, frame) for frame in frames]
    figure(frames, maps, angles).savefig(options.output, dpi=100)
    print(f"{options.output}:")
    for image, angle in zip(options.image, angles, strict=True):
        print(f"  {image}: angle {angle:+.3f}")
    for warning in caught:
        print(f"note: {warning.message}")


if __name__ == "__main__":
    main()
