"""Draws what a network that steers looks at.

    python -m applications.self_driving.explain --model steering.keras --image frame.png --output explained.png

A positive angle is to the right. What would increase it speaks for steering right, what would decrease it for steering
left, and where the gradient is nearly zero is what keeps the course.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
from matplotlib.figure import Figure

from applications.self_driving.data import read_frame
from vis import images, plotting
from vis.visualization import visualize_cam, visualize_saliency

#: What a panel is called, and the gradient modifier that gives it.
PANELS = {"steer right": None, "steer left": "negate", "keep course": "small_values"}
METHODS = {"saliency": visualize_saliency, "Grad-CAM": visualize_cam}


def explain(model: keras.Model, frame: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """The maps of a frame.

    Args:
        model: a network from `train.py`, or any other with one angle as its output, positive to the right.
        frame: (height, width, 3), in the model's units.

    Returns:
        For `'saliency'` and `'Grad-CAM'`, and for each of the three panels, a map (height, width) from 0 to 1. What
        speaks against the panel's answer is 0. The last hundredth of the values is cut off, and of those of 'keep
        course', reciprocals of gradients that may come near zero, the last twentieth.

    Example:
        >>> maps = explain(keras.models.load_model("steering.keras"), read_frame("frame.png"))  # doctest: +SKIP
        >>> list(maps), list(maps["saliency"])  # doctest: +SKIP
        (['saliency', 'Grad-CAM'], ['steer right', 'steer left', 'keep course'])
    """
    maps = {}
    for method, visualize in METHODS.items():
        maps[method] = {}
        for panel, modifier in PANELS.items():
            raw = visualize(model, None, 0, frame, grad_modifier=modifier, normalize=False)
            percentile = 95 if modifier == "small_values" else 99
            maps[method][panel] = plotting.clip_brightness(np.maximum(raw, 0), percentile)
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
    side = "right" if angle > 0 else "left"
    rows = {name: list(panels.values()) for name, panels in maps.items()}
    titles = [f"{panel}\n(the network: {angle:+.2f}, {side})" if i == 0 else panel for i, panel in enumerate(PANELS)]
    return plotting.grid([frame] * len(PANELS), rows, titles, alpha=0.65, width=3.0)


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Draw what a network that steers looks at.")
    parser.add_argument("--model", type=Path, default=Path("steering.keras"), help="from train.py")
    parser.add_argument("--image", type=Path, required=True, help="a frame, or a picture of the simulator's camera")
    parser.add_argument("--output", type=Path, default=Path("explained.png"), help="the picture to write")
    options = parser.parse_args(arguments)
    try:
        images.check_output(options.output)
        frame = read_frame(options.image)
    except ValueError as error:
        parser.error(str(error))
    if not options.model.is_file():
        parser.error(f"--model {options.model} does not exist: train one with train.py")
    model = keras.models.load_model(options.model)
    angle = float(model.predict(frame[None], verbose=0)[0, 0])
    figure(frame, explain(model, frame), angle).savefig(options.output, dpi=100)
    print(f"{options.output}: angle {angle:+.3f}")


if __name__ == "__main__":
    main()
