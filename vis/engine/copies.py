"""Copy models, so that the caller's model stays unchanged."""

from __future__ import annotations

import inspect

import keras
import numpy as np

from vis.engine import addressing, keras_internals
from vis.engine.adapted import adapted_layers, adapted_state, set_adapted_state
from vis.utils.errors import reason_of


def copy_model(model, inputs, seed: int = 0, double: bool = False):
    """Make a copy of a model with freshly initialized weights.

    Args:
        model: A built Keras model that Keras can rebuild from its configuration.
        inputs: Examples of its inputs, to build the copy with.
        seed: The seed of the weights and of dropout. The same seed gives the same copy; the global random state is
            not changed.
        double: Whether the copy is to compute in float64.

    Returns:
        The copy, not compiled.

    Raises:
        ValueError: The model cannot be rebuilt from its configuration.
    """
    try:
        rng = np.random.default_rng(seed)
        # Initializers and dropout without a seed would draw one from the global random state.
        with keras_internals.named_functions(addressing.flatten(model)) as functions:
            config = _changed(model.get_config(), "seed", lambda _: int(rng.integers(2**31)))
        if double:
            config = _changed(config, "dtype", _double)
        with keras.saving.custom_object_scope({**_classes(model), **functions}):
            copy = type(model).from_config(_for_constructor(model, config))
        if not copy.built or len(copy.variables) != len(model.variables):
            copy(inputs, training=False)
        set_adapted_state(copy, adapted_state(model))
    except Exception as error:
        raise ValueError(
            f"model '{model.name}' cannot be copied, because Keras cannot make it again from its configuration "
            f"({reason_of(error)}). Give its class a get_config and a from_config."
        ) from error
    for layer, original in zip(addressing.flatten(copy), addressing.flatten(model), strict=False):
        if isinstance(layer, keras.layers.Layer) and not addressing.children(layer):
            layer.trainable = original.trainable
    shapes = [[variable.shape for variable in each.trainable_variables] for each in (copy, model)]
    if shapes[0] != shapes[1] or len(copy.variables) != len(model.variables):
        raise ValueError(f"model '{model.name}' cannot be copied: made from its configuration it has other weights.")
    return copy


class Borrowed(keras.Model):
    """A model that runs the layers of another model with other weights, if Keras cannot rebuild that model.

    Args:
        model: A built Keras model.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
        >>> other = Borrowed(model)
        >>> _ = other.trainable_variables[0].assign([[5.0]])
        >>> float(model(np.ones((1, 1)))[0, 0]), float(other(np.ones((1, 1)))[0, 0])
        (1.0, 5.0)
    """

    _held: list

    def __init__(self, model):
        super().__init__(name=model.name)
        self._variable_pairs = lambda: zip(model.variables, self._held, strict=True)
        self._run = lambda *args, **options: model(*args, **options)  # a function, which Keras does not track
        self._held = [
            self.add_weight(
                shape=variable.shape,
                dtype=variable.dtype,
                trainable=variable.trainable,
                initializer=lambda shape, dtype, value=variable: keras.ops.cast(value.value, dtype),
                name=variable.name,
            )
            for variable in model.variables
        ]
        self.built = True

    def call(self, inputs, training=False):
        """Run the other model's layers."""
        with keras.StatelessScope(list(self._variable_pairs())) as scope:
            outputs = self._run(inputs, training=training)
        for theirs, ours in self._variable_pairs():
            if not theirs.trainable:
                ours.assign(scope.get_current_value(theirs))
        return outputs


def fresh_values(model, inputs, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw fresh values for a model's variables; frozen and adapted layers keep theirs.

    Args:
        model: As for `copy_model`.
        inputs: As for `copy_model`.
        seed: As for `copy_model`.

    Returns:
        Arrays for the trainable and the other variables.
    """
    copy = copy_model(model, inputs, seed)
    frozen = [
        layer for layer in addressing.flatten(model) if isinstance(layer, keras.layers.Layer) and not layer.trainable
    ]
    kept = {id(variable) for layer in [*frozen, *adapted_layers(model)] for variable in layer.variables}
    buffers = [
        original.numpy() if id(original) in kept else drawn.numpy()
        for original, drawn in zip(model.non_trainable_variables, copy.non_trainable_variables, strict=True)
    ]
    return [variable.numpy() for variable in copy.trainable_variables], buffers


def predicts_as(copy, model, inputs) -> bool:
    """Return whether a copy predicts what the model would predict with the copy's weights, up to rounding.

    Args:
        copy: A copy of the model.
        model: The model; neither is changed.
        inputs: Some inputs.

    Returns:
        Whether the outputs are close.
    """
    trainable = zip(model.trainable_variables, copy.trainable_variables, strict=True)
    others = zip(model.non_trainable_variables, copy.non_trainable_variables, strict=True)
    outputs = []
    for each, mapping in ((model, [*trainable, *others]), (copy, [])):
        with keras.StatelessScope(mapping):
            outputs.append(keras.tree.flatten(each(inputs, training=False)))
    to_numpy = keras.ops.convert_to_numpy
    return all(
        np.allclose(to_numpy(one), to_numpy(other), rtol=1e-4, atol=1e-6, equal_nan=True)
        for one, other in zip(*outputs, strict=True)
    )


def set_values(model, weights, buffers) -> None:
    """Assign values to a model's variables."""
    for variables, values in ((model.trainable_variables, weights), (model.non_trainable_variables, buffers)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _classes(model) -> dict[str, type]:
    """Return the classes of a model's layers, and of the initializers, regularizers and the like in them, by the names
    that Keras looks up, so that none has to be registered."""
    found: dict[str, set[type]] = {}
    for layer in addressing.flatten(model):
        for thing in (layer, *keras_internals.held_by(layer)):
            if hasattr(thing, "get_config") and not isinstance(thing, type):
                found.setdefault(keras.saving.get_registered_name(type(thing)), set()).add(type(thing))
    return {name: classes.pop() for name, classes in found.items() if len(classes) == 1}


def _for_constructor(model, config: dict) -> dict:
    """Return the configuration without the entries that Keras adds for every model but this class does not accept."""
    parameters = inspect.signature(type(model).__init__).parameters
    if isinstance(model, keras.Function | keras.Sequential) or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    ):
        return config
    return {name: value for name, value in config.items() if name in parameters or name not in ("trainable", "dtype")}


def _changed(config, key, change):
    """Return a configuration with the values of every `key` changed, at any depth."""
    if isinstance(config, dict):
        return {name: change(value) if name == key else _changed(value, key, change) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_changed(item, key, change) for item in config)
    return config


def _double(dtype):
    """Return the dtype or policy of a layer or an input with 64 bits in place of any other floating-point type."""
    name = dtype.get("config", {}).get("name") if isinstance(dtype, dict) else dtype
    return "float64" if isinstance(name, str) and "float" in name else dtype
