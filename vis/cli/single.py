"""`vis NAME` for each method of the table: explain one image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.messages import IMAGE_OPTIONS, library_messages, option, refuse, shown_warnings
from vis.cli.options import (
    AUTO,
    DEFAULT_MODEL,
    ClassIndexOption,
    CustomObjectsOption,
    ImageBesideTableOption,
    ImageOption,
    LabelsOption,
    ModelOption,
    OutputVariableOption,
    PreprocessOption,
    SizeOption,
    UnsafeOption,
    UnusedTableOption,
)
from vis.methods import METHODS, Method
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import numpy as np


# How many of the most probable classes to list.
_TOP = 5


def one_image(
    method: Method,
    options: dict[str, Any],
    *,
    model: ModelOption = DEFAULT_MODEL,
    image: ImageOption,
    class_index: ClassIndexOption = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture to write: .png, .jpg, .bmp, .tif or .webp.")
    ],
    size: SizeOption = 224,
    preprocess: PreprocessOption = AUTO,
    output_variable: OutputVariableOption = None,
    labels: LabelsOption = None,
    save_map: Annotated[
        Path | None, typer.Option(help="Also write the array behind the picture: .npy.", show_default=False)
    ] = None,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """Draw the map of one image as a picture of the same size; small images are enlarged."""
    from vis import images
    from vis.files import names, outputs

    with option("--class-index"):
        index = parse_class_index(class_index or "0")
    with option("--labels"):
        class_names = None if labels is None else names.read(labels)
    with option("--image"), shown_warnings():
        picture = images.read_image(image)
    with option("--output"):
        outputs.check_output(output)
        if output.exists() and output.samefile(image):
            raise ArgumentError("output", f"must not be {output}, which is the image itself", "Give another name")
    if save_map is not None:
        with option("--save-map"):
            outputs.check_output(save_map, (".npy",))
    network = methods.load(model, custom_objects, unsafe, output_variable=output_variable)
    with option("--model"):
        layout = images.input_layout(network)
    scale = methods.scale(preprocess, model, network)
    with option("--preprocess"):
        sample = images.to_model_input(picture, layout, scale.name)
    sized = layout._replace(height=layout.height or picture.height, width=layout.width or picture.width)
    options = methods.read_files(method, options, sized, scale.name)
    from vis.batch.predictions import decide, scores_of
    from vis.losses import Labels

    with option("--model"):
        scores, probabilities = scores_of(network, sample[None])
    predicted = decide(scores, probabilities)
    # A sigmoid has two classes: class 1 increases it, class 0 decreases it. The only class of a regressor is 0.
    is_regressor = predicted.width == 1 and not probabilities
    count = 1 if is_regressor else max(predicted.width, 2)
    with option("--labels"):
        names.check(class_names, count)
    if index is None:
        index = 0 if is_regressor else int(predicted.classes[0])
    if index >= count:
        refuse("--class-index", f"{index} is out of range, the model has {_range(predicted.width, count)} or auto.")

    def explained(*, to_draw: bool) -> np.ndarray:
        target = 0 if is_regressor else Labels([index])
        return method.explain(network, target, sample[None], options, to_draw=to_draw)[0]

    with library_messages(IMAGE_OPTIONS | methods.flags(method)):
        heatmap = explained(to_draw=True)
    if class_index is None and not is_regressor and index != predicted.classes[0]:
        other = f"{names.named(predicted.classes[0], class_names)} ({predicted.scores[0]:.3g})"
        shown = f"{names.named(index, class_names)} (score {_score(scores, probabilities, index):.3g})"
        typer.echo(f"Explaining class {shown}; predicted: {other}; use --class-index auto.", err=True)
    try:
        outputs.write_picture(method.picture(picture, heatmap, options, size), output)
    except OSError as error:
        refuse("--output", f"{output} cannot be written: {error.strerror or error}.")
    if save_map is not None:
        numbers = heatmap if not method.is_enlarged else explained(to_draw=False)
        try:
            outputs.write_array(numbers, save_map)
        except OSError as error:
            refuse("--save-map", f"{save_map} cannot be written: {error.strerror or error}.")
    kind = "probability" if probabilities else "score"
    if is_regressor:
        parts = [f"the output is {scores[0, 0]:.4g}"]
    else:
        is_predicted = " (predicted)" if index == predicted.classes[0] else ""
        shown = f"{names.named(index, class_names)}{is_predicted}"
        parts = [f"class {shown}, {kind} {_number(_score(scores, probabilities, index), kind)}"]
        parts.append(f"the map explains its {'logit' if probabilities and options.get('logits', True) else kind}")
    if note := methods.chosen_scale(preprocess, scale):
        parts.append(note)
    typer.echo(f"{output}: {'; '.join(parts)}")
    if predicted.width > 1:
        first = scores[0].argsort()[::-1][:_TOP]
        top = (f"{names.named(each, class_names)} {_number(scores[0, each], kind)}" for each in first)
        typer.echo(f"Top {len(first)}: {', '.join(top)}")


# Neural Network Console's Grad-CAM plugin also takes a table, but reads only its folder.
_BESIDE_TABLE: dict[str, dict[str, Any]] = {
    "annotations": {"image": ImageBesideTableOption},
    "unused": {"input": UnusedTableOption},
}

for _method in METHODS.values():
    methods.command(
        _method.name,
        f"{_method.line}.",
        _method,
        one_image,
        f"{_method.name}.png",
        **(_BESIDE_TABLE if _method.name == "gradcam" else {}),
    )


def _range(width: int, count: int) -> str:
    """Return the valid indices, in words."""
    if width > 1:
        return f"{width} outputs: give 0 to {width - 1}"
    return "one output: give 0" if count == 1 else "two classes: give 0 or 1"


def _number(value: float, kind: str) -> str:
    """Format a probability or a score; a probability near 0 keeps one significant digit."""
    if kind != "probability":
        return f"{value:.4g}"
    return f"{value:.3f}" if value == 0 or value >= 5e-4 else f"{value:.1g}"


def _score(scores: np.ndarray, probabilities: bool, index: int) -> float:
    """Return the score of a class of one sample; a single output is evidence for class 1 and against class 0."""
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
