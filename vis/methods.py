"""The table of methods: what each one shows, what it costs, and which options it takes.

The `vis` command for one image, its runs over data sets and the documentation read this table, so that a method is
added by its function in `vis.visualization` and one row here. The table imports neither TensorFlow nor NumPy: a row
names its function as `"module:name"`, which is imported when the method is used.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from PIL import Image

# The default of an option that is required.
REQUIRED = inspect.Parameter.empty

# The cost of a pass, in forward passes of the model.
FORWARD_PASSES = {"forward pass": 1, "gradient": 2.6}


def resolve(name: str) -> Callable:
    """Import the function that a row names.

    Args:
        name: `"module:name"`.

    Returns:
        The function.

    Example:
        >>> resolve("vis.methods:layer_address")("-2")
        -2
    """
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def fill_value(text: str) -> float | str:
    """Parse the value of `--fill`: a number, or a name such as `mean`.

    Args:
        text: For example `"0.5"` or `"mean"`.

    Returns:
        The number; any other text unchanged.

    Example:
        >>> fill_value("0.5"), fill_value("mean")
        (0.5, 'mean')
    """
    try:
        return float(text)
    except ValueError:
        return text


def layer_address(text: str) -> int | str:
    """Parse a layer's address: an index, a name, or a path through nested models.

    Args:
        text: For example `"-1"` or `"backbone/conv5"`.

    Returns:
        The index as a number; any other text unchanged.

    Example:
        >>> layer_address("-1"), layer_address("backbone/conv5")
        (-1, 'backbone/conv5')
    """
    return int(text) if re.fullmatch(r"-?\d+", text) else text


class Option(NamedTuple):
    """An option of a method.

    Attributes:
        name: Its name in the command, with underscores.
        help: Its help text, a sentence without its full stop.
        default: Its default in the command: the function's default, unless the two differ on purpose; `REQUIRED` if
            there is none.
        type: `int`, `float`, `bool` or `str`, or a function that makes a value of a text.
        minimum: The smallest number it takes, or None.
        maximum: The largest number it takes, or None.
        choices: The values it takes, if they can be listed; the command spells None `none`.
        argument: The function's argument, if its name differs.
        draws: Whether it changes the picture rather than the map.
        checked_by: A function that refuses wrong values, as `"module:name"`; it must not import TensorFlow.
        short: A short name in the command, with its hyphen, or nothing.
        read_by: If the command takes a file, a function that reads the argument from it, as `"module:name"`; it gets
            the path, the `vis.images.InputLayout` of the model, the scale of pixel values, and the number of passes.

    Example:
        >>> Option("num_samples", "How many copies", 25, int, minimum=1).check(0)
        Traceback (most recent call last):
        ...
        vis.utils.errors.ArgumentError: num_samples must be at least 1, not 0.
    """

    name: str
    help: str
    default: Any
    type: Callable = str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple = ()
    argument: str = ""
    draws: bool = False
    checked_by: str = ""
    short: str = ""
    read_by: str = ""

    @property
    def flag(self) -> str:
        """The option as typed in the command."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def keyword(self) -> str:
        """The function's argument."""
        return self.argument or self.name

    @property
    def range(self) -> str:
        """The range of its numbers, in words; empty if it takes any."""
        low, high = self.minimum, self.maximum
        if low is None or high is None:
            return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else ""
        return f"from {low:g} to {high:g}"

    def spelled(self, value: Any) -> Any:
        """Return a value as the command spells it: None among the choices is `none`."""
        return "none" if value is None and None in self.choices else value

    def check(self, value: Any) -> None:
        """Refuse a value that is wrong for every model.

        Args:
            value: A value of this option's type.

        Raises:
            ValueError: The value is not among the choices, is out of range, or is refused by `checked_by`.
        """
        if self.choices and value not in self.choices:
            known = ", ".join(map(self.spelled, self.choices))
            raise ArgumentError(self.name, f"must be one of {known}, not {value!r}")
        low, high = self.minimum, self.maximum
        if not ((low is None or value >= low) and (high is None or value <= high)):  # so that NaN is refused too
            raise ArgumentError(self.name, f"must be {self.range}, not {value}")
        if self.checked_by:
            resolve(self.checked_by)(value)


class Cost(NamedTuple):
    """The number of passes through the model that a map takes.

    Attributes:
        unit: The kind of pass, of `FORWARD_PASSES`.
        times: The number of passes, or the name of the option that sets it.

    Example:
        >>> str(Cost("gradient")), str(Cost("gradient", "num_samples"))
        ('1 gradient', 'num_samples gradients')
    """

    unit: str
    times: int | str = 1

    def __str__(self) -> str:
        return f"{self.times} {self.unit}" + ("" if self.times == 1 else "es" if self.unit.endswith("s") else "s")


class Method(NamedTuple):
    """A row of the table.

    Attributes:
        name: The command's name: `vis NAME`, and `vis NAME-batch` for a data set.
        function: `"module:name"` of a function `(model, layer_idx, filter_indices, seed_input, **options)`.
        line: What the map shows, in one line.
        description: How the map is made, and what the picture looks like.
        kind: `"positive"` for maps from 0 to 1, `"signed"` for maps with both signs.
        draw: How a map is drawn: a key of `vis.plotting.styles.STYLES`.
        cost: The cost of a map.
        needs: What a model must have.
        beware: When the map misleads.
        column: The header of the column that a data set gets.
        options: Its options, in the order of the command's help.
        whole_batch: Whether to compute a batch in one piece, because its gradient needs little memory.
    """

    name: str
    function: str
    line: str
    description: str
    kind: str
    draw: str
    cost: Cost
    needs: str
    beware: str
    column: str
    options: tuple[Option, ...]
    whole_batch: bool = False

    def copies(self, options: Mapping[str, Any]) -> int:
        """Return how many passes one map takes.

        Args:
            options: Values by option name; missing options have their defaults.

        Returns:
            The number.

        Example:
            >>> METHODS["smoothgrad"].copies({"num_samples": 50}), METHODS["saliency"].copies({})
            (50, 1)
        """
        values: dict[Any, Any] = {**self._defaults(), **options}
        return values.get(self.cost.times, self.cost.times)

    @property
    def is_enlarged(self) -> bool:
        """Whether its maps start at the size of a feature map and are resized to that of the input."""
        return "interpolation" in inspect.signature(resolve(self.function)).parameters

    def is_one_pass(self, options: Mapping[str, Any]) -> bool:
        """Return whether a map takes a single pass.

        Args:
            options: As in `copies`.

        Returns:
            False also for class activation maps that take a forward pass per channel, and with smoothing.

        Example:
            >>> METHODS["gradcam"].is_one_pass({}), METHODS["gradcam"].is_one_pass({"method": "scorecam"})
            (True, False)
        """
        is_repeated = options.get("method") in CAM_METHODS_OF_COPIES or options.get("smoothing") is not None
        return self.copies(options) == 1 and not is_repeated

    def arguments(self, options: Mapping[str, Any], x: np.ndarray, *, to_draw: bool = False) -> dict[str, Any]:
        """Return the keyword arguments for explaining a batch.

        Args:
            options: As in `copies`.
            x: The batch, with its sample axis.
            to_draw: As in `explain`.

        Returns:
            The arguments by name.

        Example:
            >>> import numpy as np
            >>> METHODS["gradcam"].arguments({"layer": -3}, np.zeros((2, 8, 8, 1)))["penultimate_layer_idx"]
            -3
        """
        values = {**self._defaults(), **options}
        arguments = {
            option.keyword: values[option.name] for option in self.options if option.name in values and not option.draws
        }
        parameters = inspect.signature(resolve(self.function)).parameters
        if to_draw and self.is_enlarged:
            arguments["interpolation"] = None
        if "keepdims" in parameters:
            # Images without a channel axis have nothing to reduce.
            arguments["keepdims"] = x.ndim == 3
        if self.whole_batch and self.is_one_pass(options):
            arguments["batch_size"] = len(x)
        return {**arguments, "squeeze": False}

    def explain(
        self,
        model: keras.Model,
        filter_indices,
        x: np.ndarray,
        options: Mapping[str, Any],
        *,
        to_draw: bool = False,
    ) -> np.ndarray:
        """Explain the model's own output for a batch of images.

        Args:
            model: A Keras model.
            filter_indices: What to explain, as the function takes it: an index, an array of shape (samples, k), or a
                function of the output.
            x: The images, with their sample axis.
            options: As in `copies`.
            to_draw: Whether the maps are for `picture` only. A class activation map then keeps the size of its feature
                map, and the picture is interpolated smoothly from it; otherwise it is interpolated linearly to the
                input's size.

        Returns:
            float32, one map per sample.

        Example:
            >>> METHODS["saliency"].explain(model, 3, images, {"grad_modifier": "relu"})  # doctest: +SKIP
        """
        return resolve(self.function)(model, None, filter_indices, x, **self.arguments(options, x, to_draw=to_draw))

    def picture(self, image: Image.Image, heatmap: np.ndarray, options: Mapping[str, Any], size: int = 1) -> np.ndarray:
        """Draw a map.

        Args:
            image: The image that it explains.
            heatmap: The map, (height, width).
            options: As in `copies`.
            size: The smallest number of pixels of the picture's longer side: a smaller image is enlarged, each pixel to
                a square.

        Returns:
            uint8, of the image's size, or a multiple of it.

        Example:
            >>> import numpy as np
            >>> from PIL import Image
            >>> METHODS["gradcam"].picture(Image.new("L", (6, 4)), np.zeros((2, 2)), {}).shape
            (4, 6, 3)
        """
        from vis.plotting.styles import draw

        values = {**self._defaults(), **options}
        drawing = {option.keyword: values[option.name] for option in self.options if option.draws}
        return draw(self.draw, image, heatmap, size, **drawing)

    def _defaults(self) -> dict[str, Any]:
        return {option.name: option.default for option in self.options if option.default is not REQUIRED}


# Listed here because the modules that define these names import TensorFlow or NumPy.
# The unmodified gradient has a single name, `none`; Python's `identity` is the same.
GRAD_MODIFIERS = ("absolute", "invert", "negate", "relu", "small_values", None)
BACKPROP_MODIFIERS = ("guided", "rectified", "relu", "deconv", None)

_GRAD_MODIFIER = Option("grad_modifier", "The function applied to the gradient", "absolute", choices=GRAD_MODIFIERS)
_BACKPROP_MODIFIER = Option(
    "backprop_modifier",
    "The rule for gradients at activations; relu and deconv are other names of rectified",
    None,
    choices=BACKPROP_MODIFIERS,
)
_LOGITS = Option("logits", "Explain the score before a final softmax or sigmoid, rather than after it", True, bool)
_SEED = Option("seed", "Seed of the random numbers: the same seed gives the same picture", 0, int, minimum=0)
_FILL = Option("fill", "The replacement of hidden pixels: a number in the model's units, mean or blur", 0.0, fill_value)
_SEGMENTS = Option(
    "segments", "Switch superpixels (slic) on and off, rather than 8 x 8 squares", None, choices=("slic", None)
)
CAM_METHODS = (
    "gradcam",
    "gradcam++",
    "layercam",
    "xgradcam",
    "hirescam",
    "eigencam",
    "eigengradcam",
    "scorecam",
    "ablationcam",
)
CAM_METHODS_OF_COPIES = ("scorecam", "ablationcam")  # a forward pass per channel
_CAM_METHOD = Option(
    "method",
    "The weighting of the channels of the feature map; scorecam and ablationcam cost a forward pass per channel",
    "gradcam",
    choices=CAM_METHODS,
)
_SMOOTHING = Option(
    "smoothing",
    "augment averages over six inputs: scaled by 0.9, 1 and 1.1, unflipped and flipped left to right",
    None,
    choices=("augment", None),
)
_LAYER = Option(
    "layer",
    "The layer whose feature maps are weighted: its name ('backbone/conv5' in a nested model) or index. "
    "The last one with feature maps by default",
    None,
    layer_address,
    argument="penultimate_layer_idx",
)
_COLORMAP = Option(
    "colormap",
    "A colour map of matplotlib, such as inferno, viridis or jet",
    "inferno",
    draws=True,
    checked_by="vis.plotting:colormap_named",
)
_OVERLAY = Option(
    "overlay", "Lay the map over the image, which shows through where nothing matters", False, bool, draws=True
)

_ROWS = (
    Method(
        name="saliency",
        function="vis.visualization:visualize_saliency",
        line="Which pixels change the score",
        description="the gradient of the output with respect to the image, in colours",
        kind="positive",
        draw="colors",
        cost=Cost("gradient"),
        needs="a gradient with respect to the input",
        beware="noisy; says where the score is sensitive, not what is present",
        column="saliency",
        options=(_GRAD_MODIFIER, _BACKPROP_MODIFIER, _LOGITS, _COLORMAP, _OVERLAY),
    ),
    Method(
        name="smoothgrad",
        function="vis.visualization:smoothgrad",
        line="Which pixels change the score, averaged over noise",
        description="the gradients of noisy copies of the image, as a sensitivity map in grayscale",
        kind="positive",
        draw="grayscale",
        cost=Cost("gradient", "num_samples"),
        needs="a gradient with respect to the input",
        beware="a smooth map is not necessarily a faithful one",
        column="SmoothGrad",
        options=(
            Option(
                "noise_level",
                "The standard deviation of the noise as a fraction of the image's range",
                0.15,
                float,
                minimum=0,
                maximum=1,
                short="-nl",
            ),
            Option("num_samples", "The number of noisy copies to average", 25, int, minimum=1, short="-n"),
            Option(
                "aggregate",
                "Mean of the gradients, of their magnitudes or of their squares, or their variance",
                "mean",
                choices=("mean", "absolute", "square", "var"),
            ),
            Option("seed", "Seed of the noise: the same seed gives the same picture", 0, int, minimum=0),
            _GRAD_MODIFIER,
            _BACKPROP_MODIFIER,
            _LOGITS,
            _COLORMAP._replace(default="gray"),
            _OVERLAY,
        ),
    ),
    Method(
        name="gradcam",
        function="vis.visualization:visualize_cam",
        line="Which regions raise the score",
        description="Grad-CAM or another class activation map, in colours over the image",
        kind="positive",
        draw="over_image",
        # Only what follows the feature map is differentiated.
        cost=Cost("forward pass"),
        needs="a feature map before the output",
        beware="no finer than the feature map; blank where nothing counts *for* the class",
        column="gradcam",
        options=(
            _CAM_METHOD,
            _LAYER,
            _SMOOTHING,
            _GRAD_MODIFIER._replace(default=None),
            _BACKPROP_MODIFIER,
            _LOGITS,
            _COLORMAP,
        ),
        whole_batch=True,
    ),
    Method(
        name="guided-gradcam",
        function="vis.visualization:visualize_guided_cam",
        line="Which fine structure in those regions raises the score",
        description="guided backpropagation times Grad-CAM or another class activation map, red where the score rises "
        "with the pixel and blue where it falls",
        kind="signed",
        draw="signed",
        cost=Cost("gradient"),
        needs="a feature map before the output, and rectifiers such as ReLU",
        beware="the fine structure is that of the image, whatever the class: only its location depends on the class",
        column="guided_gradcam",
        options=(_CAM_METHOD, _LAYER, _SMOOTHING, _LOGITS),
    ),
    Method(
        name="integrated-gradients",
        function="vis.visualization:integrated_gradients",
        line="Which pixels add to the score or subtract from it",
        description="the gradient averaged along the line from a black image, red where it adds to the score and blue "
        "where it subtracts",
        kind="signed",
        draw="signed",
        cost=Cost("gradient", "steps"),
        needs="a gradient with respect to the input",
        beware="anything that resembles the baseline, such as a black object, gets nothing",
        column="integrated_gradients",
        options=(
            Option("baseline", "The value of every pixel at the start of the line, in the model's units", 0.0, float),
            Option("steps", "The number of points on the line", 50, int, minimum=1),
            Option("quadrature", "The rule for the points", "gausslegendre", choices=("gausslegendre", "midpoint")),
            _BACKPROP_MODIFIER,
            _LOGITS,
            _OVERLAY,
        ),
    ),
    Method(
        name="occlusion",
        function="vis.visualization:occlusion",
        line="Where hiding a window lowers or raises the score",
        description="the change in score as a window moves over the image, red where hiding it lowers the score and "
        "blue where it raises it",
        kind="signed",
        draw="signed",
        # Windows of an eighth of each side, moved by half of that.
        cost=Cost("forward pass", 225),
        needs="nothing but its outputs",
        beware="an object that appears twice is not missed; the patch may be unlike anything the model has seen",
        column="occlusion",
        options=(
            Option(
                "window", "The side of the window in pixels; an eighth of each side by default", None, int, minimum=1
            ),
            Option("stride", "The step of the window, in pixels; half the window by default", None, int, minimum=1),
            _FILL,
            _LOGITS,
        ),
    ),
    Method(
        name="rise",
        function="vis.visualization:rise",
        line="Which regions must be visible for a high score",
        description="the mean of random masks, each weighted by the score of the masked image, in colours over the "
        "image",
        kind="positive",
        draw="over_image",
        cost=Cost("forward pass", "num_masks"),
        needs="nothing but its outputs",
        beware="speckled with few masks; spreads over regions that are visible together; hides with black",
        column="rise",
        options=(
            Option("num_masks", "The number of masks to average", 4000, int, minimum=1),
            Option("grid", "The number of cells along each side of a mask", 7, int, minimum=1),
            Option("probability", "The probability that a cell is visible", 0.5, float, maximum=1),
            _SEED,
            _LOGITS._replace(default=False),
            _COLORMAP,
        ),
    ),
    Method(
        name="lime",
        function="vis.visualization:lime",
        line="Which segments count in a linear approximation",
        description="the weights of a linear model of the score, fitted to copies with segments switched off, red "
        "where they add to the score and blue where they subtract",
        kind="signed",
        draw="signed",
        cost=Cost("forward pass", "num_samples"),
        needs="nothing but its outputs",
        beware="changes with the segments, the kernel and the seed; does not separate segments that act together",
        column="lime",
        options=(
            _SEGMENTS,
            Option("num_samples", "The number of copies to fit", 1000, int, minimum=1),
            _FILL._replace(default="mean"),
            Option(
                "kernel_width",
                "The width of the kernel: how fast the weight of a copy falls as more segments are off",
                0.25,
                float,
            ),
            Option("alpha", "Strength of the ridge penalty", 1.0, float, minimum=0),
            _SEED,
            _LOGITS,
        ),
    ),
    Method(
        name="kernel-shap",
        function="vis.visualization:kernel_shap",
        line="How segments share the score (Shapley values)",
        description="the share of each segment in the change of the score from the background, red where it adds to "
        "the score and blue where it subtracts",
        kind="signed",
        draw="signed",
        # Of 64 squares.
        cost=Cost("forward pass", 2176),
        needs="nothing but its outputs",
        beware="samples the coalitions of many segments; anything that resembles the background gets nothing",
        column="kernel_shap",
        options=(
            _SEGMENTS,
            Option("background", "The replacement of absent segments, in the model's units", 0.0, float),
            Option(
                "num_samples",
                "The maximum number of coalitions; 2 per segment plus 2048 by default",
                None,
                int,
                minimum=4,
            ),
            _SEED,
            _LOGITS,
        ),
    ),
    Method(
        name="gradient-times-input",
        function="vis.visualization:gradient_times_input",
        line="Which pixels add to the score, to first order",
        description="the gradient times the image, red where it adds to the score and blue where it subtracts",
        kind="signed",
        draw="signed",
        cost=Cost("gradient"),
        needs="a gradient with respect to the input, and an input whose 0 means nothing",
        beware="noisy; a pixel of value 0 gets nothing; says little where the score is saturated",
        column="gradient_times_input",
        options=(_BACKPROP_MODIFIER, _LOGITS),
    ),
    Method(
        name="expected-gradients",
        function="vis.visualization:expected_gradients",
        line="Which pixels make the score differ from its mean over a data set",
        description="integrated gradients averaged over baselines from a data set, red where a pixel adds to the score "
        "and blue where it subtracts",
        kind="signed",
        draw="signed",
        cost=Cost("gradient", "num_samples"),
        needs="a gradient with respect to the input, and a hundred or so typical inputs",
        beware="shows what differs from the background: another background, another map",
        column="expected_gradients",
        options=(
            Option(
                "background",
                "Typical inputs: a folder of images, a CSV file with a column x of image paths, or an .npy file of "
                "inputs in the form that the model takes",
                REQUIRED,
                checked_by="vis.datasets:check_background",
                read_by="vis.datasets:background",
            ),
            Option("num_samples", "The number of gradients to average", 200, int, minimum=1, short="-n"),
            _SEED,
            _LOGITS,
        ),
    ),
)

METHODS = {row.name: row for row in _ROWS}
