"""The graph of a network: unroll its loops, and put its functions in the order of computation."""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NamedTuple

from vis.files.nnp.schema import Options
from vis.utils.errors import ArgumentError

_MOST_FUNCTIONS = 50_000


class Function(NamedTuple):
    """A function of a network.

    Attributes:
        name: Its name; in a loop it includes the iteration, as in `ReLU_RepeatStart[0]`.
        type: Its type, such as `"Convolution"`.
        inputs: The names of its input variables.
        outputs: The names of its output variables.
        options: Its options, a message; an option that the file leaves out is 0, False or empty.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Any


class Network(NamedTuple):
    """A network with its loops unrolled.

    Attributes:
        name: Its name.
        batch_size: The batch size in the file, which is the length of the first axis of shapes.
        variables: The shapes of the variables that are not parameters, by name, with the batch axis.
        parameters: The shapes of the parameters, by name.
        functions: The functions, in no particular order.
    """

    name: str
    batch_size: int
    variables: dict[str, tuple[int, ...]]
    parameters: dict[str, tuple[int, ...]]
    functions: list[Function]

    def producers(self) -> dict[str, Function]:
        """Return the function that computes each variable."""
        return {output: function for function in self.functions for output in function.outputs}

    def before(self, output: str) -> list[Function]:
        """Return the functions that a variable depends on, in the order of computation.

        Args:
            output: The name of the variable.

        Returns:
            The functions.

        Raises:
            ArgumentError: The functions form a cycle.
        """
        producers = self.producers()
        ordered: dict[int, Function] = {}
        begun: set[int] = set()
        stack = [producers[output]] if output in producers else []
        while stack:
            function = stack[-1]
            waiting = [producers[name] for name in function.inputs if name in producers]
            waiting = [other for other in waiting if id(other) not in ordered]
            if not waiting or id(function) in ordered:
                ordered.setdefault(id(function), stack.pop())
            elif id(function) in begun:
                raise ArgumentError("path", f"must have no cycle of functions, but {function.name!r} is part of one")
            else:
                begun.add(id(function))
                stack += waiting
        return list(ordered.values())


def network_of(message) -> Network:
    """Return the network of a message, with its loops unrolled as nnabla unrolls them.

    The functions inside a loop are copied once per iteration. A `RepeatStart` passes on the input of the loop in the
    first iteration, and the result of the previous iteration in the others; a `RepeatEnd` passes on the result of the
    last iteration.

    Args:
        message: A `Network` of the file.

    Returns:
        The `Network`.

    Raises:
        ArgumentError: A loop has no number of iterations, or there are too many functions.
    """
    times = {info.id: info.times for info in message.repeat_info}
    for function in message.function:
        if function.HasField("repeat_param"):
            times.setdefault(function.repeat_param.repeat_id, function.repeat_param.times)
    rounds = [_rounds(item, times) for item in (*message.variable, *message.function)]
    count = sum(math.prod(times[name] for name in names) for names in rounds)
    if count > _MOST_FUNCTIONS:
        raise ArgumentError("path", f"must have at most {_MOST_FUNCTIONS:,} functions and variables, not {count:,}")

    originals = {variable.name: variable for variable in message.variable}
    variables: dict[str, tuple] = {}
    parameters: dict[str, tuple] = {}
    for variable in message.variable:
        into = parameters if variable.type == "Parameter" else variables
        for state in _states(variable, times):
            into[_named(variable, state)] = tuple(variable.shape.dim)

    def at(name, state):
        if name not in originals:
            raise ArgumentError("path", f"must describe every variable, but does not describe {name!r}")
        return _named(originals[name], state)

    functions = []
    for function in message.function:
        loop = function.repeat_param.repeat_id
        for state in _states(function, times):
            kind, inputs, before = function.type, list(function.input), state
            if kind in ("RepeatStart", "RepeatEnd") and loop not in (state if kind == "RepeatStart" else times):
                raise ArgumentError("path", f"must name the loop of {function.name!r} ({kind}), which it does not")
            if kind == "RepeatStart":
                kind, inputs = "Identity", inputs[:1] if state[loop] == 0 else inputs[1:]
                before = {**state, loop: max(state[loop] - 1, 0)}
            elif kind == "RepeatEnd":
                kind, before = "Identity", {**state, loop: times[loop] - 1}
            functions.append(
                Function(
                    _named(function, state),
                    kind,
                    tuple(at(name, before) for name in inputs),
                    tuple(at(name, state) for name in function.output),
                    _options(function),
                )
            )
    return Network(message.name, message.batch_size, variables, parameters, functions)


def fit_name(name: str, otherwise: str, taken: set[str]) -> str:
    """Return a unique name that TensorFlow's scopes and Keras's layers allow, and add it to the names taken.

    Args:
        name: The name in the file, such as `Unit/ReLU_RepeatStart[0]`.
        otherwise: The name to use if no character of it is allowed.
        taken: The names of the other layers; the new one is added.

    Returns:
        A name of letters, digits, `_`, `-` and `.` that begins with a letter or digit and is not taken.

    Example:
        >>> fit_name("Unit/ReLU_RepeatStart[0]", "ReLU", set()), fit_name("y'", "y", {"y_"})
        ('Unit.ReLU_RepeatStart.0', 'y__2')
    """
    fitted = re.sub(r"[^A-Za-z0-9_.-]", "_", name.replace("]", "").replace("[", ".").replace("/", "."))
    fitted = re.sub(r"^[^A-Za-z0-9]+", "", fitted) or otherwise
    unique = next(
        each for each in itertools.chain([fitted], (f"{fitted}_{i}" for i in itertools.count(2))) if each not in taken
    )
    taken.add(unique)
    return unique


def _rounds(item, times: dict[str, int]) -> list[str]:
    """Return the loops around a variable or function."""
    for name in item.repeat_id:
        if times.get(name, 0) < 1:
            raise ArgumentError("path", f"must have a number of iterations for the loop {name!r}, which it lacks")
    return list(item.repeat_id)


def _states(item, times: dict[str, int]):
    """Yield the iteration of each loop around a variable or function, for every copy of it."""
    for rounds in itertools.product(*(range(times[name]) for name in item.repeat_id)):
        yield dict(zip(item.repeat_id, rounds, strict=True))


def _named(item, state: dict[str, int]) -> str:
    """Return the name of a copy as in nnabla: `{loop}` in the name becomes the iteration, else it is appended."""
    name = item.name
    for loop in item.repeat_id:
        part = f"[{state[loop]}]"
        name = name.replace(f"{{{loop}}}", part) if f"{{{loop}}}" in name else f"{name}_{loop}{part}"
    return name


def _options(function):
    for _, value in function.ListFields():
        if isinstance(value, Options):
            return value
    return Options()
