from __future__ import annotations

import keras
import numpy as np
import pytest
import zoo

from vis.engine.addressing import find_layer, flatten, path_of, paths


def test_every_address_of_a_nested_layer_finds_it():
    model = zoo.nested()
    conv = model.get_layer("body").get_layer("backbone").get_layer("conv2")
    for address in ("body/backbone/conv2", "backbone/conv2", "conv2", conv):
        assert find_layer(model, address) is conv
    assert path_of(model, conv) == "body/backbone/conv2"


def test_indices_count_from_both_ends():
    model = zoo.functional()
    assert find_layer(model, -1) is model.layers[-1]
    assert find_layer(model, np.int64(1)) is model.layers[1]


def test_operations_of_a_graph_are_found():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.relu(keras.layers.Dense(2)(inputs)))
    assert [type(operation).__name__ for operation in flatten(model)] == ["InputLayer", "Dense", "Relu"]


def test_layers_in_lists_and_dicts_of_a_subclassed_layer_are_found():
    class Holder(keras.Model):
        def __init__(self):
            super().__init__()
            self.many = [keras.layers.Dense(2, name="in_a_list")]
            self.named = {"one": keras.layers.Dense(2, name="in_a_dict")}

    assert {path for path, _ in paths(Holder())} == {"in_a_list", "in_a_dict"}


def test_a_shared_layer_is_listed_once():
    shared = keras.layers.Dense(4, name="shared")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, shared(shared(inputs)))
    assert sum(layer is shared for layer in flatten(model)) == 1


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"no layer 'conv_2'. The nearest names are 'body/backbone/conv2'"):
        find_layer(zoo.nested(), "conv_2")


def test_a_name_like_no_other_lists_the_layers():
    layers = [keras.layers.Activation("relu", name=f"conv{number}") for number in range(9)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    with pytest.raises(ValueError, match=r"no layer 'dense'\. The layers are 'conv0', .*'conv7', \.\.\."):
        find_layer(model, "dense")


def test_a_name_that_fits_several_asks_for_the_path():
    def branch(name):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="dense")], name=name)

    model = keras.Sequential([keras.Input((4,)), branch("first"), keras.layers.Dense(4), branch("second")])
    with pytest.raises(ValueError, match=r"fits several\. .*'first/dense', 'second/dense'"):
        find_layer(model, "dense")


@pytest.mark.parametrize(
    ("address", "error", "message"),
    [
        (99, ValueError, "not 99: "),
        (-99, ValueError, "not -99: "),
        (1.0, TypeError, "not float"),
        (True, TypeError, "not bool"),
        (keras.layers.Dense(1, name="stranger"), ValueError, "not 'stranger', which is not"),
    ],
)
def test_what_is_no_address(address, error, message):
    with pytest.raises(error, match=message):
        find_layer(zoo.functional(), address)
