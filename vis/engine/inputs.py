"""Seed inputs: check one sample or a batch from a user, and convert it to what the model takes."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from vis.engine import addressing
from vis.engine.addressing import symbolic_inputs as symbolic_inputs
from vis.engine.rules import underlying
from vis.utils.errors import ArgumentError, ArgumentTypeError, reason_of, warn


class ModelInputs:
    """The inputs of a model for a batch of samples.

    Attributes:
        arrays: The flat list of the model's inputs, NumPy arrays of shape (samples, ...).
        keys: The user's keys of these inputs if they came in a dict, else None.
        structure: The structure in which the model takes its inputs; its leaves are ignored.
        names: The name of each input: the user's key, the model's name for it, or its number.
        shapes: For each input the shape that the model takes, None for axes of any size.
    """

    def __init__(self, arrays, keys, structure, shapes, names):
        self.arrays = arrays
        self.names = names
        self.keys = keys
        self.structure = structure
        self.shapes = shapes

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.arrays[0])

    def with_arrays(self, arrays: list) -> ModelInputs:
        """Return inputs of the same structure with other values."""
        return ModelInputs(arrays, self.keys, self.structure, self.shapes, self.names)

    def repeat(self, count: int) -> ModelInputs:
        """Return the inputs with each sample `count` times in a row."""
        return self.with_arrays([array.repeat(count, axis=0) for array in self.arrays])

    def slice(self, start: int, stop: int) -> ModelInputs:
        """Return the inputs of the samples from `start` to before `stop`."""
        return self.with_arrays([array[start:stop] for array in self.arrays])


def prepare(model, seed_input, texts: bool = False) -> ModelInputs:
    """Check a seed input, add a sample axis, cast it to the model's dtype, and build the model if necessary.

    Args:
        model: A Keras model, with or without a backprop modifier.
        seed_input: One sample or a batch: an array, a tensor or a Pillow image; for a model with several inputs a
            list, tuple or dict of them.
        texts: Whether string inputs may hold strings; strings cannot be explained.

    Returns:
        The `ModelInputs`.

    Raises:
        ValueError: A wrong rank, size or channel count, no samples, or a value that is not finite.
        TypeError: A value that is not numeric.
        RuntimeError: Eager execution is turned off.
    """
    if not tf.executing_eagerly():
        raise RuntimeError(
            "vis gives NumPy arrays and so needs eager execution. Call it outside of tf.function, and leave out "
            "tf.compat.v1.disable_eager_execution()."
        )
    model = underlying(model)
    symbols = symbolic_inputs(model)
    declared = model.input if isinstance(model, keras.Function) else symbols[0] if symbols else None
    keys, values = _inputs(model, declared, seed_input)
    names = [symbol.name for symbol in symbols] or keys or [f"input {i}" for i in range(len(values))]
    arrays = []
    for position, value in enumerate(values):
        which = "" if len(values) == 1 else f" for {names[position]!r}"
        symbol = symbols[position] if symbols else None
        reads_texts = texts and symbol is not None and symbol.dtype == "string"
        arrays.append(_batch(model, value, symbol, which, reads_texts))
    if len({len(array) for array in arrays}) > 1:
        counts = ", ".join(str(len(array)) for array in arrays)
        raise ArgumentError(
            "seed_input", f"must hold the same number of samples for every input, not {counts}", kind="samples"
        )
    structure = declared
    if not symbols:
        structure = dict(zip(keys, arrays, strict=True)) if keys else arrays if len(arrays) > 1 else arrays[0]
        _build(model, keras.tree.map_structure(lambda array: array[:1], structure))
    return ModelInputs(arrays, keys, structure, _shapes(model, arrays), keys or names)


def is_real(array: np.ndarray) -> bool:
    """Return whether an array holds floating-point numbers; NumPy does not count bfloat16 among them."""
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def cast(array: np.ndarray, dtype, argument: str, which: str = "") -> np.ndarray:
    """Return an array in another dtype; refuse numbers beyond its range, which would become others.

    Args:
        array: Numbers.
        dtype: The dtype, or its name.
        argument: The argument that holds them, for the message.
        which: Which of several inputs they are for, for the message.

    Raises:
        ArgumentError: A number is beyond the range.
    """
    if array.size and dtype != "bool" and not np.can_cast(array.dtype, dtype):
        low, high = tf.as_dtype(dtype).min, tf.as_dtype(dtype).max
        for value in (array.min(), array.max()):
            if not low <= np.trunc(value) <= high:
                problem = f"must be from {low} to {high} ({np.dtype(dtype).name}){which}, not {value}"
                raise ArgumentError(argument, problem, kind="range")
    return array.astype(dtype, copy=False)


def _inputs(model, declared, seed_input):
    """Return the user's keys, if any, and one value per input, in the model's order."""
    if isinstance(declared, dict):
        keys = {id(symbol): key for key, symbol in declared.items()}
        expected = [keys[id(symbol)] for symbol in keras.tree.flatten(declared)]
    elif declared is not None:
        expected = [symbol.name for symbol in keras.tree.flatten(declared)]
    else:
        expected = list(seed_input) if isinstance(seed_input, dict) else []
    if isinstance(seed_input, dict):
        if set(seed_input) != set(expected):
            raise ArgumentError(
                "seed_input",
                f"must have the keys of the model's inputs, {expected}, not {list(seed_input)}",
                kind="keys",
            )
        return expected, [seed_input[key] for key in expected]
    several = len(expected) > 1 if expected else not isinstance(model, keras.Sequential)
    if several and isinstance(seed_input, (list, tuple)) and (expected or np.ndim(seed_input[0])):
        if expected and len(seed_input) != len(expected):
            raise ArgumentError(
                "seed_input",
                f"must hold one array per input of the model ({len(expected)}: {expected}), not {len(seed_input)}",
                kind="inputs",
            )
        return None, list(seed_input)
    if expected and len(expected) > 1:
        raise ArgumentError(
            "seed_input",
            f"must be a list or dict of the model's {len(expected)} inputs, {expected}, not one array",
            kind="inputs",
        )
    if isinstance(seed_input, (list, tuple)) and len(seed_input) == 1 and isinstance(declared, (list, tuple)):
        return None, [seed_input[0]]
    return None, [seed_input]


def _batch(model, value, symbol, which: str, reads_texts: bool = False) -> np.ndarray:
    if hasattr(value, "columns") and hasattr(value, "dtypes"):
        _check_columns(value)
    rank = len(symbol.shape) if symbol is not None else _known_rank(model)
    if isinstance(value, (list, tuple)) and any(isinstance(item, Image.Image) for item in value):
        value = np.stack([np.asarray(item) for item in value])
        if rank is not None and value.ndim == rank - 1:
            value = value[..., None]
    elif isinstance(value, Image.Image):
        value = np.asarray(value)
        if rank is not None and value.ndim == rank - 2:
            value = value[..., None]
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ArgumentError("seed_input", f"must hold samples of one shape{which}: {error}", kind="shape") from error
    if reads_texts:
        array = _texts(array, which)
    elif symbol is not None and symbol.dtype == "string":
        raise ArgumentTypeError(
            "seed_input",
            f"must be numeric{which}, not texts",
            "Split the model after the layer that turns texts into numbers, and give those numbers",
            kind="dtype",
        )
    elif not is_real(array) and array.dtype.kind not in "biu":
        raise ArgumentTypeError(
            "seed_input",
            f"must be numeric{which}: an array, a tensor or a Pillow image, not {_described(value)}",
            "Give a data set by itself, or its batches" if hasattr(value, "element_spec") else "",
            kind="dtype",
        )
    given = array.shape
    if rank == 2 and array.ndim == 1 < len(array) and symbol is not None and symbol.shape[-1] == 1:
        array = array[:, None]  # a column, as of a data frame, one value per sample
    elif rank is not None and array.ndim == rank - 1:
        array = array[None]
    elif rank is not None and array.ndim == rank + 1 and isinstance(value, (list, tuple)) and len(value) == 1:
        array = array[0]  # a list of inputs, of which there is one
    if rank is not None and array.ndim != rank:
        raise ArgumentError(
            "seed_input",
            f"must have shape {_shape_text(symbol, rank)}{which}, or that of one sample, not {given}",
            kind="shape",
        )
    if len(array) == 0:
        raise ArgumentError("seed_input", f"must hold at least one sample{which}, not shape {given}", kind="empty")
    if symbol is not None:
        fits = all(want is None or want == got for want, got in zip(symbol.shape[1:], array.shape[1:], strict=True))
        if not fits:
            raise ArgumentError(
                "seed_input",
                f"must have shape {_shape_text(symbol, rank)}{which}, or that of one sample, not {given}",
                kind="shape",
            )
    if is_real(array) and not np.isfinite(array).all():
        samples = np.isfinite(array).reshape(len(array), -1).all(axis=1)
        wrong: list[int] = [] if len(array) == 1 else np.flatnonzero(~samples).tolist()
        where = f" (in sample {', '.join(map(str, wrong[:5]))})" if len(wrong) else ""
        raise ArgumentError("seed_input", f"must be finite{which}, not NaN or infinite{where}", kind="not_finite")
    if reads_texts:
        return array
    taken = cast(array, _dtype(model, array, symbol), "seed_input", which)
    dropped = array[array != taken] if is_real(array) and not is_real(taken) else np.empty(0)
    if dropped.size:
        warn(
            "fractions",
            f"seed_input has fractions{which}, such as {dropped[0]:.3g}, but the model takes whole numbers "
            f"({taken.dtype}): they are cut off",
            "Give whole numbers, such as pixels from 0 to 255",
        )
    return taken


def _texts(array: np.ndarray, which: str) -> np.ndarray:
    """Return strings, which TensorFlow stores as UTF-8, as Unicode."""
    if array.dtype.kind not in "USO":
        raise ArgumentTypeError("seed_input", f"must hold texts{which}, not {array.dtype}", kind="dtype")
    texts = [text.decode() if isinstance(text, bytes) else str(text) for text in array.reshape(-1).tolist()]
    return np.array(texts, np.str_).reshape(array.shape)


def _check_columns(table) -> None:
    """Refuse a data frame with a column that is not numeric, naming the column."""
    for name, kind in zip(table.columns, table.dtypes, strict=True):
        if not isinstance(kind, np.dtype) or kind.kind not in "biuf":
            raise ArgumentTypeError(
                "seed_input",
                f"must have columns of numbers, but column {name!r} is of {kind}",
                "Convert it, with .astype('float32')",
                kind="dtype",
            )


def _described(value) -> str:
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    return f"a data set inside another structure ({kind})" if hasattr(value, "element_spec") else kind


def _shape_text(symbol, rank) -> str:
    return f"{tuple(symbol.shape)}" if symbol is not None else f"{rank} axes, the first one for the samples"


def _known_rank(model) -> int | None:
    """Return the rank of a model's input without a symbolic input: as built, or from its first layer."""
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if isinstance(shape, (list, tuple)) and all(size is None or isinstance(size, int) for size in shape):
        return len(shape)
    for layer in addressing.flatten(model):
        spec = getattr(layer, "input_spec", None)
        if spec is not None and not isinstance(spec, (list, tuple)) and (spec.ndim or spec.min_ndim):
            return spec.ndim or (spec.min_ndim if hasattr(layer, "kernel_size") else None)
    return None


def _dtype(model, array, symbol) -> str:
    if symbol is not None:
        return symbol.dtype
    tokens = array.dtype.kind in "iu" and array.dtype.itemsize >= 4
    if tokens and any(isinstance(layer, keras.layers.Embedding) for layer in addressing.flatten(model)):
        return array.dtype.name
    return "float32"


def _build(model, sample):
    if isinstance(model, keras.Sequential) and not model.built:
        model.build((None, *sample.shape[1:]))
    elif not model.built or any(not layer.built for layer in addressing.flatten(model) if hasattr(layer, "built")):
        try:
            with warnings.catch_warnings():
                # Keras says that it cannot build such a model without running it, which is what is done here.
                warnings.filterwarnings("ignore", "`build\\(\\)` was called on layer", UserWarning)
                model(sample, training=False)
        except Exception as error:
            shapes = keras.tree.map_structure(lambda array: array.shape, sample)
            raise ArgumentError(
                "seed_input",
                f"must be something that the model '{model.name}' can be called on, not of shape {shapes}: "
                f"{reason_of(error)}",
                kind="computation",
            ) from error


def _shapes(model, arrays) -> list[tuple]:
    symbols = symbolic_inputs(model)
    static = not symbols or (
        any(None in symbol.shape[1:] for symbol in symbols)
        # which runs frame by frame only if it knows the number of frames
        and any(isinstance(layer, keras.layers.TimeDistributed) for layer in addressing.flatten(model))
    )
    # A Sequential first called on a batch wrongly keeps the size of that batch in its input shape.
    fixed = bool(symbols) and (
        not isinstance(model, keras.Sequential)
        or any(getattr(layer, "stateful", False) for layer in addressing.flatten(model))
    )
    shapes = []
    for position, array in enumerate(arrays):
        count = symbols[position].shape[0] if fixed else None
        shapes.append((count, *(array.shape[1:] if static else symbols[position].shape[1:])))
    return shapes
