"""Arrays: their range, and their axes whatever the image data format."""

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError


def normalize(array: np.ndarray, min_value: float = 0.0, max_value: float = 1.0) -> np.ndarray:
    """Stretches an array linearly to a range.

    Args:
        array: Array of any shape, one sample: its own minimum and maximum are the ends of the range.
        min_value: What the smallest element becomes.
        max_value: What the largest element becomes.

    Returns:
        A new array of the same shape, in float32 at least. A constant array becomes `min_value` everywhere.

    Example:
        >>> normalize(np.array([10.0, 15.0, 20.0]))
        array([0. , 0.5, 1. ])
        >>> normalize(np.array([7.0, 7.0]), -1, 1)
        array([-1., -1.])
    """
    array = as_floating(array)
    low, high = array.min(), array.max()
    extent = high - low
    unit = (array - low) / (extent if extent > 0 else 1)
    return float(min_value) + (float(max_value) - float(min_value)) * unit


def deprocess_input(input_array: np.ndarray, input_range: tuple[float, float] = (0, 255)) -> np.ndarray:
    """Turns an optimized input into something to look at.

    Five standard deviations to either side of the mean fill the range. What lies beyond, the high-frequency artifacts
    of activation maximization, is clipped.

    Args:
        input_array: Array of any shape.
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
    """Makes uniform noise whose own mean and standard deviation are exactly the given ones.

    Args:
        shape: Shape of the result.
        mean: Mean of the result's elements.
        std: Standard deviation of the result's elements.
        seed: Same seed, same array. The global random state is neither read nor changed.

    Returns:
        Array of `shape`, float64.

    Example:
        >>> noise = random_array((32, 32, 3), seed=0)
        >>> noise.shape, noise.mean().round(6).item(), noise.std().round(6).item()
        ((32, 32, 3), 128.0, 20.0)
    """
    noise = np.random.default_rng(seed).random(shape)
    deviation = noise.std()
    return mean + std * (noise - noise.mean()) / (deviation if deviation > 0 else 1)


def get_img_shape(img, data_format: str | None = None) -> tuple[int | None, ...]:
    """Reads the shape of a batch of images in one order, whatever the image data format.

    Args:
        img: Array, tensor or Keras tensor of 1-D, 2-D or 3-D images: (samples, image_dims..., channels), or
            (samples, channels, image_dims...) for `'channels_first'`.
        data_format: `'channels_last'` or `'channels_first'`; None means `keras.config.image_data_format()`.

    Returns:
        (samples, channels, image_dims...); None where a Keras tensor leaves a size open.

    Raises:
        ValueError: If `img` has not three to five axes, or `data_format` is unknown.
        TypeError: If `img` has no shape.

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


class Slicer:
    """Slices images as (samples, channels, image_dims...), whatever the image data format.

    Give every image dimension a slice, or `...` for all of them, or none.

    Args:
        data_format: `'channels_last'` or `'channels_first'`; None means `keras.config.image_data_format()`, looked up
            at each use.

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
    """Makes an array of floating-point numbers, float32 at least.

    Means and differences of integers would wrap around, those of float16 overflow.

    Args:
        array: Anything NumPy takes.

    Returns:
        Array of the same shape; the same array where its type is good already.

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
