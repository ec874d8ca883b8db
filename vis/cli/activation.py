"""`vis activation`: draw what the filters of a model respond to most."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.app import app
from vis.cli.messages import IMAGE_REMEDIES, Remedies, UsageError, library_messages, option
from vis.cli.options import (
    AUTO,
    DEFAULT_MODEL,
    CustomObjectsOption,
    LabelsOption,
    ModelOption,
    OutputVariableOption,
    PreprocessOption,
    UnsafeOption,
)
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np

    from vis.images import InputLayout

_MOST_FILTERS = 100
_MOST_FRAMES = 64
_SIZE = 224
_OPTIONS = {
    "seed_input": "an image to start from",  # which no option sets
    "filter_indices": "--filters",
    "layer_idx": "--layer",
    "max_iter": "--steps",
    "input_range": "--preprocess",
    **{name: f"--{name}" for name in ("model", "seed", "parameterization", "jitter")},
}
_REMEDIES: Remedies = {
    **IMAGE_REMEDIES,
    ("seed_input", "missing"): "Save the model with an input of real numbers",
    "outside_input_range": "Give the --preprocess that the model was trained with",
    "silent_filter": "Try another --seed, or choose other --filters",
}


class Parameterization(StrEnum):
    """What to optimize: the spectrum of the images, or their pixels."""

    fourier = "fourier"
    pixels = "pixels"


@app.command(short_help="Show what a filter or class responds to most.")
def activation(
    *,
    model: ModelOption = DEFAULT_MODEL,
    layer: Annotated[
        str | None,
        typer.Option(
            help="The layer: its name ('backbone/conv5' in a nested model) or index; the model's output by default.",
            show_default=False,
        ),
    ] = None,
    filters: Annotated[str, typer.Option(help="The filters or classes, counted from 0, such as 0,1,2 or 0-9.")] = "0",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture to write: .png, .jpg, .bmp, .tif or .webp.")
    ] = Path("activation.png"),
    gif: Annotated[
        Path | None, typer.Option(help="Write an animation of the optimization: .gif.", show_default=False)
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="The number of optimization steps.")] = 256,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the initial noise: the same seed gives the same picture.")
    ] = 0,
    preprocess: PreprocessOption = AUTO,
    output_variable: OutputVariableOption = None,
    parameterization: Annotated[
        Parameterization,
        typer.Option(help="What to optimize: the spectrum of the images, which is smoother, or their pixels."),
    ] = Parameterization.fourier,
    jitter: Annotated[
        float,
        typer.Option(min=0, help="Maximum random shift per step: pixels (>= 1) or a fraction of the image (< 1)."),
    ] = 0.02,
    size: Annotated[
        int | None,
        typer.Option(
            min=8,
            max=4096,
            help=f"Height and width of the images, for a model that takes any size; {_SIZE} by default.",
            show_default=False,
        ),
    ] = None,
    labels: LabelsOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Synthesize the images that filters or classes respond to most, from noise, side by side in one picture."""
    from vis import images
    from vis.files import names, outputs

    with option("--filters"):
        chosen = _parse_filters(filters)
    with option("--labels"):
        class_names = None if labels is None else names.read(labels)
        if class_names is not None and layer is not None:
            raise ArgumentError("labels", "must be left out with --layer: they name the classes of the output")
    with option("--output"):
        outputs.check_output(output)
    if gif is not None:
        with option("--gif"):
            outputs.check_output(gif, (".gif",))
    network = methods.load(model, custom_objects, unsafe, output_variable=output_variable)
    from vis.visualization.attribution import width_of

    with option("--model"):
        layout = images.input_layout(network)
    with option("--labels"):
        names.check(class_names, width_of(network, None) or len(chosen))
    scale = methods.scale(preprocess, model, network)
    with option("--preprocess"):
        input_range = images.value_range(layout, scale.name)
    any_size = not (layout.height and layout.width)
    height, width = layout.height or size or _SIZE, layout.width or size or _SIZE
    layout = layout._replace(height=height, width=width)
    with option("--size"):
        if size is not None and not any_size:
            _check_size(size, height, width)
        if any_size:
            images.check_size(network, layout)
    with option("--jitter"):
        _check_jitter(jitter, height, width)

    from vis import callbacks
    from vis.input_modifiers import Jitter
    from vis.optimizer import starts
    from vis.plotting import sheets
    from vis.visualization import visualize_activation

    watchers = [callbacks.Progress(desc="Activation")]
    if gif is not None:
        watchers.append(_animation(gif, layout, scale.name))
    weights: dict[str, Any] = starts.regularizer_weights(input_range)
    noise = None
    if any_size:
        noise = starts.noise(layout, len(chosen), input_range, parameterization=parameterization.value, seed=seed)
    with library_messages(_OPTIONS, _REMEDIES), _writing("--gif", gif):
        found = visualize_activation(
            network,
            _parse_layer(layer),
            [[index] for index in chosen],
            seed_input=noise,
            input_range=input_range,
            max_iter=steps,
            seed=seed,
            # Without a channel axis, rows would be taken for the positions of a signal and columns for its channels.
            parameterization="pixels" if layout.channel_axis is None else parameterization.value,
            input_modifiers=[Jitter(jitter)] if jitter and layout.channel_axis is not None else None,
            callbacks=watchers,
            callback_every=-(-steps // _MOST_FRAMES),
            squeeze=False,
            **weights,
        )
    pictures = list(sheets.pictures(images.from_model_input(found, layout, scale.name), (0, 1)))
    shown = [names.named(index, class_names) for index in chosen]
    if len(chosen) > 1:
        pictures = [_labelled(picture, text) for picture, text in zip(pictures, shown, strict=True)]
    with _writing("--output", output):
        outputs.write_picture(sheets.sheet(pictures), output)
    count = "1 filter" if len(chosen) == 1 else f"{len(chosen)} filters"
    what = f"{count} of {layer if layer is not None else 'the output'}"
    if class_names is not None:
        what += f" ({', '.join(shown)})"
    note = methods.chosen_scale(preprocess, scale)
    typer.echo(f"{output}: {what}, {steps} steps" + (f"; {note}" if note else ""))


def _animation(path: Path, layout: InputLayout, preprocess: str):
    """Return a callback that writes an animation in displayable colours."""
    import numpy as np

    from vis import images
    from vis.callbacks import GifGenerator

    class Animation(GifGenerator):
        def callback(self, i, named_losses, overall_loss, grads, wrt_value):
            found = np.moveaxis(wrt_value, 1, -1) if layout.channel_axis == 0 else wrt_value
            shown = images.from_model_input(found, layout, preprocess)
            super().callback(i, named_losses, overall_loss, grads, shown)

    return Animation(path, input_range=(0, 1))


def _labelled(picture: np.ndarray, text: str) -> np.ndarray:
    """Return a picture with a line of text above it."""
    import numpy as np

    from vis.utils.utils import draw_text

    line = np.full((20, *picture.shape[1:]), 128, np.uint8)
    return np.concatenate([draw_text(line, text, position=(2, 1), color=(255, 255, 255)), picture])


def _parse_filters(text: str) -> list[int]:
    """Parse a list of filters such as 0,3,5-9."""
    chosen: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        last = last or first
        if not (_is_index(first) and _is_index(last)) or int(last) < int(first):
            raise ArgumentError("filters", f"must be filters from 0, not {text!r}", "Give for example 0,1,2 or 0-9")
        chosen += range(int(first), min(int(last), int(first) + _MOST_FILTERS) + 1)
        if len(chosen) > _MOST_FILTERS:
            raise ArgumentError("filters", f"must be at most {_MOST_FILTERS} filters, not {text}", "Give fewer")
    return chosen


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _parse_layer(text: str | None) -> int | str | None:
    """Parse a layer's index or name."""
    return int(text) if text and _is_index(text.removeprefix("-")) else text


def _check_size(size: int, height: int, width: int) -> None:
    if (height, width) != (size, size):
        raise ArgumentError("size", f"must be {height} by {width} for this model, not {size}", "Leave --size out")


def _check_jitter(jitter: float, height: int, width: int) -> None:
    least = min(height, width)
    if jitter > least:
        raise ArgumentError(
            "jitter",
            f"must be at most {least} pixels for images of {height} by {width}, not {jitter:g}",
            "Give fewer, or a fraction of the image below 1",
        )


@contextlib.contextmanager
def _writing(name: str, path: Path | None) -> Iterator[None]:
    """Report a file that cannot be written as an error of its option."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"{name} {path} cannot be written: {error.strerror or error}.") from error
