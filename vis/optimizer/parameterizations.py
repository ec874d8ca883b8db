"""Parameterizations: the variables that an optimizer changes in place of an image's pixels.

A parameterization maps parameters with the shape of the image to images within a range. The space in which the descent
is steep decides which of many images it finds (Olah et al. 2017, "Feature Visualization", the section on
preconditioning).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from vis.utils.errors import ArgumentError

# A square root of the covariance of the colours in ImageNet, as in Lucid, scaled to columns of norm 1 at most.
_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]], np.float32)
_COLORS /= np.linalg.norm(_COLORS, axis=0).max()


class Pixels:
    """The pixels themselves, as fractions of their range, clipped to it."""

    key = "pixels"

    def initial(self, shape, rng: np.random.Generator) -> np.ndarray:
        """Draw the parameters of a random gray image: pixels scattered about the middle by a twentieth of the range.

        Args:
            shape: The shape of the images, (images, ...).
            rng: The generator to draw from.

        Returns:
            A float32 array of that shape.
        """
        axes = tuple(range(1, len(shape)))
        noise = rng.random(shape, np.float32)
        deviation = np.maximum(noise.std(axes, keepdims=True), 1e-6)
        return 0.5 + 0.05 * (noise - noise.mean(axes, keepdims=True)) / deviation

    def encode(self, images, low, high):
        """Return the parameters of images.

        Args:
            images: A float tensor of shape (images, ...), in the model's units.
            low: The lower end of the range; it broadcasts against the images.
            high: The upper end.

        Returns:
            A tensor of the same shape, from 0 (`low`) to 1 (`high`).
        """
        return (images - low) / (high - low)

    def decode(self, parameters, low, high):
        """Return the images of parameters.

        Args:
            parameters: A float tensor of shape (images, ...).
            low: The lower end of the range; it broadcasts against the parameters.
            high: The upper end.

        Returns:
            A tensor of the same shape, in the model's units.
        """
        return low + (high - low) * parameters

    def bounded(self, parameters):
        """Return the nearest parameters whose images are within the range.

        Args:
            parameters: A float tensor.

        Returns:
            A tensor of the same shape, in [0, 1].
        """
        return tf.clip_by_value(parameters, 0.0, 1.0)


class Fourier:
    """The image's spectrum, each frequency in units of its amplitude in photographs, with decorrelated colours.

    x = low + (high − low) · sigmoid(C · H(s · θ)). H is the discrete Hartley transform, a Fourier transform with real
    numbers for real images; s = 1/f is the amplitude that frequency f has in photographs; C turns three independent
    channels into colours that correlate as in photographs (Olah et al. 2017, "Feature Visualization", the section on
    preconditioning; lucid/optvis/param/spatial.py and color.py).

    Args:
        data_format: `'channels_last'` or `'channels_first'`, of the images.
    """

    key = "fourier"

    def __init__(self, data_format: str):
        self.channels_first = data_format == "channels_first"
        self.key = f"fourier {data_format}"

    def initial(self, shape, rng: np.random.Generator) -> np.ndarray:
        """Draw the parameters of a random image, gray and nearly flat.

        Args:
            shape: The shape of the images, (images, ...).
            rng: The generator to draw from.

        Returns:
            A float32 array of that shape, normally distributed with the standard deviation 0.01.
        """
        return rng.normal(scale=0.01, size=shape).astype(np.float32)

    def encode(self, images, low, high):
        """Return the parameters of images; values within a hundredth of an end of the range are moved there first.

        Args:
            images: A float tensor of shape (images, ...) with one to three spatial axes, in the model's units.
            low: The lower end of the range; it broadcasts against the images.
            high: The upper end.

        Returns:
            A tensor of the same shape.

        Raises:
            ValueError: The images do not have one to three spatial axes and channels.
        """
        unit = tf.clip_by_value((images - low) / (high - low), 0.01, 0.99)
        planes = self._channels_to_front(tf.math.log(unit / (1 - unit)))
        if planes.shape[1] == 3:
            planes = tf.einsum("ij,nj...->ni...", np.linalg.inv(_COLORS), planes)
        return self._channels_back(4 * _hartley(planes) / _amplitudes(planes))

    def decode(self, parameters, low, high):
        """Return the images of parameters.

        Args:
            parameters: A float tensor of shape (images, ...) with one to three spatial axes.
            low: The lower end of the range; it broadcasts against the parameters.
            high: The upper end.

        Returns:
            A tensor of the same shape, in the model's units.

        Raises:
            ValueError: The parameters do not have one to three spatial axes and channels.
        """
        planes = self._channels_to_front(parameters)
        planes = _hartley(planes * _amplitudes(planes)) / (4 * _count(planes))
        if planes.shape[1] == 3:
            planes = tf.einsum("ij,nj...->ni...", _COLORS, planes)
        return low + (high - low) * tf.sigmoid(self._channels_back(planes))

    def bounded(self, parameters):
        """Return the parameters unchanged: all of them decode to images within the range.

        Args:
            parameters: A float tensor.

        Returns:
            The same tensor.
        """
        return parameters

    def _channels_to_front(self, images):
        images = tf.convert_to_tensor(images, tf.float32)
        rank = images.shape.rank
        if not 3 <= rank <= 5:
            raise ArgumentError(
                "parameterization",
                f"must be 'pixels' for an input of shape {images.shape[1:]}, not 'fourier'",
                "'fourier' needs an image of one to three dimensions and an axis of channels",
            )
        return images if self.channels_first else tf.transpose(images, [0, rank - 1, *range(1, rank - 1)])

    def _channels_back(self, planes):
        rank = planes.shape.rank
        return planes if self.channels_first else tf.transpose(planes, [0, *range(2, rank), 1])


def _hartley(planes):
    """Compute Σ x(n) · (cos + sin)(2π k·n / N) over the positions n; applied twice, it multiplies x by their number."""
    transform = {1: tf.signal.fft, 2: tf.signal.fft2d, 3: tf.signal.fft3d}[planes.shape.rank - 2]
    spectrum = transform(tf.complex(planes, tf.zeros_like(planes)))
    return tf.math.real(spectrum) - tf.math.imag(spectrum)


def _count(planes):
    return tf.cast(tf.reduce_prod(tf.shape(planes)[2:]), tf.float32)


def _amplitudes(planes):
    """Return 1/f of each frequency, times the root of the number of positions; f is at least one wave per image."""
    sizes = tf.unstack(tf.shape(planes)[2:])
    squares = 0.0
    for axis, size in enumerate(sizes):
        waves = tf.range(size)
        waves = tf.minimum(waves, size - waves)
        frequencies = tf.cast(waves, tf.float32) / tf.cast(size, tf.float32)
        squares += tf.reshape(frequencies**2, [-1] + [1] * (len(sizes) - 1 - axis))
    lowest = 1 / tf.cast(tf.reduce_max(sizes), tf.float32)
    return tf.sqrt(_count(planes)) / tf.maximum(tf.sqrt(squares), lowest)
