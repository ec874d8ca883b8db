"""`vis saliency`, `vis smoothgrad` and `vis gradcam`: one image in, one picture out."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from vis.cli.app import app
from vis.cli.messages import import_tensorflow, library_messages, option, refuse
from vis.cli.options import (
    Aggregate,
    BackpropModifierOption,
    ClassIndexOption,
    ColormapOption,
    GradModifierOption,
    ImageOption,
    LogitsOption,
    ModelOption,
    OutputOption,
    Preprocess,
    PreprocessOption,
)

if TYPE_CHECKING:
    import keras
    import numpy as np
    from PIL import Image


@app.command(short_help="Which pixels change the score.")
def saliency(
    model: ModelOption,
    image: ImageOption,
    class_index: ClassIndexOption = "0",
    output: OutputOption = Path("saliency.png"),
    preprocess: PreprocessOption = Preprocess.unit,
    grad_modifier: GradModifierOption = "absolute",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
    colormap: ColormapOption = "inferno",
) -> None:
    """Which pixels change the score: the gradient of the output with respect to the image, in colours."""
    question = _ask(model, image, class_index, output, preprocess, colormap)
    from vis import plotting
    from vis.visualization import visualize_saliency

    with library_messages():
        heatmap = visualize_saliency(
            question.model,
            None,
            question.class_index,
            question.sample,
            grad_modifier=_modifier(grad_modifier),
            backprop_modifier=_modifier(backprop_modifier),
            keepdims=question.keepdims,
            logits=logits,
        )
    _write(question, plotting.colorize(plotting.clip_brightness(heatmap), colormap, question.image.size))


@app.command(short_help="The same, averaged over noise.")
def smoothgrad(
    model: ModelOption,
    image: ImageOption,
    class_index: ClassIndexOption = "0",
    output: OutputOption = Path("smoothgrad.png"),
    noise_level: Annotated[
        float, typer.Option(help="The noise's sigma as a share of the image's range, 0 to 1.")
    ] = 0.15,
    num_samples: Annotated[int, typer.Option(help="How many noisy copies to average.")] = 25,
    aggregate: Annotated[Aggregate, typer.Option(help="Mean of the squared gradients, mean, or variance.")] = (
        Aggregate.square
    ),
    seed: Annotated[int, typer.Option(help="Of the noise: the same seed gives the same picture.")] = 0,
    preprocess: PreprocessOption = Preprocess.unit,
    grad_modifier: GradModifierOption = "absolute",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
) -> None:
    """Which pixels change the score, averaged over noisy copies of the image: a sensitivity map in grayscale."""
    question = _ask(model, image, class_index, output, preprocess)
    from vis import plotting
    from vis.visualization import smoothgrad as library_smoothgrad

    with library_messages():
        heatmap = library_smoothgrad(
            question.model,
            None,
            question.class_index,
            question.sample,
            grad_modifier=_modifier(grad_modifier),
            backprop_modifier=_modifier(backprop_modifier),
            keepdims=question.keepdims,
            noise_level=noise_level,
            num_samples=num_samples,
            aggregate=aggregate.value,
            seed=seed,
            logits=logits,
        )
    _write(question, plotting.grayscale(plotting.clip_brightness(heatmap), question.image.size))


@app.command(short_help="Which regions speak for the score.")
def gradcam(
    model: ModelOption,
    image: ImageOption,
    class_index: ClassIndexOption = "0",
    output: OutputOption = Path("gradcam.png"),
    layer: Annotated[
        str | None,
        typer.Option(
            help="The layer whose feature maps are weighed: its name ('backbone/conv5' in a nested model) or index. "
            "The last one with feature maps, unless given.",
            show_default=False,
        ),
    ] = None,
    preprocess: PreprocessOption = Preprocess.unit,
    grad_modifier: GradModifierOption = "none",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
    colormap: ColormapOption = "inferno",
) -> None:
    """Which regions speak for the score: Grad-CAM, in colours over the image."""
    question = _ask(model, image, class_index, output, preprocess, colormap)
    from vis import plotting
    from vis.visualization import visualize_cam

    with library_messages():
        heatmap = visualize_cam(
            question.model,
            None,
            question.class_index,
            question.sample,
            penultimate_layer_idx=int(layer) if layer and re.fullmatch(r"-?\d+", layer) else layer,
            grad_modifier=_modifier(grad_modifier),
            backprop_modifier=_modifier(backprop_modifier),
            logits=logits,
        )
    _write(question, plotting.heatmap_over(question.image, heatmap, colormap=colormap))


class _Question(NamedTuple):
    """What is asked of a model, with everything read and checked."""

    model: keras.Model
    image: Image.Image
    sample: np.ndarray
    keepdims: bool
    class_index: int
    score: float
    output: Path


def _ask(
    model: Path, image: Path, class_index: str, output: Path, preprocess: Preprocess, colormap: str | None = None
) -> _Question:
    """Read and check everything, what is quickly checked first."""
    from vis import images, models, plotting

    with option("--class-index"):
        index = _parse_class_index(class_index)
    with option("--image"):
        picture = images.read_image(image)
    with option("--output"):
        images.check_output(output)
        if output.exists() and output.samefile(image):
            raise ValueError(f"{output} is the image itself. Give another name.")
    if colormap is not None:
        with option("--colormap"):
            plotting.colormap_named(colormap)
    with option("--model"):
        models.check_file(model)
        import_tensorflow()
        network = models.load_model(model)
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
    return _Question(network, picture, sample, layout.channel_axis is None, index, float(scores[index]), output)


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


def _modifier(name: str) -> str | None:
    return None if name.lower() == "none" else name


def _write(question: _Question, picture: np.ndarray) -> None:
    from vis import images

    try:
        images.write_picture(picture, question.output)
    except OSError as error:
        refuse("--output", f"{question.output} cannot be written: {error.strerror or error}.")
    typer.echo(f"{question.output}: output {question.class_index}, score {question.score:.4g}")
