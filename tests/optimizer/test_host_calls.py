"""NumPy functions of the user's inside the loop."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from optimizer.recording import Recorder, images, losses

from vis.input_modifiers import InputModifier
from vis.optimizer import Optimizer
from vis.optimizer.host_calls import PythonSteps, in_python


def test_modifiers_of_keras_vis_see_every_step(model):
    class Log(InputModifier):
        def __init__(self, name, log):
            self.name, self.log = name, log

        def pre(self, img):
            assert isinstance(img, np.ndarray)
            self.log.append(f"pre {self.name}")
            return img + (0.25 if self.name == "a" else 0)

        def post(self, img):
            self.log.append(f"post {self.name}")
            return img * 0 + 0.5

    log, recorder = [], Recorder()
    optimizer = Optimizer(model, losses(model), input_range=(-1, 1))
    modifiers = [Log("a", log), Log("b", log)]
    optimizer.minimize(max_iter=3, input_modifiers=modifiers, callbacks=[recorder], callback_every=2, verbose=False)
    assert log == ["pre a", "pre b", "post b", "post a"] * 3
    assert recorder.steps == [1, 2]
    np.testing.assert_allclose(recorder.calls[-1][4], 0.75, atol=1e-6)


def test_an_error_in_a_modifier_comes_out_as_it_is(model):
    class Broken(InputModifier):
        def post(self, img):
            raise ZeroDivisionError("the modifier's own trouble")

    class Smaller(InputModifier):
        def pre(self, img):
            return img[:, 1:]

    optimizer = Optimizer(model, losses(model))
    with pytest.raises(ZeroDivisionError, match="the modifier's own trouble"):
        optimizer.minimize(max_iter=3, input_modifiers=[Broken()], verbose=False)
    with pytest.raises(
        ValueError, match=r"input_modifiers must return images of the same shape, \(1, 16, 16, 3\), not \("
    ):
        optimizer.minimize(max_iter=3, input_modifiers=[Smaller()], verbose=False)


def test_a_grad_modifier_is_applied_to_every_gradient(model):
    start = images(1) / 2
    plain, negated, scaled = Recorder(), Recorder(), Recorder()
    optimizer = Optimizer(model, losses(model), input_range=(-1, 1))
    optimizer.minimize(start, max_iter=2, callbacks=[plain], verbose=False)
    optimizer.minimize(start, max_iter=2, callbacks=[negated], grad_modifier="negate", verbose=False)
    optimizer.minimize(start, max_iter=2, callbacks=[scaled], grad_modifier=lambda g: 2 * g, verbose=False)
    np.testing.assert_allclose(negated.calls[0][3], -plain.calls[0][3], atol=1e-6)
    np.testing.assert_allclose(scaled.calls[0][3], 2 * plain.calls[0][3], atol=1e-6)
    ways = [recorder.calls[1][4] - start for recorder in (plain, negated)]
    np.testing.assert_allclose(ways[0], -ways[1], atol=1e-5)


class Times(InputModifier):
    """Multiplies before a step, and adds after it."""

    def __init__(self, factor):
        self.factor = factor

    def pre(self, img):
        return self.factor * img

    def post(self, img):
        return img + self.factor


def test_a_graph_finds_the_functions_of_the_run_that_goes_on():
    @tf.function(autograph=False)
    def step(number, x):
        return [in_python(number, name, x) for name in ("pre", "post", "gradient")]

    x = tf.constant([1.0, 2.0])
    for steps, expected in (
        (PythonSteps(None, [Times(2), Times(5)]), [[10, 20], [8, 9], [1, 2]]),
        (PythonSteps(np.negative, []), [[1, 2], [1, 2], [-1, -2]]),
    ):
        number = tf.constant(steps.number, tf.int64)
        with steps.running():
            assert [each.numpy().tolist() for each in step(number, x)] == expected
        with pytest.raises(tf.errors.OpError):
            step(number, x)


def test_an_error_of_tensorflow_s_own_comes_out_too():
    steps = PythonSteps(None, [])
    with pytest.raises(tf.errors.InvalidArgumentError), steps.running():
        tf.debugging.assert_equal(1, 2)
