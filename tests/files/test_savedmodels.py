"""SavedModel folders: loaded as the models they were, or refused."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentError
from vis.batch.predictions import predictor
from vis.models import load_model
from vis.visualization import smoothgrad, visualize_cam, visualize_saliency


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])


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
    with pytest.raises(ValueError, match=r"must be a complete model, not .*exported, which is cut short or damaged"):
        load_model(exported)
    for path in (exported / "variables").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"must be a complete model, not .*exported, which is cut short or damaged"):
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
    with pytest.raises(ArgumentError, match=r"access files or run Python \(ReadFile\).*unsafe=True") as caught:
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
    with pytest.raises(ValueError, match=r"unsafe must be True .* access files or run Python \(.*unsafe=True"):
        load_model(tmp_path / "saved")
    assert not list(tmp_path.glob("victim*"))
