"""`vis convert`: a Neural Network Console model in, a Keras model out."""

from __future__ import annotations

import re

import keras
import numpy as np
import pytest
from cli.commands import refusal, run
from nnp_files import drawn, executor, function, lenet, network, variable, write

from vis.models import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """LeNet as two projects, which say different scales of pixels."""
    folder = tmp_path_factory.mktemp("projects")
    lenet(folder / "results.nnp")
    lenet(folder / "raw.nnp", flag="no_image_normalization: true")
    (folder / "train.csv").write_text("x:image,y:label\n")
    return folder


def test_the_model_is_that_of_the_library(folder, tmp_path):
    code, out, err = run("convert", folder / "results.nnp", tmp_path / "model.keras")
    assert (code, err) == (0, "")
    assert re.fullmatch(rf"{tmp_path / 'model.keras'}: 12 layers, 5,670 parameters\n", out)
    model = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((3, 28, 28, 1), dtype=np.float32)
    np.testing.assert_array_equal(model(x), load_model(folder / "results.nnp")(x))
    out = run("convert", folder / "raw.nnp", tmp_path / "model.keras")[1]
    reason = "because the executor in raw.nnp sets no_image_normalization"
    assert out.endswith(f"\nUse it with --preprocess raw, {reason}.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["model.keras"]


def test_the_output_that_is_asked_for_is_written(tmp_path):
    items = [
        variable("x", -1, 4), variable("W", 4, 3, kind="Parameter"), variable("z", -1, 3), variable("p", -1, 3),
        function("Affine", ["x", "W"], "z", "affine_param { base_axis: 1 }"),
        function("Softmax", ["z"], "p", "softmax_param { axis: 1 }"),
    ]  # fmt: skip
    path = tmp_path / "several.nnp"
    write(path, network("n", *items) + executor("n", ["x"], ["z", "p"]), drawn(W=(4, 3)))
    assert run("convert", path, tmp_path / "a.keras", "--output-variable", "z")[0] == 0
    assert keras.saving.load_model(tmp_path / "a.keras").layers[-1].name == "z"


@pytest.mark.parametrize(
    ("model", "output", "message"),
    [
        ("none.nnp", "a.keras", "MODEL must be an existing model file, not "),
        ("train.csv", "a.keras", "MODEL must be a Keras model, not "),
        ("results.nnp", "a.h5", "OUTPUT must end in .keras, not "),
        ("results.nnp", "none/a.keras", "OUTPUT must be in an existing folder, not in "),
    ],
)
def test_refusals_are_one_line(model, output, message, folder, tmp_path):
    assert message in refusal("convert", folder / model, tmp_path / output)


def test_a_model_of_keras_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "a.keras")
    line = refusal("convert", tmp_path / "a.keras", tmp_path / "b.keras")
    path = tmp_path / "a.keras"
    assert line == f"Error: MODEL must be an .nnp file, not {path}. Other models can be used as they are.\n"
