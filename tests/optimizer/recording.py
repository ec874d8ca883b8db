"""Small losses, images to start from, and a callback that keeps every step."""

from __future__ import annotations

import numpy as np
import zoo

from vis.callbacks import OptimizerCallback
from vis.losses import ActivationMaximization
from vis.regularizers import TotalVariation


def images(count):
    return np.tanh(zoo.images(count) - 0.5).astype("float32")


def losses(model, filters=1, tv=3.0):
    return [(ActivationMaximization(model.layers[-1], filters), 1), (TotalVariation(model.input), tv)]


class Recorder(OptimizerCallback):
    def on_begin(self, max_iter):
        self.calls, self.ended, self.max_iter = [], 0, max_iter

    def callback(self, i, named_losses, overall_loss, grads, wrt_value):
        self.calls.append((i, named_losses, overall_loss, grads, wrt_value))

    def on_end(self):
        self.ended += 1

    @property
    def steps(self):
        return [call[0] for call in self.calls]


def unit(gradient):
    """Gradients of length 1, image by image."""
    return gradient / np.sqrt((gradient**2).sum(axis=(1, 2, 3), keepdims=True))
