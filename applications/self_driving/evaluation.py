"""Measures whether the network steers by the lane: by how well it steers, and by where its maps are.

    python -m applications.self_driving.evaluation --model steering.keras

The frames are the first ones of a seed that was not trained with; none is left out.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__" and not __package__:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import keras
import numpy as np
import pandas as pd

from applications.self_driving.explain import layercam, saliency
from applications.self_driving.road import Roads, roads
from vis import ArgumentError, VisWarning
from vis.models import load_model

# Of frames that nothing was trained with and no setting chosen on.
HELD_OUT_SEED = 3_000_000


class Measures(NamedTuple):
    """What was measured.

    Attributes:
        error: mean absolute error of the angle, which goes from -1 to 1.
        lane_share: the share of the positive saliency that is on the lane's lines.
        lane_area: the share of the pixels that are.
        lane_ratio: the mean over the frames of share / area; 1 if the saliency were everywhere alike.
        flip_saliency: mean rank correlation of what decreases the angle with what increases it in the mirrored frame.
        flip_layercam: as `flip_saliency`, for LayerCAM.
        lane_ratio_layercam: as `lane_ratio`, for LayerCAM.
    """

    error: float
    lane_share: float
    lane_area: float
    lane_ratio: float
    flip_saliency: float
    flip_layercam: float
    lane_ratio_layercam: float


def lane_shares(
    model: keras.Model, frames: np.ndarray, masks: np.ndarray, visualize=saliency
) -> tuple[np.ndarray, np.ndarray]:
    """How much of what would increase the angle is on the lane's lines.

    Args:
        model: a regressor of frames.
        frames: (N, height, width, 3).
        masks: bool (N, height, width).
        visualize: `explain.saliency` or `explain.layercam`.

    Returns:
        The share of the map's positive values that is on each frame's mask, (N,), 0 where none is positive, and the
        mask's share of the pixels, (N,).

    Example:
        >>> model = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[3.0], [1.0], [0.0], [-9.0]]), np.zeros(1)])
        >>> shares, areas = lane_shares(model, np.ones((1, 2, 2, 1)), np.array([[[True, False], [False, False]]]))
        >>> shares, areas
        (array([0.75], dtype=float32), array([0.25]))
    """
    positive = np.maximum(visualize(model, frames, None), 0).reshape(masks.shape)
    total = positive.sum((1, 2))
    return (positive * masks).sum((1, 2)) / np.where(total > 0, total, 1), masks.mean((1, 2))


def flip_correlations(model: keras.Model, frames: np.ndarray, visualize=saliency) -> np.ndarray:
    """Whether mirroring a frame swaps what increases the angle and what decreases it.

    Args:
        model: a regressor of frames.
        frames: (N, height, width, 3).
        visualize: `explain.saliency` or `explain.layercam`.

    Returns:
        For each frame Spearman's rank correlation, over all pixels, of the map of what decreases the angle and the
        map, mirrored back, of what increases the angle in the mirrored frame; (N,). Where one of the maps is the same
        everywhere it is NaN.

    Example:
        >>> model = keras.Sequential([keras.Input((1, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
        >>> model.set_weights([np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.zeros(1)])
        >>> flip_correlations(model, np.ones((1, 1, 4, 1))).tolist()
        [1.0]
    """
    decrease = visualize(model, frames, "negate")
    increase = visualize(model, np.ascontiguousarray(frames[:, :, ::-1]), None)[..., ::-1]
    # A batch of one gives a map without the axis of the batch.
    decrease, increase = (each.reshape(frames.shape[:3]) for each in (decrease, increase))
    return np.array([_rank_correlation(one, other) for one, other in zip(decrease, increase, strict=True)])


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    ranks = pd.DataFrame({"one": one.ravel(), "other": other.ravel()}).rank()
    if (ranks.nunique() == 1).any():
        return float("nan")
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
    shares_of_layercam, _ = lane_shares(model, data.frames, data.masks, layercam)
    of_saliency, of_layercam = (flip_correlations(model, data.frames, each) for each in (saliency, layercam))
    return Measures(
        error=float(np.abs(angles - data.angles).mean()),
        lane_share=float(shares.mean()),
        lane_area=float(areas.mean()),
        lane_ratio=float((shares / areas).mean()),
        flip_saliency=float(of_saliency.mean()),
        flip_layercam=float(of_layercam.mean()),
        lane_ratio_layercam=float((shares_of_layercam / areas).mean()),
    )


def main(arguments: list[str] | None = None) -> None:
    """The command line; see the module's text."""
    parser = argparse.ArgumentParser(description="Measure where a network that steers looks.")
    parser.add_argument("--model", type=Path, default=Path("steering.keras"), help="from train.py")
    parser.add_argument("--frames", type=int, default=100, help="how many roads to measure on")
    options = parser.parse_args(arguments)
    if options.frames < 1:
        parser.error(f"--frames {options.frames}: give at least 1")
    try:
        model = load_model(options.model)
    except ArgumentError as error:
        parser.error(str(error.about("--model")))
    with warnings.catch_warnings():
        # Of maps that are blank where nothing speaks for an answer.
        warnings.simplefilter("ignore", VisWarning)
        measures = measure(model, roads(options.frames, seed=HELD_OUT_SEED))
    print(f"mean absolute error        {measures.error:.4f} ({measures.error / 2:.2%} of the range)")
    print(f"positive saliency on lines {measures.lane_share:.1%} of it, on {measures.lane_area:.1%} of the pixels")
    print(f"  share / area, mean       {measures.lane_ratio:.2f}")
    print(f"mirrored, saliency         {measures.flip_saliency:.3f} rank correlation")
    print(f"LayerCAM, share / area     {measures.lane_ratio_layercam:.2f}")
    print(f"mirrored, LayerCAM         {measures.flip_layercam:.3f} rank correlation")


if __name__ == "__main__":
    main()
