"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Preprocess(str, Enum):
    """How pixel values are scaled for the model."""

    unit = "unit"
    raw = "raw"
    tf = "tf"
    caffe = "caffe"
    torch = "torch"
    auto = "auto"


ModelOption = Annotated[
    Path, typer.Option(help="A trained model: .keras, .h5, .nnp or a SavedModel folder.", show_default=False)
]
ImageOption = Annotated[Path, typer.Option(help="An image; it is resized to the model's input.", show_default=False)]
ClassIndexOption = Annotated[
    str, typer.Option(help="The output to explain, from 0; 'auto' for the predicted class.", metavar="INTEGER|auto")
]
PreprocessOption = Annotated[
    Preprocess,
    typer.Option(
        help="Pixel values as the model was trained: 'unit' is 0 to 1, 'raw' 0 to 255; 'tf', 'caffe' and 'torch' as "
        "keras.applications has them; 'auto' is what the model says, else 'unit'."
    ),
]
OutputVariableOption = Annotated[
    str | None,
    typer.Option(help="Which output of an .nnp file; the first of classes unless given.", show_default=False),
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
