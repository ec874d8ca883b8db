"""SmoothGrad beside a hand-written reference, and of other methods beside their mean over the same noisy copies."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.visualization import (
    gradient_times_input,
    integrated_gradients,
    smoothgrad,
)
from vis.visualization.smoothgrad import gaussian

RAW = {"normalize": False}
RNG = np.random.default_rng(0)
METHODS = {"gradient_times_input": gradient_times_input, "integrated_gradients": integrated_gradients}


def noisy(x, count, level=0.15, seed=0):
    """The noisy copies of one sample."""
    change = gaussian(level, count, "mean", seed)
    repeated = tf.repeat(tf.constant(x[None], tf.float32), count, axis=0)
    return change.to(repeated, tf.range(count, dtype=tf.int64), 0, *change.arguments).numpy()


@pytest.mark.parametrize("of", METHODS)
def test_of_a_method_it_is_the_mean_over_noisy_copies(of):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)])
    x = RNG.normal(size=(2, 5)).astype("float32")
    maps = smoothgrad(model, -1, [[0], [2]], x, of=of, num_samples=4, seed=5, noise_level=0.3, **RAW)
    for sample, label, got in zip(x, (0, 2), maps, strict=True):
        of_copies = METHODS[of](model, -1, label, noisy(sample, 4, 0.3, 5), **RAW)
        np.testing.assert_allclose(got, of_copies.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("of", METHODS)
def test_of_a_method_without_noise_it_is_the_method_itself(of):
    model, x = zoo.functional(), zoo.images(1)[0]
    options = {"noise_level": 0, "num_samples": 2}
    np.testing.assert_allclose(smoothgrad(model, -1, 1, x, of=of, **options), METHODS[of](model, -1, 1, x), atol=1e-5)
    kept = smoothgrad(model, -1, 1, x, of=of, keepdims=True, **options, **RAW)
    np.testing.assert_allclose(kept, METHODS[of](model, -1, 1, x, keepdims=True, **RAW), atol=1e-5)


def test_a_sample_has_the_same_map_alone_and_in_a_batch_of_any_size():
    model, x = zoo.functional(), zoo.images(2)
    options = {"of": "gradient_times_input", "num_samples": 5, **RAW}
    together = smoothgrad(model, -1, [[0], [1]], x, **options)
    alone = smoothgrad(model, -1, 1, x[1], batch_size=2, **options)
    np.testing.assert_allclose(alone, together[1], atol=1e-6)


def test_what_it_is_not_of_is_refused():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="of must be one of 'gradient', 'gradient_times_input', .* not 'gradcam'"):
        smoothgrad(model, -1, 0, np.ones(5), of="gradcam")
    with pytest.raises(ValueError, match="aggregate must be 'mean' where of='integrated_gradients', not 'var'"):
        smoothgrad(model, -1, 0, np.ones(5), of="integrated_gradients", aggregate="var")


def smoothgrad_reference(gradient_of, x, noise_level, num_samples, seed):
    """Each aggregate of the gradient over the very draws that `smoothgrad` makes."""
    draws = []
    for draw in range(num_samples):
        key = tf.random.experimental.stateless_fold_in(tf.constant([seed, draw], tf.int64), 1)
        noise = tf.random.stateless_normal(x.shape[1:], key).numpy()
        span = np.ptp(x, axis=(1, 2, 3), keepdims=True)
        draws.append(gradient_of(x + noise_level * span * noise))
    draws = np.array(draws, "float64")
    return {
        "mean": draws.mean(0),
        "absolute": np.abs(draws).mean(0),
        "square": (draws**2).mean(0),
        "var": draws.var(0),
    }


@pytest.mark.parametrize("aggregate", ["mean", "absolute", "square", "var"])
def test_it_matches_the_reference(plain, reference, aggregate):
    x = zoo.images(2)
    expected = smoothgrad_reference(lambda noisy: reference.input_gradient(noisy, 2), x, 0.2, 7, seed=3)[aggregate]
    options = {"noise_level": 0.2, "num_samples": 7, "seed": 3, "aggregate": aggregate, "normalize": False}
    maps = smoothgrad(plain, -1, 2, x, grad_modifier=None, keepdims=True, **options)
    zoo.assert_close(maps, expected.astype("float32"), 1e-4)
    zoo.assert_close(smoothgrad(plain, -1, 2, x, **options), np.abs(expected).max(axis=-1).astype("float32"), 1e-4)


def test_of_a_linear_model_is_its_gradient_whatever_the_noise():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    maps = smoothgrad(model, -1, 1, np.arange(4.0), noise_level=1, num_samples=4, normalize=False)
    np.testing.assert_allclose(maps, np.abs(model.layers[0].get_weights()[0][:, 1]), rtol=1e-5)


def test_it_depends_on_the_seed_alone(plain):
    x = zoo.images(3)
    options = {"num_samples": 6, "normalize": False}
    first = smoothgrad(plain, -1, 2, x, seed=1, **options)
    for batch_size in (1, 4, 32):
        zoo.assert_close(smoothgrad(plain, -1, 2, x, seed=1, batch_size=batch_size, **options), first)
    zoo.assert_close(smoothgrad(plain, -1, 2, x[1], seed=1, **options), first[1])
    assert np.abs(smoothgrad(plain, -1, 2, x, seed=2, **options) - first).max() > 1e-3 * first.max()
    zoo.assert_close(smoothgrad(plain, -1, 2, x, **options), smoothgrad(plain, -1, 2, x, seed=0, **options))
    drawn = [smoothgrad(plain, -1, 2, x, seed=None, **options) for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 0


def test_the_noise_has_the_stated_standard_deviation():
    # The gradient of x²/2 is x itself: what comes back is the noisy input.
    class HalfSquare(keras.Model):
        def call(self, x):
            return tf.reduce_sum(x**2, axis=-1, keepdims=True) / 2

    x = np.linspace(-1, 3, 400)
    var = smoothgrad(
        HalfSquare(), None, 0, x[None], aggregate="var", noise_level=0.1, num_samples=300, seed=0, normalize=False
    )
    assert np.sqrt(var.mean()) == pytest.approx(0.1 * 4, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_level": 1.5}, "noise_level must be from 0 to 1"),
        ({"noise_level": -0.1}, "noise_level must be from 0 to 1"),
        ({"num_samples": "many"}, "num_samples must be a whole number of at least 1, not 'many'"),
        ({"seed": "a"}, "seed must be a whole number of at least 0, or None, not 'a'"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0, or None, not 1.5"),
        ({"seed": -1}, "seed must be a whole number of at least 0, or None, not -1"),
        ({"num_samples": 0}, "num_samples must be a whole number of at least 1"),
        ({"num_samples": 2.5}, "num_samples must be a whole number of at least 1"),
        ({"num_samples": 1, "aggregate": "var"}, "num_samples must be at least 2 for aggregate='var'"),
        ({"aggregate": "median"}, "must be one of 'mean', 'absolute', 'square', 'var', not 'median'"),
    ],
)
def test_refusals(plain, arguments, message):
    with pytest.raises(ValueError, match=message):
        smoothgrad(plain, -1, 2, zoo.images(1), **arguments)


def test_a_noise_level_that_is_no_number(plain):
    with pytest.raises(TypeError, match="noise_level must be a number, not 'a'"):
        smoothgrad(plain, -1, 2, zoo.images(1), noise_level="a")
