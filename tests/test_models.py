"""Model files, whole and broken."""

from __future__ import annotations

import json

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentError
from vis.batch.predictions import predictor
from vis.models import load_model
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


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
    with pytest.raises(ValueError, match=r"must be a whole model, not .*m\.keras, which has perhaps only weights"):
        load_model(tmp_path / "m.keras")


def test_weights_only(model, tmp_path):
    path = tmp_path / "m.weights.h5"
    model.save_weights(path)
    with pytest.raises(
        ValueError, match=r"must be a whole model, not .*m\.weights\.h5, which has perhaps only weights"
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
    with pytest.raises(ValueError, match=r"must be a whole model, not .*m\.keras, which is cut short or damaged"):
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


@pytest.fixture
def exported(model, tmp_path):
    model.export(tmp_path / "exported", verbose=False)
    return tmp_path / "exported"


def test_gradients_pass_through_a_saved_model(model, exported):
    x = np.random.default_rng(0).random((2, 6, 6, 1), dtype=np.float32)
    loaded = load_model(exported)
    np.testing.assert_allclose(loaded(x), model(x), rtol=1e-6)
    options = {"normalize": False, "grad_modifier": None}
    np.testing.assert_allclose(
        visualize_saliency(loaded, None, 1, x, **options), visualize_saliency(model, None, 1, x, **options), rtol=1e-5
    )
    options = {"num_samples": 3, "seed": 0, "normalize": False}
    np.testing.assert_allclose(
        smoothgrad(loaded, None, 1, x, **options), smoothgrad(model, None, 1, x, **options), rtol=1e-5
    )


def test_a_saved_model_of_tensorflow_s_own(model, tmp_path):
    tf.saved_model.save(model, str(tmp_path / "saved"))
    x = np.ones((1, 6, 6, 1), np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "saved")(x), model(x), rtol=1e-6)


def test_a_saved_model_has_no_feature_maps(exported):
    with pytest.raises(ValueError, match="feature map"):
        visualize_cam(load_model(exported), None, 1, np.ones((6, 6, 1)))


@pytest.mark.parametrize(
    ("end", "probabilities"),
    [
        (lambda: [keras.layers.Dense(1, "sigmoid")], True),
        (lambda: [keras.layers.Dense(1), keras.layers.Activation("sigmoid"), keras.layers.Reshape((1,))], True),
        (lambda: [keras.layers.Dense(2, "softmax"), keras.layers.Flatten()], True),
        (lambda: [keras.layers.Dense(1)], False),
        (lambda: [keras.layers.Dense(1, "sigmoid"), keras.layers.Rescaling(2.0)], False),
    ],
)
@pytest.mark.parametrize("export", [lambda m, path: m.export(path, verbose=False), tf.saved_model.save])
def test_a_saved_model_tells_whether_it_ends_in_a_probability(tmp_path, end, probabilities, export):
    model = keras.Sequential([keras.Input((3,)), *end()])
    export(model, str(tmp_path / "saved"))
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected, found = predictor(model)(x), predictor(load_model(tmp_path / "saved"))(x)
    assert found.probabilities == expected.probabilities == probabilities
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-6)


def test_a_saved_model_cut_short(exported):
    content = (exported / "saved_model.pb").read_bytes()
    (exported / "saved_model.pb").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"not .*exported, whose saved_model\.pb is cut short"):
        load_model(exported)


def test_a_saved_model_without_its_weights(exported):
    with pytest.raises(
        ValueError, match=r"must be the folder of a SavedModel, .*exported, not .*saved_model\.pb in it"
    ):
        load_model(exported / "saved_model.pb")
    (variables,) = (exported / "variables").glob("*.data-*")
    variables.write_bytes(variables.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"must be a whole model, not .*exported, which is cut short or damaged"):
        load_model(exported)
    for path in (exported / "variables").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"must be a whole model, not .*exported, which is cut short or damaged"):
        load_model(exported)


def test_a_saved_model_that_answers_no_call(tmp_path):
    tf.saved_model.save(tf.Module(), str(tmp_path / "saved"))
    with pytest.raises(ValueError, match=r"must have the signature 'serving_default', not none as .*saved has"):
        load_model(tmp_path / "saved")


def test_a_saved_model_that_reads_files_is_not_loaded(tmp_path):
    class Reader(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])
        def serve(self, x):
            secret = tf.strings.length(tf.io.read_file(str(tmp_path / "secret")))
            return {"y": x + tf.cast(secret, tf.float32)}

    (tmp_path / "secret").write_text("four")
    module = Reader()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    with pytest.raises(ArgumentError, match=r"touch files or run Python \(ReadFile\).*unsafe=True") as caught:
        load_model(tmp_path / "saved")
    assert (caught.value.argument, caught.value.kind) == ("unsafe", "operations")
    assert load_model(tmp_path / "saved", unsafe=True)(np.ones((1, 1), np.float32)).numpy() == 5


def write_records(path, x):
    data = tf.data.Dataset.from_tensors(tf.constant("other text"))._variant_tensor
    tf.raw_ops.DatasetToTFRecord(input_dataset=data, filename=path, compression_type="")
    return x


def write_a_checkpoint(path, x):
    tf.raw_ops.SaveV2(prefix=path, tensor_names=["a"], shape_and_slices=[""], tensors=[x])
    return x


def write_in_a_branch(path, x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: write_a_checkpoint(path, x), lambda: x)


@pytest.mark.parametrize("harm", [write_records, write_a_checkpoint, write_in_a_branch])
def test_a_saved_model_that_writes_files_is_not_loaded(tmp_path, harm):
    class Writer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32)])
        def serve(self, x):
            return {"y": harm(str(tmp_path / "victim"), x)}

    module = Writer()
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"serving_default": module.serve})
    with pytest.raises(ValueError, match=r"unsafe must be True .* touch files or run Python \(.*unsafe=True"):
        load_model(tmp_path / "saved")
    assert not list(tmp_path.glob("victim*"))


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
