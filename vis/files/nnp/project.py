"""The contents of an `.nnp` file: networks, the executor, how it was trained, and how its images are scaled."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vis.files.nnp import archive
from vis.files.nnp.graph import Network, network_of
from vis.files.nnp.training import Training, training_of
from vis.images import Scale
from vis.utils.errors import ArgumentError, warn

if TYPE_CHECKING:
    import keras

_CLASSES = ("Softmax", "Sigmoid", "LogSoftmax")
_CARRYING = ("Identity", "Reshape", "Dropout")


class Executor(NamedTuple):
    """The executor of a project: the network that it runs, with inputs and outputs.

    Attributes:
        network: The name of the network.
        inputs: The names of its input variables.
        outputs: Its output variables by name, with their names in the data set.
        no_image_normalization: Whether it takes pixels from 0 to 255, or None if the file does not say.
    """

    network: str
    inputs: tuple[str, ...]
    outputs: dict[str, str]
    no_image_normalization: bool | None


class Project:
    """A project of Neural Network Console, made by `read`.

    Args:
        path: The file.
        message: Its text, as `vis.files.nnp.archive.read_text` returns it.

    Attributes:
        path: The file.
        networks: The names of its networks.
        executor: The `Executor`: the first of the file, or the whole last network if the file has none.
    """

    def __init__(self, path: Path, message):
        self.path = path
        self._message = message
        self._networks = {network.name: network for network in message.network}
        self.networks = tuple(self._networks)
        if not self.networks:
            raise ArgumentError("path", f"must have a network, not none as {path} has")
        self.executor = self._executor()

    @property
    def training(self) -> Training:
        """How the model was trained, a `vis.files.nnp.training.Training`.

        Raises:
            ArgumentError: The file does not say, or the model was trained in an unsupported way, such as with several
                losses.
        """
        return training_of(self.path, self._message, self.network)

    @property
    def preprocess(self) -> Scale:
        """How pixels are scaled for the model, a `vis.images.Scale`."""
        if self.executor.no_image_normalization is not None:
            raw = self.executor.no_image_normalization
            said = "sets" if raw else "does not set"
            return Scale("raw" if raw else "unit", f"the executor in {self.path.name} {said} no_image_normalization")
        functions = self.network(self.executor.network).functions
        first = [each for each in functions if set(each.inputs) & set(self.executor.inputs)]
        if any(each.type == "MulScalar" and abs(255 * each.options.val - 1) < 0.01 for each in first):
            return Scale("raw", f"the network in {self.path.name} begins with a MulScalar of 1/255")
        return Scale("unit")

    def network(self, name: str) -> Network:
        """Return a network with its loops unrolled.

        Args:
            name: The name of the network.

        Returns:
            The `vis.files.nnp.graph.Network`.

        Raises:
            ArgumentError: There is no such network.
        """
        if name not in self._networks:
            raise ArgumentError(
                "network", f"must be one of {', '.join(map(repr, self.networks))}, not {name!r}", kind="network"
            )
        return network_of(self._networks[name])

    def build(self, network: str | None = None, output_variable: str | None = None) -> keras.Model:
        """Build a Keras model with the trained parameters.

        Args:
            network: The name of a network; by default that of the executor. The network that is trained, `Main`, is
                built up to the input of its loss, with dropout and with batch normalization by the batch.
            output_variable: The output to compute, by the name of its variable or its name in the data set; by default
                the first output of a softmax or sigmoid.

        Returns:
            A model in channels-last order, built but not compiled. Its layers have the names of the file's functions,
            with `.` or `_` in place of characters that TensorFlow does not allow.

        Raises:
            ArgumentError: There is no such network or output, a function is not supported, or a parameter is missing or
                has another shape.

        Warns:
            VisWarning: There are other outputs, or the model computes something differently than the file says.
        """
        from vis.files.nnp import building

        graph = self.network(network or self.executor.network)
        frozen: tuple[str, ...] = ()
        training = network is not None and network != self.executor.network
        if training:
            facts = self.training
            if facts.network != network:
                raise ArgumentError(
                    "network",
                    f"must be {self.executor.network!r}, which is executed, or {facts.network!r}, which is trained, "
                    f"not {network!r}",
                )
            inputs, output, frozen = facts.inputs, facts.output, facts.frozen
        else:
            inputs, output = self.executor.inputs, self._output(output_variable)
        used = {name for function in graph.before(output) for name in function.inputs}
        inputs = tuple(name for name in inputs if name in used)
        building.check(graph, inputs, output)
        shapes = {name: shape for name, shape in graph.parameters.items() if name in used}
        parameters = archive.read_parameters(self.path, shapes)
        return building.build(graph, inputs, output, parameters, training=training, frozen=frozen)

    def _output(self, requested: str | None) -> str:
        """Return the output variable: the requested one, or the first that predicts classes."""
        outputs = self.executor.outputs
        names = [name if called in ("", name) else f"{name} ({called})" for name, called in outputs.items()]
        if requested is not None:
            for name, called in outputs.items():
                if requested in (name, called):
                    return name
            raise ArgumentError(
                "output_variable", f"must be an output of {self.path}, not {requested!r}", f"It has {', '.join(names)}"
            )
        chosen = next((name for name in outputs if self._is_of_classes(name)), next(iter(outputs)))
        if len(outputs) > 1:
            others = [text for name, text in zip(outputs, names, strict=True) if name != chosen]
            warn(
                "other_outputs",
                f"{self.path.name} has {len(outputs)} outputs, of which {chosen} is explained; the others are "
                f"{', '.join(others)}",
                "Choose another with output_variable",
            )
        return chosen

    def _is_of_classes(self, name: str) -> bool:
        """Return whether a variable is the output of a softmax or sigmoid, apart from functions that pass it on."""
        functions = self.network(self.executor.network).before(name)
        last = next((each for each in reversed(functions) if each.type not in _CARRYING), None)
        return last is not None and last.type in _CLASSES

    def _executor(self) -> Executor:
        if self._message.executor:
            executor = self._message.executor[0]
            flag = executor.no_image_normalization if executor.HasField("no_image_normalization") else None
            generated = {each.variable_name for each in executor.generator_variable}
            inputs = tuple(each.variable_name for each in executor.data_variable if each.variable_name not in generated)
            outputs = {each.variable_name: each.data_name for each in executor.output_variable}
            found = Executor(executor.network_name, inputs, outputs, flag)
        else:
            graph = self.network(self.networks[-1])
            taken = {name for function in graph.functions for name in function.inputs}
            given = graph.producers()
            inputs = tuple(name for name in graph.variables if name in taken and name not in given)
            outputs = {name: "" for name in graph.variables if name in given and name not in taken}
            found = Executor(graph.name, inputs, outputs, None)
        if not found.inputs or not found.outputs:
            raise ArgumentError("path", f"must have an executor with an input and an output, unlike {self.path}")
        if found.network not in self._networks:
            raise ArgumentError(
                "path", f"must have the network {found.network!r} of its executor, which {self.path} lacks"
            )
        return found


def read(path: str | os.PathLike) -> Project:
    """Read an `.nnp` file, except its parameters, which `Project.build` reads.

    Args:
        path: An `.nnp` file, as Neural Network Console and `nnabla.utils.save` write them.

    Returns:
        The `Project`.

    Raises:
        ValueError: The file is damaged, or is not an `.nnp` file.

    Example:
        >>> project = read("results.nnp")  # doctest: +SKIP
        >>> project.networks, project.preprocess.name  # doctest: +SKIP
        (('Main', 'MainValidation', 'MainRuntime'), 'unit')
        >>> project.build().summary()  # doctest: +SKIP
    """
    path = Path(path)
    return Project(path, archive.read_text(path))
