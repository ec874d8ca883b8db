"""Load images, lay them out in a grid, and write text on them."""

import math
import os
from collections.abc import Sequence

import numpy as np

from vis.utils.checks import whole_number
from vis.utils.errors import ArgumentError, ArgumentTypeError, warn


def load_img(path, grayscale: bool = False, target_size: tuple[int, int] | None = None) -> np.ndarray:
    """Load an image file.

    Args:
        path: The path of the file, in any format that Pillow reads.
        grayscale: Whether to convert the image to grayscale.
        target_size: (height, width) to resize to, in pixels, bilinear; None keeps the size of the file.

    Returns:
        A uint8 array in 0..255 of shape (height, width, 3) in RGB, or (height, width) for `grayscale`. Transparency is
        dropped, and 16-bit grays are reduced to their upper 8 bits.

    Raises:
        FileNotFoundError: There is no such file.
        PIL.UnidentifiedImageError: The file is not an image (an OSError).

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new('RGB', (40, 30), 'red').save(f'{folder}/red.png')
        ...     image = load_img(f'{folder}/red.png', target_size=(15, 20))
        >>> image.shape, image.dtype, image[0, 0]
        ((15, 20, 3), dtype('uint8'), array([255,   0,   0], dtype=uint8))
    """
    from PIL import Image

    with Image.open(path) as opened:
        image: Image.Image = opened
        if image.mode.startswith("I"):  # Pillow would clip 16-bit grays at 255: a nearly white picture.
            image = Image.fromarray(np.clip(np.asarray(image) >> 8, 0, 255).astype(np.uint8))
        image = image.convert("L" if grayscale else "RGB")
        if target_size is not None:
            height, width = target_size
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(image)


def stitch_images(images: Sequence[np.ndarray], margin: int = 5, cols: int = 5) -> np.ndarray | None:
    """Lay images out in a grid, row by row, with black margins between them.

    Args:
        images: Images of the same shape, (height, width) or (height, width, channels).
        margin: The width of the black strips between images, in pixels.
        cols: The maximum number of images per row.

    Returns:
        One image: shape (rows * height + (rows - 1) * margin, the same for columns and width[, channels]).
        None if there are no images.

    Raises:
        ValueError: The images differ in shape or are not images, `cols` is below 1 or `margin` is negative.

    Example:
        >>> stitch_images([np.full((1, 2), value) for value in (1, 2, 3)], margin=1, cols=2)
        array([[1, 1, 0, 2, 2],
               [0, 0, 0, 0, 0],
               [3, 3, 0, 0, 0]])
    """
    cols, margin = whole_number("cols", cols), whole_number("margin", margin, 0)
    if len(images) == 0:
        return None
    shapes = {np.shape(image) for image in images}
    if len(shapes) > 1 or len(next(iter(shapes))) not in (2, 3):
        raise ArgumentError(
            "images",
            "must all have the same shape, (height, width) or (height, width, channels), "
            f"not {', '.join(map(str, sorted(shapes)))}",
        )
    height, width, *channels = shapes.pop()
    rows, cols = math.ceil(len(images) / cols), min(len(images), cols)
    grid_shape = (rows * (height + margin) - margin, cols * (width + margin) - margin, *channels)
    grid = np.zeros(grid_shape, np.result_type(*images))
    for index, image in enumerate(images):
        top, left = (index // cols) * (height + margin), (index % cols) * (width + margin)
        grid[top : top + height, left : left + width] = image
    return grid


def draw_text(
    img: np.ndarray,
    text: str,
    position: tuple[int, int] = (10, 10),
    font: str | None = None,
    font_size: int = 14,
    color: tuple[int, int, int] = (0, 0, 0),
) -> np.ndarray:
    """Write text on a copy of an image.

    Args:
        img: uint8 array, shape (height, width), (height, width, 1), (height, width, 3) or (height, width, 4).
        text: The text; it may have several lines.
        position: (x, y) of the text's upper left corner, in pixels.
        font: The path or file name of a TrueType or OpenType font; None for DejaVu Sans, which comes with matplotlib.
        font_size: The size of the font, in pixels.
        color: (r, g, b), each 0..255; a grayscale image uses its brightness.

    Returns:
        A new uint8 array of the same shape.

    Raises:
        TypeError: `img` is not uint8.
        ValueError: `img` does not have the shape of an image.

    Warns:
        VisWarning: The font was not found, so the text is in DejaVu Sans.

    Example:
        >>> label = draw_text(np.full((40, 120, 3), 255, np.uint8), 'zebra', font_size=20)
        >>> label.shape, label.min().item() < 50
        ((40, 120, 3), True)
    """
    from PIL import Image, ImageDraw

    img = np.asarray(img)
    if img.dtype != np.uint8:
        raise ArgumentTypeError(
            "img",
            f"must be uint8, not {img.dtype}",
            "Convert an image in [0, 1] with (255 * img).astype('uint8')",
            kind="dtype",
        )
    if not (img.ndim == 2 or (img.ndim == 3 and img.shape[-1] in (1, 3, 4))):
        raise ArgumentError(
            "img", f"must have the shape (height, width) or (height, width, 1, 3 or 4), not {img.shape}"
        )
    gray = img.ndim == 2 or img.shape[-1] == 1
    canvas = Image.fromarray(img.reshape(img.shape[:2]) if gray else img)
    fill = Image.new("RGB", (1, 1), tuple(color)).convert(canvas.mode).getpixel((0, 0))
    ImageDraw.Draw(canvas).text(position, text, fill=fill, font=_load_font(font, font_size))
    return np.array(canvas).reshape(img.shape)


def bgr2rgb(img: np.ndarray) -> np.ndarray:
    """Reverse the order of the colour channels: BGR to RGB, and RGB to BGR.

    Args:
        img: An array of shape (..., 3).

    Returns:
        A view of the same shape.

    Raises:
        ValueError: The last axis does not have three channels.

    Example:
        >>> bgr2rgb(np.array([[[255, 128, 0]]]))
        array([[[  0, 128, 255]]])
    """
    if np.shape(img)[-1:] != (3,):
        raise ArgumentError("img", f"must have the shape (..., 3), not {np.shape(img)}")
    return np.asarray(img)[..., ::-1]


def _load_font(font, font_size):
    import matplotlib
    from PIL import ImageFont

    # Pillow's default font is ASCII only; the font in matplotlib's wheel has Latin, Greek and Cyrillic.
    own = os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    if font is not None:
        try:
            return ImageFont.truetype(font, font_size)
        except OSError:
            warn("font_not_found", f"font {font!r} was not found, so the text is in DejaVu Sans")
    return ImageFont.truetype(own, font_size) if os.path.exists(own) else ImageFont.load_default(font_size)


def overlay(array1, array2, alpha: float = 0.5) -> np.ndarray:
    """Lay one picture over another.

    Args:
        array1: The upper picture, an array of any shape.
        array2: The lower one, of the same shape.
        alpha: The weight of `array1`, from 0 to 1; `array2` has the weight 1 - alpha.

    Returns:
        `array1 * alpha + array2 * (1 - alpha)`, in the dtype of `array1`.

    Raises:
        ValueError: `alpha` is out of range, or the shapes differ.

    Example:
        >>> overlay([0, 100], [200, 200], alpha=0.25)
        array([150, 175])
    """
    array1, array2 = np.asarray(array1), np.asarray(array2)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, not {alpha}")
    if array1.shape != array2.shape:
        raise ValueError(f"overlay needs two arrays of the same shape, not {array1.shape} and {array2.shape}")
    return (array1 * alpha + array2 * (1.0 - alpha)).astype(array1.dtype)
