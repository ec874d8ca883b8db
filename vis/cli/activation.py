"""`vis activation`: a model in, a picture out of what its filters respond to most."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vis.cli import methods
from vis.cli.app import app
from vis.cli.messages import library_messages, option, refuse
from vis.cli.options import CustomObjectsOption, ModelOption, Preprocess, PreprocessOption, UnsafeOption

if TYPE_CHECKING:
    import numpy as np

    from vis.images import InputLayout

_MOST_FILTERS = 100
_MOST_FRAMES = 64
_SIZE = 224
_OPTIONS = {
    "seed_input": "the image to start from",
    "filter_indices": "--filters",
    "layer_idx": "--layer",
    "max_iter": "--steps",
    "input_range": "--preprocess",
    # What the library advises, and no option gives.
    "which noise cannot stand for: give seed_input": "which no gradient can move. Save the model with an input of real "
    "numbers.",
    "a smaller learning rate or weight, an input_range": "a --preprocess",
    **{name: f"--{name}" for name in ("model", "seed", "parameterization")},
}


class Parameterization(str, Enum):
    """What is moved: the spectrum of the images, or their pixels."""

    fourier = "fourier"
    pixels = "pixels"


@app.command(short_help="What a filter or class responds to most.")
def activation(
    model: ModelOption,
    layer: Annotated[
        str | None,
        typer.Option(
            help="The layer: its name ('backbone/conv5' in a nested model) or index. The model's output, unless given.",
            show_default=False,
        ),
    ] = None,
    filters: Annotated[str, typer.Option(help="The filters or classes, from 0: such as 0,1,2 or 0-9.")] = "0",
    output: Annotated[Path, typer.Option(help="The picture to write: .png, .jpg, .bmp, .tif or .webp.")] = Path(
        "activation.png"
    ),
    gif: Annotated[
        Path | None, typer.Option(help="An animation of how the images come about: .gif.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="How many steps to take.")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise to start from: the same seed, the same picture.")] = 0,
    preprocess: PreprocessOption = Preprocess.unit,
    parameterization: Annotated[
        Parameterization, typer.Option(help="What is moved: the images' spectrum, which is smoother, or their pixels.")
    ] = Parameterization.fourier,
    jitter: Annotated[
        float,
        typer.Option(min=0, help="The most that images are shifted at each step: a share of their size, or pixels."),
    ] = 0.02,
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=4096,
            help=f"Height and width of the images, for a model that takes any size; {_SIZE} unless given.",
            show_default=False,
        ),
    ] = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Make the images that filters or classes respond to most, from noise, side by side in one picture."""
    from vis import callbacks, images
    from vis.files import outputs

    with option("--filters"):
        chosen = _parse_filters(filters)
    with option("--output"):
        outputs.check_output(output)
    if gif is not None:
        with option("--gif"):
            outputs.check_output(gif, (".gif",))
    network = methods.load(model, custom_objects, unsafe)
    with option("--model"):
        layout = images.input_layout(network)
    with option("--preprocess"):
        colors = _Colors(layout, preprocess.value)
    height, width = layout.height or size or _SIZE, layout.width or size or _SIZE
    if size is not None and layout.height and layout.width and (height, width) != (size, size):
        refuse("--size", f"the model takes images of {height} by {width} only. Leave --size out.")
    if jitter > min(height, width):
        refuse(
            "--jitter",
            f"{jitter:g} pixels are more than the images have ({height} by {width}). Give fewer, or a share below 1.",
        )

    import numpy as np

    from vis.input_modifiers import Jitter
    from vis.plotting import sheets
    from vis.visualization import visualize_activation

    watchers = [callbacks.Progress(desc="Activation")]
    if gif is not None:
        watchers.append(_animation(gif, colors))
    # Weights in units of the range, so that they weigh alike for images of 0 to 1 and of 0 to 255.
    extent = float(np.mean(colors.high - colors.low))
    noise = None
    if not (layout.height and layout.width):
        noise = colors.noise(len(chosen), height, width, parameterization.value, seed)
    with library_messages(_OPTIONS), _animation_errors(), _size_errors(height, width):
        found = visualize_activation(
            network,
            int(layer) if layer and re.fullmatch(r"-?\d+", layer) else layer,
            [[index] for index in chosen],
            seed_input=noise,
            input_range=(colors.low, colors.high),
            lp_norm_weight=10 / extent,
            tv_weight=10 / extent**2,
            max_iter=steps,
            seed=seed,
            # Without a channel axis rows would be taken for a signal's positions and columns for its channels.
            parameterization="pixels" if layout.channel_axis is None else parameterization.value,
            input_modifiers=[Jitter(jitter)] if jitter and layout.channel_axis is not None else None,
            callbacks=watchers,
            callback_every=-(-steps // _MOST_FRAMES),
            squeeze=False,
        )
    pictures = sheets.pictures(colors.displayed(found), (0, 1))
    if len(chosen) > 1:
        pictures = [_labelled(picture, str(index)) for picture, index in zip(pictures, chosen, strict=True)]
    try:
        outputs.write_picture(sheets.sheet(pictures), output)
    except OSError as error:
        refuse("--output", f"{output} cannot be written: {error.strerror or error}.")
    count = "1 filter" if len(chosen) == 1 else f"{len(chosen)} filters"
    typer.echo(f"{output}: {count} of {layer if layer is not None else 'the output'}, {steps} steps")


class _Colors:
    """How a model's colours are shown: what is black, what is white, and which channel is which.

    Args:
        layout: What image the model takes.
        preprocess: How its pixel values are scaled.
    """

    def __init__(self, layout: InputLayout, preprocess: str):
        from PIL import Image

        from vis import images

        mode = "L" if layout.channels == 1 else "RGB"
        one = layout._replace(height=1, width=1)
        self.low, self.high = (
            images.to_model_input(Image.new(mode, (1, 1), color), one, preprocess).ravel()
            for color in ("black", "white")
        )
        self.layout = layout
        self.backwards = preprocess == "caffe"  # its channels are blue, green, red

    def displayed(self, found: np.ndarray) -> np.ndarray:
        """Images, (images, height, width[, channels]), as they are to be seen: from 0 to 1, in RGB."""
        unit = (found - self.low) / (self.high - self.low)
        return unit[..., ::-1] if self.backwards else unit

    def noise(self, count: int, height: int, width: int, parameterization: str, seed: int) -> np.ndarray:
        """Images to start from, for a model that takes any size."""
        import numpy as np

        from vis.optimizer.parameterizations import Fourier, Pixels

        layout = self.layout
        shape = (count, height, width, layout.channels)
        space = Pixels() if parameterization == "pixels" else Fourier("channels_last")
        start = np.asarray(space.decode(space.initial(shape, np.random.default_rng(seed)), self.low, self.high))
        if layout.channel_axis is None:
            return start[..., 0]
        return np.moveaxis(start, -1, 1) if layout.channel_axis == 0 else start


def _animation(path: Path, colors: _Colors):
    """A callback that writes an animation in the colours that are to be seen."""
    import numpy as np

    from vis.callbacks import GifGenerator

    class Animation(GifGenerator):
        def callback(self, i, named_losses, overall_loss, grads, wrt_value):
            found = np.moveaxis(wrt_value, 1, -1) if colors.layout.channel_axis == 0 else wrt_value
            super().callback(i, named_losses, overall_loss, grads, colors.displayed(found))

    return Animation(path, input_range=(0, 1))


def _labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture with a line of text above it."""
    import numpy as np

    from vis.utils.utils import draw_text

    line = np.full((20, *picture.shape[1:]), 128, np.uint8)
    return np.concatenate([draw_text(line, text, position=(2, 1), color=(255, 255, 255)), picture])


def _parse_filters(text: str) -> list[int]:
    """The filters of a list such as 0,3,5-9."""
    chosen: list[int] = []
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(f"{text!r} is not a list of filters, from 0. Give for example 0,1,2 or 0-9.")
        chosen += range(int(match[1]), int(match[2] or match[1]) + 1)
        if len(chosen) > _MOST_FILTERS:
            raise ValueError(f"{text} is more than {_MOST_FILTERS} filters. Give fewer.")
    return chosen


@contextlib.contextmanager
def _animation_errors() -> Iterator[None]:
    """Lay what hinders writing the animation at the door of --gif."""
    try:
        yield
    except OSError as error:
        refuse("--gif", f"the animation cannot be written: {error.strerror or error}.")


@contextlib.contextmanager
def _size_errors(height: int, width: int) -> Iterator[None]:
    """Lay images that are too small for a model's layers at the door of --size, in fewer words than TensorFlow's."""
    try:
        yield
    except ValueError as error:
        if "Negative dimension size" not in str(error):
            raise
        refuse("--size", f"the model's layers leave nothing of images of {height} by {width}. Give more.")
