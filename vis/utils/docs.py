'''Texts that many docstrings share, such as that of `seed_input`, defined once and filled in when a module is imported.

A docstring refers to a text by a placeholder on a separate line, and the decorator inserts the text there, with the
indentation of the placeholder:

    @shared_docs
    def visualize_saliency(model, seed_input, keepdims=False):
        """Compute ...

        Args:
            {{model}}
            {{seed_input}} Integers are cast.
            keepdims: ...
        """

Text after a placeholder, on its line or indented further below it, is appended. `docs/shared_texts.py` fills the
placeholders of the API pages, which are built from the source without importing it.
'''

from __future__ import annotations

import re
import textwrap
from typing import Any, TypeVar

_WIDTH = 120

#: The texts by placeholder name: an entry of a docstring section, or a list of names of other texts.
TEXTS: dict[str, str | list[str]] = {
    # Arguments of every attribution method.
    "explained": ["model", "layer_idx", "filter_indices", "seed_input"],
    "model": "model: A `keras.Model` of any kind: functional, sequential, subclassed or nested. It is not changed.",
    "layer_idx": (
        "layer_idx: The layer whose output to explain: an index into `model.layers` (negative ones count from the "
        "end), a name, a path through nested models such as `'backbone/block5_conv3'`, or the layer itself. If "
        "no layer has that name, it may be the name or key of one of the model's outputs. None means the model's "
        "output."
    ),
    "filter_indices": (
        "filter_indices: What to explain of that output. A filter of a classifier's last layer is a class; the score "
        "of a feature map's filter is its mean over positions. An int, or a flat list of ints whose scores are summed, "
        "holds for every sample. An int array of shape (samples, k), or a list of one list of ints per sample, of any "
        'lengths, gives each sample its own. `"predicted"` takes each sample\'s highest output. A function of the '
        "output, `(samples, ...) -> (samples,)`, is the score itself (larger means more), such as "
        "`lambda output: output[:, 3] - output[:, 5]`, or one of `vis.losses.Difference`, `Segmentation` and "
        "`Similarity`; with `layer_idx=None` it receives the model's output in its original structure. None sums "
        "all filters."
    ),
    "seed_input": (
        "seed_input: The input to explain: one sample, or a batch of shape (samples, ...), as an array, a tensor or a "
        "Pillow image, preprocessed as for `model.predict`; for a model with several inputs a list or dict of these. "
        "Or a `tf.data.Dataset` or another iterable of such batches `x`, or of pairs `(x, y)`, where y sets each "
        "sample's filters if `filter_indices` is None."
    ),
    "wrt_tensor": (
        "wrt_tensor: The tensor to differentiate with respect to, which the map then describes: a layer's output "
        "(as the layer, its index, name or path), a tensor of the model's graph, or a list of these. None takes all "
        "inputs. For a token model, use its embedding layer."
    ),
    "penultimate_layer_idx": (
        "penultimate_layer_idx: The layer whose feature map is weighted, addressed like `layer_idx`. None takes the "
        "last layer before the explained one whose output has more than one position, inside nested models too. A list "
        "of layers returns the mean of their maps, each scaled to [0, 1] first."
    ),
    "penultimate_layer": (
        "penultimate_layer: The layer whose feature map is weighted: an index into `model.layers`, a name, a path "
        "through nested models or the layer itself. None takes the last layer before the explained one whose output "
        "has more than one position, inside nested models too. A list of layers returns the mean of their maps, each "
        "scaled to [0, 1] first."
    ),
    "backprop_modifier": (
        "backprop_modifier: The rule for gradients at rectifiers such as ReLU: `'guided'`, `'rectified'`, a "
        "function `model -> model` of `vis.backprop_modifiers`, or None for the ordinary gradient."
    ),
    "grad_modifier": (
        "grad_modifier: The function applied to the gradient before the map is made: the name of a function of "
        "`vis.grad_modifiers` (`'absolute'`, `'negate'`, `'invert'`, `'relu'`, `'small_values'`), any function of an "
        "array that returns one of the same shape, or None to leave the gradient as it is. For a regressor None, "
        "`'negate'` and `'small_values'` show what increases, decreases and keeps the output."
    ),
    "keepdims": (
        "keepdims: Whether to keep the channel axis, one value per channel, instead of reducing it to one value per "
        "position."
    ),
    "logits": (
        "logits: Whether to read a class score before the final softmax or sigmoid (True), where it never saturates, "
        "or after it, as a probability (False). Outputs without one are read unchanged."
    ),
    "channel_axis": (
        "channel_axis: The axis of one sample, counted without the samples axis, that holds the channels of the input "
        "or of `wrt_tensor`: an int, None if there is none, or `'auto'` to derive it from the model."
    ),
    "losses": (
        "losses: What to explain: a list of pairs `(loss, weight)`, where a loss is a `vis.losses.Loss` or a function "
        "of the model's output. The map shows what increases their weighted sum. Losses are minimized, so "
        "`(ActivationMaximization(layer, 3), -1)` explains filter 3 of a layer."
    ),
    "input_tensor": (
        "input_tensor: `model.input`, or the model itself, which need not be functional (a subclassed model has no "
        "symbolic input)."
    ),
    "seed": (
        "seed: The random seed, an int of at least 0. The same seed gives the same result, whether a sample is alone "
        "or in a batch."
    ),
    # Options of the output, and the output.
    "output_options": ["normalize", "squeeze", "batch_size"],
    "signed_output_options": ["signed_normalize", "squeeze", "batch_size"],
    "normalize": (
        "normalize: Whether to scale each sample's map to [0, 1] by its own minimum and maximum; False returns raw "
        "values, in units of the score per unit of the tensor."
    ),
    "signed_normalize": (
        "normalize: Whether to divide each sample's map by its largest magnitude, which scales it to [-1, 1] and "
        "keeps 0 at 0; False returns the attribution itself, in units of the score."
    ),
    "squeeze": "squeeze: Whether to drop the samples axis of a single sample's map.",
    "batch_size": (
        "batch_size: The maximum number of samples to run at once, including modified copies; None chooses it. It "
        "bounds memory and does not change the result."
    ),
    "maps": (
        "A float32 array of shape `(samples, *positions)`, or `(*positions)` for a single sample; a table (rank 2) "
        "has one value per feature. For several inputs it is a list or dict of arrays, like `seed_input`; for a list "
        "`wrt_tensor` it is a list. A layer that is called several times gives one map per call, along axis 1. An "
        "iterable of batches gives a generator with one result per batch."
    ),
    "signed_maps": (
        "A float32 array of shape `(samples, *positions)`, or `(*positions)` for a single sample, of both signs: "
        "summed over channels unless `keepdims`. A table (rank 2) has one value per feature, an embedding one per "
        "token. For several inputs it is a list or dict of arrays, like `seed_input`; an iterable of batches gives a "
        "generator with one result per batch."
    ),
    "map_errors": ["map_value_error", "map_type_error"],
    "map_value_error": (
        "ValueError: No layer, output or tensor has that address; a filter is out of range; `seed_input` does not fit "
        "the model's inputs or is not finite; an option has an unknown name or is out of range; the score or its "
        "gradient is NaN or infinite."
    ),
    "map_type_error": (
        "TypeError: `model` is not a Keras model, `filter_indices` holds something other than ints, or another "
        "argument is of a wrong type."
    ),
    "map_warnings": (
        "VisWarning: The map may mislead: the score does not depend on the input or tensor, the gradient is zero "
        "everywhere, the softmax is saturated, or the backprop modifier could not reach an activation."
    ),
    # SmoothGrad and perturbation.
    "noise_level": (
        "noise_level: The standard deviation σ of the noise as a fraction, 0 to 1, of each sample's range max x − min "
        "x. The paper recommends 0.1 to 0.2."
    ),
    "num_noisy": "num_samples: The number n of noisy copies per sample.",
    "aggregate": (
        "aggregate: What is taken over the copies' gradients: `'mean'`, as in the paper; `'absolute'`, the mean "
        "of their magnitudes, as in tf-keras-vis; `'square'`, the mean of their squares, which keeps what opposite "
        "signs would cancel (Hooker et al. 2019, arXiv 1806.10758); or `'var'`, their variance (Adebayo et al. 2018, "
        "arXiv 1810.03307)."
    ),
    "fill": (
        "fill: The replacement of hidden values: a number, an array that broadcasts against one sample or against all, "
        "`'mean'` (of each sample and channel; 0 for tokens and tables, which have none) or `'blur'` (a blurred copy "
        "of the sample), in the units of the input; for tokens an id."
    ),
    "inputs": (
        "inputs: The inputs to perturb, if the model has several, one at a time while the others stay unchanged: a "
        "name or an index, or a list of them; None takes all. Options that describe an input may then be dicts of one "
        "value per input, by name."
    ),
    "progress_bar": "progress: Whether to show a progress bar after a few seconds.",
    "perturbed_maps": (
        "A float32 array of shape `(samples, *positions)`, or `(*positions)` for a single sample: one value per "
        "position of a picture, step of a series, token of a text or feature of a table, for all its channels. For "
        "several inputs it is a list or dict of arrays, like `seed_input`; for a list `inputs` it is a list. An "
        "iterable of batches gives a generator with one result per batch."
    ),
    "segments": (
        "segments: The groups of positions to switch on and off together: an int array of shape `positions`, or "
        "`(samples, *positions)`, with the segment number of each position; `'slic'` for superpixels (needs "
        "scikit-image). None takes a grid of 8 × 8 squares for pictures (4 × 4 × 4 cubes for volumes), one segment per "
        "feature for tables, and one per token or step for sequences."
    ),
    # Class activation maps.
    "token_grid": (
        "token_grid: The rows and columns of image patches that the tokens form, `(rows, columns)`; None derives it "
        "from the model."
    ),
    "extra_tokens": (
        "extra_tokens: The numbers of tokens before and after the patches that are not patches, `(before, after)`, "
        "such as the class token; None derives it from the model."
    ),
    "cam_method": (
        "method: The weighting of the feature map A, with G = ∂S/∂A: `'gradcam'`, `'gradcam++'`, `'layercam'`, "
        "`'xgradcam'`, `'hirescam'`, `'eigencam'` (does not depend on the target), `'eigengradcam'`, `'scorecam'` or "
        "`'ablationcam'` (a forward pass per channel; `vis.visualization.cam.ScoreCAM(max_filters)` and "
        "`AblationCAM(max_filters)` weight fewer). Or a function `(activations, gradients) -> maps` of two arrays of "
        "shape (samples, *positions, channels) that returns (samples, *positions): the ReLU, the interpolation and "
        "the normalization follow."
    ),
    "smoothing": (
        "smoothing: `'augment'` averages the maps of six inputs: scaled by 0.9, 1 and 1.1, unflipped and flipped left "
        "to right (along the last axis of pictures and volumes; series are not flipped). None uses the input alone."
    ),
    "relu": "relu: Whether to show only evidence for the target; False keeps the evidence against it.",
    "interpolation": (
        "interpolation: How to resize the map to the input: `'linear'`, `'cubic'`, or None to keep the "
        "feature map's own size."
    ),
    # Activation maximization.
    "optimized_tensor": (
        "wrt_tensor: The tensor to differentiate with respect to; None means the input. For a layer or a tensor after "
        "the input, gradients are reported but the input is not optimized."
    ),
    "input_range": (
        "input_range: The smallest and largest value of the input, `(min, max)`: two numbers, or two lists of one "
        "number per channel, in the units of the model. The result stays within it."
    ),
    "start": (
        "seed_input: Where to start: one image or a batch of shape (images, ...), in the units of the model. "
        "None starts from noise around the middle of `input_range`. The images of a batch are optimized at once, each "
        "with its own filters where `filter_indices` has a row per image."
    ),
    "step_modifier": (
        "grad_modifier: The function applied to the gradient of each step: the name of a function of "
        "`vis.grad_modifiers`, a function of an array, or None."
    ),
    "random_seed": "seed: An int of at least 0, for the same result in every call; None draws a new seed each time.",
    "img_input": (
        "img_input: `model.input`, one of several inputs, or the model itself (of any kind), which stands for all its "
        "inputs."
    ),
    # Influence.
    "training_set": ["x", "y"],
    "x": "x: The training inputs, an array of shape (examples, ...); for several inputs a list or dict of arrays.",
    "y": "y: The training labels, of shape (examples,) or (examples, ...).",
    "validation_set": ["x_val", "y_val"],
    "x_val": (
        "x_val: The validation inputs, an array of shape (examples, ...), or a single example; for several inputs a "
        "list or dict."
    ),
    "y_val": ("y_val: The validation labels, of shape (examples,) or (examples, ...); for a single example its label."),
    "run": "run: The training run, a `TrainingRun` from `record_training` or `load_training`.",
    "loss": (
        "loss: A Keras loss, its name, or a function of `(y_true, y_pred)` that returns one loss per example. None "
        "takes the loss of the compiled model, times its `loss_weights`, or else the usual loss for its last layer: "
        "cross entropy after a softmax or sigmoid, mean squared error for linear outputs."
    ),
    "l2": "l2: The factor λ of ½λ‖θ‖², over all trainable weights, biases included, in each example's loss.",
    "sample_weight": "sample_weight: One factor per example for its loss, of shape (examples,); None for ones.",
    "progress": "progress: Whether to show progress bars.",
    "scores": (
        "A float64 array of shape (training examples,), in units of the loss. A score is the change in mean "
        "validation loss if the example had been left out of training; negative means harmful."
    ),
    "run_error": "TypeError: `run` is not a recorded training run.",
    "validation_error": ("ValueError: The validation set does not fit the model, is empty or has labels out of range."),
    "validation_warning": "VisWarning: The validation examples are the training examples.",
    # Figures.
    "image": (
        "image: A Pillow image, or an array of shape (height, width), (height, width, 1) or (height, width, 3): uint8, "
        "or numbers in [0, 1] or [0, 255]; other numbers are stretched from their minimum (black) to their maximum "
        "(white)."
    ),
    "colormap": (
        "colormap: The name of a matplotlib colour map, such as `'jet'`. None takes `'inferno'`, or blue-white-red "
        "where values of both signs share a scale."
    ),
    "percentile": (
        "percentile: The percentile, above 0 and up to 100, of the maps' absolute values that gets the brightest "
        "colour; larger values share it."
    ),
    "figure": "The `matplotlib.figure.Figure`; `figure.savefig(path)` writes it.",
    # Keras.
    "data_format": (
        "data_format: `'channels_last'` or `'channels_first'`; None means `keras.config.image_data_format()`."
    ),
}

_PLACEHOLDER = re.compile(r"^(?P<indent> *)\{\{(?P<name>\w+)\}\}(?P<more>.*(?:\n(?P=indent) +\S.*)*)$", re.MULTILINE)
_ARGUMENT = re.compile(r"\*{0,2}[\w.]+: ")

T = TypeVar("T")


def shared_docs(thing: T) -> T:
    """Fill the placeholders of a function's, class's or property's docstring.

    Below `functools.wraps`, so that the wrapper takes over the filled text, or above it, both do. Under `python -OO`,
    where there are no docstrings, nothing happens.

    Args:
        thing: A function, method, class or property; a decorator of it.

    Returns:
        `thing` itself.

    Raises:
        KeyError: No shared text has a placeholder's name.

    Example:
        >>> @shared_docs
        ... def total(run):
        ...     '''Add up.
        ...
        ...     Args:
        ...         {{run}}
        ...     '''
        >>> "run: The training run, a `TrainingRun`" in total.__doc__
        True
    """
    if thing.__doc__ is not None:
        thing.__doc__ = fill(thing.__doc__)
    return thing


def fill(docstring: str) -> str:
    """Replace the placeholders of a docstring by the shared texts, indented and wrapped.

    Args:
        docstring: Any text. Only a placeholder that begins a line is replaced.

    Returns:
        The text without placeholders.

    Raises:
        KeyError: No shared text has a placeholder's name.

    Example:
        >>> print(fill("    {{squeeze}} Batches keep it."))
            squeeze: Whether to drop the samples axis of a single sample's map. Batches keep it.
    """
    return _PLACEHOLDER.sub(_text, docstring)


def _text(match: re.Match) -> str:
    entries = _entries(match["name"])
    entries[-1] = " ".join([entries[-1], *match["more"].split()])
    return "\n".join(_wrapped(entry, match["indent"]) for entry in entries)


def _entries(name: str) -> list[str]:
    if name not in TEXTS:
        raise KeyError(f"{{{{{name}}}}} is no shared text; vis.utils.docs.TEXTS has {', '.join(TEXTS)}")
    text = TEXTS[name]
    return [text] if isinstance(text, str) else [entry for part in text for entry in _entries(part)]


def _wrapped(entry: str, indent: str) -> str:
    further = indent + "    " if _ARGUMENT.match(entry) else indent
    options: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(entry, _WIDTH, initial_indent=indent, subsequent_indent=further, **options)
