"""Measures whether the network steers by the lane: by how well it steers, and by where its maps are.

    python -m applications.self_driving.evaluation --model steering.keras

The frames are the first ones of a seed that was not trained with; none is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import pandas as pd

from applications.self_driving.road import Roads, roads
from vis.visualization import visualize_cam, visualize_saliency

# Of frames that train.py neither trains nor tests with.
HELD_OUT_SEED = 2_000_000


class Measures(NamedTuple):
    """What was measured.

    Attributes:
        error: mean absolute error of the angle, which goes from -1 to 1.
        lane_share: the share of the positive saliency that is on the lane's lines.
        lane_area: the share of the pixels that are.
        lane_ratio: the mean over the frames of share / area; 1 if the saliency were everywhere alike.
        flip_saliency: mean rank correlation of what decreases the angle with what increases it in the mirrored frame.
        flip_control: the same without the swap: what increases the angle, in the frame and in the mirrored one. Maps
            that are alike only in where they are, whatever their sign, would give as much here as above.
        flip_gradcam: as `flip_saliency`, for Grad-CAM.
    """

    error: float
    lane_share: float
    lane_area: float
    lane_ratio: float
    flip_saliency: float
    flip_control: float
    flip_gradcam: float


def lane_shares(model: keras.Model, frames: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of what would increase the angle is on the lane's lines.

    Args:
        model: a regressor of frames.
        frames: (N, height, width, 3).
        masks: bool (N, height, width).

    Returns:
        The share of the positive saliency that is on each frame's mask, (N,), and the mask's share of the pixels, (N,).

    Example:
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[3.0], [1.0], [0.0], [-9.0]]), np.zeros(1)])
        >>> shares, areas = lane_shares(model, np.ones((1, 2, 2, 1)), np.array([[[True, False], [False, False]]]))
        >>> shares, areas
        (array([0.75], dtype=float32), array([0.25]))
    """
    maps = visualize_saliency(model, None, 0, frames, grad_modifier=None, normalize=False, squeeze=False)
    positive = np.maximum(maps, 0)
    return (positive * masks).sum((1, 2)) / positive.sum((1, 2)), masks.mean((1, 2))


def flip_correlations(
    model: keras.Model, frames: np.ndarray, visualize=visualize_saliency, *, swap: bool = True
) -> np.ndarray:
    """Whether mirroring a frame swaps what increases the angle and what decreases it.

    Args:
        model: a regressor of frames.
        frames: (N, height, width, 3).
        visualize: `visualize_saliency` or `visualize_cam`.
        swap: False compares what increases the angle in both.

    Returns:
        For each frame Spearman's rank correlation, over all pixels, of the map of what decreases the angle and the
        map, mirrored back, of what increases the angle in the mirrored frame; (N,). Where one of the maps is the same
        everywhere it is 0.

    Example:
        >>> model = keras.Sequential([keras.Input((1, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.zeros(1)])
        >>> flip_correlations(model, np.ones((1, 1, 4, 1))).tolist()
        [1.0]
    """
    options = {"normalize": False, "squeeze": False}
    decrease = visualize(model, None, 0, frames, grad_modifier="negate" if swap else None, **options)
    mirrored = np.ascontiguousarray(frames[:, :, ::-1])
    increase = visualize(model, None, 0, mirrored, grad_modifier=None, **options)[:, :, ::-1]
    return np.array([_rank_correlation(one, other) for one, other in zip(decrease, increase, strict=True)])


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    ranks = pd.DataFrame({"one": one.ravel(), "other": other.ravel()}).rank()
    if (ranks.nunique() == 1).any():
        return 0.0
    return float(np.corrcoef(ranks.one, ranks.other)[0, 1])


def measure(model: keras.Model, data: Roads) -> Measures:
    """Take all measures on some frames.

    Args:
        model: a trained network.
        data: frames with angles and masks.

    Returns:
        The `Measures`.

    Example:
        >>> from applications.self_driving.model import build_model
        >>> measure(build_model(), roads(4)).lane_area < 0.1
        True
    """
    angles = model.predict(data.frames, verbose=0)[:, 0]
    shares, areas = lane_shares(model, data.frames, data.masks)
    return Measures(
        error=float(np.abs(angles - data.angles).mean()),
        lane_share=float(shares.mean()),
        lane_area=float(areas.mean()),
        lane_ratio=float((shares / areas).mean()),
        flip_saliency=float(flip_correlations(model, data.frames).mean()),
        flip_control=float(flip_correlations(model, data.frames, swap=False).mean()),
        flip_gradcam=float(flip_correlations(model, data.frames, visualize_cam).mean()),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Measure where a network that steers looks.")
    parser.add_argument("--model", type=Path, default=Path("steering.keras"), help="from train.py")
    parser.add_argument("--frames", type=int, default=100, help="how many roads to measure on")
    options = parser.parse_args(arguments)
    if not options.model.is_file():
        parser.error(f"--model {options.model} does not exist: train one with train.py")
    measures = measure(keras.models.load_model(options.model), roads(options.frames, seed=HELD_OUT_SEED))
    print(f"mean absolute error        {measures.error:.4f} ({measures.error / 2:.2%} of the range)")
    print(f"positive saliency on lines {measures.lane_share:.1%} of it, on {measures.lane_area:.1%} of the pixels")
    print(f"  share / area, mean       {measures.lane_ratio:.2f}")
    print(f"mirrored, saliency         {measures.flip_saliency:.3f} rank correlation")
    print(f"  without the swap         {measures.flip_control:.3f}")
    print(f"mirrored, Grad-CAM         {measures.flip_gradcam:.3f} rank correlation")


if __name__ == "__main__":
    main()
