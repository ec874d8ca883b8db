"""Where did the model look, and for what? Saliency, SmoothGrad, class activation maps, activation maximization."""

from vis.losses import get_num_filters
from vis.utils.images import overlay
from vis.visualization.activation_maximization import visualize_activation, visualize_activation_with_losses
from vis.visualization.cam import visualize_cam, visualize_cam_with_losses
from vis.visualization.expected_gradients import expected_gradients
from vis.visualization.gradient_times_input import gradient_times_input
from vis.visualization.guided_cam import visualize_guided_cam
from vis.visualization.integrated_gradients import integrated_gradients
from vis.visualization.kernel_shap import kernel_shap
from vis.visualization.lime import lime
from vis.visualization.occlusion import occlusion
from vis.visualization.rise import rise
from vis.visualization.saliency import visualize_saliency, visualize_saliency_with_losses
from vis.visualization.smoothgrad import smoothgrad, smoothgrad_with_losses

__all__ = [
    "expected_gradients",
    "get_num_filters",
    "gradient_times_input",
    "integrated_gradients",
    "kernel_shap",
    "lime",
    "occlusion",
    "overlay",
    "rise",
    "smoothgrad",
    "smoothgrad_with_losses",
    "visualize_activation",
    "visualize_activation_with_losses",
    "visualize_cam",
    "visualize_cam_with_losses",
    "visualize_guided_cam",
    "visualize_saliency",
    "visualize_saliency_with_losses",
]
