"""The table of functions: layers that are shared, numbers of options, and what is said of what there is not."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from vis import VisWarning
from vis.files.nnp.schema import Options
from vis.files.nnp.table import FUNCTIONS, Call, Unsupported, dims, function, refusal

KERNEL = np.array([[1.0], [2.0]], np.float32)


def call_of(name="y", parameters=("W",), shared=None):
    return Call(name, "Affine", Options(), 64, parameters, {} if shared is None else shared)


def test_functions_of_the_same_parameters_are_one_layer():
    x, shared = keras.Input((2,)), {}

    def applied(name, parameters=("W",), kernel=KERNEL, **settings):
        settings = {"units": 1, "use_bias": False, **settings}
        y = call_of(name, parameters, shared).apply(x, [kernel], layers.Dense, **settings)
        return keras.Model(x, y)

    first, again = applied("a"), applied("b")
    assert first.layers[-1] is again.layers[-1]
    assert first.layers[-1].name == "a"
    np.testing.assert_array_equal(first(np.array([[3.0, 4.0]])), [[11.0]])
    for other in (
        applied("c", ("V",)),
        applied("d", activation="relu"),
        applied("e", kernel=2 * KERNEL),  # as where another function has made something else of the parameter
    ):
        assert other.layers[-1] is not first.layers[-1]


def test_a_part_of_a_function_has_a_name_of_its_own():
    assert call_of().layer(layers.ReLU).name == "y"
    assert call_of().layer(layers.ReLU, part="relu").name == "y.relu"


def test_options_without_numbers_have_one_for_all_axes():
    options = Options()
    assert dims(options.stride, 2, 1) == (1, 1)
    options.stride.dim.extend([2, 3])
    assert dims(options.stride, 2, 1) == (2, 3)
    for count, reason in ((3, r"with \[2, 3\] for 3 axes"), (1, r"with \[2, 3\] for 1 axes")):
        with pytest.raises(Unsupported, match=reason):
            dims(options.stride, count, 1)
    options.stride.dim[0] = -1
    with pytest.raises(Unsupported, match=r"with \[-1, 3\] for 2 axes"):
        dims(options.stride, 2, 1)


def test_a_function_is_entered_under_its_types(monkeypatch):
    monkeypatch.setattr("vis.files.nnp.table.FUNCTIONS", {})
    from vis.files.nnp import table

    @function("One", "Two")
    def compute(call, x):
        return x

    assert {"One": compute, "Two": compute} == table.FUNCTIONS


def test_what_is_said_of_a_function_that_there_is_not():
    error = refusal("y", "Unlink", "with a group of 2")
    assert error.problem == "must be a network of supported functions, not with 'y' of type Unlink, with a group of 2"
    assert error.remedy == f"Supported are {', '.join(sorted(FUNCTIONS))}"
    assert (error.argument, error.kind) == ("path", "function")
    with pytest.raises(Unsupported, match="with a group of 2"):
        call_of().refuse("with a group of 2")
    with pytest.warns(VisWarning, match=r"the random part of 'y' \(Affine\) is left out"):
        call_of().left_out("the random part")
