"""The helpers of keras-vis, by their old names.

Only functions that need Keras import it, so the NumPy and Pillow helpers load quickly.
"""

import difflib
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from vis.utils.arrays import deprocess_input, get_img_shape, normalize, random_array, slicer
from vis.utils.errors import ArgumentError, ArgumentTypeError
from vis.utils.images import bgr2rgb, draw_text, load_img, stitch_images

__all__ = [
    "add_defaults_to_kwargs",
    "apply_modifications",
    "bgr2rgb",
    "deprocess_input",
    "draw_text",
    "find_layer_idx",
    "get_identifier",
    "get_img_shape",
    "listify",
    "load_img",
    "lookup_imagenet_labels",
    "normalize",
    "random_array",
    "reverse_enumerate",
    "slicer",
    "stitch_images",
]

IMAGENET_CLASS_INDEX_URL = "https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json"
IMAGENET_CLASS_INDEX_MD5 = "c2c37ea517e94d9795004a39431a14cb"


def apply_modifications(model, custom_objects: dict | None = None):
    """Apply changes of a model's layers everywhere, including `predict`, `evaluate` and `fit`.

    In Keras 3 a changed attribute, such as `layer.activation`, takes effect at once when the model is called, and in
    every function of this library. Only the functions that `predict`, `evaluate` and `fit` compiled earlier still
    compute the old model. This function recompiles them, including those of nested models. keras-vis saved the model
    and loaded a copy; no copy is made here, so nothing is lost that a file cannot store, and the weights are shared.

    Args:
        model: A `keras.Model` with changed layers.
        custom_objects: Ignored; accepted so that scripts for keras-vis run.

    Returns:
        The same model.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, 'sigmoid', kernel_initializer='ones')])
        >>> x = np.array([[1.0, 2.0]])
        >>> round(model.predict(x, verbose=0).item(), 3)
        0.953
        >>> model.layers[-1].activation = keras.activations.linear
        >>> apply_modifications(model).predict(x, verbose=0).item()
        3.0
    """
    import keras

    for layer in model.layers:
        if isinstance(layer, keras.Model):
            apply_modifications(layer)
    if model.predict_function is not None:
        model.make_predict_function(force=True)
    if model.test_function is not None:
        model.make_test_function(force=True)
    if model.train_function is not None:
        model.make_train_function(force=True)
    return model


def find_layer_idx(model, layer_name: str) -> int:
    """Look up the index of a layer by its name.

    Args:
        model: A `keras.Model`.
        layer_name: The name of one of `model.layers`.

    Returns:
        The index in `model.layers`.

    Raises:
        ValueError: The model has no layer of that name; the message lists similar names.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name='hidden'), keras.layers.Dense(1)])
        >>> find_layer_idx(model, 'hidden')
        0
    """
    names = [layer.name for layer in model.layers]
    if layer_name not in names:
        nearest = difflib.get_close_matches(str(layer_name), names, n=3, cutoff=0.4)
        raise ArgumentError(
            "layer_name",
            f"must be the name of a layer of model {model.name!r}, not {layer_name!r}",
            f"Similar names are {_listed(nearest)}" if nearest else f"Its layers are {_listed(names)}",
        )
    return names.index(layer_name)


def lookup_imagenet_labels(indices) -> list[str]:
    """Look up the names of the classes of ImageNet's 1000-way classifiers.

    The names are those of `keras.applications`: its file is downloaded once, to `models` in the Keras home folder.

    Args:
        indices: One class index or any array of them, each in 0..999.

    Returns:
        A flat list of names, one per index.

    Raises:
        ValueError: An index is out of range.
        OSError: The file does not exist and cannot be downloaded.

    Example:
        >>> # Not run: it may download the names.
        >>> lookup_imagenet_labels([340, 1])  # doctest: +SKIP
        ['zebra', 'goldfish']
    """
    names = _imagenet_labels()
    indices = [int(index) for index in np.ravel(indices)]
    unknown = [index for index in indices if not 0 <= index < len(names)]
    if unknown:
        raise ArgumentError("indices", f"must be from 0 to {len(names) - 1}, not {_listed(unknown)}")
    return [names[index] for index in indices]


def get_identifier(identifier: str | Callable, module_globals: dict[str, Any], module_name: str) -> Callable:
    """Look up a public function of a module by its name.

    Args:
        identifier: The name, or any callable, which is returned unchanged.
        module_globals: The module's `globals()`.
        module_name: The module's `__name__`; functions that the module only imports are not found.

    Returns:
        The callable.

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
        TypeError: `identifier` is neither a string nor callable.

    Example:
        >>> import vis.grad_modifiers
        >>> get_identifier('negate', vars(vis.grad_modifiers), 'vis.grad_modifiers')
        <function negate at ...>
    """
    if callable(identifier):
        return identifier
    argument = module_name.rpartition(".")[2].removesuffix("s")
    if not isinstance(identifier, str):
        raise ArgumentTypeError(argument, f"must be a name or a function, not {type(identifier).__name__}")
    known = {
        name: value
        for name, value in module_globals.items()
        if callable(value)
        and getattr(value, "__module__", None) == module_name
        and not name.startswith("_")
        and name != "get"
    }
    if identifier not in known:
        raise ArgumentError(
            argument, f"must be one of {_listed(sorted(known))} or a function, not {identifier!r}", kind="unknown"
        )
    return known[identifier]


def reverse_enumerate(iterable: Sequence) -> Iterator[tuple[int, Any]]:
    """Enumerate from the last item to the first, without a copy.

    Args:
        iterable: A sequence.

    Returns:
        An iterator of (index, item), where the index is the position in the sequence.

    Example:
        >>> list(reverse_enumerate('abc'))
        [(2, 'c'), (1, 'b'), (0, 'a')]
    """
    return zip(reversed(range(len(iterable))), reversed(iterable), strict=True)


def listify(value) -> list:
    """Put a value into a list unless it is one.

    Args:
        value: Anything. A tuple or an array is one value.

    Returns:
        `value` itself if it is a list, else `[value]`.

    Example:
        >>> listify(3), listify([3, 4])
        ([3], [3, 4])
    """
    return value if isinstance(value, list) else [value]


def add_defaults_to_kwargs(defaults: dict, **kwargs) -> dict:
    """Complete keyword arguments with defaults.

    Args:
        defaults: Values for arguments that are not in `kwargs`.
        **kwargs: Values that override `defaults`.

    Returns:
        A new dict.

    Example:
        >>> add_defaults_to_kwargs({'max_iter': 200, 'verbose': True}, verbose=False)
        {'max_iter': 200, 'verbose': False}
    """
    return {**defaults, **kwargs}


@functools.cache
def _imagenet_labels() -> list[str]:
    import keras

    try:
        path = keras.utils.get_file(
            "imagenet_class_index.json",
            IMAGENET_CLASS_INDEX_URL,
            cache_subdir="models",
            file_hash=IMAGENET_CLASS_INDEX_MD5,
        )
    except Exception as error:  # get_file raises a bare Exception when the network fails.
        folder = os.path.join(os.environ.get("KERAS_HOME", os.path.join("~", ".keras")), "models")
        raise OSError(
            f"the names of the ImageNet classes could not be downloaded ({error}). "
            f"On a machine without internet access, put the file {IMAGENET_CLASS_INDEX_URL} into {folder}."
        ) from error
    with open(path, encoding="utf-8") as file:
        class_index = json.load(file)
    return [class_index[str(index)][1] for index in range(len(class_index))]


def _listed(values):
    return ", ".join(repr(value) for value in values)
