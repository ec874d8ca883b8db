"""Gradient descent on a model's input: where it starts, what it moves, by which rule, in one compiled loop."""
