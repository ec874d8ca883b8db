"""Input modifiers: changes of the input at each step of an optimization, which make the result robust to them.

`Jitter`, `Rotate` and `Scale` are transforms: random, differentiable, and part of the compiled loop. The model sees the
transformed image and the gradient flows back through the transformation, so the image itself does not move (Olah et
al. 2017, "Feature Visualization", the section on transformation robustness). A keras-vis modifier, which changes NumPy
arrays in `pre` and `post`, works too, but is slightly slower.
"""

from __future__ import annotations

import abc
import math

import numpy as np
import tensorflow as tf

from vis.utils.errors import ArgumentError


class InputModifier:
    """Base class of modifiers that change the input itself, as in keras-vis: override `pre`, `post` or both.

    Example:
        >>> class Clip(InputModifier):
        ...     def post(self, img):
        ...         return img.clip(0.2, 0.8)

        Now `minimize(input_modifiers=[Clip()])` uses it.
    """

    def pre(self, img):
        """Change the images before a step.

        Args:
            img: An array of shape (images, ...), in the axis order and units of the model's input.

        Returns:
            An array of that shape.
        """
        return img

    def post(self, img):
        """Change the images after a step; several modifiers are applied in reverse order.

        Args:
            img: An array of shape (images, ...), in the axis order and units of the model's input.

        Returns:
            An array of that shape.
        """
        return img


class Transform(InputModifier):
    """Base class of transforms: override `transform`. The model sees its result; the image itself does not change.

    Example:
        >>> class Mirror(Transform):
        ...     def transform(self, images, seed, data_format):
        ...         return tf.cond(tf.random.stateless_uniform([], seed) < 0.5, lambda: images[:, ::-1], lambda: images)
    """

    def transform(self, images, seed, data_format: str):
        """Return the transformed images, by TensorFlow operations.

        Args:
            images: A float32 tensor of shape (images, positions..., channels), or (images, channels, positions...).
            seed: An int32 tensor of shape (2,) for `tf.random.stateless_` functions, another one at each step.
            data_format: Which of the two, `'channels_last'` or `'channels_first'`.

        Returns:
            A tensor of the same shape.

        Raises:
            TypeError: The subclass does not override this method.
            ValueError: The transform does not fit images of this rank.
        """
        raise TypeError(f"the transform {type(self).__name__} must override transform()")

    @property
    def key(self):
        """Return what two transforms must share to use one traced loop; by default the object itself."""
        return self

    def pre(self, img):
        """Return transformed images, for use outside an optimization; each call draws a new random transformation.

        Args:
            img: An array of shape (images, ...), with its axes in the order of `keras.config.image_data_format()`.

        Returns:
            A float32 array of the same shape.
        """
        import keras

        seed = np.random.default_rng().integers(0, 2**31, 2, dtype=np.int32)
        return self.transform(tf.constant(img, tf.float32), tf.constant(seed), keras.config.image_data_format()).numpy()


class Jitter(Transform):
    """Shift images by a random number of pixels along each axis; pixels that leave at one end enter at the other.

    The source is Olah et al. 2017, "Feature Visualization", the section on transformation robustness.

    Args:
        jitter: The largest shift, in either direction: a fraction of the image's size below 1, else pixels. One
            number for all axes, or a list with one number per axis.

    Raises:
        ValueError: It is negative, or (when images come) the list has another length than they have axes.

    Example:
        >>> image = np.eye(5, dtype="float32").reshape(1, 5, 5, 1)
        >>> Jitter([2, 0]).pre(image).sum(axis=1)[0, :, 0]
        array([1., 1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, jitter=0.05):
        self.jitter = tuple(float(value) for value in np.atleast_1d(jitter))
        if not all(value >= 0 for value in self.jitter):
            raise ArgumentError(
                "jitter",
                f"must be at least 0, not {jitter}",
                "A number below 1 is a share of the image's size, and from 1 on it counts pixels",
            )

    @property
    def key(self):
        return Jitter, self.jitter

    def transform(self, images, seed, data_format: str):
        axes = _positions(images, data_format)
        values = self.jitter * len(axes) if len(self.jitter) == 1 else self.jitter
        if len(values) != len(axes):
            raise ArgumentError(
                "jitter",
                f"must be one number, or one for each of the {len(axes)} axes of the images, not {len(values)}",
            )
        sizes = tf.cast(tf.gather(tf.shape(images), axes), tf.float32)
        largest = tf.stack([value if value >= 1 else value * sizes[i] for i, value in enumerate(values)])
        # All whole numbers from -n to n are equally likely.
        whole = tf.floor(largest)
        shifts = tf.floor(tf.random.stateless_uniform([len(axes)], seed) * (2 * whole + 1)) - whole
        return tf.roll(images, tf.cast(shifts, tf.int32), axes)


class _Affine(Transform, abc.ABC):
    """A linear map of the plane about the middle of the image, by bilinear interpolation; the border is mirrored."""

    def __init__(self, name: str, interval):
        low, high = (float(value) for value in interval)
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise ArgumentError(name, f"must go from a smaller to a larger number, not {interval}")
        self.interval = low, high

    @property
    def key(self):
        return type(self), self.interval

    @abc.abstractmethod
    def matrix(self, value):
        """Return the matrix that maps a position in the result to its source position in the image.

        Args:
            value: A random value, a float32 scalar.

        Returns:
            A float32 tensor of shape (2, 2).
        """

    def transform(self, images, seed, data_format: str):
        if len(_positions(images, data_format)) != 2:
            raise ArgumentError(
                "input_modifiers",
                f"must not hold {type(self).__name__} for an input of shape {images.shape}",
                f"{type(self).__name__} is for images of two dimensions and channels",
            )
        matrix = self.matrix(tf.random.stateless_uniform([], seed, *self.interval))
        if data_format == "channels_first":
            return tf.transpose(_sample(tf.transpose(images, [0, 2, 3, 1]), matrix), [0, 3, 1, 2])
        return _sample(images, matrix)


class Rotate(_Affine):
    """Turn images about their middle by a random angle, with bilinear interpolation; the border is mirrored.

    The source is Olah et al. 2017, "Feature Visualization", the section on transformation robustness.

    Args:
        degrees: The largest angle in either direction, in degrees, or a pair (smallest, largest).

    Raises:
        ValueError: The pair is the wrong way round or not finite, or (when images come) they do not have two axes.

    Example:
        >>> image = np.eye(3, dtype="float32").reshape(1, 3, 3, 1)
        >>> Rotate((90, 90)).pre(image)[0, :, :, 0].round(3) + 0
        array([[0., 0., 1.],
               [0., 1., 0.],
               [1., 0., 0.]], dtype=float32)
    """

    def __init__(self, degrees=10.0):
        super().__init__("degrees", degrees if np.ndim(degrees) else (-abs(degrees), abs(degrees)))

    def matrix(self, value):
        angle = value * (math.pi / 180)
        return tf.reshape(tf.stack([tf.cos(angle), tf.sin(angle), -tf.sin(angle), tf.cos(angle)]), [2, 2])


class Scale(_Affine):
    """Enlarge or shrink images about their middle by a random factor; their size in pixels stays.

    The source is Olah et al. 2017, "Feature Visualization", the section on transformation robustness.

    Args:
        factors: A pair (smallest, largest) of factors; above 1 is larger. Or one number s for (1 − s, 1 + s).

    Raises:
        ValueError: The pair is the wrong way round or not finite, a factor is not above 0, or (when images come) they
            do not have two axes.

    Example:
        >>> image = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
        >>> Scale((2, 2)).pre(image).ravel()
        array([1. , 1.5, 2. , 2.5, 3. ], dtype=float32)
    """

    def __init__(self, factors=0.1):
        super().__init__("factors", factors if np.ndim(factors) else (1 - factors, 1 + factors))
        if self.interval[0] <= 0:
            raise ArgumentError("factors", f"must be above 0, not {factors}")

    def matrix(self, value):
        return tf.eye(2) / value


def in_graph(modifier) -> bool:
    """Return whether a modifier is part of the compiled loop: a transform whose `pre` and `post` are not overridden.

    Args:
        modifier: An input modifier of any class.

    Returns:
        Whether it is.

    Example:
        >>> in_graph(Jitter()), in_graph(InputModifier())
        (True, False)
    """
    kind = type(modifier)
    return isinstance(modifier, Transform) and kind.pre is Transform.pre and kind.post is InputModifier.post


def _positions(images, data_format) -> list[int]:
    """Return the axes of an image's positions."""
    rank = images.shape.rank
    return list(range(2, rank) if data_format == "channels_first" else range(1, rank - 1))


def _sample(images, matrix):
    """Sample images of shape (images, height, width, channels) at `matrix` times each place, from the middle."""
    shape = tf.shape(images)
    height, width = shape[1], shape[2]
    middle = (tf.cast(tf.stack([height, width]), tf.float32) - 1) / 2
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    places = tf.cast(tf.reshape(tf.stack([rows, columns], axis=-1), [-1, 2]), tf.float32) - middle
    places = tf.linalg.matmul(places, matrix, transpose_b=True) + middle
    corner = tf.floor(places)
    near = places - corner
    corner = tf.cast(corner, tf.int32)
    pixels = tf.reshape(images, [shape[0], height * width, images.shape[-1]])
    total = 0.0
    for down in (0, 1):
        for right in (0, 1):
            row = _mirrored(corner[:, 0] + down, height)
            column = _mirrored(corner[:, 1] + right, width)
            share = (near[:, 0] if down else 1 - near[:, 0]) * (near[:, 1] if right else 1 - near[:, 1])
            total += tf.gather(pixels, row * width + column, axis=1) * share[:, None]
    sampled = tf.reshape(total, shape)
    sampled.set_shape(images.shape)
    return sampled


def _mirrored(index, size):
    """Count an index beyond either end back from that end: 0 1 2 | 1 0 1 2."""
    period = tf.maximum(2 * (size - 1), 1)
    index = index % period
    return tf.minimum(index, period - index) % size
