"""The state that layers learn from data in `adapt`: statistics, bin boundaries, vocabularies.

Keras stores it neither in the configuration of the layer nor, for a vocabulary, in variables: it saves and loads it
with the layer's `save_own_variables` and `save_assets`. This module does the same, for copies and records of models.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import keras
import numpy as np

from vis.engine import addressing


def adapted_layers(model) -> list:
    """Return the layers of a model, at any depth, that learn from data in `adapt`.

    Args:
        model: A Keras model.

    Returns:
        A list of layers.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Normalization(name="scaled")])
        >>> [layer.name for layer in adapted_layers(model)]
        ['scaled']
    """
    return [
        layer
        for layer in addressing.flatten(model)
        if isinstance(layer, keras.layers.Layer) and callable(getattr(layer, "adapt", None))
    ]


def adapted_state(model) -> list[dict]:
    """Return the state that a model's layers have learned in `adapt`.

    Args:
        model: A built Keras model.

    Returns:
        One dict per layer of `adapted_layers`, in a form that JSON can hold; empty for most models.
    """
    return [{"variables": _variables(layer), "assets": _assets(layer)} for layer in adapted_layers(model)]


def set_adapted_state(model, state: list[dict]) -> None:
    """Restore the state that layers of the same architecture have learned in `adapt`.

    Args:
        model: A built Keras model, which is changed.
        state: The result of `adapted_state` for a model of the same architecture.

    Raises:
        ValueError: The layers of the model differ.
    """
    for layer, each in zip(adapted_layers(model), state, strict=True):
        layer.load_own_variables({name: np.asarray(*value) for name, value in each["variables"].items()})
        if each["assets"]:
            with tempfile.TemporaryDirectory() as folder:
                for name, text in each["assets"].items():
                    path = Path(folder, name)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(base64.b64decode(text))
                layer.load_assets(folder)


def _variables(layer) -> dict:
    store: dict = {}
    layer.save_own_variables(store)
    arrays = {name: np.asarray(value) for name, value in store.items()}
    return {name: [array.tolist(), array.dtype.name] for name, array in arrays.items()}


def _assets(layer) -> dict:
    if not hasattr(layer, "save_assets"):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        layer.save_assets(folder)
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {
            path.relative_to(folder).as_posix(): base64.b64encode(path.read_bytes()).decode("ascii") for path in files
        }
