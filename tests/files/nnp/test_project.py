"""Projects: what is executed, which output, how pixels are scaled."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
from nnp_files import ADAM, CROSS_ENTROPY, drawn, executor, function, lenet, network, optimizer, table, variable, write

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


def test_statistics_of_the_batch_are_left_out_with_a_warning(tmp_path):
    parameters = {"m": np.full((1, 3), 0.5), "v": np.full((1, 3), 4.0)}
    options = (
        "batch_normalization_param { axes: 1 eps: 0 decay_rate: 0.9 batch_stat: true no_bias: true no_scale: true }"
    )
    items = [
        variable("x", -1, 3), variable("y", -1, 3),
        *(variable(name, 1, 3, kind="Parameter") for name in parameters),
        function("BatchNormalization", ["x", "m", "v"], "y", options),
    ]  # fmt: skip
    path = write(tmp_path / "a.nnp", network("n", *items) + executor("n", ["x"], ["y"]), parameters)
    with pytest.warns(VisWarning, match="'y' and functions like it normalize by the batch in the file"):
        model = load_model(path)
    np.testing.assert_allclose(model(np.full((1, 3), 4.5)), np.full((1, 3), 2.0), rtol=1e-6)


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


def test_a_table_that_is_trained_by_adam(tmp_path):
    training = nnp.read(table(tmp_path / "a.nnp", 4, 3, dropout=0.5)).training
    assert (training.network, training.inputs, training.output) == ("Main", ("Input",), "Softmax")
    assert (training.loss, training.l2, training.batch_size) == ("sparse_categorical_crossentropy", 0, 16)
    assert (training.frozen, training.differences) == ((), ())
    assert training.optimizer == {
        "class_name": "Adam",
        "config": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
    }


def test_a_file_that_is_only_executed_cannot_be_trained(tmp_path):
    path = several(tmp_path, ["Softmax"])
    with pytest.raises(ValueError, match="model must say how it was trained, not only how it is executed"):
        load_model(path, training=True)


def test_several_losses_are_refused(tmp_path):
    text = network("Main", variable("x", -1, 1)) + 2 * optimizer(ADAM) + executor("Main", ["x"], ["x"])
    with pytest.raises(ValueError, match="must have been trained by one optimizer and one loss, not by 2 and 2"):
        _ = nnp.read(write(tmp_path / "a.nnp", text)).training


def test_a_composed_loss_is_refused(tmp_path):
    items = [*(variable(name, -1, 1) for name in "xl"), function("Sum", ["x"], "l")]
    text = network("Main", *items) + optimizer(ADAM, loss="l") + executor("Main", ["x"], ["l"])
    with pytest.raises(ValueError, match="one of CategoricalCrossEntropy, .* not by 'l' of type Sum"):
        _ = nnp.read(write(tmp_path / "a.nnp", text)).training


def test_what_is_not_trained_in_the_file_is_not_trained_here(tmp_path):
    def multiplied(name, by):
        return f'parameter_variable {{ variable_name: "{name}" learning_rate_multiplier: {by} }} '

    frozen = multiplied("Affine/affine/W", 0)  # and its bias, which is not listed
    path = table(tmp_path / "a.nnp", 4, 3, parameters=frozen + multiplied("Affine_2/affine/W", 1))
    assert nnp.read(path).training.frozen == ("Affine/affine/W", "Affine/affine/b", "Affine_2/affine/b")
    model = load_model(path, training=True)
    assert [layer.name for layer in model.layers if layer.trainable_variables] == ["Affine_2"]
    path = table(tmp_path / "a.nnp", 4, 3, parameters=multiplied("Affine/affine/W", 0.1))
    assert "several learning rates; one is taken for all" in nnp.read(path).training.differences[0]


def test_a_parameter_in_a_loop_is_listed_once(tmp_path):
    weights = [("W{R}", "R"), ("V", "R"), ("U{R}", "R")]
    items = [
        'repeat_info { id: "R" times: 2 }', variable("Input", -1, 2), variable("Softmax", -1, 2),
        *(variable(name, 2, kind="Parameter", loop=loop) for name, loop in weights),
        function("Softmax", ["Input"], "Softmax", "softmax_param { axis: 1 }"), *CROSS_ENTROPY,
    ]  # fmt: skip
    listed = "".join(f'parameter_variable {{ variable_name: "{name}" }} ' for name in ("W{R}", "V"))
    text = network("Main", *items) + optimizer(ADAM, parameters=listed) + executor("Main")
    assert nnp.read(write(tmp_path / "a.nnp", text)).training.frozen == ("U[0]", "U[1]")


@pytest.mark.parametrize("multiplier", [0, 1])
def test_parameters_that_become_constants_are_named(tmp_path, multiplier):
    items = [
        *(variable(name, -1, 2) for name in ("Input", "z", "Softmax")), variable("w", 1, 2, kind="Parameter"),
        function("Mul2", ["Input", "w"], "z"),
        function("Softmax", ["z"], "Softmax", "softmax_param { axis: 1 }"), *CROSS_ENTROPY,
    ]  # fmt: skip
    listed = f'parameter_variable {{ variable_name: "w" learning_rate_multiplier: {multiplier} }}'
    text = network("Main", *items) + optimizer(ADAM, parameters=listed) + executor("Main")
    differences = nnp.read(write(tmp_path / "a.nnp", text)).training.differences
    assert differences == ("the parameters of 'z' (Mul2) are not trained as in a.nnp",)[:multiplier]


def test_batch_normalization_is_by_the_batch_in_training(tmp_path):
    parameters = {"m": np.zeros((1, 1, 1, 1)), "v": np.ones((1, 1, 1, 1)), "W": np.ones((4, 2))}
    statistics = (
        "batch_normalization_param { axes: 1 eps: 0.001 decay_rate: 0.9 batch_stat: true no_bias: true no_scale: true }"
    )
    items = [
        variable("Input", -1, 1, 2, 2), variable("n", -1, 1, 2, 2), variable("z", -1, 2), variable("Softmax", -1, 2),
        *(variable(name, *value.shape, kind="Parameter") for name, value in parameters.items()),
        function("BatchNormalization", ["Input", "m", "v"], "n", statistics),
        function("Affine", ["n", "W"], "z", "affine_param { base_axis: 1 }"),
        function("Softmax", ["z"], "Softmax", "softmax_param { axis: 1 }"),
        variable("CategoricalCrossEntropy_T", -1, 1), variable("CategoricalCrossEntropy", -1, 1),
        function("CategoricalCrossEntropy", ["Softmax", "CategoricalCrossEntropy_T"], "CategoricalCrossEntropy"),
    ]  # fmt: skip
    runtime = network("MainRuntime", *(each.replace("batch_stat: true", "batch_stat: false") for each in items[:-3]))
    text = network("Main", *items) + runtime + optimizer(ADAM) + executor("MainRuntime")
    path = write(tmp_path / "a.nnp", text, parameters)
    x = 3 + np.random.default_rng(0).normal(size=(8, 2, 2, 1)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = load_model(path, training=True).get_layer("n")
    np.testing.assert_allclose(np.mean(layer(x, training=False)), np.mean(x) / np.sqrt(1.001), rtol=1e-5)
    np.testing.assert_allclose(np.mean(layer(x, training=True)), 0, atol=1e-5)
