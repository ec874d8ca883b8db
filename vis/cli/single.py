"""`vis NAME` for each method of the table: one image in, one picture out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.messages import IMAGE_OPTIONS, library_messages, option, refuse
from vis.cli.options import (
    ClassIndexOption,
    CustomObjectsOption,
    ImageBesideTableOption,
    ImageOption,
    ModelOption,
    OutputVariableOption,
    Preprocess,
    PreprocessOption,
    UnsafeOption,
    UnusedTableOption,
)
from vis.methods import METHODS, Method

if TYPE_CHECKING:
    import numpy as np


def one_image(
    method: Method,
    options: dict[str, Any],
    *,
    model: ModelOption = None,
    image: ImageOption,
    class_index: ClassIndexOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture to write: .png, .jpg, .bmp, .tif or .webp.")
    ],
    preprocess: PreprocessOption = Preprocess.auto,
    output_variable: OutputVariableOption = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """One image in, one picture of its size out."""
    from vis import images
    from vis.files import outputs

    with option("--class-index"):
        index = parse_class_index(class_index or "0")
    with option("--image"):
        picture = images.read_image(image)
    with option("--output"):
        outputs.check_output(output)
        if output.exists() and output.samefile(image):
            raise ValueError(f"{output} is the image itself. Give another name.")
    asked = class_index is not None
    network = methods.load(model, custom_objects, unsafe, output_variable=output_variable)
    with option("--model"):
        layout = images.input_layout(network)
    scale = methods.scale(preprocess, model, network)
    with option("--preprocess"):
        sample = images.to_model_input(picture, layout, scale.name)
    from vis.batch.predictions import decide, scorer
    from vis.losses import Labels

    with option("--model"):
        scores, probabilities = scorer(network)(sample[None])
    width = scores.shape[1]
    # A sigmoid has two classes: 1 is what increases it, 0 what decreases it. The only class of a regressor is 0.
    is_regressor = width == 1 and not probabilities
    count = 1 if is_regressor else max(width, 2)
    predicted = decide(scores, probabilities)
    if index is None:
        index = 0 if is_regressor else int(predicted.classes[0])
    if index >= count:
        classes = (
            "one output: give 0"
            if count == 1
            else f"{width} outputs: give 0 to {width - 1}"
            if width > 1
            else "two classes: give 0 or 1"
        )
        refuse("--class-index", f"{index} is out of range, the model has {classes} or auto.")
    if not asked and not is_regressor and index != predicted.classes[0]:
        typer.echo(
            f"Explaining class {index} (score {_score(scores, probabilities, index):.3g}); predicted: "
            f"{predicted.classes[0]} ({predicted.scores[0]:.3g}); use --class-index auto.",
            err=True,
        )

    with library_messages(IMAGE_OPTIONS | methods.flags(method)):
        (heatmap,) = method.explain(network, 0 if is_regressor else Labels([index]), sample[None], options)
    try:
        outputs.write_picture(method.picture(picture, heatmap, options), output)
    except OSError as error:
        refuse("--output", f"{output} cannot be written: {error.strerror or error}.")
    score = scores[0, index] if width > 1 else scores[0, 0]
    told = methods.told(preprocess, scale)
    typer.echo(f"{output}: output {index}, score {score:.4g}" + (f"; {told}" if told else ""))


# Neural Network Console's plugin for Grad-CAM is given a table, too, from which it only takes a folder.
_BESIDE_TABLE = {"annotations": {"image": ImageBesideTableOption}, "unused": {"input": UnusedTableOption}}

for _method in METHODS.values():
    methods.command(
        _method.name,
        f"{_method.line}.",
        _method,
        one_image,
        f"{_method.name}.png",
        **(_BESIDE_TABLE if _method.name == "gradcam" else {}),
    )


def _score(scores: np.ndarray, probabilities: bool, index: int) -> float:
    """The score of a class of one sample; a single output speaks for class 1 and against class 0."""
    if scores.shape[1] > 1:
        return float(scores[0, index])
    return float(scores[0, 0] if index else (1 if probabilities else 0) - scores[0, 0])


def parse_class_index(text: str) -> int | None:
    """Return a class index, or None for the predicted class."""
    if text.strip().lower() == "auto":
        return None
    try:
        index = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number. Give the class's index, from 0, or auto.") from None
    if index < 0:
        raise ValueError(f"{index} is negative. Give the class's index, from 0, or auto.")
    return index
