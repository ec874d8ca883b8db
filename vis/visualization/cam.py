"""Class activation maps: which positions of a feature map raise a score."""

from __future__ import annotations

from collections.abc import Callable

from vis.utils.arrays import resize as resize
from vis.utils.docs import shared_docs
from vis.visualization import cam_maps
from vis.visualization.attribution import attribute, of_filter, of_losses
from vis.visualization.cam_methods import get as get
from vis.visualization.cam_scores import AblationCAM as AblationCAM
from vis.visualization.cam_scores import ScoreCAM as ScoreCAM


@shared_docs
def visualize_cam(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    penultimate_layer_idx=None,
    backprop_modifier=None,
    grad_modifier=None,
    *,
    method: str | Callable | ScoreCAM | AblationCAM = "gradcam",
    smoothing: str | None = None,
    relu: bool = True,
    interpolation: str | None = "linear",
    token_grid: tuple | None = None,
    extra_tokens: tuple | None = None,
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show which regions raise a score, at the resolution of a feature map: Grad-CAM.

    With A the feature map of a layer, the weight of channel k is α_k = mean over positions of ∂S/∂A_k, and the map is
    ReLU(Σ_k α_k A_k), interpolated to the input's size (Selvaraju et al. 2017, "Grad-CAM", arXiv 1610.02391,
    equations 1 and 2). For a regressor, `grad_modifier` None, `'negate'` and `'small_values'` show what increases,
    decreases and keeps the output.

    Args:
        {{explained}}
        {{penultimate_layer_idx}}
        {{backprop_modifier}}
        {{grad_modifier}}
        {{cam_method}}
        {{smoothing}}
        {{relu}}
        {{interpolation}}
        {{token_grid}}
        {{extra_tokens}}
        {{logits}}
        {{output_options}}
        {{progress_bar}}

    Returns:
        A float32 array of shape (samples, *positions of the input), or (*positions,) for a single sample; without
        interpolation (samples, *positions of the feature map), along the same axes. If the feature map lacks
        axes of the input, such as time after a `ConvLSTM2D`, so does the map; along an axis that was folded into the
        channels, as before a recurrent layer over the columns of a picture, the map is constant. Tokens that come from
        a picture are folded back into its grid. A layer that is called several times gives one map per call, along axis
        1; branches over different inputs give a dict by input name; a stream of batches gives a generator.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The map may mislead: it is negative everywhere before the ReLU, the feature map has a single
            position or is flat, the gradient is zero everywhere, or its positions cannot be traced to the input, so
            the map keeps its own size.

    Example:
        >>> import keras, numpy as np
        >>> layers = [keras.layers.AveragePooling2D(4), keras.layers.Flatten(), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> model.layers[-1].set_weights([np.full((4, 2), 0.5), np.zeros(2)])
        >>> image = np.zeros((8, 8, 1))
        >>> image[4:, :4] = 1
        >>> visualize_cam(model, -1, 0, image)[[0, 7], [0, 0]]
        array([0., 1.], dtype=float32)
    """
    explained, penultimate = of_filter(
        model, layer_idx, filter_indices, logits, backprop_modifier, penultimate_layer_idx
    )
    recipe = cam_maps.recipe(
        method, grad_modifier, smoothing, relu, interpolation, token_grid, extra_tokens, batch_size, progress
    )
    return _cam(explained, seed_input, penultimate, recipe, normalize, squeeze)


@shared_docs
def visualize_cam_with_losses(
    input_tensor,
    losses,
    seed_input,
    penultimate_layer,
    grad_modifier=None,
    *,
    method: str | Callable | ScoreCAM | AblationCAM = "gradcam",
    smoothing: str | None = None,
    relu: bool = True,
    interpolation: str | None = "linear",
    token_grid: tuple | None = None,
    extra_tokens: tuple | None = None,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Show which regions raise the weighted sum of any losses, at the resolution of a feature map.

    Args:
        {{input_tensor}}
        {{losses}}
        {{seed_input}}
        {{penultimate_layer}}
        {{grad_modifier}}
        {{cam_method}}
        {{smoothing}}
        {{relu}}
        {{interpolation}}
        {{token_grid}}
        {{extra_tokens}}
        {{output_options}}
        {{progress_bar}}

    Returns:
        A float32 array of shape (samples, *positions of the input), or (*positions,) for a single sample; without
        interpolation (samples, *positions of the feature map), along the same axes. If the feature map lacks
        axes of the input, such as time after a `ConvLSTM2D`, so does the map; along an axis that was folded into the
        channels, as before a recurrent layer over the columns of a picture, the map is constant. Tokens that come from
        a picture are folded back into its grid. A layer that is called several times gives one map per call, along axis
        1; branches over different inputs give a dict by input name; a stream of batches gives a generator.

    Raises:
        {{map_errors}}

    Warns:
        VisWarning: The map may mislead: it is negative everywhere before the ReLU, the feature map has a single
            position or is flat, the gradient is zero everywhere, or its positions cannot be traced to the input, so
            the map keeps its own size.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3), keras.layers.Flatten()])
        >>> score = lambda output: output[:, 0] - output[:, 1]
        >>> visualize_cam_with_losses(model, [(score, 1)], np.eye(8)[..., None], model.layers[0]).shape
        (8, 8)
    """
    explained = of_losses(input_tensor, losses)
    recipe = cam_maps.recipe(
        method, grad_modifier, smoothing, relu, interpolation, token_grid, extra_tokens, batch_size, progress
    )
    return _cam(explained, seed_input, penultimate_layer, recipe, normalize, squeeze)


def _cam(explained, seed_input, penultimate, recipe, normalize, squeeze):
    def method(objective, inputs, _):
        return ((part, maps) for part, maps, _ in cam_maps.finished_maps(objective, inputs, penultimate, recipe))

    wrt = None if cam_maps.is_list(penultimate) else cam_maps.layers_of(penultimate)[0]
    options = {"argument": cam_maps.ARGUMENT, "normalize": normalize, "squeeze": squeeze}
    return attribute(explained, seed_input, method, wrt=wrt, **options)
