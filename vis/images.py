"""Read images from files, and convert them to what a model takes."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vis.utils.errors import ArgumentError, warn

if TYPE_CHECKING:
    import keras

# The most pixels of an image, and the number to reduce it to.
_MOST_PIXELS = 500_000_000
_LARGEST_IMAGE = 16_777_216

PREPROCESSING = ("unit", "raw", "tf", "caffe", "torch")
# The largest value of white after a `Rescaling` layer for pixels from 0 to 255.
_LARGEST = 10
# Layers that do not change the scale of values.
_KEEPING = (
    "InputLayer Resizing CenterCrop RandomCrop RandomFlip RandomTranslation RandomRotation RandomZoom ZeroPadding2D "
    "Cropping2D Permute Reshape Identity Dropout"
).split()
_ARRAYS = "Give arrays to the functions of vis.visualization in Python"

# An orientation in the EXIF data (CIPA DC-008, tag 0x0112), and what turns the image upright. `ImageOps.exif_transpose`
# also writes the data back, which fails for what many cameras put there.
_ORIENTATION = 0x0112
_TURNS: dict[int | None, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _Lifted:
    """A `with` statement in which Pillow neither refuses nor warns of large images, in any number of threads."""

    def __init__(self):
        self._lock, self._inside, self._limit = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            self._inside += 1

    def __exit__(self, *error):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                Image.MAX_IMAGE_PIXELS = self._limit


_pillow_s_limit_lifted = _Lifted()


class InputLayout(NamedTuple):
    """The images that a model takes.

    Attributes:
        height: The number of pixel rows, or None if the model takes any number.
        width: The number of pixel columns, or None if the model takes any number.
        channels: 1 (grayscale) or 3 (RGB).
        channel_axis: The axis of the channels in one sample: -1, 0, or None for images without a channel axis.

    Example:
        >>> InputLayout(height=224, width=224, channels=3, channel_axis=-1).channels
        3
    """

    height: int | None
    width: int | None
    channels: int
    channel_axis: int | None


class Scale(NamedTuple):
    """A scale of pixel values, and the reason for it.

    Attributes:
        name: One of `PREPROCESSING`.
        reason: Why this one: part of a sentence, or empty if there is no reason.

    Example:
        >>> Scale("unit")
        Scale(name='unit', reason='')
    """

    name: str
    reason: str = ""


def read_image(path: str | os.PathLike, *, warns: bool = True) -> Image.Image:
    """Read an image upright and with 8 bits per channel.

    Args:
        path: A file that Pillow can read: PNG, JPEG, GIF, BMP, TIFF, WebP, ...
        warns: Whether to warn; False for an image that is read again.

    Returns:
        The image in mode 'L' (grayscale) or 'RGB'. An orientation in the EXIF data is applied, 16-bit images are scaled
        to 8 bits, and transparent pixels are laid on white. An image of more than 16 million pixels is reduced to
        fewer, by a whole factor.

    Raises:
        ValueError: There is no such file, it is not an image, it has more than 500 million pixels, or it holds 32 bits
            per pixel.

    Warns:
        VisWarning: The image is reduced, or only the first of several frames is read.

    Example:
        >>> import os, tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGBA", (8, 6)).save(os.path.join(folder, "a.png"))
        ...     read_image(os.path.join(folder, "a.png")).mode
        'RGB'
    """
    with _opened(path) as image:
        declared, frames = image.size, getattr(image, "n_frames", 1)
        image.draft(None, _fitting(image.size))  # a JPEG is decoded at a smaller size
        image.load()
        turn = _TURNS.get(image.getexif().get(_ORIENTATION))
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        # Its white is unknown; only these two formats return 16 bits as 32.
        raise ValueError(f"{path} holds 32 bits a pixel. Save it with 8 or 16 bits.")
    if image.mode in ("L", "LA", "RGB", "RGBA"):  # first, to save memory; the other modes have no means
        image = _reduced(image)
    if turn is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I"):
        # Pillow's own conversion of 16 bits to 8 clips everything above 255 to white.
        image = Image.fromarray((np.asarray(image, dtype=np.float32) / 257).round().clip(0, 255).astype(np.uint8))
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    image = _reduced(_in_mode(_on_white(image) if image.has_transparency_data else image, mode))
    if warns and frames > 1:
        warn("first_frame", f"{path} has {frames} frames, of which the first is read")
    if warns and declared != _fitting(declared):
        warn("reduced_image", f"{path} is very large and read at a size of {image.width} by {image.height}")
    return image


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read the size of an image after `read_image`, without decoding it.

    Args:
        path: A file that Pillow can read: PNG, JPEG, GIF, BMP, TIFF, WebP, ...

    Returns:
        (width, height) in pixels, before an orientation in the EXIF data is applied.

    Raises:
        ValueError: There is no such file, or it is not an image.

    Example:
        >>> import os, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 6)).save(os.path.join(folder, "a.png"))
        ...     read_size(os.path.join(folder, "a.png"))
        (8, 6)
    """
    with _opened(path) as image:
        return _fitting(image.size)


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    """Open an image file; turn any error in decoding into a ValueError that names the file."""
    try:
        with _pillow_s_limit_lifted, Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                most, came = f"{_MOST_PIXELS // 10**6} million", f"{image.width:,} by {image.height:,}"
                problem = f"must be an image of at most {most} pixels, not {path} of {came}"
                raise ArgumentError("path", problem, "Make it smaller")
            yield image
    except ArgumentError:
        raise
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist. Give the path of an image file.") from None
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise all kinds of errors on a damaged file: struct.error, RuntimeError, KeyError, ...
        if isinstance(error, OSError) and error.errno is not None:
            raise ValueError(f"{path} cannot be read: {error.strerror}.") from error
        raise ValueError(
            f"{path} is not an image that can be read. Give a complete PNG, JPEG, GIF, BMP, TIFF or WebP."
        ) from error


def _factor(size: tuple[int, int]) -> int:
    return math.ceil(math.sqrt(size[0] * size[1] / _LARGEST_IMAGE))


def _fitting(size: tuple[int, int]) -> tuple[int, int]:
    """Return the size that an image is reduced to, by a whole factor."""
    return -(-size[0] // _factor(size)), -(-size[1] // _factor(size))


def _reduced(image: Image.Image) -> Image.Image:
    return image if _factor(image.size) == 1 else image.reduce(_factor(image.size))


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def input_layout(model: keras.Model) -> InputLayout:
    """Return the layout of the images that a model takes.

    Args:
        model: A model with one input of shape (height, width), (height, width, channels) or (channels, height, width),
            in which each size may be None. If both ends could be the channels, the operations of the model
            decide.

    Returns:
        The `InputLayout`.

    Raises:
        ValueError: The model has several inputs, does not say which shape its input has, or its input is not an image
            of 1 or 3 channels.

    Example:
        >>> import keras
        >>> input_layout(keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()]))
        InputLayout(height=28, width=28, channels=1, channel_axis=-1)
    """
    shape = _input_shape(model)
    if len(shape) == 2:
        return InputLayout(*shape, channels=1, channel_axis=None)
    if len(shape) != 3:
        raise ArgumentError("model", f"must take images, not an input of shape {shape}", _ARRAYS)

    first, last = (shape[axis] in (1, 3) for axis in (0, -1))
    channel_axis = (0 if first else -1) if first != last else _channel_axis(model)
    # A model that takes any number of channels gets colours.
    channels = 3 if shape[channel_axis] is None else shape[channel_axis]
    if channels not in (1, 3):
        raise ArgumentError(
            "model",
            f"must take images of 1 or 3 channels, as image files have, not of {channels} (input shape {shape})",
            _ARRAYS,
        )
    height, width = shape[1:] if channel_axis == 0 else shape[:2]
    return InputLayout(height, width, channels, channel_axis)


def scale_of(model: keras.Model) -> Scale:
    """Determine the scale of pixel values that a model takes, from its first layers.

    Args:
        model: The model. A `Rescaling` layer that makes white a small number takes 0 to 255, and so does a
            `Normalization` layer whose data varied by more than 1; layers that leave values as they are, such as
            `Resizing` or `RandomFlip`, may come before.

    Returns:
        The `Scale`: `'raw'`, or `'unit'`; without such a layer `'unit'`, without a reason.

    Example:
        >>> import keras
        >>> scale_of(keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Rescaling(1 / 127.5, offset=-1)])).name
        'raw'
    """
    import keras

    layer = _first_layer(model)
    if isinstance(layer, keras.layers.Rescaling):
        largest = float(np.max(np.abs(layer.scale)))
        name = "raw" if 255 * largest <= _LARGEST else "unit"
        return Scale(name, f"the model begins with {layer.name!r}, which multiplies by {largest:.3g}")
    if isinstance(layer, keras.layers.Normalization) and not layer.invert:
        deviation = float(np.sqrt(np.max(keras.ops.convert_to_numpy(layer.variance))))
        name = "raw" if deviation > 1 else "unit"
        return Scale(name, f"the model begins with {layer.name!r}, which divides by {deviation:.3g}")
    return Scale("unit")


def to_model_input(image: Image.Image, layout: InputLayout, preprocess: str = "unit") -> np.ndarray:
    """Turn an image into what a model takes: its size, its channels and its scale of pixel values.

    Args:
        image: An image in mode 'L' or 'RGB'.
        layout: What the model takes, from `input_layout`.
        preprocess: The scale of pixel values: `'unit'` divides by 255, `'raw'` leaves 0 to 255; `'tf'`, `'caffe'` and
            `'torch'` do what `keras.applications` calls by these names. `'unit:MEAN:DEVIATION'` or
            `'raw:MEAN:DEVIATION'`, such as `'unit:0.5:0.25'` or `'raw:124,116,104:58,57,57'`, subtracts a mean and
            divides by a deviation, each one number or one per colour, red first.

    Returns:
        One sample without samples axis, float32, (height, width, channels), (channels, height, width) or (height,
        width), as the layout says. The image is resized bilinearly; a size that the layout leaves open stays.

    Raises:
        ValueError: `preprocess` is unknown, its mean or deviation is no number or does not fit the model's channels, or
            it needs colours while the model takes grayscale.

    Example:
        >>> from PIL import Image
        >>> to_model_input(Image.new("L", (64, 32), 255), InputLayout(2, 3, 1, -1))[..., 0]
        array([[1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
    """
    check_preprocess(preprocess, layout)
    size = (layout.width or image.width, layout.height or image.height)
    image = _in_mode(image, "L" if layout.channels == 1 else "RGB")
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.float32)

    scale, mean, deviation = _parts(preprocess)
    if scale == "unit":
        pixels = pixels / np.float32(255)
    elif scale != "raw":
        import keras

        pixels = keras.applications.imagenet_utils.preprocess_input(
            pixels.copy(), data_format="channels_last", mode=scale
        )
    if mean is not None:
        pixels = (pixels - mean) / deviation

    if layout.channel_axis is None:
        return pixels
    pixels = pixels.reshape(*pixels.shape[:2], layout.channels)
    return np.moveaxis(pixels, -1, 0) if layout.channel_axis == 0 else pixels


def check_preprocess(preprocess: str, layout: InputLayout | None = None) -> None:
    """Refuse a scale of pixel values that a model cannot take, before any image is read.

    Args:
        preprocess: The scale: `'unit'`, `'raw'`, `'tf'`, `'caffe'`, `'torch'`, `'unit:MEAN:DEVIATION'` or
            `'raw:MEAN:DEVIATION'`.
        layout: What the model takes, from `input_layout`; None refuses only scales that no model can take.

    Raises:
        ValueError: `preprocess` is unknown, a mean or a deviation is no number or the latter not above 0, there are
            not as many of them as the model takes channels, or it needs colours while the model takes grayscale.

    Example:
        >>> check_preprocess("caffe", InputLayout(224, 224, 3, -1))
        >>> check_preprocess("unit:0.5:0.25")
    """
    _, mean, _ = _parts(preprocess)
    if layout is None:
        return
    if mean is not None and mean.size not in (1, layout.channels):
        raise ArgumentError(
            "preprocess",
            f"must have one mean and deviation or {layout.channels} of each, as the model takes {layout.channels} "
            f"channel{'s' * (layout.channels > 1)}, not {mean.size} in {preprocess!r}",
        )
    if preprocess in ("caffe", "torch") and layout.channels != 3:
        raise ArgumentError(
            "preprocess",
            f"must be unit, raw or tf for a model that takes {layout.channels} channel, not {preprocess!r}",
            f"{preprocess!r} is for three channels",
        )


def _parts(preprocess: str) -> tuple[str, np.ndarray | None, np.ndarray | None]:
    """Return the name of a scale of pixel values, and the mean and deviation that follow it, if any."""
    name, *numbers = preprocess.split(":")
    if name not in PREPROCESSING or (numbers and (name not in ("unit", "raw") or len(numbers) != 2)):
        raise ArgumentError(
            "preprocess",
            f"must be one of {', '.join(PREPROCESSING)}, or unit:MEAN:DEVIATION or raw:MEAN:DEVIATION, "
            f"not {preprocess!r}",
            kind="unknown",
        )
    if not numbers:
        return name, None, None
    try:
        mean, deviation = (np.array([float(each) for each in part.split(",")], np.float32) for part in numbers)
        mean, deviation = np.broadcast_arrays(mean, deviation)
    except ValueError:
        mean = deviation = np.zeros(1, np.float32)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()):
        raise ArgumentError(
            "preprocess",
            f"must have numbers as mean and deviation, as many of each, and deviations above 0, not {preprocess!r}",
            "Give for example unit:0.5:0.25 or raw:124,116,104:58,57,57",
        )
    return name, mean, deviation


def check_size(model: keras.Model, layout: InputLayout) -> None:
    """Refuse an image size that is too small for the layers of a model for images of any size.

    Args:
        model: The model; subclassed models, whose layer shapes are unknown, are not checked.
        layout: What it takes, with a height and a width.

    Raises:
        ArgumentError: The layers cannot compute images of this size; its argument is `size`.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.MaxPooling2D(8)])
        >>> check_size(model, InputLayout(8, 8, 1, -1))
    """
    import keras

    if not getattr(model, "inputs", None):
        return
    height, width = layout.height, layout.width
    shape: tuple = (layout.channels, height, width) if layout.channel_axis == 0 else (height, width, layout.channels)
    shape = shape[:2] if layout.channel_axis is None else shape
    sample = keras.KerasTensor((1, *shape), model.inputs[0].dtype)
    structure = model.input if isinstance(model, keras.Function) else sample
    try:
        model.compute_output_spec(keras.tree.pack_sequence_as(structure, [sample]))
    except ValueError as error:
        problem = f"must be one that the model's layers can compute, not {height} by {width}"
        raise ArgumentError("size", problem, "Give a larger one") from error


def value_range(layout: InputLayout, preprocess: str = "unit") -> tuple[np.ndarray, np.ndarray]:
    """Return the values that a model takes for black and for white.

    Args:
        layout: What the model takes.
        preprocess: The scale of pixel values: `'unit'`, `'raw'`, `'tf'`, `'caffe'`, `'torch'`,
            `'unit:MEAN:DEVIATION'` or `'raw:MEAN:DEVIATION'`.

    Returns:
        (black, white), float32, (channels,) each, in the order of the model's channels: an `input_range` of
        `vis.visualization.visualize_activation`.

    Raises:
        ArgumentError: `preprocess` is unknown, its mean or deviation is no number or does not fit the model's channels,
            or it needs colours while the model takes grayscale.

    Example:
        >>> value_range(InputLayout(None, None, 3, -1), "tf")
        (array([-1., -1., -1.], dtype=float32), array([1., 1., 1.], dtype=float32))
    """
    mode = "L" if layout.channels == 1 else "RGB"
    pixel = layout._replace(height=1, width=1)
    black, white = (to_model_input(Image.new(mode, (1, 1), color), pixel, preprocess) for color in ("black", "white"))
    return black.ravel(), white.ravel()


def from_model_input(images: np.ndarray, layout: InputLayout, preprocess: str = "unit") -> np.ndarray:
    """Convert model inputs back to colours: the inverse of `to_model_input`, except for the size.

    Args:
        images: (images, height, width, channels), or (images, height, width) where the layout has no channel axis.
            Channels are last, as `vis.visualization.visualize_activation` returns them.
        layout: What the model takes.
        preprocess: The scale of pixel values: `'unit'`, `'raw'`, `'tf'`, `'caffe'`, `'torch'`,
            `'unit:MEAN:DEVIATION'` or `'raw:MEAN:DEVIATION'`.

    Returns:
        An array of the same shape, from 0 (black) to 1 (white), its colours in the order red, green, blue.

    Raises:
        ArgumentError: `preprocess` is unknown, its mean or deviation is no number or does not fit the model's channels,
            or it needs colours while the model takes grayscale.

    Example:
        >>> layout = InputLayout(1, 1, 3, -1)
        >>> sample = to_model_input(Image.new("RGB", (1, 1), (255, 0, 51)), layout, "caffe")
        >>> from_model_input(sample[None], layout, "caffe").round(2)
        array([[[[1. , 0. , 0.2]]]], dtype=float32)
    """
    black, white = value_range(layout, preprocess)
    unit = (images - black) / (white - black)
    return unit[..., ::-1] if preprocess == "caffe" else unit  # whose channels are blue, green, red


def _first_layer(model: keras.Model):
    """Return the first layer that changes values, inside nested models too, or None if several take the input."""
    import keras

    from vis.engine import keras_internals

    function = keras_internals.functional_of(model)
    if function is None or len(function.inputs) != 1:
        return None
    nodes = keras_internals.node_order(function)
    symbol = function.inputs[0]
    while True:
        taking = [node for node in nodes if any(each is symbol for each in node.input_tensors)]
        if len(taking) != 1:
            return None
        (node,) = taking
        inside = isinstance(node.operation, keras.Model)
        if inside and (found := _first_layer(node.operation)) is not None:
            return found
        if not inside and type(node.operation).__name__ not in _KEEPING:
            return node.operation
        symbol = node.outputs[0]


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)


def _input_shape(model: keras.Model) -> tuple[int | None, ...]:
    """Return the shape of one sample; a subclassed model has no symbolic input but stores its build shape."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        if len(inputs) != 1:
            raise ArgumentError("model", f"must take one image, not {len(inputs)} inputs", _ARRAYS)
        return tuple(inputs[0].shape[1:])
    shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
    if not isinstance(shape, list | tuple) or not all(size is None or isinstance(size, int) for size in shape):
        raise ArgumentError(
            "model", "must say which shape of input it takes", "Call it on one sample and save it again"
        )
    return tuple(shape[1:])


def _channel_axis(model: keras.Model) -> int:
    """Return the channel axis of a model's input from its operations, if the shape is ambiguous: 0 or -1."""
    from vis.engine.taps import input_layouts

    layouts = input_layouts(model)
    return 0 if layouts and layouts[0].channel == 0 else -1
