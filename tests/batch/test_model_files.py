"""Models that go to other processes as the content of their files."""

from __future__ import annotations

import json
import sys

import keras
import numpy as np
import pytest

from vis import ArgumentError
from vis.batch import model_files
from vis.batch.model_files import fingerprint, loaded, packed, prepared


def test_a_model_goes_through_bytes(model, tmp_path):
    x = np.random.default_rng(0).random((2, 8, 8, 1)).astype(np.float32)
    model.save(tmp_path / "m.keras")
    model.export(tmp_path / "exported", verbose=False)
    from_folder = model_files.loaded(model_files.packed(tmp_path / "exported"))
    for file in (model_files.packed(model), model_files.packed(tmp_path / "m.keras")):
        np.testing.assert_array_equal(model_files.loaded(file)(x), model(x))
    np.testing.assert_allclose(from_folder(x), model(x), atol=1e-6)


class Unsaved(keras.layers.Layer):
    def get_config(self):
        raise NotImplementedError("no config")


def test_a_model_that_cannot_be_saved_is_refused_for_other_processes(model):
    with pytest.raises(ArgumentError, match="model must be one that can be saved, .* NotImplementedError: no config"):
        model_files.packed(keras.Sequential([keras.Input((8,)), Unsaved()]))


def test_one_thing_is_kept_for_one_owner():
    made = []

    def make():
        made.append(object())
        return made[-1]

    one, other = [], []  # equal, and not the same
    assert prepared(one, make) is prepared(one, make)
    assert len(made) == 1
    assert prepared(other, make) is made[1]
    assert prepared(one, make) is made[2]


def test_a_fingerprint_is_of_weights_and_configuration(model):
    before = fingerprint(model)
    json.dumps(before)
    assert fingerprint(keras.models.clone_model(model)) != before, "other weights"
    same = keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    assert fingerprint(same) == before
    same.layers[-1].activation = keras.activations.linear
    assert fingerprint(same) != before


@keras.saving.register_keras_serializable("of_its_own")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_what_is_the_user_s_own_goes_along():
    file = packed(keras.Sequential([keras.Input((3,)), Doubled()]))
    assert file.registered["of_its_own>Doubled"] is Doubled
    assert sys.modules[__name__] in file.modules()
    assert not any(module.__name__.startswith(("keras", "tensorflow", "numpy")) for module in file.modules())
    np.testing.assert_array_equal(loaded(file)(np.ones((1, 3))), [[2, 2, 2]])


def test_a_file_that_cannot_be_loaded_is_the_model_s(tmp_path):
    (tmp_path / "m.keras").write_bytes(b"no model")
    with pytest.raises(ArgumentError) as caught:
        loaded(packed(tmp_path / "m.keras"))
    assert caught.value.argument == "model"
