"""`vis NAME` for each method of the table: one image in, one picture out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vis.cli import methods
from vis.cli.messages import IMAGE_OPTIONS, library_messages, option, refuse
from vis.cli.options import (
    ClassIndexOption,
    CustomObjectsOption,
    ImageOption,
    ModelOption,
    Preprocess,
    PreprocessOption,
    UnsafeOption,
)
from vis.methods import METHODS, Method

if TYPE_CHECKING:
    import keras
    import numpy as np


def one_image(
    method: Method,
    options: dict[str, Any],
    *,
    model: ModelOption,
    image: ImageOption,
    class_index: ClassIndexOption = "0",
    output: Annotated[Path, typer.Option(help="The picture to write: .png, .jpg, .bmp, .tif or .webp.")],
    preprocess: PreprocessOption = Preprocess.unit,
    custom_objects: CustomObjectsOption = [],  # noqa: B006 - never changed
    unsafe: UnsafeOption = False,
) -> None:
    """One image in, one picture of its size out."""
    from vis import images
    from vis.files import outputs

    with option("--class-index"):
        index = _parse_class_index(class_index)
    with option("--image"):
        picture = images.read_image(image)
    with option("--output"):
        outputs.check_output(output)
        if output.exists() and output.samefile(image):
            raise ValueError(f"{output} is the image itself. Give another name.")
    network = methods.load(model, custom_objects, unsafe)
    with option("--model"):
        layout = images.input_layout(network)
    with option("--preprocess"):
        sample = images.to_model_input(picture, layout, preprocess.value)
    with option("--model"):
        scores = _scores(network, sample)
    if index is None:
        index = int(scores.argmax())
    if index >= len(scores):
        classes = "one output: give 0" if len(scores) == 1 else f"{len(scores)} outputs: give 0 to {len(scores) - 1}"
        refuse("--class-index", f"{index} is out of range, the model has {classes} or auto.")

    with library_messages(IMAGE_OPTIONS | methods.flags(method)):
        (heatmap,) = method.explain(network, index, sample[None], options)
    try:
        outputs.write_picture(method.picture(picture, heatmap, options), output)
    except OSError as error:
        refuse("--output", f"{output} cannot be written: {error.strerror or error}.")
    typer.echo(f"{output}: output {index}, score {scores[index]:.4g}")


for _method in METHODS.values():
    methods.command(_method.name, f"{_method.line}.", _method, one_image, f"{_method.name}.png")


def _parse_class_index(text: str) -> int | None:
    """The class index, or None for the predicted class."""
    if text.strip().lower() == "auto":
        return None
    try:
        index = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number. Give the class's index, from 0, or auto.") from None
    if index < 0:
        raise ValueError(f"{index} is negative. Give the class's index, from 0, or auto.")
    return index


def _scores(model: keras.Model, sample: np.ndarray) -> np.ndarray:
    """The model's outputs for one sample, one number a class; the mean over positions where there are any."""
    import numpy as np
    import tensorflow as tf

    try:
        with warnings.catch_warnings():
            # A model made with inputs=[x] asks for a list of one, and is as well served by what is in it.
            warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
            scores = model(sample[None], training=False)
    except (ValueError, TypeError, tf.errors.OpError) as error:
        raise ValueError(f"the model does not run on an image of shape {sample.shape}: {error}") from error
    if isinstance(scores, list | tuple | dict):
        if len(scores) != 1:
            raise ValueError(f"the model has {len(scores)} outputs to choose from. Use vis.visualization in Python.")
        scores = next(iter(scores.values() if isinstance(scores, dict) else scores))
    scores = np.asarray(scores)
    return scores.reshape(-1, scores.shape[-1]).mean(axis=0)
