"""SavedModel folders as Keras models: one layer that runs the saved graph, through which gradients pass."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from vis.models import UnusableError

# What a graph could do to the machine beyond computing. Reading and saving its own variables (RestoreV2, SaveV2) is
# part of every SavedModel.
_UNSAFE_OPERATIONS = frozenset(
    "EagerPyFunc MatchingFiles PrintV2 PyFunc PyFuncStateless ReadFile Save SaveSlices WriteFile".split()
)


def load_saved_model(path: Path, *, unsafe: bool = False) -> keras.Model:
    """Load a SavedModel folder as a functional model of one layer.

    Args:
        path: the folder.
        unsafe: whether its graph may touch files or run Python.

    Returns:
        A model with the inputs and the output of the folder's signature `serve` or `serving_default`.

    Raises:
        UnusableError: it has no such signature, several outputs, or would touch files.
    """
    if not unsafe:
        _refuse_unsafe(path)
    signatures = tf.saved_model.load(str(path)).signatures
    name = next((name for name in ("serving_default", "serve") if name in signatures), None)
    if name is None:
        raise UnusableError(
            f"its signatures are {', '.join(signatures) or 'none'}, and 'serving_default' is wanted. Save it with "
            "model.export(folder)."
        )
    _, specs = signatures[name].structured_input_signature
    outputs = list(signatures[name].structured_outputs)
    if len(outputs) != 1:
        raise UnusableError(f"it has {len(outputs)} outputs ({', '.join(outputs)}), and one is wanted.")
    inputs = {key: keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=key) for key, spec in specs.items()}
    layer = keras.layers.TFSMLayer(str(path), call_endpoint=name, name=path.name or "saved_model")
    if len(inputs) == 1:
        (tensor,) = inputs.values()
        return keras.Model(tensor, layer(tensor)[outputs[0]])
    return keras.Model(inputs, layer(**inputs)[outputs[0]])


def _refuse_unsafe(path: Path) -> None:
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString((path / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise UnusableError("saved_model.pb in it is cut short or no SavedModel. Copy or save it again.") from error
    for graph in (meta.graph_def for meta in message.meta_graphs):
        nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
        found = sorted({node.op for node in nodes} & _UNSAFE_OPERATIONS)
        if found:
            raise UnusableError(
                f"its graph has operations that touch files or run Python ({', '.join(found)}). If you trust it, give "
                "unsafe=True."
            )
