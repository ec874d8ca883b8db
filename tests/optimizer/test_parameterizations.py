from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from vis.optimizer.parameterizations import Fourier, Pixels, _hartley

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 6, 5, 3), (1, 3, 4, 5, 1)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_images_come_back(shape, data_format):
    images = RNG.uniform(-1.8, 2.8, shape).astype("float32")
    if data_format == "channels_first":
        images = np.moveaxis(images, -1, 1)
    for space in (Pixels(), Fourier(data_format)):
        np.testing.assert_allclose(space.decode(space.encode(images, -2.0, 3.0), -2.0, 3.0), images, atol=1e-4)


def test_the_transform_is_the_sum_of_its_waves():
    planes = tf.constant(RNG.normal(size=(1, 1, 4, 5)), tf.float32)
    expected = np.zeros((4, 5))
    for k in np.ndindex(4, 5):
        for n in np.ndindex(4, 5):
            angle = 2 * np.pi * (k[0] * n[0] / 4 + k[1] * n[1] / 5)
            expected[k] += planes[(0, 0, *n)].numpy() * (np.cos(angle) + np.sin(angle))
    np.testing.assert_allclose(_hartley(planes)[0, 0], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(_hartley(_hartley(planes)), 20 * planes, rtol=1e-4, atol=1e-4)


def test_random_parameters_have_the_spectrum_of_photographs():
    """The amplitude of a frequency f goes with 1/f: power four times less at twice the frequency."""
    space = Fourier("channels_last")
    parameters = space.initial((64, 64, 64, 1), np.random.default_rng(1))
    images = space.decode(parameters, 0.0, 1.0).numpy()[..., 0]
    logits = np.log(images / (1 - images))
    power = (np.abs(np.fft.fft(logits, axis=2)) ** 2).mean(axis=(0, 1))
    whole = (np.abs(np.fft.fft2(logits)) ** 2).mean(axis=0)
    assert whole[0, 4] / whole[0, 8] == pytest.approx(4, rel=0.5)
    assert whole[8, 0] / whole[16, 0] == pytest.approx(4, rel=0.5)
    assert power[1] > 5 * power[31]


def test_colours_correlate_as_in_photographs():
    """Independent channels become mostly gray: the correlations are those of Lucid's matrix."""
    space = Fourier("channels_last")
    parameters = space.initial((32, 32, 32, 3), np.random.default_rng(2))
    images = space.decode(parameters, 0.0, 1.0).numpy().reshape(-1, 3)
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    covariance = root @ root.T
    expected = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    np.testing.assert_allclose(np.corrcoef(np.log(images / (1 - images)).T), expected, atol=0.03)


def test_pixels_start_as_gray_noise_and_stay_in_range():
    space = Pixels()
    noise = space.initial((2, 40, 40, 3), np.random.default_rng(0))
    assert noise.mean() == pytest.approx(0.5, abs=1e-3)
    assert noise.std() == pytest.approx(0.05, rel=1e-2)
    assert space.bounded(np.array([-1.0, 0.25, 2.0])).numpy().tolist() == [0, 0.25, 1]


def test_a_table_has_no_spectrum():
    with pytest.raises(ValueError, match=r"parameterization must be 'pixels' for an input of shape \(4,\)"):
        Fourier("channels_last").decode(np.zeros((1, 4), "float32"), 0.0, 1.0)


def test_an_image_s_noise_does_not_depend_on_how_many_there_are():
    for space in (Pixels(), Fourier("channels_last")):
        one, two = (space.initial((count, 6, 6, 1), np.random.default_rng(3)) for count in (1, 2))
        np.testing.assert_array_equal(one[0], two[0])
