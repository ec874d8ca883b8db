"""Load SavedModel folders as Keras models: one layer that runs the saved graph and passes gradients."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from vis.utils.errors import ArgumentError

# Operations that can do more than compute: read or write files, or run Python.
_UNSAFE_OPERATIONS = re.compile(
    "File|PyFunc|Print|Save|Restore|Checkpoint|Dataset|Iterator|Summary|Snapshot|Debug|Record|Reader|Lines|Abort|^Copy|"
    "LoadAndRemap|VocabRemapping|FixedUnigram|DecodeProto"
)
# Operations that load and save the variables of a SavedModel, in functions that are called for nothing else.
_SAVER_OPERATIONS = frozenset("MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename".split())


def load_saved_model(path: Path, *, unsafe: bool = False) -> keras.Model:
    """Load a SavedModel folder as a functional model of one layer.

    Args:
        path: The folder.
        unsafe: Whether the graph may access files or run Python.

    Returns:
        A model with the inputs and the output of the folder's signature `serve` or `serving_default`.

    Raises:
        ValueError: The folder has no such signature or several outputs, its file is cut short, or its graph can access
            files or run Python and `unsafe` is False.
    """
    if not unsafe:
        _refuse_unsafe(path)
    signatures = tf.saved_model.load(str(path)).signatures
    name = next((name for name in ("serving_default", "serve") if name in signatures), None)
    if name is None:
        raise ArgumentError(
            "path",
            f"must have the signature 'serving_default', not {', '.join(signatures) or 'none'} as {path} has",
            "Save it with model.export(folder)",
        )
    _, specs = signatures[name].structured_input_signature
    outputs = list(signatures[name].structured_outputs)
    if len(outputs) != 1:
        raise ArgumentError("path", f"must have one output, not {len(outputs)} ({', '.join(outputs)}) as {path} has")
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
        raise ArgumentError(
            "path",
            f"must be a complete SavedModel, not {path}, whose saved_model.pb is cut short",
            "Copy or save it again",
        ) from error
    found = sorted(set().union(*map(_unsafe_operations, message.meta_graphs)))
    if found:
        raise ArgumentError(
            "unsafe",
            f"must be True to load {path}, because its graph can access files or run Python ({', '.join(found)})",
            "Give unsafe=True only if you trust it",
            kind="operations",
        )


def _unsafe_operations(meta: meta_graph_pb2.MetaGraphDef) -> set[str]:
    saver = {meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name}
    functions = {function.signature.name: function.node_def for function in meta.graph_def.library.function}
    savers = {name for node in meta.graph_def.node if node.name in saver for name in _called(node)}
    others = [node for node in meta.graph_def.node if node.name not in saver]
    others += [node for name, nodes in functions.items() if name not in savers for node in nodes]
    savers -= {name for node in others for name in _called(node)} | set(meta.object_graph_def.concrete_functions)
    found = {node.op for node in meta.graph_def.node}
    for name, nodes in functions.items():
        found |= {node.op for node in nodes} - (_SAVER_OPERATIONS if name in savers else frozenset())
    return {name for name in found if _UNSAFE_OPERATIONS.search(name)}


def _called(node) -> set[str]:
    """Return the functions that a node calls, including branches and loop bodies."""
    values = node.attr.values()
    return {value.func.name for value in values} | {each.name for value in values for each in value.list.func} - {""}
