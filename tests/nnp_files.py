"""Writes `.nnp` files as Neural Network Console and nnabla write them, with networks of our own, and runs them."""

from __future__ import annotations

import io
import zipfile

import h5py
import numpy as np


def shape(*sizes) -> str:
    """A shape as Neural Network Console writes it."""
    return f"{{ dim:{' dim: '.join(map(str, sizes))} }}"


def variable(name, *sizes, kind="Buffer", loop="") -> str:
    repeated = f'repeat_id: "{loop}"' if loop else ""
    return f'variable {{ name: "{name}" type: "{kind}" {repeated} shape: {shape(*sizes)} }}'


def function(kind, inputs, output, options="", name=None, loop="") -> str:
    taken = " ".join(f'input: "{each}"' for each in inputs)
    repeated = f'repeat_id: "{loop}"' if loop else ""
    return f'function {{ name: "{name or output}" type: "{kind}" {repeated} {taken} output: "{output}" {options} }}'


def network(name, *items, batch_size=64) -> str:
    lines = "\n  ".join(items)
    return f'network {{\n  name: "{name}"\n  batch_size: {batch_size}\n  {lines}\n}}\n'


def executor(of, inputs=("Input",), outputs=("Softmax",), options="") -> str:
    data = " ".join(f'data_variable {{ variable_name: "{each}" data_name: "x" }}' for each in inputs)
    given = " ".join(f'output_variable {{ variable_name: "{each}" data_name: "{called}" }}' for each, called in
                     ((each, "y'") if isinstance(each, str) else each for each in outputs))  # fmt: skip
    return f'executor {{ name: "Executor" network_name: "{of}" {options} {data} {given} }}\n'


def optimizer(solver, loss="CategoricalCrossEntropy", of="Main", parameters="") -> str:
    return (
        f'dataset {{ name: "Training" uri: "{{SDCPATH}}samples\\\\train.csv" batch_size: 16 }}\n'
        f'optimizer {{ name: "Optimizer" network_name: "{of}" dataset_name: "Training" solver {{ {solver} }}\n'
        f'  data_variable {{ variable_name: "Input" data_name: "x" }}\n'
        f'  data_variable {{ variable_name: "{loss}_T" data_name: "y" }}\n'
        f'  loss_variable {{ variable_name: "{loss}" }} {parameters} }}\n'
    )


ADAM = 'type: "Adam" weight_decay: 0 adam_param { alpha: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-08 }'
ADAMW = (
    'type: "AdamW" weight_decay: 0 adamw_param { alpha: 0.001 beta1: 0.9 beta2: 0.999 eps: 1e-08 wd: 0.0001 } '
    'lr_scheduler_type: "Cosine" cosine_scheduler_param { max_iter: 1200 } lr_warmup_scheduler_type: "None"'
)


def write(path, text, parameters=None, entry="network.nntxt", **more):
    """Write an archive with a text, parameters by name in an `.h5`, and more entries by name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("nnp_version.txt", "0.1\n")
        archive.writestr(entry, text)
        if parameters is not None:
            content = io.BytesIO()
            with h5py.File(content, "w") as file:
                for number, (name, value) in enumerate(parameters.items()):
                    file.create_dataset(name, data=np.asarray(value, np.float32)).attrs["index"] = number
            archive.writestr("parameter.h5", content.getvalue())
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def drawn(seed=0, **shapes) -> dict[str, np.ndarray]:
    """Parameters drawn for names (with `__` for a slash), small enough for a network to stay in range."""
    rng = np.random.default_rng(seed)
    return {
        name.replace("__", "/"): rng.normal(0, 1 / np.sqrt(np.prod(sizes[1:] or 1)), sizes).astype(np.float32)
        for name, sizes in shapes.items()
    }


def lenet(path, *, flag="no_image_normalization: false", solver=ADAM):
    """A project for digits of 28 x 28, with networks for training (with dropout) and for running it."""
    parameters = drawn(
        Convolution__conv__W=(6, 1, 5, 5), Convolution__conv__b=(6,), Convolution_2__conv__W=(8, 6, 3, 3),
        Convolution_2__conv__b=(8,), Affine__affine__W=(200, 24), Affine__affine__b=(24,),
        Affine_2__affine__W=(24, 10), Affine_2__affine__b=(10,),
    )  # fmt: skip

    def layers(dropout):
        layers = {"Convolution": "conv", "Convolution_2": "conv", "Affine": "affine", "Affine_2": "affine"}
        wb = {name: [f"{name}/{kind}/W", f"{name}/{kind}/b"] for name, kind in layers.items()}
        convolution = (
            f"convolution_param {{ pad: {shape(0, 0)} stride: {shape(1, 1)} dilation: {shape(1, 1)} group: 1 "
            "channel_last: false base_axis: 1 }"
        )
        pooling = (
            f"max_pooling_param {{ kernel: {shape(2, 2)} stride: {shape(2, 2)} ignore_border: true pad: {shape(0, 0)} "
            "channel_last: false }"
        )
        relu, affine = "relu_param { inplace: True }", "affine_param { base_axis: 1 }"
        return [
            variable("Input", -1, 1, 28, 28),
            *(variable(name, *value.shape, kind="Parameter") for name, value in parameters.items()),
            *(
                variable(name, -1, *sizes)
                for name, sizes in {
                    "Convolution": (6, 24, 24), "ReLU": (6, 24, 24), "MaxPooling": (6, 12, 12),
                    "Convolution_2": (8, 10, 10), "ReLU_2": (8, 10, 10), "MaxPooling_2": (8, 5, 5), "Affine": (24,),
                    "ReLU_3": (24,), "Dropout": (24,), "Affine_2": (10,), "Softmax": (10,),
                }.items()
            ),
            function("Convolution", ["Input", *wb["Convolution"]], "Convolution", convolution),
            function("ReLU", ["Convolution"], "ReLU", relu),
            function("MaxPooling", ["ReLU"], "MaxPooling", pooling),
            function("Convolution", ["MaxPooling", *wb["Convolution_2"]], "Convolution_2", convolution),
            function("ReLU", ["Convolution_2"], "ReLU_2", relu),
            function("MaxPooling", ["ReLU_2"], "MaxPooling_2", pooling),
            function("Affine", ["MaxPooling_2", *wb["Affine"]], "Affine", affine),
            function("ReLU", ["Affine"], "ReLU_3", relu),
            *([function("Dropout", ["ReLU_3"], "Dropout", "dropout_param { p: 0.25 }")] if dropout else []),
            function("Affine", ["Dropout" if dropout else "ReLU_3", *wb["Affine_2"]], "Affine_2", affine),
            function("Softmax", ["Affine_2"], "Softmax", "softmax_param { axis: 1 }"),
        ]  # fmt: skip

    text = network("Main", *layers(True), *CROSS_ENTROPY) + network("MainRuntime", *layers(False))
    write(path, text + optimizer(solver) + executor("MainRuntime", options=flag), parameters)
    return path


CROSS_ENTROPY = (
    variable("CategoricalCrossEntropy_T", -1, 1),
    variable("CategoricalCrossEntropy", -1, 1),
    function(
        "CategoricalCrossEntropy", ["Softmax", "CategoricalCrossEntropy_T"], "CategoricalCrossEntropy",
        "categorical_cross_entropy_param { axis: 1 }",
    ),
)  # fmt: skip


def table(path, columns, classes, *, solver=ADAM, dropout=0.0, parameters=""):
    """A project for rows of numbers: two affine maps with a tanh between, and dropout in training."""
    weights = drawn(
        Affine__affine__W=(columns, 8), Affine__affine__b=(8,), Affine_2__affine__W=(8, classes),
        Affine_2__affine__b=(classes,),
    )  # fmt: skip

    def layers(dropout):
        affine = "affine_param { base_axis: 1 }"
        return [
            variable("Input", -1, columns),
            *(variable(name, *value.shape, kind="Parameter") for name, value in weights.items()),
            *(variable(name, -1, 8) for name in ("Affine", "Tanh", "Dropout")),
            *(variable(name, -1, classes) for name in ("Affine_2", "Softmax")),
            function("Affine", ["Input", "Affine/affine/W", "Affine/affine/b"], "Affine", affine),
            function("Tanh", ["Affine"], "Tanh"),
            *([function("Dropout", ["Tanh"], "Dropout", f"dropout_param {{ p: {dropout} }}")] if dropout else []),
            function("Affine", ["Dropout" if dropout else "Tanh", "Affine_2/affine/W", "Affine_2/affine/b"],
                     "Affine_2", affine),
            function("Softmax", ["Affine_2"], "Softmax", "softmax_param { axis: 1 }"),
        ]  # fmt: skip

    text = network("Main", *layers(dropout), *CROSS_ENTROPY) + network("MainRuntime", *layers(0))
    trained = optimizer(solver, parameters=parameters)
    write(path, text + trained + executor("MainRuntime", options="no_image_normalization: false"), weights)
    return path


def single(tmp_path, kind, options, sizes, output, parameters=()):
    """A model of one function, of inputs and outputs of some shapes."""
    weights = drawn(**dict(parameters))
    items = [
        variable("x", -1, *sizes),
        variable("y", -1, *output),
        *(variable(name, *value.shape, kind="Parameter") for name, value in weights.items()),
        function(kind, ["x", *weights], "y", options),
    ]
    path = write(tmp_path / "a.nnp", network("n", *items, batch_size=2) + executor("n", ["x"], ["y"]), weights)
    from vis.models import load_model

    return load_model(path), weights


def last(x: np.ndarray) -> np.ndarray:
    """Channels last, as the models have them."""
    return np.moveaxis(x, 1, -1) if x.ndim in (4, 5) else x


def first(x: np.ndarray) -> np.ndarray:
    """Channels first, as nnabla has them."""
    return np.moveaxis(x, -1, 1) if x.ndim in (4, 5) else x


def run(model, x, g=None):
    """A model's output for an input of nnabla's, and the gradient of its product with `g`."""
    import tensorflow as tf

    x = tf.constant(last(x))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=False)
        score = tf.reduce_sum(y * (1.0 if g is None else last(g)))
    return first(y.numpy()), first(tape.gradient(score, x).numpy())
