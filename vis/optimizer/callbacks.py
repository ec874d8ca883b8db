"""Callbacks, which follow an optimization every `callback_every` steps: the base class, and one that prints losses."""

from __future__ import annotations

import numpy as np


class OptimizerCallback:
    """Base class of callbacks, as in keras-vis: override `callback`, and the other two methods if needed.

    Example:
        >>> class Losses(OptimizerCallback):
        ...     def on_begin(self, max_iter):
        ...         self.losses = []
        ...     def callback(self, i, named_losses, overall_loss, grads, wrt_value):
        ...         self.losses.append(overall_loss)
    """

    def on_begin(self, max_iter: int):
        """Prepare for an optimization; called before the first step.

        Args:
            max_iter: The largest number of steps there will be.
        """

    def callback(self, i: int, named_losses, overall_loss, grads, wrt_value):
        """Follow a step; called after it with the values it was computed from.

        Args:
            i: The step, counted from 0.
            named_losses: A list of pairs `(name, weighted loss)`. A loss is a float; for several images a float32 array
                of shape (images,).
            overall_loss: The sum of the weighted losses, likewise.
            grads: The gradients, a float32 array of the shape of `wrt_value`, normalized and modified.
            wrt_value: The images, a float32 array of shape (images, ...), in the model's units; for a `wrt_tensor`
                other than the input, its value.

        Raises:
            TypeError: The subclass does not override this method.
        """
        raise TypeError(f"the callback {type(self).__name__} must override callback()")

    def on_end(self):
        """Finish; called after the last step, even if an error ended the optimization."""


class Print(OptimizerCallback):
    """Print the losses.

    Example:
        >>> Print().callback(0, [("TV", 0.5)], 0.5, None, None)
        Iteration: 1, losses: TV 0.5, overall loss: 0.5
    """

    def callback(self, i, named_losses, overall_loss, grads, wrt_value):
        losses = ", ".join(f"{name} {_text(value)}" for name, value in named_losses)
        print(f"Iteration: {i + 1}, losses: {losses}, overall loss: {_text(overall_loss)}")


def _text(value) -> str:
    values = ", ".join(f"{each:.6g}" for each in np.ravel(value))
    return f"[{values}]" if np.ndim(value) else values
