"""Projects: what is executed, which output, how pixels are scaled."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from nnp_files import drawn, executor, function, lenet, network, variable, write

from vis import VisWarning
from vis.batch.predictions import predictor
from vis.files import nnp
from vis.models import load_model, scale_of
from vis.visualization import visualize_cam, visualize_saliency


@pytest.fixture
def digits_path(tmp_path):
    return lenet(tmp_path / "results.nnp")


def test_the_executor_s_network_is_built(digits_path):
    project = nnp.read(digits_path)
    assert project.networks == ("Main", "MainRuntime")
    assert project.executor.network == "MainRuntime"
    assert project.executor.inputs == ("Input",)
    assert project.executor.outputs == {"Softmax": "y'"}
    model = project.build()
    assert model.input_shape == (None, 28, 28, 1)
    assert [layer.name for layer in model.layers][:4] == ["Input", "Convolution", "ReLU", "MaxPooling"]
    assert "Dropout" not in {layer.name for layer in model.layers}
    assert not model.compiled


def test_the_network_that_is_trained_has_dropout(digits_path):
    model = nnp.read(digits_path).build("Main")
    assert isinstance(model.get_layer("Dropout"), keras.layers.Dropout)
    x = np.random.default_rng(0).random((2, 28, 28, 1), dtype=np.float32)
    np.testing.assert_allclose(model(x), load_model(digits_path)(x), rtol=1e-5)
    with pytest.raises(ValueError, match="network must be one of 'Main', 'MainRuntime', not 'Other'"):
        nnp.read(digits_path).build("Other")


def test_maps_of_a_project_are_those_of_the_keras_model_that_it_becomes(digits_path, tmp_path):
    model = load_model(digits_path)
    model.save(tmp_path / "a.keras")
    again = load_model(tmp_path / "a.keras")
    x = np.random.default_rng(0).random((28, 28, 1), dtype=np.float32)
    for explain in (
        lambda m: visualize_cam(m, None, 5, x, penultimate_layer_idx="Convolution_2"),
        lambda m: visualize_saliency(m, None, 3, x, backprop_modifier="guided"),
    ):
        np.testing.assert_array_equal(explain(model), explain(again))
    plain, guided = (visualize_saliency(model, None, 3, x, backprop_modifier=each) for each in (None, "guided"))
    assert not np.allclose(plain, guided)
    # The score that is explained is the one before the softmax.
    assert predictor(model)(x[None]).probabilities
    np.testing.assert_array_equal(plain, visualize_saliency(model, "Affine_2", 3, x))


def several(tmp_path, outputs):
    """A network of an input, a hidden value, a softmax and a sigmoid, of which some are outputs."""
    weights = drawn(W=(4, 3))
    items = [
        variable("x", -1, 4), variable("W", 4, 3, kind="Parameter"),
        *(variable(name, -1, 3) for name in ("z", "Softmax", "Sigmoid")),
        function("Affine", ["x", "W"], "z", "affine_param { base_axis: 1 }"),
        function("Softmax", ["z"], "Softmax", "softmax_param { axis: 1 }"), function("Sigmoid", ["z"], "Sigmoid"),
    ]  # fmt: skip
    text = network("n", *items) + executor("n", ["x"], outputs)
    return write(tmp_path / "several.nnp", text, weights)


def test_of_several_outputs_the_first_of_classes_is_taken_and_the_others_are_listed(tmp_path):
    path = several(tmp_path, [("z", "z'"), ("Sigmoid", "y'"), ("Softmax", "Softmax")])
    text = r"several\.nnp has 3 outputs, of which Sigmoid is explained; the others are z \(z'\), Softmax\. Choose"
    with pytest.warns(VisWarning, match=text) as caught:
        model = load_model(path)
    assert caught[0].message.code == "other_outputs"
    assert model.output.name.startswith("keras_tensor")
    assert model.layers[-1].name == "Sigmoid"


@pytest.mark.parametrize(("asked", "layer"), [("z", "z"), ("z'", "z"), ("Softmax", "Softmax"), ("y'", "Sigmoid")])
def test_an_output_is_chosen_by_either_name(tmp_path, asked, layer):
    path = several(tmp_path, [("z", "z'"), ("Sigmoid", "y'"), ("Softmax", "Softmax")])
    assert load_model(path, output_variable=asked).layers[-1].name == layer


def test_an_output_that_is_none_is_refused(tmp_path):
    path = several(tmp_path, [("z", "z'"), ("Sigmoid", "y'")])
    with pytest.raises(ValueError, match=r"output_variable must be an output .* It has z \(z'\), Sigmoid \(y'\)\."):
        load_model(path, output_variable="q")
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(tmp_path / "a.keras")
    with pytest.raises(ValueError, match="output_variable must be None for .* only an .nnp file has output variables"):
        load_model(tmp_path / "a.keras", output_variable="z")


def test_a_file_without_an_executor_is_taken_as_a_whole(tmp_path):
    text = network("n", variable("x", -1, 4), variable("y", -1, 4), function("Tanh", ["x"], "y"))
    path = write(tmp_path / "a.nnp", text)
    assert nnp.read(path).executor == ("n", ("x",), {"y": ""}, None)
    np.testing.assert_allclose(load_model(path)(np.ones((1, 4))), np.tanh(np.ones((1, 4))), rtol=1e-6)


def test_what_is_generated_is_no_input(tmp_path):
    items = [variable("x", -1, 4), variable("r", -1, 4), variable("y", -1, 4), function("Add2", ["x", "r"], "y")]
    drawn_too = 'generator_variable { variable_name: "r" type: "Normal" }'
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"], drawn_too))
    with pytest.raises(
        ValueError, match=r"must be a network of its inputs 'x' alone, not of 'r' too, which 'y' \(Add2\)"
    ):
        load_model(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a network, not none"),
        (network("n", variable("x", -1, 4)), "must have an executor with an input and an output"),
        (network("n") + executor("m"), "must have the network 'm' of its executor"),
        (
            network("n", variable("x", -1, 4)) + executor("n", ["x"], ["x"]),
            "must compute its output, but nothing computes",
        ),
        (
            network("n", variable("x", -1), variable("y", -1), function("Tanh", ["x"], "y"))
            + executor("n", ["x"], ["y"]),
            "must say the shape of its input 'x', not",
        ),
    ],
)
def test_networks_that_are_none(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"^path {message}"):
        load_model(write(tmp_path / "a.nnp", text))


# How pixels are scaled


@pytest.mark.parametrize(
    ("flag", "name", "reason"),
    [
        ("no_image_normalization: true", "raw", "the executor in results.nnp sets no_image_normalization"),
        ("no_image_normalization: True", "raw", "the executor in results.nnp sets no_image_normalization"),
        ("no_image_normalization: false", "unit", "the executor in results.nnp does not set no_image_normalization"),
        ("", "unit", ""),
    ],
)
def test_the_executor_says_the_scale(flag, name, reason, tmp_path):
    path = lenet(tmp_path / "results.nnp", flag=flag)
    assert nnp.read(path).preprocess == (name, reason)
    assert scale_of(path, load_model(path)) == (name, reason)


@pytest.mark.parametrize(
    ("factor", "flag", "name"),
    [
        (0.00392156862745098, "", "raw"),
        (1 / 256, "", "raw"),
        (1.0, "", "unit"),
        (0.00392156862745098, "no_image_normalization: false", "unit"),
    ],
)
def test_a_product_with_1_over_255_at_the_front_means_raw_where_nothing_is_said(factor, flag, name, tmp_path):
    product = function("MulScalar", ["x"], "y", f"mul_scalar_param {{ val: {factor} }}")
    text = network("n", variable("x", -1, 1, 4, 4), variable("y", -1, 1, 4, 4), product)
    path = write(tmp_path / "a.nnp", text + executor("n", ["x"], ["y"], flag))
    assert nnp.read(path).preprocess.name == name


# How it was trained


def test_a_file_that_is_only_executed_cannot_be_trained(tmp_path):
    path = several(tmp_path, ["Softmax"])
    with pytest.raises(ValueError, match="model must say how it was trained, not only how it is executed"):
        load_model(path, training=True)
