"""Models that are evaluated whatever their batch size, state and threads, and numbers that are refused."""

from __future__ import annotations

import threading

import keras
import numpy as np
import pytest
import zoo

from vis import VisWarning
from vis.visualization import (
    smoothgrad,
    visualize_activation,
    visualize_cam,
    visualize_saliency,
    visualize_saliency_with_losses,
)


def test_a_model_for_a_fixed_batch_size_takes_any_number_of_samples():
    inputs = keras.Input(batch_shape=(4, 6))
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    kernel = model.layers[-1].get_weights()[0]
    maps = visualize_saliency(model, -1, 2, np.ones((6, 6)), grad_modifier=None, normalize=False)
    np.testing.assert_allclose(maps, np.tile(kernel[:, 2], (6, 1)), rtol=1e-6)


def test_a_model_that_needs_the_number_of_samples_is_traced_with_it():
    class Static(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(2)

        def call(self, x):
            return self.dense(keras.ops.reshape(x, (int(x.shape[0]), 6)))

    model = Static()
    maps = visualize_saliency(model, None, 1, np.ones((3, 2, 3)), grad_modifier=None, keepdims=True, normalize=False)
    np.testing.assert_allclose(maps.reshape(3, 6), np.tile(model.dense.get_weights()[0][:, 1], (3, 1)), rtol=1e-6)


def test_threads_may_explain_one_model_at_once():
    model = zoo.functional()
    x = zoo.images(2)
    expected = [zoo.Reference(model).saliency(x, label) for label in range(4)]
    results = [None] * 4

    def explain(label):
        modifier = "guided" if label == 3 else None
        results[label] = visualize_saliency(model, -1, label, x, backprop_modifier=modifier, normalize=False)

    threads = [threading.Thread(target=explain, args=[label]) for label in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for label in range(3):
        zoo.assert_close(results[label], expected[label])
    assert np.abs(results[3] - expected[3]).max() > 1e-3 * expected[3].max()


def test_an_error_of_the_model_itself_is_shown():
    class Broken(keras.layers.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor):
                raise RuntimeError("the model's own trouble")
            return x

    inputs = keras.Input((4,))
    with pytest.raises(RuntimeError, match="the model's own trouble"):
        visualize_saliency(keras.Model(inputs, Broken()(inputs)), -1, 0, np.ones(4))


@pytest.mark.parametrize("function", [visualize_saliency, smoothgrad])
def test_a_token_that_is_not_in_the_vocabulary_is_told(function):
    layers = [keras.layers.Embedding(50, 4, name="embedding"), keras.layers.GlobalMaxPooling1D(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    with pytest.raises(ValueError, match=r"can compute: indices\[0,0\] = 100 is not in \[0, 50\)"):
        function(model, -1, 1, np.arange(6) + 100, wrt_tensor="embedding")


@pytest.mark.parametrize("function", [visualize_saliency, smoothgrad, visualize_cam])
def test_a_target_that_is_nan_is_an_error(function):
    model = zoo.functional()
    weights = [weight.copy() for weight in model.get_weights()]
    weights[-1][:] = np.nan
    model.set_weights(weights)
    with pytest.raises(ValueError, match="the target is nan for . of . samples"):
        function(model, -1, 1, zoo.images(3))


def test_a_gradient_that_is_infinite_is_an_error():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, use_bias=False)])
    root = [(lambda output: keras.ops.sqrt(output[:, 0]), 1)]
    with pytest.raises(ValueError, match="is not, though the target is"):
        visualize_saliency_with_losses(model, root, np.zeros((1, 4)))


class Counter(keras.layers.Layer):
    """Multiplies by how often it was called."""

    def build(self, shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def call(self, x):
        self.calls.assign_add(1.0)
        return x * self.calls


class Always(keras.layers.Layer):
    """Dropout that is not for training alone."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5, seed=3)

    def call(self, x):
        return self.dropout(x, training=True)


def stateful(*more):
    layers = [keras.layers.LSTM(4, stateful=True, return_sequences=True), Counter(), *more, keras.layers.Flatten()]
    return keras.Sequential([keras.Input(batch_shape=(2, 6, 3)), *layers, keras.layers.Dense(2)])


def variables(model):
    """All variables of a stateful model: Keras does not count its state among them."""
    return [*model.variables, *model.layers[0].states]


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (visualize_saliency, {}),
        (visualize_cam, {"grad_modifier": "absolute"}),
        (smoothgrad, {"num_samples": 5, "seed": 0}),
        (visualize_activation, {"max_iter": 3, "seed": 0, "input_range": (-9.0, 9.0)}),
    ],
)
@pytest.mark.filterwarnings("ignore:the model .* draws random numbers", "ignore:the class activation map")
def test_a_model_with_state_keeps_it(function, options):
    model = stateful(Always())
    x = zoo.images(2, (6, 3))
    model(x)
    before = [variable.numpy() for variable in variables(model)]
    first, second = (function(model, -1, 1, seed_input=x, **options) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    for variable, value in zip(variables(model), before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)


def test_a_state_is_that_of_the_next_prediction():
    model = stateful()
    x = zoo.images(2, (6, 3))
    model(x)
    state = [variable.numpy() for variable in variables(model)]
    slope = visualize_saliency(model, -1, 1, x, grad_modifier=None, keepdims=True, normalize=False)
    step = 1e-2 * slope / np.linalg.norm(slope)
    change = []
    for moved in (x - step, x + step):
        for variable, value in zip(variables(model), state, strict=True):
            variable.assign(value)
        change.append(keras.ops.convert_to_numpy(model(moved))[:, 1].sum())
    assert change[1] - change[0] == pytest.approx(2 * (step * slope).sum(), rel=1e-2)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_warns_of_a_saturated_probability(activation):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation)])
    model.set_weights([np.array([[30.0, -30], [0, 1]]), np.zeros(2)])
    with pytest.warns(VisWarning, match="saturated"):
        maps = visualize_saliency(model, -1, 0, np.ones(2), logits=False)
    assert np.isfinite(maps).all()
    np.testing.assert_allclose(visualize_saliency(model, -1, 0, np.ones(2), normalize=False), [30, 0], atol=1e-5)
