"""Losses: the quantities that are differentiated. A loss is a function of the outputs of layers in one run."""

from vis.losses.loss import Loss, Target, weighted
from vis.losses.output_functions import Difference, OutputFunction, Segmentation, Similarity
from vis.losses.scores import (
    ActivationMaximization,
    Labels,
    LabelScore,
    LogProbability,
    Prediction,
    get_num_filters,
)

__all__ = [
    "ActivationMaximization",
    "Difference",
    "LabelScore",
    "Labels",
    "LogProbability",
    "Loss",
    "OutputFunction",
    "Prediction",
    "Segmentation",
    "Similarity",
    "Target",
    "get_num_filters",
    "weighted",
]
