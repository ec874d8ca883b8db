"""Warnings that hold for every result of a traced objective."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral

from vis.engine import addressing, graphs
from vis.engine.rules import rule_of, underlying


def result_warnings(model, run, total, is_random: bool) -> list[tuple]:
    """Return the warnings about an objective that hold for all samples.

    Args:
        model: A Keras model, with or without a backprop modifier.
        run: Its `vis.engine.taps.Run`.
        total: The tensor that was differentiated.
        is_random: Whether the model draws random numbers.

    Returns:
        One tuple `(code, problem)` or `(code, problem, remedy)` per warning.
    """
    found = [*_unreached(model, run, total), *_assigned(run)]
    return [*found, *(_random(run) if is_random else ())]


def _random(run) -> Iterator[tuple]:
    yield (
        "random_model",
        f"the model '{run.model.name}' draws random numbers when it is called, so that the map is that of one draw",
        "smoothgrad(..., noise_level=0) averages over draws",
    )


def _unreached(model, run, total):
    rule = rule_of(model)
    if rule is None:
        return
    names = graphs.unreached_activations(total)
    if not run.reached:
        problem = f"{rule.name} changed nothing: the model '{run.model.name}' has no activation that it could reach"
        yield "nothing_modified", problem
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        yield (
            "unmodified_activation",
            f"{rule.name} did not reach {len(names)} activation{'s' if len(names) > 1 else ''} called as a bare "
            f"operation, where the gradient passes as usual: {shown}",
            "Use a layer such as keras.layers.ReLU there",
        )


def _assigned(run):
    if graphs.assigns(run.outputs[0].graph):
        yield (
            "assigned_variable",
            f"the model '{run.model.name}' assigns to a tf.Variable when it is called, so that each call changes it "
            "and the next result",
            "Create it with add_weight: vis leaves a keras.Variable unchanged",
        )


def not_the_output(model, losses) -> Iterator[tuple]:
    """Yield a warning if -1 addressed the last layer, but operations follow it in the model."""
    layers = [getattr(loss, "given", getattr(loss, "layer", None)) for loss, _ in losses]
    if any(isinstance(layer, Integral) and layer == -1 for layer in layers):
        model = underlying(model)
        operations = addressing.operations_after_last_layer(model)
        if operations:
            yield (
                "not_the_output",
                f"layer_idx=-1 is the layer {model.layers[-1].name!r}, but the model's output is made of it by "
                f"further operations ({', '.join(operations)}), which may turn its sign",
                "Give layer_idx=None for the output",
            )
