"""Arrays: scale them to a range, resize them, and address their axes in any image data format."""

import functools

import numpy as np

from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError


def normalize(array: np.ndarray, min_value: float = 0.0, max_value: float = 1.0) -> np.ndarray:
    """Stretch an array linearly to a range.

    Args:
        array: An array of any shape, one sample: its minimum and maximum become the ends of the range.
        min_value: The new value of the smallest element.
        max_value: The new value of the largest element.

    Returns:
        A new array of the same shape, in float32 at least. A constant array becomes `min_value` everywhere.

    Example:
        >>> normalize(np.array([10.0, 15.0, 20.0]))
        array([0. , 0.5, 1. ])
        >>> normalize(np.array([7.0, 7.0]), -1, 1)
        array([-1., -1.])
    """
    array = as_floating(array)
    if not array.size:
        return array
    low, high = array.min(), array.max()
    extent = high - low
    unit = (array - low) / (extent if extent > 0 else 1)
    return float(min_value) + (float(max_value) - float(min_value)) * unit


def deprocess_input(input_array: np.ndarray, input_range: tuple[float, float] = (0, 255)) -> np.ndarray:
    """Turn an optimized input into a viewable image.

    Five standard deviations to either side of the mean fill the range: unit = 0.5 + 0.1 (x − mean) / std, clipped to
    [0, 1]. The clipping removes the high-frequency artifacts of activation maximization. The rule is that of Chollet
    2016, "How convolutional neural networks see the world" (blog.keras.io), and of keras-vis.

    Args:
        input_array: An array of any shape.
        input_range: (min, max) of the result.

    Returns:
        A new floating-point array of the same shape. A constant array becomes the middle of the range.

    Example:
        >>> deprocess_input(np.array([-1.0, 1.0]), (0, 100)).round(3)
        array([40., 60.])
    """
    array = as_floating(input_array)
    deviation = array.std()
    unit = np.clip(0.5 + 0.1 * (array - array.mean()) / (deviation if deviation > 0 else 1), 0, 1)
    low, high = input_range
    return low + (high - low) * unit


def random_array(
    shape: tuple[int, ...], mean: float = 128.0, std: float = 20.0, *, seed: int | None = None
) -> np.ndarray:
    """Return uniform noise with exactly the given sample mean and standard deviation.

    Args:
        shape: The shape of the result.
        mean: The mean of the result's elements.
        std: The standard deviation of the result's elements.
        seed: The same seed gives the same array; None draws a new one each time. The global random state is neither
            read nor changed.

    Returns:
        A float64 array of `shape`.

    Example:
        >>> noise = random_array((32, 32, 3), seed=0)
        >>> noise.shape, noise.mean().round(6).item(), noise.std().round(6).item()
        ((32, 32, 3), 128.0, 20.0)
    """
    noise = np.random.default_rng(seed).random(shape)
    deviation = noise.std()
    return mean + std * (noise - noise.mean()) / (deviation if deviation > 0 else 1)


@shared_docs
def get_img_shape(img, data_format: str | None = None) -> tuple[int | None, ...]:
    """Return the shape of a batch of images in a fixed order, whatever the image data format.

    Args:
        img: An array, tensor or Keras tensor of 1-D, 2-D or 3-D images: (samples, image_dims..., channels), or
            (samples, channels, image_dims...) for `'channels_first'`.
        {{data_format}}

    Returns:
        (samples, channels, image_dims...); a size that a Keras tensor leaves open is None.

    Raises:
        ValueError: `img` does not have three to five axes, or `data_format` is unknown.
        TypeError: `img` has no shape.

    Example:
        >>> get_img_shape(np.zeros((8, 32, 64, 3)), data_format='channels_last')
        (8, 3, 32, 64)
    """
    if not hasattr(img, "shape"):
        raise ArgumentTypeError("img", f"must be an array or a tensor, not {type(img).__name__}")
    shape = tuple(img.shape)
    if len(shape) not in (3, 4, 5):
        raise ArgumentError(
            "img", f"must be a batch of 1-D, 2-D or 3-D images with channels, not an array of shape {shape}"
        )
    if _data_format(data_format) == "channels_first":
        return shape
    samples, *image_dims, channels = shape
    return (samples, channels, *image_dims)


@shared_docs
class Slicer:
    """Slice images as (samples, channels, image_dims...), whatever the image data format.

    Give every image dimension a slice, or `...` for all of them, or none.

    Args:
        {{data_format}} It is looked up at each use.

    Raises:
        ValueError: The samples or the channels are `...`, or `data_format` is unknown (at each use).

    Example:
        >>> images = np.zeros((8, 32, 64, 3))
        >>> images[Slicer('channels_last')[:, 0, ...]].shape
        (8, 32, 64)
    """

    def __init__(self, data_format: str | None = None):
        self.data_format = data_format

    def __getitem__(self, item):
        if not isinstance(item, tuple) or len(item) < 2 or _data_format(self.data_format) == "channels_first":
            return item
        samples, channels, *image_dims = item
        if samples is Ellipsis or channels is Ellipsis:
            raise ArgumentError(
                "slicer",
                "must be indexed with the samples and the channels, not with '...' in their place",
                "Write slicer[:, channel, ...]",
            )
        return (samples, *(image_dims or [Ellipsis]), channels)


slicer = Slicer()
"""`output[slicer[:, 3, ...]]` is channel 3 of each sample, in either image data format."""


def as_floating(array) -> np.ndarray:
    """Return an array of floating-point numbers, float32 at least.

    Means and differences of integers would wrap around, those of float16 overflow.

    Args:
        array: Anything NumPy takes.

    Returns:
        An array of the same shape; the same array if its type is already floating-point.

    Example:
        >>> as_floating(np.array([1, 2], np.uint8)).dtype
        dtype('float32')
    """
    array = np.asarray(array)
    return array.astype(np.result_type(array, np.float32), copy=False)


def _data_format(data_format):
    if data_format is None:
        import keras

        return keras.config.image_data_format()
    if data_format not in ("channels_last", "channels_first"):
        raise ArgumentError("data_format", f"must be 'channels_last', 'channels_first' or None, not {data_format!r}")
    return data_format


def resize(maps: np.ndarray, size: tuple[int, ...], interpolation: str = "linear") -> np.ndarray:
    """Interpolate maps along any number of axes; pixels are areas, like those of TensorFlow's resizing.

    Args:
        maps: Shape (samples, *positions).
        size: The new number of positions per axis.
        interpolation: `'linear'`, or `'cubic'` (Keys 1981, with a = -1/2), which is clipped to the range of each
            sample's values.

    Returns:
        An array of shape (samples, *size).

    Example:
        >>> resize(np.array([[0.0, 1.0]]), (4,))
        array([[0.  , 0.25, 0.75, 1.  ]])
    """
    resized = maps
    for axis, wanted in enumerate(size, start=1):
        given = maps.shape[axis]
        if given != wanted:
            matrix = interpolation_matrix(given, wanted, interpolation)
            resized = np.moveaxis(np.moveaxis(resized, axis, -1) @ matrix.T, -1, axis)
    if interpolation == "linear":
        return resized
    positions = tuple(range(1, maps.ndim))
    return np.clip(resized, maps.min(positions, keepdims=True), maps.max(positions, keepdims=True))


def _linear(distance: np.ndarray) -> np.ndarray:
    return np.maximum(1 - distance, 0)


def _cubic(distance: np.ndarray) -> np.ndarray:
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0))


_KERNELS = {"linear": _linear, "cubic": _cubic}


@functools.lru_cache
def interpolation_matrix(given: int, wanted: int, interpolation: str = "linear") -> np.ndarray:
    """Return the matrix that interpolates along an axis.

    Args:
        given: The size of the axis.
        wanted: The new size.
        interpolation: `'linear'`, or `'cubic'` (Keys 1981, "Cubic convolution interpolation", equation 15).

    Returns:
        A float64 array of shape (wanted, given), whose rows add up to 1.

    Example:
        >>> interpolation_matrix(2, 4)
        array([[1.  , 0.  ],
               [0.75, 0.25],
               [0.25, 0.75],
               [0.  , 1.  ]])
    """
    at = (np.arange(wanted) + 0.5) * given / wanted - 0.5
    matrix = _KERNELS[interpolation](np.abs(at[:, None] - np.arange(given)))
    # At the edge, the weights of positions beyond it go to the last position.
    return matrix / matrix.sum(axis=1, keepdims=True)


def blur(array: np.ndarray, axes, share: float = 0.05) -> np.ndarray:
    """Blur an array by a Gaussian along some of its axes, with the edge values repeated outside.

    Args:
        array: An array of any shape.
        axes: The axes.
        share: The standard deviation as a fraction of the size of each axis.

    Returns:
        A float32 array of the same shape.

    Example:
        >>> blur(np.array([0.0, 0.0, 1.0, 0.0, 0.0]), [0], 0.2).round(2)
        array([0.05, 0.24, 0.4 , 0.24, 0.05], dtype=float32)
    """
    for axis in axes:
        size = array.shape[axis]
        places = np.arange(size)
        reach = max(int(np.ceil(4 * share * size)), 1)
        offsets = np.arange(-reach, reach + 1)
        kernel = np.exp(-0.5 * (offsets / max(share * size, 1e-6)) ** 2)
        matrix = np.zeros((size, size))
        for offset, weight in zip(offsets, kernel / kernel.sum(), strict=True):
            np.add.at(matrix, (places, np.clip(places + offset, 0, size - 1)), weight)
        array = np.moveaxis(np.moveaxis(array, axis, -1) @ matrix.T, -1, axis)
    return array.astype(np.float32)
