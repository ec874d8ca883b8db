"""Where did the model look, and for what? Saliency, SmoothGrad, class activation maps, activation maximization."""

from vis.visualization.activation_maximization import visualize_activation, visualize_activation_with_losses
from vis.visualization.attribution import get_num_filters, overlay
from vis.visualization.cam import visualize_cam, visualize_cam_with_losses
from vis.visualization.saliency import (
    smoothgrad,
    smoothgrad_with_losses,
    visualize_saliency,
    visualize_saliency_with_losses,
)

__all__ = [
    "get_num_filters",
    "overlay",
    "smoothgrad",
    "smoothgrad_with_losses",
    "visualize_activation",
    "visualize_activation_with_losses",
    "visualize_cam",
    "visualize_cam_with_losses",
    "visualize_saliency",
    "visualize_saliency_with_losses",
]
