"""Reads trained models from disk, and says in one sentence what is wrong where that fails."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras

_ZIP_SIGNATURE = b"PK\x03\x04"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def load_model(path: str | os.PathLike, *, custom_objects: Mapping[str, Any] | None = None) -> keras.Model:
    """Load a trained model for looking into it.

    The model is not compiled: an explanation needs neither the optimizer nor the training loss, so a file whose loss or
    metric is not at hand can be read all the same. Code inside the file (`Lambda` layers) is never run.

    Args:
        path: a `.keras` file, or an `.h5` or `.hdf5` file with the whole model.
        custom_objects: the classes and functions of your own that the file names, by name; not needed for those that
            are registered with `@keras.saving.register_keras_serializable()`.

    Returns:
        The model, not compiled.

    Raises:
        ValueError: there is no such file, it is cut short, it is not a model, or it needs a custom object that is not
            given. The message names the file.

    Example:
        >>> import keras, tempfile, vis
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder + "/dense.keras")
        ...     vis.models.load_model(folder + "/dense.keras").output_shape
        (None, 2)
    """
    path = Path(path)
    check_file(path)

    import keras

    try:
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=False)
    except Exception as error:
        # Keras raises whatever it stumbles over (OSError, KeyError, TypeError, ValueError, ...), often with the whole
        # configuration of the model in the message.
        raise ValueError(f"{path} could not be loaded: {_cause(error)}") from error


def check_file(path: Path) -> None:
    """Refuse what cannot be a model before TensorFlow is imported, which takes seconds."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Give a model file: save it with model.save('model.keras').")
    if not path.exists():
        raise ValueError(f"{path} does not exist. Give the path of a .keras or .h5 model file.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from error

    if start.startswith(_ZIP_SIGNATURE):
        if not zipfile.is_zipfile(path):
            raise ValueError(f"{path} is cut short: a .keras file whose end is missing. Copy or save it again.")
        expected = (".keras",)
    elif start == _HDF5_SIGNATURE:
        expected = (".h5", ".hdf5")
    else:
        raise ValueError(f"{path} is not a Keras model. Give a file that model.save('model.keras') wrote.")
    if path.suffix.lower() not in expected:
        # Keras goes by the name and would read the file as the wrong format.
        raise ValueError(
            f"{path} holds a {expected[0]} model under another extension. Rename it to end in {expected[0]}."
        )


def _cause(error: Exception) -> str:
    """Say in a sentence what Keras's error means."""
    message = str(error)
    missing = re.search(r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'", message)
    if missing:
        name = missing[1] or missing[2]
        return (
            f"it needs the custom object '{name}'. Register it with @keras.saving.register_keras_serializable() and "
            f"load the model in Python with custom_objects={{'{name}': {name}}}."
        )
    if "Lambda" in message:
        return (
            "it has a Lambda layer, whose code is not run because a file could carry any code. Replace the layer by "
            "one of keras.ops or by a Layer class, or rebuild the model in Python and load its weights."
        )
    if "truncated file" in message:
        return "it is cut short. Copy or save it again."
    if "No model config" in message or "config.json" in message:
        return "it has no model in it, perhaps weights only. Save the whole model with model.save('model.keras')."
    first_line = next(iter(message.splitlines()), "")
    return f"{type(error).__name__}: {first_line[:200]}"
