"""Pass a model to other processes and machines as the content of its file."""

from __future__ import annotations

import hashlib
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras

# What every machine of a cluster has.
_INSTALLED = ("keras", "tensorflow", "vis", "builtins")

_last: list = [None, None]


class ModelFile(NamedTuple):
    """A model, and how to load it.

    Attributes:
        name: The name of its file or folder.
        content: The bytes of the file, uint8; for a SavedModel folder, of a zip archive of it.
        is_folder: Whether it is a folder.
        options: The other arguments of `vis.models.load_model`.
        registered: The user's classes and functions that are registered with Keras, by name.
    """

    name: str
    content: np.ndarray
    is_folder: bool
    options: Mapping[str, Any]
    registered: Mapping[str, Any]

    def modules(self) -> set[ModuleType]:
        """Return the user's modules that the model needs and other machines do not have."""
        objects = [*(self.options.get("custom_objects") or {}).values(), *self.registered.values()]
        names = {getattr(each, "__module__", None) or "builtins" for each in objects}
        return {sys.modules[name] for name in names if _is_own(name) and name in sys.modules and name != "__main__"}


def packed(model: keras.Model | Path, **options: Any) -> ModelFile:
    """Return a model as the content of its file.

    Args:
        model: A Keras model, which is saved to a temporary file, or the file or folder of one.
        **options: The arguments to pass to `vis.models.load_model`.

    Returns:
        The `ModelFile`.

    Raises:
        ArgumentError: The model cannot be saved.
    """
    import keras

    registered = {name: thing for name, thing in keras.saving.get_custom_objects().items() if _is_own(thing.__module__)}
    if isinstance(model, Path):
        content = _zipped(model) if model.is_dir() else model.read_bytes()
        return ModelFile(model.name, np.frombuffer(content, np.uint8), model.is_dir(), options, registered)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        try:
            model.save(path)
        except Exception as error:  # get_config of the user's classes can raise anything
            raise ArgumentError(
                "model",
                f"must be one that can be saved, for other processes to load it, not one that raises "
                f"{type(error).__name__}: {error}",
                "Give the classes of its layers a get_config",
            ) from error
        saved = np.frombuffer(path.read_bytes(), np.uint8)
    return ModelFile("model.keras", saved, False, {"unsafe": True}, registered)


def loaded(file: ModelFile) -> keras.Model:
    """Load a model from the content of its file.

    Args:
        file: From `packed`.

    Returns:
        The model.

    Raises:
        ArgumentError: The model cannot be loaded; the error's argument is `model`.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> loaded(packed(model)).output_shape
        (None, 2)
    """
    import keras

    from vis import models

    keras.saving.get_custom_objects().update(file.registered)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, file.name)
        if file.is_folder:
            with zipfile.ZipFile(io.BytesIO(file.content.tobytes())) as archive:
                archive.extractall(path)
        else:
            path.write_bytes(file.content.tobytes())
        try:
            return models.load_model(path, **file.options)
        except ArgumentError as error:
            raise error.about("model" if error.argument == "path" else error.argument) from error


def prepared(owner: Any, make: Callable[[], Any]) -> Any:
    """Return the object that `make` makes for an owner; each process keeps only that of the last owner.

    Args:
        owner: Any object, compared by identity.
        make: A function without arguments.

    Returns:
        The result of the first call of `make` for this owner.

    Example:
        >>> owner = object()
        >>> prepared(owner, list) is prepared(owner, list)
        True
    """
    if _last[0] is not owner:
        _last[:] = None, None  # free the previous model first
        _last[:] = owner, make()
    return _last[1]


def fingerprint(model: keras.Model) -> list:
    """Return a fingerprint of a model in memory, to detect changes when a run is resumed.

    Args:
        model: A Keras model.

    Returns:
        A list that JSON can hold: the model's name, and a digest of its weights and configuration.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> before = fingerprint(model)
        >>> _ = model.layers[0].bias.assign([1, 2])
        >>> fingerprint(model) == before
        False
    """
    digest = hashlib.sha256()
    try:
        digest.update(model.to_json().encode())
    except Exception:  # a model of the user's class may have no configuration: then its class and weights must do
        digest.update(f"{type(model).__module__}.{type(model).__qualname__}".encode())
    for weight in model.get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return [model.name, digest.hexdigest()]


def _is_own(module: str) -> bool:
    """Return whether a module is the user's, not one of an installed package."""
    top = module.partition(".")[0]
    if top in _INSTALLED:
        return False
    path = getattr(sys.modules.get(top), "__file__", None) or ""
    return "site-packages" not in path


def _zipped(folder: Path) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return content.getvalue()
