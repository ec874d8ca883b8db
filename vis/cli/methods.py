"""The methods, each with its own options: what the commands for one image and for a whole data set have in common.

A method is a function of its options that tells how to explain a batch and how to draw a map. `vis.cli.maps` asks it
about one image, `vis.cli.batch` about every row of a CSV file.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from vis.cli.app import app
from vis.cli.messages import import_tensorflow, option, refuse
from vis.cli.options import Aggregate, BackpropModifierOption, ColormapOption, GradModifierOption, LogitsOption

if TYPE_CHECKING:
    import keras
    import numpy as np
    from PIL import Image


class Method(NamedTuple):
    """A method with its options chosen.

    Attributes:
        explain: `(model, losses, x) -> maps`: of a batch, and with its sample axis.
        draw: `(image, map) -> picture` of the image's size.
        logits: whether a class score is read before a final softmax or sigmoid.
        copies: of how many noisy copies of an image a map is made.
    """

    explain: Callable[[keras.Model, list, np.ndarray], np.ndarray]
    draw: Callable[[Image.Image, np.ndarray], np.ndarray]
    logits: bool
    copies: int = 1


def saliency(
    grad_modifier: GradModifierOption = "absolute",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
    colormap: ColormapOption = "inferno",
) -> Method:
    """Which pixels change the score: the gradient of the output with respect to the image, in colours."""
    from vis import plotting

    _check_colormap(colormap)

    def explain(model, losses, x):
        from vis.visualization import visualize_saliency_with_losses

        return visualize_saliency_with_losses(
            _seen_through(backprop_modifier, model),
            losses,
            x,
            grad_modifier=_modifier(grad_modifier),
            keepdims=_without_channels(x),
            squeeze=False,
        )

    def draw(image, heatmap):
        return plotting.colorize(plotting.clip_brightness(heatmap), colormap, image.size)

    return Method(explain, draw, logits)


def smoothgrad(
    noise_level: Annotated[
        float, typer.Option(help="The noise's sigma as a share of the image's range, 0 to 1.")
    ] = 0.15,
    num_samples: Annotated[int, typer.Option(help="How many noisy copies to average.")] = 25,
    aggregate: Annotated[Aggregate, typer.Option(help="Mean of the squared gradients, mean, or variance.")] = (
        Aggregate.square
    ),
    seed: Annotated[int, typer.Option(min=0, help="Of the noise: the same seed gives the same picture.")] = 0,
    grad_modifier: GradModifierOption = "absolute",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
) -> Method:
    """Which pixels change the score, averaged over noisy copies of the image: a sensitivity map in grayscale."""
    from vis import plotting

    def explain(model, losses, x):
        from vis.visualization import smoothgrad_with_losses

        return smoothgrad_with_losses(
            _seen_through(backprop_modifier, model),
            losses,
            x,
            grad_modifier=_modifier(grad_modifier),
            keepdims=_without_channels(x),
            noise_level=noise_level,
            num_samples=num_samples,
            aggregate=aggregate.value,
            seed=seed,
            squeeze=False,
        )

    def draw(image, heatmap):
        return plotting.grayscale(plotting.clip_brightness(heatmap), image.size)

    return Method(explain, draw, logits, num_samples)


def gradcam(
    layer: Annotated[
        str | None,
        typer.Option(
            help="The layer whose feature maps are weighed: its name ('backbone/conv5' in a nested model) or index. "
            "The last one with feature maps, unless given.",
            show_default=False,
        ),
    ] = None,
    grad_modifier: GradModifierOption = "none",
    backprop_modifier: BackpropModifierOption = "none",
    logits: LogitsOption = True,
    colormap: ColormapOption = "inferno",
) -> Method:
    """Which regions speak for the score: Grad-CAM, in colours over the image."""
    from vis import plotting

    _check_colormap(colormap)

    def explain(model, losses, x):
        from vis.visualization import visualize_cam_with_losses

        return visualize_cam_with_losses(
            _seen_through(backprop_modifier, model),
            losses,
            x,
            int(layer) if layer and re.fullmatch(r"-?\d+", layer) else layer,
            _modifier(grad_modifier),
            squeeze=False,
            # Only the head is differentiated, so that no activations are kept and a large batch costs no memory.
            batch_size=len(x),
        )

    def draw(image, heatmap):
        return plotting.heatmap_over(image, heatmap, colormap=colormap)

    return Method(explain, draw, logits)


def command(name: str, short_help: str, method: Callable[..., Method], use: Callable, default_output: str) -> None:
    """Add a command to `vis`: a use of a method, with the options of both.

    Args:
        name: the command's name.
        short_help: its line in the list of commands.
        method: a function of the method's own options.
        use: a function `(name, method, settings, **options)` of the options of that use; `settings` are the method's.
        default_output: the file to write unless `--output` is given.
    """
    own = inspect.signature(method, eval_str=True).parameters
    other = {
        key: each
        for key, each in inspect.signature(use, eval_str=True).parameters.items()
        if each.kind == each.KEYWORD_ONLY
    }

    def run(**options: Any) -> None:
        settings = {key: options.pop(key) for key in own}
        use(name, method(**settings), settings, **options)

    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values()]
    parameters = [
        each.replace(default=Path(default_output)) if each.name == "output" else each
        for each in [*other.values(), *parameters]
    ]
    run.__signature__ = inspect.Signature(parameters)
    run.__doc__ = f"{method.__doc__}\n\n{use.__doc__}"
    app.command(name, short_help=short_help)(run)


def load(model: Path, custom_objects: list[str], unsafe: bool) -> keras.Model:
    """Load the model of `--model`, with what `--custom-objects` names."""
    from vis import models

    with option("--model"):
        models.check_file(model)
    objects = dict(map(_custom_object, custom_objects))
    import_tensorflow()
    try:
        return models.load_model(model, custom_objects=objects, unsafe=unsafe)
    except ValueError as error:
        message = re.sub(r"custom_objects=\{'(\w+)': \w+\}", r"--custom-objects module:\1", str(error))
        refuse("--model", message.replace("unsafe=True", "--unsafe"))


def _custom_object(text: str) -> tuple[str, Any]:
    """The name and the object of `module:Name`, of a module that can be imported from here."""
    module, _, name = text.partition(":")
    if not (module and name):
        refuse("--custom-objects", f"{text!r} is not of the form module:Name, such as my_layers:Attention.")
    import_tensorflow()
    sys.path.insert(0, "")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module runs any code
        refuse("--custom-objects", f"the module {module!r} cannot be imported: {type(error).__name__}: {error}.")
    finally:
        sys.path.remove("")
    found = getattr(imported, name, None)
    if not callable(found):
        what = f"no {name!r}" if found is None else f"{name!r}, but it is {found!r}, neither a class nor a function"
        refuse("--custom-objects", f"{module!r} has {what}.")
    return name, found


def _check_colormap(colormap: str) -> None:
    from vis import plotting

    with option("--colormap"):
        plotting.colormap_named(colormap)


def _seen_through(backprop_modifier: str, model: keras.Model):
    from vis import backprop_modifiers

    return backprop_modifiers.get(_modifier(backprop_modifier))(model)


def _modifier(name: str) -> str | None:
    return None if name.lower() == "none" else name


def _without_channels(x: np.ndarray) -> bool:
    """Whether images have no channel axis, over which a maximum could be taken."""
    return x.ndim == 3
