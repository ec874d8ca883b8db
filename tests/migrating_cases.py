"""Both sides of `docs/migrating.md`: its rows, and what their code speaks of.

Read by the tests, and by the script that stores what tf-keras-vis gives for the left column.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy.ndimage import zoom

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
FILE = Path(__file__).parent / "migrating" / "tf_keras_vis.npz"
KERAS_VIS, TF_KERAS_VIS = "From keras-vis", "From tf-keras-vis"


class Row(NamedTuple):
    """A row of one of the page's tables.

    Attributes:
        there: What is written for the other library.
        here: What to write for `vis`.
        note: How the results compare, or what else there is to know.
    """

    there: str
    here: str
    note: str = ""

    @property
    def key(self) -> str:
        """The first code of the left cell, by which tests and stored results name the row."""
        return code(self.there)[0]


def code(cell: str) -> list[str]:
    """Return the code of a cell, piece by piece."""
    return re.findall(r"`([^`]+)`", cell)


def tables(section: str) -> list[list[Row]]:
    """Return the rows of each table of a section of the page, without their heads."""
    text = re.split(rf"^## {section}$", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1]
    text = re.sub(r"^```.*?^```$", "", text.split("\n## ")[0], flags=re.DOTALL | re.MULTILINE)
    return [
        [Row(*(cell.strip() for cell in line.strip().strip("|").split("|"))) for line in table.splitlines()[2:]]
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]


def definitions() -> dict:
    """Return the functions and classes that the page's blocks define, and what these blocks import."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    names = {}
    for block in blocks:
        kept = [node for node in ast.parse(block).body if isinstance(node, kinds)]
        exec(compile(ast.Module(kept, type_ignores=[]), PAGE.name, "exec"), names)
    return names


def correlations(one: np.ndarray, other: np.ndarray) -> list[float]:
    """Return Pearson's correlation of two arrays of one shape, for each sample."""
    assert one.shape == other.shape
    return [float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) for a, b in zip(one, other, strict=True)]


def classifier() -> keras.Model:
    """A small network for digits: two convolutions, each with its pooling, and two dense layers."""
    layers = [
        keras.layers.Conv2D(6, 5, padding="same", activation="relu", name="conv1"),
        keras.layers.MaxPooling2D(name="pool1"),
        keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2"),
        keras.layers.MaxPooling2D(name="pool2"),
        keras.layers.Flatten(name="flatten"),
        keras.layers.Dense(10, activation="softmax", name="digit"),
    ]
    inputs = output = keras.Input((28, 28, 1), name="image")
    for layer in layers:
        output = layer(output)
    return keras.Model(inputs, output)


def models(weights: list[np.ndarray]) -> dict[str, keras.Model]:
    """Return the models that the page's code names, all made of the classifier's weights.

    Args:
        weights: What `get_weights` of the classifier gives.

    Returns:
        `model`, the classifier; `binary`, whose sigmoid says whether a digit is a three and not a five; `two_outputs`,
        which has both ends; and `two_inputs`, the classifier of the mean of two pictures.
    """
    model = classifier()
    model.set_weights(weights)
    kernel, bias = weights[-2:]
    is_three = keras.layers.Dense(1, activation="sigmoid", name="is_three")
    features = model.layers[-2].output
    binary = keras.Model(model.inputs, is_three(features))
    is_three.set_weights([kernel[:, 3:4] - kernel[:, 5:6], bias[3:4] - bias[5:6]])
    pictures = [keras.Input((28, 28, 1), name=name) for name in ("left", "right")]
    output = keras.layers.Average()(pictures)
    for layer in classifier().layers[1:]:
        output = layer(output)
    two_inputs = keras.Model(pictures, output)
    two_inputs.set_weights(weights)
    two_outputs = keras.Model(model.inputs, [model.layers[-1].output, binary.output])
    return {"model": model, "binary": binary, "two_outputs": two_outputs, "two_inputs": two_inputs}


def gradient(model, x, score, layer: str | None = None):
    """Return the value of a layer, or the input, and the gradient of a score of what comes before the softmax."""
    start = 0 if layer is None else model.layers.index(model.get_layer(layer))
    inputs = tf.constant(x)
    value = inputs if layer is None else keras.Model(model.input, model.get_layer(layer).output)(inputs)
    with tf.GradientTape() as tape:
        tape.watch(value)
        features = value
        for between in model.layers[start + 1 : -1]:
            features = between(features)
        end = model.layers[-1]
        total = tf.reduce_sum(score(features @ end.kernel + end.bias))
    return value.numpy(), tape.gradient(total, value).numpy()


def keras_vis_cam(model, x, layer: str, filter_index: int) -> np.ndarray:
    """Return what `visualize_cam` of keras-vis 0.5.0 gives for a linear score, from its source."""
    activations, gradients = gradient(model, x, lambda logits: logits[:, filter_index], layer)
    gradients = gradients / (gradients.max() + 1e-7)
    heatmap = np.maximum((activations[0] * gradients.mean(axis=(0, 1, 2))).sum(axis=-1), 0)
    heatmap = zoom(heatmap, [i / j for i, j in zip(x.shape[1:3], heatmap.shape, strict=True)])
    return (heatmap - heatmap.min()) / (heatmap.max() - heatmap.min() + 1e-7)
