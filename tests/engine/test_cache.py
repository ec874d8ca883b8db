"""What was traced is traced again where the model, or what a target reads, has changed, and only there; it is kept no
longer than the model."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

import vis
from vis.backprop_modifiers import from_rule
from vis.engine import cache
from vis.losses import ActivationMaximization, Loss, Target
from vis.visualization import (
    smoothgrad,
    visualize_cam,
    visualize_saliency,
    visualize_saliency_with_losses,
)

L = keras.layers
RAW = {"normalize": False, "grad_modifier": None}
X = np.random.default_rng(0).random((2, 4)).astype("float32")


def dense():
    return keras.Sequential([keras.Input((4,)), L.Dense(5, activation="tanh"), L.Dense(3, name="head")])


def reference(model, score):
    @tf.function(autograph=False)  # outside of a graph, Keras's float8 layers have no gradient
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = score(model(x))
        return tape.gradient(total, x)

    return gradient(tf.constant(X)).numpy()


def test_a_named_function_that_reads_a_loop_variable():
    model, space = dense(), {}
    exec("def score(output):\n    return output[:, category]", space)
    for category in range(3):
        space["category"] = category
        maps = visualize_saliency_with_losses(model, [(space["score"], 1)], X, **RAW)
        np.testing.assert_allclose(maps, reference(model, lambda y, k=category: y[:, k]), atol=1e-6)


class Score(Loss):
    name = "score"

    def __init__(self, layer, index):
        self.layer, self.index = layer, index

    def build_loss(self):
        return self.layer.output[:, self.index]


def test_a_loss_and_a_target_that_read_an_attribute():
    model = dense()
    loss = Score(model.layers[-1], 0)
    settings = {"index": 0}
    target = Target(lambda output: output[:, settings["index"]])
    for index in range(3):
        loss.index = settings["index"] = index
        expected = reference(model, lambda y, k=index: y[:, k])
        for each in (loss, target):
            maps = visualize_saliency_with_losses(model, [(each, 1)], X, **RAW)
            np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_a_rule_that_reads_a_closure():
    limit = [1.0]

    @from_rule("scaled")
    def scaled(gradient, output):
        return gradient * limit[0]

    model = keras.Sequential([keras.Input((4,)), L.Dense(5, activation="relu"), L.Dense(3)])
    first = visualize_saliency(model, -1, 0, X, backprop_modifier=scaled, **RAW)
    limit[0] = 3.0
    np.testing.assert_allclose(
        visualize_saliency(model, -1, 0, X, backprop_modifier=scaled, **RAW), 3 * first, rtol=1e-5
    )


def test_a_new_lambda_of_the_same_code_and_values_is_not_traced_again():
    model = dense()
    for image in X:
        visualize_saliency_with_losses(model, [(lambda output: output[:, 1] - output[:, 0], 1)], image)
    assert cache.traced(model) == 1


def test_an_address_in_any_form_is_one_trace():
    model = dense()
    for layer in (-1, 1, "head", model.layers[-1]):
        visualize_saliency(model, layer, 0, X)
    assert cache.traced(model) == 1


def replaced_head(model):
    model.pop()
    model.add(L.Dense(3, name="head"))


def changed_slope(model):
    model.layers[0].negative_slope = 0.9


def changed_activation(model):
    model.layers[-1].activation = keras.activations.sigmoid


def with_lora(model):
    model.layers[1].enable_lora(2)
    model.layers[1].lora_kernel_b.assign(np.ones(model.layers[1].lora_kernel_b.shape))


def quantized(model):
    model.layers[1].quantize("int8")


@pytest.mark.parametrize("change", [replaced_head, changed_slope, changed_activation, with_lora])
def test_a_change_of_the_model_is_noticed(change):
    model = keras.Sequential([keras.Input((4,)), L.LeakyReLU(0.1), L.Dense(5), L.Dense(3, name="head")])
    centred = X - 0.5
    before = visualize_saliency(model, None, 1, centred, logits=False, **RAW)
    change(model)
    after = visualize_saliency(model, None, 1, centred, logits=False, **RAW)
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(centred))
        score = model(x)[:, 1]
    np.testing.assert_allclose(after, tape.gradient(score, x), atol=1e-6)
    assert np.abs(after - before).max() > 1e-3


class Scaled(keras.Model):
    def __init__(self, factor):
        super().__init__()
        self.dense, self.factor = L.Dense(3), factor

    def call(self, x):
        return self.dense(x) * keras.ops.convert_to_tensor(self.factor)


def adapted(layer, spread):
    layer.adapt(np.random.default_rng(0).normal(0, spread, (50, 4)))


@pytest.mark.parametrize(
    ("make", "change"),
    [
        (lambda: Scaled(2.0), lambda model: setattr(model, "factor", 5.0)),
        (lambda: Scaled(np.float32(2)), lambda model: setattr(model, "factor", np.float32(5))),
        (lambda: Scaled([1.0, 2.0, 3.0]), lambda model: model.factor.__setitem__(1, 5.0)),
        (lambda: Scaled(np.ones(3, "float32")), lambda model: model.factor.__setitem__(1, 5.0)),
        (lambda: L.Rescaling([1.0, 2.0, 3.0, 4.0]), lambda layer: setattr(layer, "scale", [4.0, 3.0, 2.0, 1.0])),
        (lambda: L.Lambda(lambda x, k: k * x, arguments={"k": 2.0}), lambda layer: layer.arguments.update({"k": 5.0})),
        (lambda: L.Normalization(), lambda layer: adapted(layer, 5.0)),
        (lambda: L.Dense(3), lambda layer: setattr(layer, "dtype_policy", "mixed_bfloat16")),
    ],
)
def test_a_change_of_what_a_layer_or_the_model_reads_is_noticed(make, change):
    layer = make()
    if isinstance(layer, L.Normalization):
        adapted(layer, 1.0)
    model = layer if isinstance(layer, keras.Model) else keras.Sequential([keras.Input((4,)), layer])
    before = visualize_saliency(model, None, 1, X, **RAW)
    change(layer)
    after = visualize_saliency(model, None, 1, X, **RAW)
    np.testing.assert_allclose(after, reference(model, lambda y: y[:, 1]), atol=1e-6)
    assert np.abs(after - before).max() > 1e-5


def test_what_a_model_keeps_of_its_calls_and_of_training_is_not_a_change():
    class Keeping(L.Layer):
        def call(self, x):
            self.last, self.all, self.by_name = (x, 2 * x), [x], {"x": x}
            return x

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.keeping, self.dense = Keeping(), L.Dense(2)

        def call(self, x):
            return self.dense(self.keeping(x))

    model = Model()
    model(X)
    for _ in range(2):
        visualize_saliency(model, None, 1, X)
        model(X)
        model.compile("sgd", "mse")
        model.fit(X, np.zeros((2, 2)), verbose=0)
        model.predict(X, verbose=0)
    assert cache.traced(model) == 1


@pytest.mark.parametrize("mode", ["int8", "float8"])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize`")
def test_a_quantized_layer_is_read(early, mode):
    model = keras.Sequential([keras.Input((4,)), L.Dense(8, name="hidden"), L.Dense(3, name="head")])
    if not early:
        before = visualize_saliency(model, "head", 1, X, **RAW)
    model.quantize(mode)
    after = visualize_saliency(model, "head", 1, X, **RAW)
    expected = reference(model, lambda y: y[:, 1])
    np.testing.assert_allclose(after, expected, atol=1e-6)
    if not early:
        # A float8 has two or three bits behind its first one.
        assert np.abs(after - before).max() < {"int8": 0.1, "float8": 0.25}[mode] * np.abs(before).max()


def test_forget_drops_what_was_traced():
    model = dense()
    visualize_saliency(model, -1, 0, X)
    assert cache.traced(model) == 1
    vis.forget(model)
    assert cache.traced(model) == 0


def test_a_model_is_freed_though_its_functions_close_over_it():
    def with_bias(layer):
        return lambda output: output[:, 0] + 0 * layer.bias[0]

    model = dense()
    visualize_saliency_with_losses(model, [(with_bias(model.layers[-1]), 1)], X)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "method",
    [
        lambda model, x: vis.visualization.integrated_gradients(model, -1, 0, x, steps=2, return_gap=True),
        lambda model, x: vis.visualization.rise(model, -1, "predicted", x, num_masks=2),
    ],
)
def test_the_state_of_a_model_is_compared_once_a_call(monkeypatch, method):
    model, compared = dense(), []
    state_of = cache.state_of
    monkeypatch.setattr(cache, "state_of", lambda model: compared.append(model) or state_of(model))
    for calls in (1, 2):
        method(model, X)
        assert compared == [model] * calls


def explain_every_way(model, x):
    visualize_saliency(model, -1, 1, x)
    visualize_saliency(model, -1, 1, x, backprop_modifier="guided")
    visualize_cam(model, -1, 1, x, grad_modifier="absolute")
    smoothgrad(model, -1, 1, x, num_samples=2)
    losses = [(ActivationMaximization(model.layers[-1], 1), -1), (lambda output: len(model.layers) * output[:, 0], 1)]
    visualize_saliency_with_losses(model.inputs, losses, x)


def tiny():
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.ReLU(), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(3, "softmax")])


def test_a_dropped_model_is_freed():
    x = zoo.images(1, (8, 8, 3))
    model = tiny()
    explain_every_way(model, x)
    parts = [model, *model.layers, *(variable.value for variable in model.variables)]
    references = [weakref.ref(part) for part in parts]
    del model, parts
    gc.collect()
    assert [type(reference()).__name__ for reference in references if reference() is not None] == []


def test_the_number_of_kept_functions_is_bounded(monkeypatch):
    monkeypatch.setattr(cache, "_MOST_TRACED", 3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    for factor in range(5):
        visualize_saliency_with_losses(
            model, lambda output, factor=factor: factor * output[:, 0] + output[:, 1], np.ones(4)
        )
    assert cache.traced(model) == 3


def test_two_sizes_of_image_are_one_trace():
    layers = [keras.layers.Conv2D(4, 3, name="c"), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((None, None, 3)), *layers])
    for size in (12, 20):
        assert visualize_saliency(model, -1, 1, zoo.images(2, (size, size + 4, 3))).shape == (2, size, size + 4)
    assert cache.traced(model) == 1
