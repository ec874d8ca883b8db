"""Build a Keras model from a network of an `.nnp` file, function by function, in channels-last order."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

# Each enters its functions into the table.
from vis.files.nnp import activations, arithmetic, augmentation, dense, layout, pooling, shapes  # noqa: F401
from vis.files.nnp.graph import Network, fit_name
from vis.files.nnp.table import FUNCTIONS, Call, Unsupported, refusal
from vis.utils.errors import ArgumentError, warn


def build(
    network: Network,
    inputs: Sequence[str],
    output: str,
    parameters: dict[str, np.ndarray],
    *,
    training: bool = False,
    frozen: Sequence[str] = (),
) -> keras.Model:
    """Build a model that computes a variable of a network.

    Args:
        network: The network.
        inputs: The variables that the model takes, in this order.
        output: The variable that it computes.
        parameters: The parameters that it needs, by name.
        training: Whether the model is to be trained: normalizing by the batch is then correct, and not warned of.
        frozen: The parameters that are not trained; a layer is not trainable if all its parameters are frozen.

    Returns:
        The model, built but not compiled.

    Raises:
        ArgumentError: A function is not supported, or variables do not fit together.

    Warns:
        VisWarning: The model computes something differently than the file says.
    """
    functions = network.before(output)
    check(network, inputs, output)
    taken: set[str] = set()
    values: dict = {}
    for name in inputs:
        shape = layout.sample_shape(network.variables[name])
        values[name] = keras.Input(shape, name=fit_name(name, "input", taken))
    symbols = list(values.values())
    values.update(parameters)

    shared: dict = {}
    for function in functions:
        name = fit_name(function.name, function.type, taken)
        of = tuple(each for each in function.inputs if each in network.parameters)
        call = Call(name, function.type, function.options, network.batch_size, of, shared)
        try:
            result = FUNCTIONS[function.type](call, *(values[each] for each in function.inputs))
        except Unsupported as error:
            raise refusal(function.name, function.type, str(error)) from error
        except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, tf.errors.OpError) as error:
            first = next(iter(str(error).splitlines()), "")[:200].rstrip(".")
            raise ArgumentError(
                "path",
                f"must be a network whose shapes fit, not with {function.name!r} ({function.type}): {first}",
            ) from error
        values[function.outputs[0]] = result
        if function.options.batch_stat and not training:
            warn(
                "batch_statistics",
                f"{function.name!r} and functions like it normalize by the batch in the file; the trained mean and "
                "variance are used instead",
            )
    for (_, names, _), layer in shared.items():
        layer.trainable = not names or not set(names) <= set(frozen)
    name = fit_name(network.name, "network", set())
    return keras.Model(symbols[0] if len(symbols) == 1 else symbols, values[output], name=name)


def check(network: Network, inputs: Sequence[str], output: str) -> None:
    """Refuse a network with an unsupported function, input or shape, before any parameter is read.

    Args:
        network: The network.
        inputs: The variables that the model takes.
        output: The variable that it computes.

    Raises:
        ArgumentError: A function, an input or a shape is not supported; the error names the first.
    """
    functions = network.before(output)
    if not functions:
        raise ArgumentError("path", f"must compute its output, but nothing computes {output!r}")
    for function in functions:
        if function.type not in FUNCTIONS:
            raise refusal(function.name, function.type, "")
    produced = {name for function in functions for name in function.outputs}
    for function in functions:
        for name in function.inputs:
            if name not in produced and name not in network.parameters and name not in inputs:
                raise ArgumentError(
                    "path",
                    f"must be a network of its inputs {', '.join(map(repr, inputs))} alone, not of {name!r} too, which "
                    f"{function.name!r} ({function.type}) takes",
                )
    for name in inputs:
        shape = network.variables.get(name, ())
        if len(shape) < 2 or min(shape[1:]) < 1:
            raise ArgumentError("path", f"must say the shape of its input {name!r}, not {shape}")
