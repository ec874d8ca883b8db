"""SmoothGrad of other methods beside the mean of these over the same noisy copies."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.visualization import gradient_times_input, integrated_gradients, smoothgrad
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
def test_it_is_the_mean_over_noisy_copies(of):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(3)])
    x = RNG.normal(size=(2, 5)).astype("float32")
    maps = smoothgrad(model, -1, [[0], [2]], x, of=of, num_samples=4, seed=5, noise_level=0.3, **RAW)
    for sample, label, got in zip(x, (0, 2), maps, strict=True):
        of_copies = METHODS[of](model, -1, label, noisy(sample, 4, 0.3, 5), **RAW)
        np.testing.assert_allclose(got, of_copies.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize("of", METHODS)
def test_without_noise_it_is_the_method_itself(of):
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


def test_refusals():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="of must be one of 'gradient', 'gradient_times_input', .* not 'gradcam'"):
        smoothgrad(model, -1, 0, np.ones(5), of="gradcam")
    with pytest.raises(ValueError, match="aggregate must be 'mean' where of='integrated_gradients', not 'var'"):
        smoothgrad(model, -1, 0, np.ones(5), of="integrated_gradients", aggregate="var")
