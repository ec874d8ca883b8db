"""Optimize a model's input by compiled gradient descent on losses, for several images at once."""

from __future__ import annotations

import contextlib
import secrets

import keras
import numpy as np
import tensorflow as tf

from vis import grad_modifiers
from vis.engine import addressing
from vis.engine.evaluate import Objective, Question, evaluate
from vis.engine.inputs import ModelInputs, symbolic_inputs
from vis.engine.rules import underlying
from vis.input_modifiers import in_graph
from vis.losses import ActivationMaximization, weighted
from vis.optimizer.callbacks import Print
from vis.optimizer.host_calls import PythonSteps
from vis.optimizer.loop import Descent, EarlyStopping
from vis.optimizer.parameterizations import Fourier, Pixels
from vis.optimizer.starts import (
    Range,
    are_inputs,
    data_format_of,
    moved_inputs,
    samples_of,
    warn_of_values_outside,
    with_images,
)
from vis.optimizer.updates import KerasRule, Rms
from vis.utils import checks
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError, sentence, warn

# The most steps between two returns to Python, where interrupts are handled; callbacks may need fewer.
_MOST_STEPS = 50


@shared_docs
class Optimizer:
    """Minimize losses by changing a model's input.

    It minimizes Σ weight · loss over the input x, kept within `input_range` (Simonyan et al. 2013, "Deep Inside
    Convolutional Networks", arXiv 1312.6034, section 2).

    Args:
        input_tensor: `model.input`, or the model itself, which need not be functional.
        losses: A list of pairs `(loss, weight)`, where a loss is a `vis.losses.Loss` or a function of the model's
            output. A loss with weight None or 0 is dropped.
        {{input_range}}
        {{optimized_tensor}}
        norm_grads: Whether to scale each image's gradient to length 1 before modifying and applying it.

    Attributes:
        input_tensor: As given.
        wrt_tensor: As given; `input_tensor` for None.
        wrt_tensor_is_input_tensor: Whether the gradients are those of the input, so that it can be optimized.
        loss_names: The names of the losses whose weight is not 0.

    Raises:
        ValueError: `input_range` is not a pair of finite numbers (or of lists with one number per channel), the smaller
            first; or every loss has weight 0.
        TypeError: `losses` holds an object that is neither a loss nor a function.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.layers[-1].set_weights([np.array([[1.0], [0.0], [-1.0]]), np.zeros(1)])
        >>> optimizer = Optimizer(model, [(ActivationMaximization(model.layers[-1], 0), 1)], input_range=(-1.0, 1.0))
        >>> image, grads, value = optimizer.minimize(np.zeros(3), max_iter=300, verbose=False)
        >>> image
        array([ 1.,  0., -1.], dtype=float32)
    """

    def __init__(self, input_tensor, losses, input_range=(0, 255), wrt_tensor=None, norm_grads: bool = True):
        self.model = addressing.model_of(input_tensor)
        self.losses = weighted(losses)
        self.objective = Objective(self.model, self.losses)
        self.input_tensor = input_tensor
        self.input_range = Range(input_range)
        self.wrt_tensor = input_tensor if wrt_tensor is None else wrt_tensor
        self.wrt_tensor_is_input_tensor = wrt_tensor is None or are_inputs(self.model, wrt_tensor)
        self.norm_grads = norm_grads

    @property
    def loss_names(self) -> list[str]:
        """Return the names of the losses whose weight is not 0."""
        return [loss.name for loss, _ in self.losses]

    @shared_docs
    def minimize(
        self,
        seed_input=None,
        max_iter: int = 200,
        input_modifiers=None,
        grad_modifier=None,
        callbacks=None,
        verbose: bool = True,
        *,
        optimizer=None,
        parameterization: str = "pixels",
        callback_every: int = 1,
        patience: int | None = None,
        min_delta: float = 0.0,
        seed: int | None = None,
        squeeze: bool = True,
        batch_size: int | None = None,
    ):
        """Move the input down the gradient of the weighted sum of the losses.

        Args:
            {{start}}
            max_iter: The number of steps, at least 1.
            input_modifiers: A list of `vis.input_modifiers`, applied in this order at each step.
            {{step_modifier}}
            callbacks: A list of `vis.callbacks`.
            verbose: Whether to print the losses.
            optimizer: A Keras optimizer or its name. Its learning rate is a fraction of the width of `input_range`.
                None takes keras-vis's RMSprop, which moves a value by about a 64th of the range per step; for
                `parameterization='fourier'`, Adam(0.05).
            parameterization: What is optimized: `'pixels'`, or `'fourier'` for the image's spectrum with decorrelated
                colours, which gives smoother pictures and is needed for models with batch normalization (Olah et al.
                2017, "Feature Visualization", the section on preconditioning).
            callback_every: The number of steps between two calls of the callbacks, at least 1; the loop runs compiled
                in between.
            patience: Stop after this many consecutive steps in which no image reached a lower loss; None never does.
            min_delta: The smallest decrease of a loss that counts for `patience`.
            {{random_seed}}
            squeeze: Whether to drop the samples axis of a single image.
            batch_size: The most images to compute at once; None chooses. It bounds the memory.

        Returns:
            `(image, grads, wrt_value)`. `image` is float32 with the shape of the input: for each image, the step with
            the lowest loss. `grads` are the gradients at the end, normalized and modified, and `wrt_value` is the value
            of the tensor they refer to; both keep the samples axis. For several inputs each of the three is a list.

        Raises:
            ValueError: A number or a name is out of range or unknown, `seed_input` does not fit the model's inputs, it
                is None and the input shape of the model is unknown, an input modifier that works on pixels is combined
                with `parameterization='fourier'`, or a loss or its gradient became NaN or infinite.
            TypeError: `input_modifiers` or `callbacks` is not a list of such objects, `optimizer` is not a Keras
                optimizer, or a number is of another type.

        Warns:
            VisWarning: `seed_input` has values outside `input_range`; or a filter was never active, so there is no
                result.

        Example:
            >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            >>> model.layers[-1].set_weights([np.array([[1.0], [-1.0]]), np.zeros(1)])
            >>> optimizer = Optimizer(model, [(lambda output: output[:, 0], 1)], input_range=(0.0, 1.0))
            >>> optimizer.minimize(np.full(2, 0.5), max_iter=100, verbose=False)[0]
            array([0., 1.], dtype=float32)
        """
        max_iter = checks.whole_number("max_iter", max_iter)
        callback_every = checks.whole_number("callback_every", callback_every)
        patience = checks.whole_number("patience", patience, or_none=True)
        min_delta = checks.real_number("min_delta", min_delta)
        seed = checks.whole_number("seed", seed, 0, or_none=True)
        seed = secrets.randbits(62) if seed is None else seed
        samples = samples_of(self.model, seed_input, self._count(), self.input_range)
        data_format = data_format_of(self.model, samples)
        space = _parameterization(parameterization, data_format)
        modify = None if grad_modifier is None else grad_modifiers.get(grad_modifier)
        transforms, python = _steps(modify, input_modifiers or [], space)
        rule = Rms() if optimizer is None and isinstance(space, Pixels) else KerasRule(optimizer or _adam())
        watchers = [*_watchers(callbacks or []), *([Print()] if verbose else [])]

        moved = moved_inputs(self.model, samples, self.wrt_tensor) if self.wrt_tensor_is_input_tensor else []
        question = Question(self.objective, samples, self._wrt(moved), batch_size)
        if not self.wrt_tensor_is_input_tensor:
            return self._gradients_only(question, modify, watchers, squeeze)
        images = [samples.arrays[i] for i in moved]
        ranges = [self.input_range.ends(array.shape, data_format) for array in images]
        if seed_input is None:
            rng = np.random.default_rng(seed)
            parameters = [tf.constant(space.initial(array.shape, rng)) for array in images]
        else:
            warn_of_values_outside(images, ranges)
            parameters = [space.bounded(space.encode(array, *ends)) for array, ends in zip(images, ranges, strict=True)]

        descent = Descent(question, moved, space, rule, transforms, data_format, self.norm_grads, python, ranges)
        images = [space.decode(each, *ends) for each, ends in zip(parameters, ranges, strict=True)]
        every = callback_every if watchers else _MOST_STEPS
        with descent.rule.lock, _watched(watchers, max_iter):
            state = descent.start(parameters, images)
            for stop in [*range(every, max_iter, every), max_iter]:
                done = int(state.step)
                state = descent.advance(state, stop, EarlyStopping(patience, min_delta), seed)
                if not state.finite:
                    raise self._not_finite(with_images(samples, moved, state.images), question, int(state.step) - 1)
                if int(state.step) > done:
                    self._tell(watchers, int(state.step) - 1, state.losses, state.gradients, state.images)
                if int(state.step) < stop:
                    break
        images = [space.decode(each, *ends).numpy() for each, ends in zip(state.parameters, ranges, strict=True)]
        losses, gradients, _ = self._evaluated(question, with_images(samples, moved, images), modify)
        self._warn_of_silence(losses)
        better = question.weights.numpy() @ losses < state.best_loss.numpy()
        best = [
            np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old.numpy())
            for new, old in zip(images, state.best, strict=True)
        ]
        return _alone(best, squeeze), _alone(gradients), _alone(images)

    def _count(self) -> int:
        """Return the number of images that the losses specify."""
        indices = [getattr(loss, "filter_indices", ()) for loss, _ in self.losses]
        return max((len(rows) for rows in indices if np.ndim(rows) == 2), default=1)

    def _wrt(self, moved: list[int]):
        symbols = symbolic_inputs(underlying(self.model))
        if not self.wrt_tensor_is_input_tensor:
            return self.wrt_tensor if isinstance(self.wrt_tensor, list) else [self.wrt_tensor]
        return [symbols[i] for i in moved] if symbols else [None]

    def _gradients_only(self, question: Question, modify, watchers, squeeze):
        """Return the gradients at `wrt_tensor` and its value, without optimizing."""
        losses, gradients, values = self._evaluated(question, question.inputs, modify)
        with _watched(watchers, 1):
            self._tell(watchers, 0, losses, gradients, values)
        return _alone(question.inputs.arrays, squeeze), _alone(gradients), _alone(values)

    def _evaluated(self, question: Question, samples: ModelInputs, modify):
        """Return the losses, (losses, images), the gradients to report, and the values they belong to."""
        read, size = not self.wrt_tensor_is_input_tensor, question.batch_size
        parts = list(evaluate(self.objective, samples, wrt=question.wrt, read=read, batch_size=size))
        losses = np.concatenate([part.scores for part in parts], axis=1)
        gradients = _joined([part.gradients for part in parts])
        if not all(np.isfinite(array).all() for array in [losses, *gradients]):
            raise self._not_finite(samples, question)
        gradients = [_unit(each) for each in gradients] if self.norm_grads else gradients
        gradients = gradients if modify is None else [checks.modified(each, modify) for each in gradients]
        return losses, gradients, _joined([part.values for part in parts])

    def _tell(self, watchers, i, losses, gradients, values):
        losses = np.asarray(losses)
        weighed = [weight * losses[k] for k, (_, weight) in enumerate(self.losses)]
        if losses.shape[1] == 1:
            weighed = [float(values[0]) for values in weighed]
        arguments = (
            i,
            list(zip(self.loss_names, weighed, strict=True)),
            sum(weighed),
            _alone([np.asarray(each) for each in gradients]),
            _alone([np.asarray(each) for each in values]),
        )
        for watcher in watchers:
            watcher.callback(*arguments)

    def _not_finite(self, samples: ModelInputs, question: Question, step: int | None = None) -> ValueError:
        """Return an error that names the loss that is not finite."""
        when = "at the end" if step is None else f"at step {step}"
        for loss, weight in self.losses:
            alone = Objective(self.model, [(loss, weight)])
            for part in evaluate(alone, samples, wrt=question.wrt, batch_size=question.batch_size):
                wrong = part.scores[~np.isfinite(part.scores)]
                if wrong.size:
                    return ValueError(sentence(f"the loss {loss.name!r} became {wrong[0]} {when}", _REMEDY))
                if not all(np.isfinite(each).all() for gradients in part.gradients for each in gradients):
                    return ValueError(sentence(f"the gradient of the loss {loss.name!r} is not finite {when}", _REMEDY))
        names = ", ".join(map(repr, self.loss_names))
        return ValueError(sentence(f"the weighted sum of the losses {names} is not finite {when}", _REMEDY))

    def _warn_of_silence(self, losses):
        for (loss, weight), values in zip(self.losses, losses, strict=True):
            silent = np.flatnonzero(values == 0)
            if type(loss) is ActivationMaximization and weight > 0 and silent.size:
                warn(
                    "silent_filter",
                    f"{loss.name}: the activation is 0 for image {', '.join(map(str, silent))}, as that of a filter "
                    "that is never active",
                    "Try another seed or seed_input, or choose other filter_indices",
                )


_REMEDY = "Try a smaller learning rate or weight, an input_range like that of the training data, or another seed"


def _adam():
    return keras.optimizers.Adam(0.05)


def _parameterization(name: str, data_format: str):
    if name not in ("pixels", "fourier"):
        raise ArgumentError("parameterization", f"must be 'pixels' or 'fourier', not {name!r}", kind="unknown")
    return Pixels() if name == "pixels" else Fourier(data_format)


def _steps(modify, modifiers, space) -> tuple[list, PythonSteps]:
    """Split input modifiers into transforms and NumPy modifiers."""
    if not isinstance(modifiers, (list, tuple)):
        raise ArgumentTypeError(
            "input_modifiers", f"must be a list of vis.input_modifiers, not {type(modifiers).__name__}"
        )
    for modifier in modifiers:
        if not (callable(getattr(modifier, "pre", None)) and callable(getattr(modifier, "post", None))):
            raise ArgumentTypeError(
                "input_modifiers",
                f"must hold objects with the methods pre and post, not {type(modifier).__name__}",
                "Make it a subclass of vis.input_modifiers.InputModifier",
            )
    python = PythonSteps(modify, [modifier for modifier in modifiers if not in_graph(modifier)])
    if python.modifiers and not isinstance(space, Pixels):
        raise ArgumentError(
            "input_modifiers",
            f"must hold only transforms with parameterization='fourier', not {type(python.modifiers[0]).__name__}",
            "Use parameterization='pixels', or make it a subclass of vis.input_modifiers.Transform",
        )
    return [modifier for modifier in modifiers if in_graph(modifier)], python


def _watchers(callbacks):
    if not isinstance(callbacks, (list, tuple)):
        raise ArgumentTypeError("callbacks", f"must be a list of vis.callbacks, not {type(callbacks).__name__}")
    for callback in callbacks:
        if not (callable(getattr(callback, "callback", None)) and callable(getattr(callback, "on_end", None))):
            raise ArgumentTypeError(
                "callbacks",
                f"must hold objects with the methods callback and on_end, not {type(callback).__name__}",
                "Make it a subclass of vis.callbacks.OptimizerCallback",
            )
    return callbacks


@contextlib.contextmanager
def _watched(watchers, max_iter: int):
    """Call the callbacks' `on_begin`, and always their `on_end`."""
    for watcher in watchers:
        getattr(watcher, "on_begin", lambda max_iter: None)(max_iter)
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.on_end()


def _joined(parts: list) -> list[np.ndarray]:
    """Concatenate the arrays of each tap and call over batches."""
    flat = [[array for calls in part for array in calls] for part in parts]
    return [np.concatenate(arrays) for arrays in zip(*flat, strict=True)]


def _alone(arrays: list, squeeze: bool = False):
    """Return a single array itself, several in a list."""
    arrays = [array[0] if squeeze and len(array) == 1 else array for array in arrays]
    return arrays[0] if len(arrays) == 1 else arrays


def _unit(gradients: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, gradients.ndim))
    largest = np.abs(gradients).max(axes, keepdims=True)
    scaled = gradients / np.where(largest > 0, largest, 1)
    norms = np.sqrt((scaled**2).sum(axes, keepdims=True))
    return scaled / np.where(norms > 0, norms, 1)
