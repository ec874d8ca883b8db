"""What layers learn in `adapt` goes through JSON to another model."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from keras import layers

from vis.engine.adapted import adapted_layers, adapted_state, set_adapted_state

NUMBERS = np.array([[1.0], [5.0], [9.0]], np.float32)


def model_of(layer, dtype="float32"):
    inner = keras.Sequential([keras.Input((1,), dtype=dtype), layer], name="inner")
    inputs = keras.Input((1,), dtype=dtype)
    return keras.Model(inputs, inner(inputs))


@pytest.mark.parametrize(
    ("make", "dtype", "learned", "asked", "expected"),
    [
        # The mean of 1, 5 and 9 is 5, their variance 32/3.
        (layers.Normalization, "float32", NUMBERS, [[13.0]], [[8 / np.sqrt(32 / 3)]]),
        (lambda: layers.StringLookup(num_oov_indices=1), "string", [["b"], ["b"], ["a"]], [["a"], ["?"]], [[2], [0]]),
        (lambda: layers.IntegerLookup(num_oov_indices=1), "int64", [[7], [7], [9]], [[9], [8]], [[2], [0]]),
    ],
)
def test_another_model_computes_what_was_learned(make, dtype, learned, asked, expected):
    first, second = model_of(make(), dtype), model_of(make(), dtype)
    (layer,) = adapted_layers(first)
    layer.adapt(keras.ops.convert_to_tensor(np.asarray(learned), dtype))
    set_adapted_state(second, json.loads(json.dumps(adapted_state(first))))
    asked = keras.ops.convert_to_tensor(np.asarray(asked), dtype)
    for model in (first, second):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model(asked)), expected, rtol=1e-5)


def test_most_models_have_learned_nothing_of_the_kind():
    assert adapted_state(model_of(layers.Dense(1))) == []


def test_a_model_of_other_layers_is_refused():
    state = adapted_state(model_of(layers.Normalization(mean=0.0, variance=1.0)))
    with pytest.raises(ValueError, match="longer|shorter"):
        set_adapted_state(model_of(layers.Dense(1)), state)
