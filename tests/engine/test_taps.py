from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.engine import taps
from vis.engine.inputs import prepare


def traced(function, *arrays):
    """The value of a function of tensors, run as a graph, as a question is."""
    return tf.function(function, autograph=False)(*(tf.constant(array) for array in arrays))


@pytest.mark.parametrize("kind", zoo.KINDS)
def test_a_tap_reads_what_the_layer_returned(kind):
    model = kind()
    x = zoo.images(2)
    prepare(model, x)
    features, output = traced(lambda x: (lambda run: (run("conv2"), run(None)))(taps.run(model, x)), x)
    reference = zoo.Reference(model)
    zoo.assert_close(features.numpy(), reference.features(x).numpy())
    zoo.assert_close(output.numpy(), tf.nn.softmax(reference.logits(reference.features(x))).numpy())


def test_nothing_of_the_model_is_changed_even_by_an_error():
    from vis.backprop_modifiers import guided

    class Failing(keras.layers.Layer):
        failing = False

        def call(self, x):
            if self.failing:
                raise RuntimeError("no")
            return x

    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, "relu")(inputs)
    model = keras.Model(inputs, Failing()(hidden))
    model.layers[-1].failing = True
    before = [dict(vars(layer)) for layer in model.layers]
    with pytest.raises(RuntimeError, match="no"):
        traced(lambda x: taps.run(guided(model), x)(None), np.ones((1, 4), "float32"))
    for layer, attributes in zip(model.layers, before, strict=True):
        assert vars(layer).get("call") is attributes.get("call")
        assert vars(layer).get("activation") is attributes.get("activation")
        assert set(vars(layer)) == set(attributes)


def test_a_shared_layer_is_read_once_a_call_and_its_tensors_by_their_node():
    shared = keras.layers.Dense(3, name="shared")
    a, b = keras.Input((3,)), keras.Input((3,))
    first, second = shared(a), shared(b)
    model = keras.Model([a, b], keras.layers.Add()([first, second]))
    xa, xb = np.eye(2, 3, dtype="float32"), np.full((2, 3), 2, "float32")

    def read(xa, xb):
        run = taps.run(model, [xa, xb])
        assert len(run.tensors("shared")) == 2
        return run(first), run(second), run(keras.ops.exp(first) + 2 * second)

    kernel = shared.get_weights()[0]
    value_a, value_b, expression = traced(read, xa, xb)
    np.testing.assert_allclose(value_a, xa @ kernel, rtol=1e-5)
    np.testing.assert_allclose(value_b, xb @ kernel, rtol=1e-5)
    np.testing.assert_allclose(expression, np.exp(xa @ kernel) + 2 * xb @ kernel, rtol=1e-5)


def test_a_tensor_of_a_nested_graph_is_read():
    model = zoo.nested()
    symbol = model.get_layer("body").get_layer("backbone").get_layer("conv2").output
    x = zoo.images(2)
    value = traced(lambda x: taps.run(model, x)(keras.ops.mean(symbol, axis=(1, 2))), x)
    zoo.assert_close(value.numpy(), zoo.Reference(model).features(x).numpy().mean(axis=(1, 2)))


def test_a_tensor_of_another_graph_is_refused():
    model, other = zoo.functional(), zoo.functional()
    with pytest.raises(ValueError, match="not part of the graph"):
        traced(lambda x: taps.run(model, x)(other.output), zoo.images(1))


def test_several_outputs_are_not_one():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, [keras.layers.Dense(2)(inputs), keras.layers.Dense(3)(inputs)])
    with pytest.raises(ValueError, match=r"gave 2 outputs \(\(2, 2\), \(2, 3\)\)"):
        traced(lambda x: taps.run(model, x)(None), np.ones((2, 4), "float32"))


def test_a_layer_that_is_never_called():
    class Lazy(keras.Model):
        def __init__(self):
            super().__init__()
            self.used = keras.layers.Flatten()
            self.unused = keras.layers.Flatten(name="unused")

        def call(self, x):
            return self.used(x)

    model = Lazy()
    prepare(model, np.ones((1, 4)))
    with pytest.raises(ValueError, match="'unused': it is not called"):
        traced(lambda x: taps.run(model, x)("unused"), np.ones((1, 4), "float32"))


def test_a_layer_inside_a_tf_function_of_its_own():
    class Compiled(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(2, name="inner")
            self.compiled = tf.function(self.inner)

        def call(self, x):
            return self.compiled(x)

    model = keras.Sequential([Compiled()])
    model(np.ones((1, 4), "float32"))
    with pytest.raises(ValueError, match="'inner': .* a @tf.function of its own"):
        traced(lambda x: taps.run(model, x)("inner"), np.ones((1, 4), "float32"))


DENSE = {"kernel_initializer": keras.initializers.RandomNormal(seed=3, stddev=1.0)}


def ends():
    """Models that end in a probability, each spelled another way, and the linear end they must agree with."""
    x = keras.Input((4,))
    linear = keras.layers.Dense(3, **DENSE)(x)

    def model(output):
        return keras.Model(x, output)

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "softmax", **DENSE)])
    return {
        "dense softmax": model(keras.layers.Dense(3, "softmax", **DENSE)(x)),
        "dense sigmoid": model(keras.layers.Dense(3, "sigmoid", **DENSE)(x)),
        "activation layer": model(keras.layers.Activation("softmax")(linear)),
        "softmax layer": model(keras.layers.Softmax()(linear)),
        "operation": model(keras.ops.softmax(linear)),
        "sigmoid operation": model(keras.ops.sigmoid(linear)),
        "nested": model(inner(x)),
        "float32 cast": model(keras.layers.Activation("linear", dtype="float32")(inner(x))),
        "cast operation": model(keras.ops.cast(keras.ops.cast(keras.ops.softmax(linear), "float64"), "float32")),
        "reshaped": model(keras.layers.Flatten()(keras.layers.Reshape((1, 3))(keras.ops.softmax(linear)))),
    }


@pytest.mark.parametrize("name", ends())
def test_logits_are_found_however_the_end_is_spelled(name):
    model = ends()[name]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    kernel = DENSE["kernel_initializer"]((4, 3)).numpy()
    logits, outermost = traced(lambda x: (lambda run: (run.logits(None), run.logits(-1)))(taps.run(model, x)), x)
    np.testing.assert_allclose(logits, x @ kernel, atol=1e-5)
    np.testing.assert_allclose(outermost, x @ kernel, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "linear", "relu", "exponential"])
def test_other_ends_are_left_alone(activation):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation, **DENSE)])
    x = np.ones((2, 4), "float32")
    logits = traced(lambda x: taps.run(model, x).logits(None), x)
    np.testing.assert_allclose(logits, model(x), rtol=1e-6)


def test_a_hidden_sigmoid_is_not_the_end():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "sigmoid", name="gate"), keras.layers.Dense(2)])
    x = np.ones((2, 4), "float32")
    gate = traced(lambda x: taps.run(model, x).logits("gate"), x)
    np.testing.assert_allclose(gate, keras.ops.sigmoid(x @ model.layers[0].get_weights()[0]), rtol=1e-6)


def test_channels_first_is_read_off_the_layers():
    model = keras.Sequential(
        [keras.Input((3, 8, 8)), keras.layers.GlobalAveragePooling2D("channels_first", name="pool")]
    )
    formats = []

    def read(x):
        run = taps.run(model, x)
        formats.extend([run.data_format(), run.channel(run.inputs[0]), run.channel(run(None))])
        return run(None)

    traced(read, np.ones((1, 3, 8, 8), "float32"))
    assert formats == ["channels_first", 1, None]
