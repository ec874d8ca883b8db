"""Activation maximization's optimizer: gradient descent on a model's input, compiled."""

from vis.optimizer.optimizer import Optimizer

__all__ = ["Optimizer"]
