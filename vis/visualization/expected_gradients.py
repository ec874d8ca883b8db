"""Expected gradients: integrated gradients averaged over baselines of a data set (Erion et al. 2019)."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from vis.engine.evaluate import Objective, evaluate
from vis.engine.inputs import ModelInputs, prepare
from vis.engine.types import Change, Reduce
from vis.losses import Target
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError
from vis.visualization.attribution import attribute, of_filter
from vis.visualization.baselines import ATTRIBUTION, attributed, moved, toward
from vis.visualization.progress import bar
from vis.visualization.saliency import summed


@shared_docs
def expected_gradients(
    model,
    layer_idx,
    filter_indices,
    seed_input,
    wrt_tensor=None,
    *,
    background,
    num_samples: int = 200,
    seed: int | None = 0,
    keepdims: bool = False,
    channel_axis="auto",
    logits: bool = True,
    normalize: bool = True,
    squeeze: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
):
    """Attribute the difference of a score from its mean over a data set to the input's features.

    EG_i = E[(x_i − x'_i) · ∂S/∂x_i (x' + α (x − x'))], x' drawn from `background` and α from 0 to 1, so that
    Σ_i EG_i = S(x) − E[S(x')] (Erion et al. 2019, "Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients", arXiv 1906.10670, equation 3). The rows of `background` are used in
    turn, equally often; the α of a row are stratified over equal parts of the line.

    Args:
        {{explained}}
        {{wrt_tensor}}
        background: Typical samples, of shape (rows, ...), in the units of `seed_input`; for several inputs a list or
            dict of these, whose rows belong together. A hundred or so rows of the training data are enough.
        num_samples: The number of gradients to average; best a multiple of the number of rows.
        {{random_seed}}
        {{keepdims}}
        {{channel_axis}}
        {{logits}}
        {{signed_output_options}}
        {{progress_bar}}

    Returns:
        {{signed_maps}}

    Raises:
        ArgumentError: A `background` that does not fit the model, `num_samples` below 1, a layer that does not exist,
            a filter out of range, or a `seed_input` that does not fit the model.

    Warns:
        {{map_warnings}}

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[2.0], [3.0]]), np.ones(1)])
        >>> background = np.array([[0.0, 0.0], [2.0, 4.0]])
        >>> expected_gradients(
        ...     model, -1, 0, np.array([1.0, -1.0]), background=background, num_samples=2, normalize=False
        ... )
        array([ 0., -9.], dtype=float32)
    """
    count = checks.whole_number("num_samples", num_samples)
    seed = checks.whole_number("seed", seed, 0, or_none=True)
    explained, wrt = of_filter(model, layer_idx, filter_indices, logits, None, wrt_tensor)
    try:
        baselines = prepare(explained.model, background)
    except ArgumentError as error:
        raise error.about("background") from error
    rows, alphas = _draws(baselines.count, count, seed)

    def method(objective, inputs, wrt):
        _check_shapes(baselines, inputs)
        tensors = [tensor for tensor in moved(_depending(objective), baselines, wrt, batch_size) if tensor.number >= 0]
        numbers = tuple(tensor.number for tensor in tensors)

        def along(value, k, index, rows, alphas, *values):
            if index not in numbers:
                return value, tf.zeros_like(value)
            base = tf.gather(values[numbers.index(index)], tf.gather(rows, k))
            return toward(value, base, tf.gather(alphas, k))

        change = Change(along, ("background", numbers), (rows, alphas, *(tensor.values for tensor in tensors)))
        options = {"wrt": wrt, "copies": count, "reduce": Reduce(ATTRIBUTION), "batch_size": batch_size}
        with bar(count * inputs.count, progress) as shown:
            for part in evaluate(objective, inputs, change=change, progress=shown.update, **options):
                part, maps = attributed(part)
                yield part, summed(part, maps, keepdims, channel_axis)

    return attribute(explained, seed_input, method, wrt=wrt, signed=True, normalize=normalize, squeeze=squeeze)


def _check_shapes(background: ModelInputs, inputs: ModelInputs) -> None:
    for name, rows, samples in zip(inputs.names, background.arrays, inputs.arrays, strict=True):
        if rows.shape[1:] != samples.shape[1:]:
            raise ArgumentError(
                "background",
                f"must have rows of the samples' shape {samples.shape[1:]} for {name!r}, not {rows.shape[1:]}",
                kind="shape",
            )


def _draws(rows: int, count: int, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of the background, and the place on the line, of each sample.

    A row that is taken m times has one place in each m-th of the line; within these, the rows that are taken in one
    turn share out the places.
    """
    rng = np.random.default_rng(seed)
    k = np.arange(count)
    turn, place = k // rows, k % rows
    times = count // rows + (place < count % rows)
    shares = np.concatenate([rng.permutation(rows) for _ in range(turn[-1] + 1)])[:count]
    alphas = (turn + (shares + rng.random(count)) / rows) / times
    return rng.permutation(rows)[place], alphas.astype(np.float32)


def _depending(objective: Objective) -> Objective:
    """Return an objective with the same dependencies for any number of samples."""

    def total(outputs):
        flat = [tf.cast(output, tf.float32) for output in keras.tree.flatten(outputs)]
        return tf.add_n([tf.reduce_sum(tf.reshape(output, [tf.shape(output)[0], -1]), axis=1) for output in flat])

    return Objective(objective.model, [(Target(total, loss.layer), 1.0) for loss, _ in objective.losses])
