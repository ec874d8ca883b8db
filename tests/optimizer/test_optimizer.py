"""Optimizers: seeds, targets, inputs and models of every kind, and arguments that are refused."""

from __future__ import annotations

import gc
import threading
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo
from optimizer.recording import Recorder, images, losses, unit

from vis import ArgumentError, VisWarning
from vis.input_modifiers import InputModifier, Jitter, Rotate, Scale
from vis.losses import ActivationMaximization
from vis.optimizer import Optimizer
from vis.regularizers import LPNorm, TotalVariation


def test_a_learning_rate_schedule_and_a_name(model):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.5)
    for kind in ("adam", keras.optimizers.SGD(schedule, momentum=0.9), keras.optimizers.AdamW(0.05)):
        recorder = Recorder()
        optimizer = Optimizer(model, losses(model), input_range=(-1, 1))
        optimizer.minimize(max_iter=20, optimizer=kind, callbacks=[recorder], verbose=False, seed=0)
        assert recorder.calls[-1][2] < recorder.calls[0][2]


@pytest.mark.parametrize("parameterization", ["pixels", "fourier"])
def test_same_seed_same_image(model, parameterization):
    def image(seed):
        return Optimizer(model, losses(model), input_range=(-1, 1)).minimize(
            max_iter=5, input_modifiers=[Jitter(1), Rotate(5), Scale(0.1)], seed=seed, verbose=False,
            parameterization=parameterization,
        )[0]  # fmt: skip

    np.testing.assert_array_equal(image(3), image(3))
    assert (image(3) != image(4)).any()


class HoldsModel(InputModifier):
    def __init__(self, model):
        self.model = model


def test_a_dropped_model_is_freed():
    model = zoo.functional()
    modifiers = [Jitter(1), HoldsModel(model)]
    for options in ({"grad_modifier": HoldsModel(model).pre}, {"optimizer": "adam"}):
        Optimizer(model, losses(model)).minimize(max_iter=2, verbose=False, input_modifiers=modifiers, **options)
    references = [weakref.ref(part) for part in (model, *model.layers)]
    del model, modifiers, options
    gc.collect()
    assert [reference() for reference in references if reference() is not None] == []


@pytest.mark.parametrize(("every", "steps"), [(1, [0, 1, 2, 3, 4, 5, 6]), (3, [2, 5, 6]), (10, [6])])
def test_callbacks_are_called_every_so_many_steps(model, every, steps):
    recorder = Recorder()
    Optimizer(model, losses(model)).minimize(max_iter=7, callbacks=[recorder], callback_every=every, verbose=False)
    assert recorder.steps == steps
    assert (recorder.max_iter, recorder.ended) == (7, 1)
    assert isinstance(recorder.calls[0][2], float)


def test_with_another_wrt_tensor_the_input_is_left(model):
    start = images(1)
    layer = model.get_layer("conv2")
    recorder = Recorder()
    optimizer = Optimizer(model.input, losses(model), input_range=(-1, 1), wrt_tensor=layer.output)
    assert not optimizer.wrt_tensor_is_input_tensor
    assert optimizer.wrt_tensor is layer.output
    assert optimizer.input_tensor is model.input
    image, grads, value = optimizer.minimize(start, max_iter=5, callbacks=[recorder], verbose=False)
    np.testing.assert_array_equal(image, start[0])
    features = zoo.Reference(model).features(tf.constant(start))
    with tf.GradientTape() as tape:
        tape.watch(features)
        score = -zoo.Reference(model).logits(features)[:, 1]
    np.testing.assert_allclose(value, features, atol=1e-5)
    np.testing.assert_allclose(grads, unit(tape.gradient(score, features).numpy()), atol=1e-5)
    assert recorder.steps == [0]
    for wrt in (None, model.input, model, model.layers[0], 0):
        assert Optimizer(model, losses(model), wrt_tensor=wrt).wrt_tensor_is_input_tensor


def test_several_inputs_move_together_or_one_of_them():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    model = keras.Model([left, right], keras.layers.Dense(1)(keras.layers.Concatenate()([left, right])))
    kernel = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0]])
    model.layers[-1].set_weights([kernel, np.zeros(1)])
    loss = [(ActivationMaximization(model.layers[-1], 0), 1)]
    image, grads, value = Optimizer(model.inputs, loss, (-1, 1)).minimize(max_iter=200, seed=0, verbose=False)
    np.testing.assert_allclose(np.concatenate(image), kernel[:, 0])
    assert [array.shape for array in grads] == [(1, 3), (1, 2)] == [array.shape for array in value]
    start = [np.zeros(3), np.zeros(2)]
    image, _, value = Optimizer(model.inputs, loss, (-1, 1), wrt_tensor=right).minimize(start, verbose=False)
    np.testing.assert_allclose(image, [-1, 1])
    assert value.shape == (1, 2)


def test_models_of_other_kinds(model):
    for kind in (zoo.nested, zoo.subclassed):
        other = kind()
        start = images(1)
        loss = [(ActivationMaximization(None, 1), 1), (LPNorm(other), 10)]
        recorder = Recorder()
        Optimizer(other, loss, (-1, 1)).minimize(start, max_iter=10, callbacks=[recorder], verbose=False)
        assert recorder.calls[-1][2] < recorder.calls[0][2]


def test_threads_may_optimize_one_model_at_once(model):
    def image(label):
        optimizer = Optimizer(model, losses(model, label), (-1, 1))
        return optimizer.minimize(max_iter=20, seed=0, optimizer="adam", verbose=False)[0]

    expected = [image(label) for label in range(3)]
    results = [None] * 3
    threads = [
        threading.Thread(target=lambda label=label: results.__setitem__(label, image(label))) for label in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(results, expected, atol=1e-5)


def test_losses_without_weight_are_left_out_and_printing_is_the_default(model, capsys):
    weighed = [(ActivationMaximization(model.layers[-1], 1), 1), (LPNorm(model), None), (TotalVariation(model), 0)]
    optimizer = Optimizer(model, weighed)
    assert optimizer.loss_names == ["ActivationMax Loss"]
    optimizer.minimize(max_iter=2)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_seed_outside_the_range_is_said_and_cut_off(model):
    with pytest.warns(VisWarning, match=r"values from -?[\d.]+ to [\d.]+, which input_range cuts off at 0 and 1"):
        image = Optimizer(model, losses(model), (0, 1)).minimize(zoo.images(1) * 9, max_iter=2, verbose=False)[0]
    assert image.min() >= 0
    assert image.max() <= 1


def test_a_filter_that_is_never_active_is_said(model):
    inputs = keras.Input((4,))
    dead = keras.Model(inputs, keras.layers.Dense(2, "relu", bias_initializer=keras.initializers.Constant(-99))(inputs))
    loss = [(ActivationMaximization(dead.layers[-1], 0), 1)]
    with pytest.warns(VisWarning, match="the activation is 0 for image 0, as that of a filter that is never active"):
        Optimizer(dead, loss, (0, 1)).minimize(max_iter=2, verbose=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iter": 0}, "max_iter must be a whole number of at least 1, not 0"),
        ({"max_iter": None}, "max_iter must be a whole number of at least 1, not None"),
        ({"optimizer": "foo"}, "optimizer must be a Keras optimizer or the name of one, such as 'adam', not 'foo'"),
        ({"grad_modifier": lambda slopes: None}, "grad_modifier must return an array .*, not None"),
        ({"max_iter": 2.5}, "max_iter must be a whole number"),
        ({"callback_every": 0}, "callback_every must be a whole number of at least 1, not 0"),
        ({"patience": 0}, "patience must be a whole number of at least 1, or None, not 0"),
        ({"seed": -1}, "seed must be a whole number of at least 0, or None, not -1"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1"),
        ({"parameterization": "wavelet"}, "parameterization must be 'pixels' or 'fourier', not 'wavelet'"),
        (
            {"seed_input": np.ones((5, 5, 3))},
            r"seed_input must have shape \(None, 16, 16, 3\), or that of one sample, not \(5, 5, 3\)",
        ),
        (
            {"seed_input": np.ones((3, 16, 16, 3))},
            "filter_indices must have one row per sample, not 2 rows for 3 samples",
        ),
        (
            {"parameterization": "fourier", "input_modifiers": [InputModifier()]},
            "must hold only transforms .* not InputModifier",
        ),
    ],
)
def test_bad_values(model, options, message):
    optimizer = Optimizer(model, losses(model, [[0], [1]]))
    with pytest.raises(ValueError, match=message):
        optimizer.minimize(verbose=False, **options)


def test_bad_types_and_ranges(model):
    optimizer = Optimizer(model, losses(model))
    with pytest.raises(TypeError, match="optimizer must be a Keras optimizer, its name or None, not int"):
        optimizer.minimize(optimizer=3)
    with pytest.raises(TypeError, match="input_modifiers must be a list of vis.input_modifiers, not Jitter"):
        optimizer.minimize(input_modifiers=Jitter())
    with pytest.raises(TypeError, match="callbacks must be a list of vis.callbacks, not int"):
        optimizer.minimize(callbacks=3)
    with pytest.raises(TypeError, match="callbacks must hold objects with the methods callback and on_end, not int"):
        optimizer.minimize(callbacks=[3])
    with pytest.raises(TypeError, match="input_modifiers must hold objects with the methods pre and post, not ufunc"):
        optimizer.minimize(input_modifiers=[np.negative])
    with pytest.raises(ValueError, match=r"filter_indices must be a filter that there is, not 9"):
        Optimizer(model, losses(model, 9)).minimize(verbose=False)
    for wrong in ((1, 0), (0, 0)):
        with pytest.raises(ValueError, match="input_range must go from a smaller to a larger number"):
            Optimizer(model, losses(model), input_range=wrong)
    for wrong in (255, (0, 1, 2), (0, np.nan), (0, [[1]])):
        with pytest.raises(ValueError, match="input_range must be"):
            Optimizer(model, losses(model), input_range=wrong)
    with pytest.raises(
        ValueError, match="input_range must have one value, or one for each of the 3 channels of the input, not 2"
    ):
        Optimizer(model, losses(model), input_range=([0, 0], [1, 1])).minimize(verbose=False)


def test_inputs_that_noise_cannot_stand_for():
    tokens = keras.Input((5,), dtype="int32")
    model = keras.Model(tokens, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Embedding(9, 3)(tokens))))
    loss = [(ActivationMaximization(model.layers[-1], 0), 1)]
    for seed_input in (None, np.ones(5, "int32")):
        with pytest.raises(ArgumentError, match="must be of real numbers, .* not of integers, such as tokens"):
            Optimizer(model, loss).minimize(seed_input, verbose=False)
    image = keras.Input((4,))
    both = keras.Model([image, tokens], keras.layers.Concatenate()([image, model(tokens)]))
    with pytest.raises(ArgumentError, match="seed_input must be given, because the input .* takes integers"):
        Optimizer(both, [(lambda output: output[:, 0], 1)]).minimize(verbose=False)
    anything = keras.Input((None, None, 1))
    model = keras.Model(anything, keras.layers.GlobalAveragePooling2D()(anything))
    with pytest.raises(ValueError, match=r"seed_input must be given, .* inputs of any size, \(None, None, 1\)"):
        Optimizer(model, [(ActivationMaximization(None, 0), 1)]).minimize(verbose=False)
