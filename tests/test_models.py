"""Model files, whole and broken."""

from __future__ import annotations

import json

import h5py
import keras
import numpy as np
import pytest

from vis import ArgumentError
from vis.models import load_model


class Doubling(keras.layers.Layer):
    """A layer that no file can explain."""

    def call(self, x):
        return 2 * x


def save(model, path):
    model.save(path)
    return path


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


@pytest.fixture(autouse=True)
def hdf5_without_advice():
    """Keras advises against HDF5 on standard error whenever such a file is written."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    yield
    logging.set_verbosity(verbosity)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.hdf5"])
def test_a_model_comes_back_as_it_was(model, tmp_path, name):
    x = np.random.default_rng(0).random((2, 6, 6, 1), dtype=np.float32)
    loaded = load_model(save(model, tmp_path / name))
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_loss_of_one_s_own_is_not_needed(model, tmp_path, name):
    def loss(true, predicted):
        return keras.ops.mean(predicted - true)

    model.compile(loss=loss)
    assert not load_model(save(model, tmp_path / name)).compiled


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_file_cut_short(model, tmp_path, name, share):
    path = save(model, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=rf"{name}.*cut short"):
        load_model(path)


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"path must be an existing model file, not .*nothing\.keras"):
        load_model(tmp_path / "nothing.keras")


def test_a_folder(tmp_path):
    with pytest.raises(ValueError, match=r"a folder without a SavedModel.*model\.save"):
        load_model(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PNG, or so", b"PK\x03"])
def test_not_a_model(tmp_path, content):
    path = tmp_path / "picture.keras"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a Keras model, not .*picture\.keras"):
        load_model(path)


def test_a_zip_file_that_is_no_model(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(ValueError, match=r"must be a complete model, not .*m\.keras, which may contain only weights"):
        load_model(tmp_path / "m.keras")


def test_weights_only(model, tmp_path):
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with pytest.raises(
        ValueError, match=r"must be a complete model, not .*m\.weights\.h5, which may contain only weights"
    ):
        load_model(path)


@pytest.mark.parametrize("name", ["m.model", "M.KERAS"])
def test_another_extension(model, tmp_path, name):
    path = save(model, tmp_path / "m.keras").rename(tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}.*Rename it to end in \.keras"):
        load_model(path)


def test_a_file_with_flipped_bits(model, tmp_path):
    path = save(model, tmp_path / "m.keras")
    content = bytearray(path.read_bytes())
    at = content.index(b"model.weights.h5") + 2000
    content[at : at + 50] = bytes(byte ^ 255 for byte in content[at : at + 50])
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"must be a complete model, not .*m\.keras, which is cut short or damaged"):
        load_model(path)


def test_custom_objects_by_name(model, tmp_path):
    path = save(model, tmp_path / "m.keras")
    with pytest.raises(TypeError, match="custom_objects must be a dict"):
        load_model(path, custom_objects=[Doubling])


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_a_custom_object_is_named_and_can_be_given(tmp_path, name):
    path = save(keras.Sequential([keras.Input((4,)), Doubling()]), tmp_path / name)
    with pytest.raises(ArgumentError, match=r"must have 'Doubling', which .* needs\. Give custom_objects=") as caught:
        load_model(path)
    assert (caught.value.argument, caught.value.kind) == ("custom_objects", "missing")
    loaded = load_model(path, custom_objects={"Doubling": Doubling})
    np.testing.assert_array_equal(loaded(np.ones((1, 4), np.float32)), np.full((1, 4), 2))


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_code_in_a_file_is_not_run(tmp_path, name):
    path = save(keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)]), tmp_path / name)
    with pytest.raises(ArgumentError, match="its Lambda layer runs code from the file") as caught:
        load_model(path)
    assert (caught.value.argument, caught.value.kind) == ("unsafe", "lambda")


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
def test_code_in_a_file_is_run_where_that_is_allowed(tmp_path, name):
    path = save(keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)]), tmp_path / name)
    loaded = load_model(path, unsafe=True)
    np.testing.assert_array_equal(loaded(np.ones((1, 4), np.float32)), np.full((1, 4), 2))


def test_a_compiled_legacy_file(model, tmp_path):
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    x = np.ones((3, 6, 6, 1), np.float32)
    model.fit(x, np.zeros((3, 3)), verbose=0)
    loaded = load_model(save(model, tmp_path / "m.h5"))
    np.testing.assert_array_equal(loaded(x), model(x))


def with_config(path, change):
    """Change the configuration in an HDF5 file as another version of Keras would have written it."""
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change(config["config"]["layers"][1])
        file.attrs["model_config"] = json.dumps(config)
    return path


def test_the_reason_that_an_old_file_is_refused_is_shown_to_its_end(tmp_path):
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.DepthwiseConv2D(3)])
    path = with_config(save(model, tmp_path / "m.h5"), lambda layer: layer["config"].update(groups=1))
    with pytest.raises(ArgumentError, match=r"DepthwiseConv2D: \{'groups': 1\}\)"):
        load_model(path)


def test_an_operation_of_keras_2_is_not_asked_for_as_a_class_of_the_user_s(model, tmp_path):
    path = with_config(save(model, tmp_path / "m.h5"), lambda layer: layer.update(class_name="TFOpLambda"))
    with pytest.raises(ArgumentError, match=r"operations of Keras 2 \(TFOpLambda\). Build the same network") as caught:
        load_model(path)
    assert (caught.value.argument, caught.value.kind) == ("path", "keras_2")
