"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis.cli.messages import UsageError, option

# The value of --preprocess that asks the model.
AUTO = "auto"


def _scale_of_pixels(text: str) -> str:
    from vis import images

    if text != AUTO:
        with option("--preprocess"):
            images.check_preprocess(text)
    return text


# Neural Network Console's name for a trained model.
_CONSOLE_S_MODEL = Path("results.nnp")


def _given_or_console_s(path: Path | None) -> Path:
    if path is not None:
        return path
    if _CONSOLE_S_MODEL.is_file():
        return _CONSOLE_S_MODEL
    raise UsageError(f"Missing option '--model'. It may be left out where there is a file {_CONSOLE_S_MODEL}.")


# Of more than one letter, short options are those of Neural Network Console's plugins.
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A trained model: .keras, .h5, .nnp or a SavedModel folder; results.nnp, if there is one, unless given.",
        show_default=False,
        callback=_given_or_console_s,
    ),
]
ImageOption = Annotated[
    Path,
    typer.Option("--image", "-i", "-image", help="An image; it is resized to the model's input.", show_default=False),
]
# The plugin for Grad-CAM takes a table as its input, to find the output by, and the image beside it.
ImageBesideTableOption = Annotated[
    Path, typer.Option("--image", "-image", help="An image; it is resized to the model's input.", show_default=False)
]
UnusedTableOption = Annotated[Path | None, typer.Option("--input", "-i", hidden=True)]
ClassIndexOption = Annotated[
    str | None,
    typer.Option(
        "--class-index",
        "-c",
        help="The class to explain, from 0; 'auto' for the predicted one; 0 unless given.",
        metavar="INTEGER|auto",
        show_default=False,
    ),
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        callback=_scale_of_pixels,
        metavar="auto|unit|raw|tf|caffe|torch|unit:MEAN:DEVIATION",
        help="Pixel values as the model was trained: 'auto' is what the model says, else 'unit'; 'unit' is 0 to 1, "
        "'raw' 0 to 255; 'tf', 'caffe' and 'torch' as keras.applications has them. A mean and a deviation of your own "
        "follow the unit that they are in, each one number or one per colour: unit:0.5:0.25 or "
        "raw:124,116,104:58,57,57.",
    ),
]
SizeOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=4096,
        help="The fewest pixels of the picture's longer side: a smaller image is enlarged, each pixel to a square. "
        "With 1 every picture has its image's own size.",
    ),
]
OutputVariableOption = Annotated[
    str | None,
    typer.Option(
        "--output-variable",
        "-ov",
        help="Which output of an .nnp file; the first of classes unless given.",
        show_default=False,
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="A text file of the classes' names: a line for each, the first for class 0.", show_default=False),
]
CustomObjectsOption = Annotated[
    list[str],
    typer.Option(
        metavar="MODULE:NAME",
        help="A class or function of your own that the model file names, such as my_layers:Attention. May be repeated.",
        show_default=False,
    ),
]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe", help="Run code inside the model file (Lambda layers). Only for files you trust.")
]
