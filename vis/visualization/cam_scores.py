"""ScoreCAM and AblationCAM: class activation maps weighted by the scores of modified inputs or features.

Each channel costs a forward pass. The copies are modified and run in batches: memory does not grow with the number of
channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs, is_real
from vis.engine.types import Change, Source
from vis.utils import checks
from vis.utils.arrays import interpolation_matrix
from vis.utils.errors import ArgumentError
from vis.visualization import positions
from vis.visualization.progress import bar


class FeatureMap(NamedTuple):
    """The feature map of one call of a layer, with all that is needed to run the model again.

    Attributes:
        objective: The objective.
        inputs: The samples.
        wrt: The addresses of the feature maps.
        source: The source of the feature map.
        number: Its position among the tensors that a `Change` receives.
        activations: The feature map A, (samples, *positions, channels).
        scores: The score of each sample, (samples,).
        place: A function of maps (any number, *positions) that lays them along the axes of an input.
        batch_size: The most copies to run at once, or None.
        progress: Whether to show a progress bar.
    """

    objective: Objective
    inputs: ModelInputs
    wrt: list
    source: Source
    number: int
    activations: np.ndarray
    scores: np.ndarray
    place: Callable
    batch_size: int | None
    progress: bool = True

    def most_varied(self, max_filters: int | None) -> np.ndarray:
        """Return the channels of largest standard deviation over positions, (samples, channels), in their order."""
        spread = self.activations.std(axis=tuple(range(1, self.activations.ndim - 1)), dtype=np.float64)
        return np.sort(np.argsort(-spread, axis=1, kind="stable")[:, :max_filters], axis=1)

    def scores_of(self, change: Change, copies: int, wrt: list) -> np.ndarray:
        """Return the score of each copy of each sample, (samples, copies)."""
        options: dict[str, Any] = {
            "wrt": wrt,
            "known": self.wrt,
            "batch_size": self.batch_size,
            "argument": "penultimate_layer_idx",
        }
        with bar(copies * self.inputs.count, self.progress) as shown:
            options |= {"copies": copies, "reduce": None, "progress": shown.update}
            parts = evaluate(self.objective, self.inputs, change=change, **options)
            return np.stack([self.objective.total(part.scores) for part in parts])

    def of_all(self, weights: np.ndarray, channels: np.ndarray) -> np.ndarray:
        """Return the weights of all channels, 0 for those without one."""
        everything = np.zeros((len(weights), self.activations.shape[-1]))
        np.put_along_axis(everything, channels, weights, axis=1)
        return everything


class _ByScores:
    """Weights the channels of a feature map by scores, each of which costs a forward pass."""

    def __init__(self, max_filters: int | None = None):
        self.max_filters = checks.whole_number("max_filters", max_filters, or_none=True)

    def weights(self, features: FeatureMap) -> np.ndarray:
        """Return the weight of each channel, float64, (samples, channels); 0 for channels that are skipped."""
        channels = features.most_varied(self.max_filters)
        return features.of_all(self._of(features, channels), channels)

    def _of(self, features: FeatureMap, channels: np.ndarray) -> np.ndarray:
        """Return the weights of some channels of each sample, of their shape."""
        raise NotImplementedError


class ScoreCAM(_ByScores):
    """Weight each channel by the score of the input masked by it: Σ_k softmax_k(S(x · M_k)) A_k.

    M_k is A_k interpolated linearly to the input's size and scaled to [0, 1], 0 for a flat channel. Every real input
    that has the map's axes in the same sizes is masked. The source is Wang et al. 2020, "Score-CAM" (arXiv 1910.01279),
    equations 3 to 6, with an input of zeros for the baseline.

    Args:
        max_filters: How many channels to weigh, those of largest standard deviation over positions; None for all. Each
            costs a forward pass.

    Example:
        >>> import keras
        >>> from vis.visualization import visualize_cam
        >>> layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> visualize_cam(model, -1, 0, np.eye(8)[..., None], method=ScoreCAM(max_filters=2), relu=False).shape
        (8, 8)
    """

    def _of(self, features: FeatureMap, channels: np.ndarray) -> np.ndarray:
        scores = features.scores_of(_masks(features, channels), channels.shape[1], wrt=[])
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)


class AblationCAM(_ByScores):
    """Weight each channel by how much of the score is lost without it: Σ_k (S − S_k) / |S| A_k.

    S_k is the score with channel k set to 0; the difference is left undivided where S is 0. The source is Desai and
    Ramaswamy 2020, "Ablation-CAM" (WACV), equations 3 and 4.

    Args:
        max_filters: How many channels to weigh, those of largest standard deviation over positions; None for all. Each
            costs a forward pass.

    Example:
        >>> import keras
        >>> from vis.visualization import visualize_cam
        >>> layers = [keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
        >>> model = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> visualize_cam(model, -1, 0, np.eye(8)[..., None], method=AblationCAM(max_filters=2), relu=False).shape
        (8, 8)
    """

    def _of(self, features: FeatureMap, channels: np.ndarray) -> np.ndarray:
        without = features.scores_of(_ablations(features, channels), channels.shape[1], wrt=features.wrt)
        score = features.scores[:, None]
        return (score - without) / np.where(score == 0, 1, np.abs(score))


def weighted(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Σ_k w_k A_k, in double precision.

    Args:
        activations: The feature map A, (samples, *positions, channels).
        weights: w, (samples, channels).

    Returns:
        Maps of shape (samples, *positions).

    Example:
        >>> weighted(np.ones((1, 2, 3)), np.array([[1.0, 2.0, 3.0]])).tolist()
        [[6.0, 6.0]]
    """
    return np.einsum("n...c,nc->n...", activations, weights, dtype=np.float64)


def _masks(features: FeatureMap, channels: np.ndarray) -> Change:
    """Return what multiplies the inputs by each of some channels, (samples, channels), at the inputs' size."""
    activations, inputs = features.activations, features.inputs
    chosen = np.take_along_axis(
        activations, channels.reshape(len(channels), *[1] * (activations.ndim - 2), -1), axis=-1
    )
    chosen = np.moveaxis(chosen, -1, 1)
    maps, size, along = features.place(chosen.reshape(-1, *chosen.shape[2:]))
    real = [i for i, array in enumerate(inputs.arrays) if is_real(array)]
    masked = [real.index(i) for i in positions.with_axes(inputs, along) if i in real] if along else []
    if not masked:
        raise ArgumentError(
            "method",
            f"must be another than 'scorecam' for {features.source.name!r}: its positions are not those of an input of "
            "real numbers, which could be masked by them",
            "Choose 'ablationcam'",
            kind="no_positions",
        )
    # Scaled before interpolation, which would add rounding errors to flat channels.
    low, high = (f(maps, axis=tuple(range(1, maps.ndim)), keepdims=True) for f in (np.min, np.max))
    maps = (maps - low) / np.where(high > low, high - low, 1)
    maps = maps.reshape(*channels.shape, *maps.shape[1:]).astype(np.float32)
    axes = [1 + axis for _, axis in along]
    matrices = [interpolation_matrix(*sizes).astype(np.float32) for sizes in zip(maps.shape[2:], size, strict=True)]

    def masks(value, k, index, *given):
        if index not in masked:
            return value
        *matrices, maps = given
        mask = tf.gather(maps[0], k)
        for matrix in matrices:  # each step takes the first position axis and appends it as the last
            mask = tf.tensordot(mask, matrix, [[1], [1]])
        places = list(range(1, mask.shape.rank))
        low, high = (f(mask, places, keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
        mask = tf.math.divide_no_nan(mask - low, high - low)
        for axis in range(1, value.shape.rank):
            mask = mask if axis in axes else tf.expand_dims(mask, axis)
        return value * tf.cast(mask, value.dtype)

    return Change(masks, ("scorecam", tuple(masked), tuple(axes)), tuple(matrices), (maps,))


def _ablations(features: FeatureMap, channels: np.ndarray) -> Change:
    """Return what sets each of some channels, (samples, channels), of the feature map to 0."""
    number, axis = features.number, features.source.layout.channel + 1  # type: ignore[operator]  # it has channels

    def ablated(value, k, index, channels):
        if index != number:
            return value
        kept = tf.one_hot(tf.gather(channels[0], k), tf.shape(value)[axis], on_value=0.0, off_value=1.0)
        for other in range(1, value.shape.rank):
            kept = kept if other == axis else tf.expand_dims(kept, other)
        return value * tf.cast(kept, value.dtype)

    return Change(ablated, ("ablationcam", number, axis), rows=(channels.astype(np.int64),))
