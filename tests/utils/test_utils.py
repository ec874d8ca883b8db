import hashlib
import json

import keras
import numpy as np
import pytest

from vis.utils import utils


@pytest.fixture
def classifier():
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, "relu", name="hidden")], name="backbone")
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3, "softmax", name="scores")(backbone(inputs))
    return keras.Model(inputs, outputs)


class TestApplyModifications:
    X = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")

    def test_predict_follows_a_changed_activation(self, classifier):
        probabilities = classifier.predict(self.X, verbose=0)
        weights = classifier.get_weights()
        classifier.get_layer("scores").activation = keras.activations.linear
        np.testing.assert_array_equal(classifier.predict(self.X, verbose=0), probabilities)  # why the function exists

        modified = utils.apply_modifications(classifier)

        hidden = np.maximum(self.X @ weights[0] + weights[1], 0)
        logits = hidden @ weights[2] + weights[3]
        assert np.abs(logits - probabilities).max() > 0.1
        np.testing.assert_allclose(modified.predict(self.X, verbose=0), logits, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(modified(self.X), logits, rtol=1e-5, atol=1e-6)
        for before, after in zip(weights, modified.get_weights(), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_keeps_an_activation_that_no_file_could_hold(self, classifier):
        classifier.predict(self.X, verbose=0)
        classifier.get_layer("scores").activation = lambda x: 2 * x + 1
        hidden = classifier.get_layer("backbone")(self.X)
        kernel, bias = classifier.get_layer("scores").get_weights()
        prediction = utils.apply_modifications(classifier, custom_objects={}).predict(self.X, verbose=0)
        np.testing.assert_allclose(prediction, 2 * (hidden @ kernel + bias) + 1, rtol=1e-5, atol=1e-6)

    def test_reaches_the_compiled_functions_of_a_nested_model(self, classifier):
        backbone = classifier.get_layer("backbone")
        assert backbone.predict(self.X, verbose=0).min() == 0
        backbone.get_layer("hidden").activation = keras.activations.linear
        utils.apply_modifications(classifier)
        kernel, bias = backbone.get_weights()
        np.testing.assert_allclose(backbone.predict(self.X, verbose=0), self.X @ kernel + bias, rtol=1e-5, atol=1e-6)

    def test_evaluate_and_fit_follow_too(self, classifier):
        targets = np.ones((6, 3), "float32")
        classifier.compile(keras.optimizers.SGD(0.01), "mse")
        classifier.evaluate(self.X, targets, verbose=0)
        classifier.fit(self.X, targets, epochs=1, verbose=0)
        classifier.get_layer("scores").activation = keras.activations.linear
        utils.apply_modifications(classifier)

        loss = np.mean((classifier(self.X) - targets) ** 2)
        assert classifier.evaluate(self.X, targets, verbose=0) == pytest.approx(loss, rel=1e-5)
        history = classifier.fit(self.X, targets, batch_size=6, epochs=1, verbose=0).history
        assert history["loss"][0] == pytest.approx(loss, rel=1e-5)

    def test_a_model_that_was_never_run_stays_as_it_is(self, classifier):
        assert utils.apply_modifications(classifier) is classifier
        assert classifier.predict_function is None


class TestFindLayerIdx:
    def test_gives_the_index(self, classifier):
        for index, layer in enumerate(classifier.layers):
            assert utils.find_layer_idx(classifier, layer.name) == index

    def test_unknown_name_suggests_the_nearest(self, classifier):
        with pytest.raises(ValueError, match=r"layer_name must be .*, not 'score'\. Similar names are 'scores'"):
            utils.find_layer_idx(classifier, "score")


class TestLookupImagenetLabels:
    @pytest.fixture(autouse=True)
    def _forget_the_names(self):
        utils._imagenet_labels.cache_clear()
        yield
        utils._imagenet_labels.cache_clear()

    @pytest.fixture
    def _two_classes(self, tmp_path, monkeypatch):
        """A Keras cache that holds a file of two classes; its checksum is taken for the real file's."""
        content = json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}).encode()
        (tmp_path / "models").mkdir()
        (tmp_path / "models" / "imagenet_class_index.json").write_bytes(content)
        real_get_file = keras.utils.get_file
        monkeypatch.setattr(utils, "IMAGENET_CLASS_INDEX_MD5", hashlib.md5(content).hexdigest())
        monkeypatch.setattr(keras.utils, "get_file", lambda *args, **kw: real_get_file(*args, **kw, cache_dir=tmp_path))

    @pytest.mark.usefixtures("_two_classes")
    def test_reads_the_cached_file(self):
        assert utils.lookup_imagenet_labels(1) == ["goldfish"]
        assert utils.lookup_imagenet_labels(np.array([1, 0, 1])) == ["goldfish", "tench", "goldfish"]

    @pytest.mark.usefixtures("_two_classes")
    @pytest.mark.parametrize("index", [2, -1])
    def test_index_out_of_range(self, index):
        with pytest.raises(ValueError, match=f"indices must be from 0 to 1, not {index}"):
            utils.lookup_imagenet_labels([0, index])

    def test_asks_for_the_file_of_keras_applications(self, monkeypatch):
        from keras.applications import imagenet_utils

        asked = []

        def get_file(*args, **kwargs):
            asked.append((args, kwargs))
            raise Exception("URL fetch failure")  # as Keras does

        monkeypatch.setattr(keras.utils, "get_file", get_file)
        with pytest.raises(OSError, match=r"could not be downloaded \(URL fetch failure\).*put the file .*json into"):
            utils.lookup_imagenet_labels(0)
        ((name, url), options) = asked[0]
        assert name == "imagenet_class_index.json"
        assert options == {"cache_subdir": "models", "file_hash": "c2c37ea517e94d9795004a39431a14cb"}
        assert url.startswith("https://")
        assert imagenet_utils.decode_predictions  # the function whose file this is


def test_get_identifier_finds_only_the_modules_own_functions():
    module_globals = {"ours": TestFindLayerIdx.test_gives_the_index, "np": np, "theirs": np.abs, "constant": 3}
    assert utils.get_identifier("ours", module_globals, __name__) is TestFindLayerIdx.test_gives_the_index
    assert utils.get_identifier(len, module_globals, __name__) is len
    for name in ("np", "theirs", "constant", "other"):
        with pytest.raises(ValueError, match=f"test_util must be one of 'ours' or a function, not '{name}'"):
            utils.get_identifier(name, module_globals, __name__)
    with pytest.raises(TypeError, match="NoneType"):
        utils.get_identifier(None, module_globals, __name__)


def test_reverse_enumerate_keeps_the_indices():
    assert list(utils.reverse_enumerate(["a", "b", "c"])) == [(2, "c"), (1, "b"), (0, "a")]


def test_listify_keeps_a_list():
    value = [1]
    assert utils.listify(value) is value
    assert utils.listify((1, 2)) == [(1, 2)]
    assert utils.listify(None) == [None]


def test_add_defaults_to_kwargs_changes_neither():
    defaults = {"a": 1, "b": 2}
    assert utils.add_defaults_to_kwargs(defaults, b=3, c=4) == {"a": 1, "b": 3, "c": 4}
    assert defaults == {"a": 1, "b": 2}
