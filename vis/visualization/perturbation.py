"""What the perturbation methods share: copies of each sample with parts of it hidden, and the score of each copy.

A method says how the copies of an input are masked and what map their scores make. The masks are made inside the graph,
a few copies at a time, so that memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from vis.engine.evaluate import Objective, evaluate, sources_of
from vis.engine.inputs import ModelInputs, cast, is_real
from vis.engine.types import Change, Evaluated
from vis.utils.arrays import blur
from vis.utils.errors import ArgumentError, warn
from vis.visualization.attribution import NotFiniteError, attribute
from vis.visualization.progress import bar
from vis.visualization.saliency import channel_of


class Subject(NamedTuple):
    """An input that is perturbed.

    Attributes:
        position: Its number among the model's inputs.
        name: What to call it.
        values: Its values, (samples, ...).
        channel: The axis of its channels, counted within a sample, or None.
    """

    position: int
    name: str
    values: np.ndarray
    channel: int | None

    @property
    def axes(self) -> list[int]:
        """The axes of `values` that hold positions."""
        return [axis for axis in range(1, self.values.ndim) if self.channel is None or axis != self.channel + 1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of positions along each of these axes."""
        return tuple(self.values.shape[axis] for axis in self.axes)

    @property
    def has_ids(self) -> bool:
        """Return whether the values are tokens, of which there is no mean; pixels come in 8 or 16 bits."""
        return self.values.dtype.kind in "iu" and self.values.dtype.itemsize >= 4

    @property
    def is_unordered(self) -> bool:
        """Return whether the positions are features of a table, whose neighbours have nothing in common."""
        return self.values.ndim == 2 and not self.has_ids

    def own(self, argument: str, value: Any) -> Any:
        """Return this input's own value of an argument that may come as a dict of one per input."""
        if not isinstance(value, dict):
            return value
        if self.name not in value:
            raise ArgumentError(
                argument, f"must have a value for the input {self.name!r}, not only for {list(value)}", kind="keys"
            )
        return value[self.name]


class Masking(NamedTuple):
    """How copies of samples are masked.

    Attributes:
        mask: A function `(k, axes, *arguments, *rows) -> mask` in the graph: of the masks' numbers (int64, (rows,)) and
            of the number of positions along each axis. The mask, (rows, *positions), is True, or 1, where the sample
            stays as it is; between 0 and 1 it is mixed with what fills it.
        count: The number of masks: one number, or one per sample.
        fills: What stands where a sample is hidden, (samples, fills, ...): each mask is made with each of them, and the
            scores are averaged.
        to_map: A function `(row, scores, score) -> map` of a sample's number, the scores of its masks, (count,), and
            its own score; the map has the shape of the positions.
        arguments: Arrays that the masks are made of.
        rows: Those that each sample has of its own, a sequence of one array per sample each.
    """

    mask: Callable
    count: int | list[int]  # type: ignore[assignment]  # a field, which hides the method of tuples
    fills: np.ndarray
    to_map: Callable
    arguments: tuple = ()
    rows: tuple = ()


def perturb(
    explained,
    seed_input,
    masking_of: Callable[[Subject], Masking],
    *,
    inputs,
    channel_axis,
    signed: bool,
    normalize: bool,
    squeeze: bool,
    batch_size: int | None,
    progress: bool,
):
    """Explain samples, or a stream of batches of them, by what hiding parts of them does to the score.

    Args:
        explained: What is explained.
        seed_input: The samples, as in `attribute`.
        masking_of: How the copies of an input are masked.
        inputs: Which inputs are perturbed, each by itself: a name or an index, a list of them, or None for all.
        channel_axis: The axis of the channels, or `"auto"`.
        signed: As in `attribute`.
        normalize: As in `attribute`.
        squeeze: As in `attribute`.
        batch_size: The most copies to run at once.
        progress: Whether to show a bar, once a few seconds have passed.

    Returns:
        What `attribute` returns.
    """

    def method(objective: Objective, given: ModelInputs, wrt: list):
        of_inputs = sources_of(objective, given, batch_size)
        sources = [of_inputs[position] for position in _positions(wrt, given)]
        subjects = [_subject(source, given, channel_axis) for source in sources]
        maskings = [masking_of(subject) for subject in subjects]
        copies = [_copies(masking, given.count) for masking in maskings]
        options: dict[str, Any] = {"wrt": (), "reduce": None, "batch_size": batch_size}
        with bar(sum(map(sum, copies)), progress) as shown:
            runs = [
                evaluate(
                    objective, given, change=_change(subject, masking), copies=number, progress=shown.update, **options
                )
                for subject, masking, number in zip(subjects, maskings, copies, strict=True)
            ]
            unmoved = [0] * len(runs)
            for row, sample in enumerate(zip(*runs, strict=True)):
                maps = []
                for i, (masking, part) in enumerate(zip(maskings, sample, strict=True)):
                    scores = _finite(objective.total(part.scores))
                    unmoved[i] += np.ptp(scores) == 0
                    *_, score = scores
                    scores = scores[:-1].reshape(-1, masking.fills.shape[1]).mean(axis=1)
                    maps.append([masking.to_map(row, scores, score)[None]])
                yield Evaluated(sources, sample[0].scores[:, -1:], [], []), maps
        for subject, number in zip(subjects, unmoved, strict=True):
            _warn_of_unmoved(subject, number, given.count)

    wrt = list(inputs) if isinstance(inputs, tuple) else inputs
    output: dict[str, Any] = {"signed": signed, "normalize": normalize, "squeeze": squeeze}
    return attribute(explained, seed_input, method, wrt=wrt, argument="inputs", **output)


def filling(fill, subject: Subject, argument: str = "fill") -> np.ndarray:
    """Return what stands where each sample is hidden.

    Args:
        fill: A number, an array, `"mean"` or `"blur"`; a dict of these, one per input.
        subject: The input.
        argument: What the caller calls it.

    Returns:
        An array (samples, 1, ...) that broadcasts against the samples.
    """
    fill, values = subject.own(argument, fill), subject.values
    places = tuple(subject.axes)
    if isinstance(fill, str):
        if fill not in ("mean", "blur"):
            raise ArgumentError(argument, f"must be a number, an array, 'mean' or 'blur', not {fill!r}", kind="unknown")
        if fill == "mean":
            # Neither the tokens of a text nor the features of a table have one.
            none = subject.has_ids or subject.is_unordered
            fill = 0 if none else values.mean(axis=places, keepdims=True, dtype=np.float64)
        elif subject.has_ids or subject.is_unordered:
            what = "tokens" if subject.has_ids else "the features of a table"
            raise ArgumentError(argument, f"must be a number or an array for {what}, which cannot be blurred")
        else:
            fill = blur(values, places)
    rows = _rows(fill, subject, argument, "samples")
    if len(rows) not in (1, len(values)):
        _refuse_shape(rows, subject, argument, "samples")
    return np.broadcast_to(rows, (len(values), *rows.shape[1:]))[:, None]


def background_of(background, subject: Subject) -> np.ndarray:
    """Return what stands for absent values: (samples, rows, ...), the same rows for every sample.

    Args:
        background: A number, an array of one sample's shape, or (rows, ...); a dict of these, one per input.
        subject: The input.

    Returns:
        The array; its last axes broadcast against a sample.
    """
    rows = _rows(subject.own("background", background), subject, "background", "rows")
    return np.broadcast_to(rows, (len(subject.values), *rows.shape))


def _rows(given, subject: Subject, argument: str, first: str) -> np.ndarray:
    """Return a number, or an array of one sample or several, as rows that broadcast against samples, of their type."""
    values = subject.values
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentError(argument, f"must be a number or an array, not {given!r}", kind="type") from error
    if not np.isfinite(array).all():
        raise ArgumentError(argument, "must be finite, not NaN or infinite", kind="not_finite")
    if array.ndim < values.ndim:
        array = array.reshape(1, *[1] * (values.ndim - 1 - array.ndim), *array.shape)
    fits = (
        array.ndim == values.ndim
        and len(array)
        and all(size in (1, wanted) for size, wanted in zip(array.shape[1:], values.shape[1:], strict=True))
    )
    if not fits:
        _refuse_shape(array, subject, argument, first)
    if is_real(values):
        return cast(array, np.float64 if values.dtype == np.float64 else np.float32, argument)
    return cast(np.round(array), values.dtype, argument)


def _refuse_shape(array: np.ndarray, subject: Subject, argument: str, first: str):
    shape = ", ".join(map(str, subject.values.shape[1:]))
    raise ArgumentError(
        argument,
        f"must be a number or an array of shape ({shape}) or ({first}, {shape}) for {subject.name!r}, not of shape "
        f"{array.shape}",
        kind="shape",
    )


def _positions(wrt: list, inputs: ModelInputs) -> list[int]:
    """Return the numbers of the inputs that are perturbed."""
    count, names = len(inputs.arrays), inputs.names
    if wrt == [None]:
        return list(range(count))
    if not wrt:
        raise ArgumentError("inputs", "must name at least one input, not none")
    positions = []
    for each in wrt:
        if isinstance(each, str) and each in names:
            positions.append(names.index(each))
        elif hasattr(each, "__index__") and not isinstance(each, bool) and -count <= each < count:
            positions.append(int(each) % count)
        else:
            known = ", ".join(map(repr, names))
            raise ArgumentError("inputs", f"must be inputs of the model ({known}) or their indices, not {each!r}")
    return positions


def _subject(source, inputs: ModelInputs, channel_axis) -> Subject:
    values = inputs.arrays[source.input]
    channel = channel_of(source, values.ndim - 1, channel_axis)
    return Subject(source.input, source.name, values, channel)


def _copies(masking: Masking, samples: int) -> list[int]:
    """Return the number of copies of each sample: each mask with each fill, and last the sample itself."""
    counts = [masking.count] * samples if isinstance(masking.count, int) else masking.count
    return [count * masking.fills.shape[1] + 1 for count in counts]


def _change(subject: Subject, masking: Masking) -> Change:
    """Return the change of copies into masked ones; after the last mask a copy stays whole."""
    position, channel, mask_of = subject.position, subject.channel, masking.mask
    axes, fixed = [axis - 1 for axis in subject.axes], len(masking.arguments)
    as_ids = subject.has_ids

    def masked(value, k, index, *more):
        if index != position:
            return value
        *arguments, fills, masks = list(more[:fixed]) + [each[0] for each in more[fixed:]]
        count = tf.shape(fills, tf.int64)[0]
        sizes = [tf.shape(value, tf.int64)[axis + 1] for axis in axes]
        mask = mask_of(tf.minimum(k // count, masks - 1), sizes, *arguments)
        is_whole = tf.reshape(k >= masks * count, [-1, *[1] * len(axes)])
        mask = tf.where(is_whole, tf.ones([], mask.dtype), mask) if mask.dtype != tf.bool else mask | is_whole
        if channel is not None:
            mask = tf.expand_dims(mask, channel + 1)
        fill = tf.gather(fills, k % count)
        if as_ids and mask.dtype != tf.bool:
            mask = mask >= 0.5
        if mask.dtype == tf.bool:
            return tf.where(mask, value, tf.cast(fill, value.dtype))
        kind = value.dtype if value.dtype.is_floating else tf.float32
        mask, given, fill = (tf.cast(each, kind) for each in (mask, value, fill))
        mixed = fill + mask * (given - fill)
        return mixed if value.dtype.is_floating else tf.cast(tf.round(mixed), value.dtype)

    key = ("masked", mask_of.__module__, mask_of.__qualname__, position, channel)
    samples = len(subject.values)
    counts = np.broadcast_to(np.asarray(masking.count, np.int64), [samples])
    return Change(masked, key, masking.arguments, (*masking.rows, masking.fills, counts))


def _finite(scores: np.ndarray) -> np.ndarray:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if len(wrong):
        raise NotFiniteError(
            "model",
            f"must give finite numbers for perturbed inputs too, but the target is {scores[wrong[0]]:g} for "
            f"{len(wrong)} of {len(scores)} copies",
            "Choose what hides the input nearer to what the model was trained with",
            kind="not_finite",
        )
    return scores


def _warn_of_unmoved(subject: Subject, number: int, samples: int) -> None:
    if number:
        warn(
            "unmoved",
            f"the target is the same however {subject.name!r} is perturbed, for {number} of {samples} samples: it does "
            "not depend on it here, or what hides it is what it holds",
        )
