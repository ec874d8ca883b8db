"""The weightings of class activation maps, each a function that reads like its paper.

A method takes the activations A of a layer and the gradients G = ∂S/∂A of the score S, both of shape (samples,
*positions, channels), and returns maps of shape (samples, *positions). Sums of many channels cancel: they are taken in
double precision.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError
from vis.visualization.cam_scores import AblationCAM, ScoreCAM, weighted


def gradcam(activations, gradients):
    """Return Σ_k α_k A_k, with α_k the mean of G_k over positions.

    The source is Selvaraju et al. 2017, "Grad-CAM" (arXiv 1610.02391), equations 1 and 2.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> gradcam(np.ones((1, 2, 3, 4)), np.full((1, 2, 3, 4), 0.5)).tolist()
        [[[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]]
    """
    return weighted(activations, gradients.mean(axis=_places(gradients), dtype=np.float64))


def gradcam_plus_plus(activations, gradients):
    """Return Σ_k w_k A_k, with w_k = Σ α_k ReLU(G_k) over positions and α_k = G_k² / (2 G_k² + (Σ A_k) G_k³).

    α is 0 where its denominator is. The source is Chattopadhay et al. 2018, "Grad-CAM++" (arXiv 1710.11063), equations
    5 and 19, whose higher derivatives are those of exp(S).

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> gradcam_plus_plus(np.ones((1, 2, 1)), np.full((1, 2, 1), 2.0)).round(3).tolist()
        [[0.667, 0.667]]
    """
    gradients = gradients.astype(np.float64)
    places = _places(activations)
    total = activations.sum(axis=places, keepdims=True, dtype=np.float64)
    squares = np.square(gradients)
    alpha = _quotient(squares, squares * (2 + total * gradients))
    return weighted(activations, (alpha * np.maximum(gradients, 0)).sum(axis=places))


def layercam(activations, gradients):
    """Return Σ_k ReLU(G_k) A_k, each position weighted by itself.

    The source is Jiang et al. 2021, "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization" (IEEE
    Transactions on Image Processing 30), equations 6 to 8.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> layercam(np.array([[[3.0], [3.0]]]), np.array([[[2.0], [-2.0]]])).tolist()
        [[6.0, 0.0]]
    """
    return np.einsum("n...c,n...c->n...", np.maximum(gradients, 0), activations, dtype=np.float64)


def xgradcam(activations, gradients):
    """Return Σ_k w_k A_k, with w_k = Σ G_k A_k / Σ A_k over positions, 0 where Σ A_k is 0.

    The source is Fu et al. 2020, "Axiom-based Grad-CAM" (arXiv 2008.02312), equation 8.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> xgradcam(np.array([[[1.0], [3.0]]]), np.array([[[1.0], [5.0]]])).tolist()
        [[4.0, 12.0]]
    """
    places = _places(activations)
    both = np.multiply(gradients, activations, dtype=np.float64).sum(axis=places)
    return weighted(activations, _quotient(both, activations.sum(axis=places, dtype=np.float64)))


def hirescam(activations, gradients):
    """Return Σ_k G_k A_k: for a network that is linear after the feature map, what each position adds to the score.

    The source is Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM" (arXiv 2011.08891), equation 6.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> hirescam(np.array([[[3.0], [3.0]]]), np.array([[[2.0], [-2.0]]])).tolist()
        [[6.0, -6.0]]
    """
    return np.einsum("n...c,n...c->n...", gradients, activations, dtype=np.float64)


def eigencam(activations, gradients):
    """Return A projected onto the first right singular vector of A with its mean over positions removed.

    A itself is projected, and the sign is the one with which the map correlates with the mean of A over channels. The
    map does not depend on the class. The source is Muhammad and Yeasin 2020, "Eigen-CAM" (arXiv 2008.00299), section
    III, which does not remove the mean.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, which is not used.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> eigencam(np.array([[[0.0, 0.0], [3.0, 4.0]]]), None).round(6).tolist()
        [[0.0, 5.0]]
    """
    flat = activations.reshape(len(activations), -1, activations.shape[-1]).astype(np.float64)
    maps = []
    for values in flat:
        projected = values @ _first_direction(values - values.mean(axis=0))
        likeness = projected @ (values.mean(axis=1) - values.mean())
        maps.append(-projected if likeness < 0 else projected)
    return np.reshape(maps, activations.shape[:-1])


def eigengradcam(activations, gradients):
    """Return `eigencam` of G·A: the direction in which the evidence for the class varies most.

    The source is the variant of Eigen-CAM (arXiv 2008.00299) in Gildenblat's pytorch-grad-cam.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        gradients: The gradient G of the score with respect to it, of the same shape.

    Returns:
        The maps, (samples, *positions), before the ReLU.

    Example:
        >>> eigengradcam(np.array([[[0.0, 0.0], [3.0, 4.0]]]), np.full((1, 2, 2), 2.0)).round(6).tolist()
        [[0.0, 10.0]]
    """
    return eigencam(np.multiply(gradients, activations, dtype=np.float64), gradients)


_METHODS: dict[str, Callable | ScoreCAM | AblationCAM] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "xgradcam": xgradcam,
    "hirescam": hirescam,
    "eigencam": eigencam,
    "eigengradcam": eigengradcam,
    "scorecam": ScoreCAM(),
    "ablationcam": AblationCAM(),
}


def get(identifier: str | Callable | ScoreCAM | AblationCAM) -> Callable | ScoreCAM | AblationCAM:
    """Return the weighting method of a class activation map.

    Args:
        identifier: A name; a function `(activations, gradients) -> maps`, both of shape (samples, *positions,
            channels), the maps (samples, *positions); or a `ScoreCAM` or `AblationCAM`.

    Returns:
        The function, or the `ScoreCAM` or `AblationCAM`.

    Raises:
        ArgumentError: No method has that name.
        ArgumentTypeError: It is neither a name nor a method.

    Example:
        >>> get("gradcam") is gradcam
        True
    """
    if isinstance(identifier, (ScoreCAM, AblationCAM)):
        return identifier
    known = ", ".join(map(repr, _METHODS))
    if isinstance(identifier, str) and identifier not in _METHODS:
        raise ArgumentError("method", f"must be one of {known} or a function, not {identifier!r}", kind="unknown")
    if isinstance(identifier, str):
        return _METHODS[identifier]
    if isinstance(identifier, type) and issubclass(identifier, (ScoreCAM, AblationCAM)):
        return identifier()
    if callable(identifier):
        return identifier
    raise ArgumentTypeError("method", f"must be one of {known} or a function, not {type(identifier).__name__}")


def uses_gradient(method) -> bool:
    """Return whether a method uses the gradient, and so whether a gradient modifier affects it.

    Example:
        >>> uses_gradient(gradcam), uses_gradient(ScoreCAM())
        (True, False)
    """
    return method is not eigencam and not isinstance(method, (ScoreCAM, AblationCAM))


def _places(array: np.ndarray) -> tuple[int, ...]:
    """Return the axes of the positions."""
    return tuple(range(1, array.ndim - 1))


def _first_direction(values: np.ndarray) -> np.ndarray:
    """Return the first right singular vector of a matrix, (positions, channels)."""
    if len(values) >= values.shape[1] or not values.any():
        return np.linalg.svd(values, full_matrices=False)[2][0]
    # There are far more channels than positions: the first left one, of a small matrix, leads to it.
    left = np.linalg.eigh(values @ values.T)[1][:, -1]
    direction = left @ values
    return direction / np.linalg.norm(direction)


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Return a quotient, which is 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
