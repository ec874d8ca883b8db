"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperCommand

from vis.cli.messages import UsageError, option

# The value of --preprocess that follows the model file.
AUTO: Final = "auto"


def _scale_of_pixels(text: str) -> str:
    from vis import images

    if text != AUTO:
        with option("--preprocess"):
            images.check_preprocess(text)
    return text


# Neural Network Console's file name for a trained model.
_CONSOLE_MODEL = Path("results.nnp")
# The default of `--model`: Typer's callback replaces it, so that a command always receives a path.
DEFAULT_MODEL: Any = None


def _model_or_default(path: Path | None) -> Path:
    if path is not None:
        return path
    if _CONSOLE_MODEL.is_file():
        return _CONSOLE_MODEL
    raise UsageError(f"Missing option '--model'. It may be left out if there is a file {_CONSOLE_MODEL}.")


# Short options of more than one letter are those of Neural Network Console's plugins.
ModelOption = Annotated[
    Path,
    typer.Option(
        "--model",
        "-m",
        help="A trained model: .keras, .h5, .nnp or a SavedModel folder; by default results.nnp, if it exists.",
        show_default=False,
        callback=_model_or_default,
    ),
]
ImageOption = Annotated[
    Path,
    typer.Option("--image", "-i", "-image", help="An image; it is resized to the model's input.", show_default=False),
]
# The Grad-CAM plugin takes a table as its input, to find the output folder, and the image separately.
ImageBesideTableOption = Annotated[
    Path, typer.Option("--image", "-image", help="An image; it is resized to the model's input.", show_default=False)
]
UnusedTableOption = Annotated[Path | None, typer.Option("--input", "-i", hidden=True)]
ClassIndexOption = Annotated[
    str | None,
    typer.Option(
        "--class-index",
        "-c",
        help="The class to explain, from 0, or 'auto' for the predicted class; 0 by default.",
        metavar="INTEGER|auto",
        show_default=False,
    ),
]
PreprocessOption = Annotated[
    str,
    typer.Option(
        callback=_scale_of_pixels,
        metavar="auto|unit|raw|tf|caffe|torch|unit:MEAN:DEVIATION",
        help="The pixel values the model was trained on: 'unit' is 0 to 1, 'raw' 0 to 255; 'tf', 'caffe' and 'torch' "
        "are those of keras.applications; 'auto' follows the model file, or else takes 'unit'. For your own mean and "
        "standard deviation, append them to their unit, as one number or one per colour: unit:0.5:0.25 or "
        "raw:124,116,104:58,57,57.",
    ),
]
SizeOption = Annotated[
    int,
    typer.Option(
        min=1,
        max=4096,
        help="The minimum length of the picture's longer side in pixels: a smaller image is enlarged, each pixel to a "
        "square. With 1, every picture has the size of its image.",
    ),
]
OutputVariableOption = Annotated[
    str | None,
    typer.Option(
        "--output-variable",
        "-ov",
        help="The output of an .nnp file to explain; by default the first that predicts classes.",
        show_default=False,
    ),
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(help="A text file of class names: one per line, the first for class 0.", show_default=False),
]
CustomObjectsOption = Annotated[
    list[str],
    typer.Option(
        metavar="MODULE:NAME",
        help="Your own class or function that the model file needs, such as my_layers:Attention. May be repeated.",
        show_default=False,
    ),
]
UnsafeOption = Annotated[
    bool, typer.Option("--unsafe", help="Run code inside the model file (Lambda layers). Only for files you trust.")
]
RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Compute on a Ray cluster: give its address, such as 10.0.0.1:6379 or auto, or no value to start one on "
        "this machine.",
        show_default=False,
    ),
]


class CommandWithRay(TyperCommand):
    """A command whose option `--ray` may have no value if another option or nothing follows."""

    def parse_args(self, ctx, args: list[str]) -> list[str]:
        """Read the arguments, `--ray` alone as `--ray=`."""
        following = [*args, "-"][1:]
        bare = (arg == "--ray" and after.startswith("-") for arg, after in zip(args, following, strict=True))
        return super().parse_args(ctx, [f"{arg}=" if is_bare else arg for arg, is_bare in zip(args, bare, strict=True)])
