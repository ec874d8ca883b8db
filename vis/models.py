"""Load trained models from disk, with one-sentence errors."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vis import images
from vis.files.nnp import archive
from vis.images import Scale
from vis.utils.errors import ArgumentError, ArgumentTypeError

if TYPE_CHECKING:
    import keras

_ZIP_SIGNATURE = b"PK\x03\x04"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# The classes that Keras 2 made of operations between layers; Keras 3 has none of them.
_KERAS_2_OPERATIONS = frozenset(
    "TFOpLambda SlicingOpLambda ClassMethod InstanceMethod InstanceProperty AddLoss".split()
)
_SAVE = "Save one with model.save('model.keras')"
_COPY = "Copy or save it again"


def load_model(
    path: str | os.PathLike,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    unsafe: bool = False,
    output_variable: str | None = None,
    training: bool = False,
) -> keras.Model:
    """Load a trained model for explaining it.

    The model is not compiled: an explanation needs neither the optimizer nor the training loss, so files with unknown
    losses or metrics can be read, too.

    A SavedModel folder, from `model.export` or Keras 2's `model.save`, holds a graph rather than layers: its output can
    be explained with respect to its input (saliency, SmoothGrad), but class activation maps, which need a layer, and
    guided backpropagation, which needs its activations, are not available. Its class scores are those after the
    softmax.

    An `.nnp` file of Neural Network Console or nnabla is built as a Keras model in channels-last order, with the
    trained parameters and the names of the file's functions: the network of its executor, of which one output is
    computed.

    Args:
        path: A `.keras` file, an `.h5` or `.hdf5` file with the whole model, an `.nnp` file, or a SavedModel folder.
        custom_objects: Your own classes and functions that the file names, by name; not needed for those registered
            with `@keras.saving.register_keras_serializable()`.
        unsafe: Whether code inside the file may run: Python of `Lambda` layers, and operations of a SavedModel that
            read or write files. Only for files from someone you trust.
        output_variable: The output of an `.nnp` file to compute, by the name of its variable or by its name in the data
            set; by default the first that ends in a softmax or sigmoid.
        training: Whether to build the training network of an `.nnp` file, up to its loss, rather than that of the
            executor. Other files have one model for both.

    Returns:
        The model, not compiled; for a SavedModel folder one layer that calls it.

    Raises:
        ValueError: There is no such file, it is truncated, it is not a model, it needs a custom object that is
            missing, or an `.nnp` file has an unsupported function. The message names the file or the function.
        TypeError: `custom_objects` is not a mapping.

    Warns:
        VisWarning: An `.nnp` file has other outputs, or a setting that is handled differently.

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
    if custom_objects is not None and not isinstance(custom_objects, Mapping):
        raise ArgumentTypeError(
            "custom_objects",
            f"must be a dict, not {custom_objects!r}",
            "Its keys are the names in the file, its values the classes and functions",
        )

    if is_project(path):
        from vis.files import nnp

        project = nnp.read(path)
        return project.build(project.training.network if training else None, output_variable)
    if output_variable is not None:
        raise ArgumentError("output_variable", f"must be None for {path}, as only an .nnp file has output variables")

    import keras

    try:
        if path.is_dir():
            from vis.files.savedmodels import load_saved_model

            return load_saved_model(path, unsafe=unsafe)
        return keras.saving.load_model(path, custom_objects=custom_objects, compile=False, safe_mode=not unsafe)
    except ArgumentError:
        raise
    except Exception as error:
        # Keras raises all kinds of errors (OSError, KeyError, TypeError, ValueError, ...), often with the whole
        # configuration of the model in the message.
        raise _explained(path, error) from error


def is_project(path: str | os.PathLike) -> bool:
    """Return whether a path names an `.nnp` file.

    Args:
        path: A file or folder.

    Returns:
        Whether its name ends in `.nnp`.

    Example:
        >>> is_project("results.nnp")
        True
    """
    return Path(path).suffix.lower() == ".nnp" and not Path(path).is_dir()


def scale_of(path: str | os.PathLike, model: keras.Model) -> Scale:
    """Determine the scale of pixel values that a model takes, from its file or its first layers.

    Args:
        path: The file that the model was loaded from.
        model: The model.

    Returns:
        The `vis.images.Scale`.

    Example:
        >>> import keras
        >>> scale_of("dense.keras", keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 255)])).name
        'raw'
    """
    if is_project(path):
        from vis.files import nnp

        return nnp.read(path).preprocess
    return images.scale_of(model)


def check_file(path: Path) -> None:
    """Refuse files that cannot be a model, before TensorFlow is imported, which takes seconds.

    Args:
        path: A file or a SavedModel folder. Only its first bytes are read.

    Raises:
        ValueError: The file does not exist, cannot be read, is truncated or is not a model, or it has the extension of
            another format. The message names the file.

    Example:
        >>> check_file(Path("missing.keras"))
        Traceback (most recent call last):
        vis.utils.errors.ArgumentError: path must be an existing model file, not missing.keras.
    """
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return
        raise ArgumentError("path", f"must be a model, not {path}, a folder without a SavedModel", _SAVE)
    if not path.exists():
        raise ArgumentError("path", f"must be an existing model file, not {path}", kind="missing")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ArgumentError("path", f"must be a file that can be read, not {path} ({error.strerror})") from error

    if is_project(path):
        archive.check(path)
        return
    if start.startswith(_ZIP_SIGNATURE):
        if not zipfile.is_zipfile(path):
            raise ArgumentError("path", f"must be a complete .keras file, not {path}, which is cut short", _COPY)
        expected: tuple[str, ...] = (".nnp",) if archive.is_project(path) else (".keras",)
    elif start == _HDF5_SIGNATURE:
        expected = (".h5", ".hdf5")
    elif path.name == "saved_model.pb":
        raise ArgumentError("path", f"must be the folder of a SavedModel, {path.parent}, not {path} in it")
    else:
        raise ArgumentError("path", f"must be a Keras model, not {path}", _SAVE)
    if path.suffix not in expected:
        # Keras goes by the name and would read the file as the wrong format.
        raise ArgumentError(
            "path", f"must be a {expected[0]} file by name too, not {path}", f"Rename it to end in {expected[0]}"
        )


def _explained(path: Path, error: Exception) -> ArgumentError:
    """Translate an error of Keras: name the argument, and explain the problem."""
    message = str(error)
    missing = re.search(r"Could not locate (?:class|function) '([^']+)'|Unknown \w+: '([^']+)'", message)
    if missing and (missing[1] or missing[2]) in _KERAS_2_OPERATIONS:
        return ArgumentError(
            "path",
            f"must be a model of Keras 3's layers, not {path}, which holds operations of Keras 2 "
            f"({missing[1] or missing[2]})",
            "Build the same network with Keras 3 and load its weights; or load the file with the package tf_keras, "
            "model.export() it, and give that folder",
            kind="keras_2",
        )
    if missing:
        name = missing[1] or missing[2]
        return ArgumentError(
            "custom_objects",
            f"must have {name!r}, which {path} needs",
            f"Give custom_objects={{{name!r}: {name}}}, or register it with "
            "@keras.saving.register_keras_serializable()",
            kind="missing",
        )
    if "Lambda" in message and "unsafe" in message:
        return ArgumentError(
            "unsafe",
            f"must be True to load {path}, because its Lambda layer runs code from the file",
            "Give unsafe=True only if you trust the file; or replace the layer by one of keras.ops or by a Layer class",
            kind="lambda",
        )
    if re.search("truncated file|Read less bytes|TensorSliceReader|Bad CRC|Unable to (synchronously )?open", message):
        return ArgumentError("path", f"must be a complete model, not {path}, which is cut short or damaged", _COPY)
    if "No model config" in message or "config.json" in message:
        return ArgumentError("path", f"must be a complete model, not {path}, which may contain only weights", _SAVE)
    # Where Keras says which layer failed, with its whole configuration, the reason comes last.
    reason = message.rpartition("Exception encountered:")[2].strip()
    cause = f"{type(error).__name__}: {next(iter(reason.splitlines()), '')[:300]}"
    return ArgumentError("path", f"must be a model that Keras can load, not {path} ({cause})")
