import hashlib
import json

import keras
import numpy as np
import pytest
from PIL import Image
from skimage.transform import resize

from vis import VisWarning
from vis.utils import utils
from vis.utils.arrays import Slicer


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


class TestLoadImg:
    @pytest.fixture
    def gradient(self, tmp_path):
        rows, columns = np.mgrid[0:24, 0:32]
        pixels = np.stack([8 * columns, 10 * rows, 255 - 8 * columns], -1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "gradient.png")
        return tmp_path / "gradient.png", pixels

    def test_gives_the_pixels_of_the_file(self, gradient):
        path, pixels = gradient
        image = utils.load_img(path)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, pixels)

    def test_grayscale_is_the_luma_without_a_channel_axis(self, gradient):
        path, pixels = gradient
        image = utils.load_img(str(path), grayscale=True)
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, pixels @ [0.299, 0.587, 0.114], atol=1)

    def test_target_size_is_height_and_width(self, gradient):
        path, pixels = gradient
        image = utils.load_img(path, target_size=(48, 40))
        assert image.shape == (48, 40, 3)
        np.testing.assert_allclose(image, resize(pixels, (48, 40), order=1, mode="edge", preserve_range=True), atol=1.5)

    def test_gray_and_transparent_files_become_rgb(self, tmp_path):
        Image.new("LA", (4, 3), (77, 128)).save(tmp_path / "gray.png")
        image = utils.load_img(tmp_path / "gray.png")
        assert image.shape == (3, 4, 3)
        assert (image == 77).all()

    def test_sixteen_bits_become_eight(self, tmp_path):
        Image.fromarray(np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16)).save(tmp_path / "deep.png")
        image = utils.load_img(tmp_path / "deep.png", grayscale=True)
        np.testing.assert_array_equal(image, [[0, 0x12], [0x80, 0xFF]])

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
            utils.load_img(tmp_path / "nowhere.png")

    def test_file_that_is_no_image(self, tmp_path):
        (tmp_path / "text.png").write_text("not an image")
        with pytest.raises(OSError, match=r"cannot identify image file.*text\.png"):
            utils.load_img(tmp_path / "text.png")


class TestNormalize:
    def test_stretches_to_the_range(self):
        array = np.array([[-3.0, 1.0], [2.0, 5.0]], np.float32)
        normalized = utils.normalize(array, -1.0, 3.0)
        assert normalized.dtype == np.float32
        np.testing.assert_allclose(normalized, [[-1.0, 1.0], [1.5, 3.0]])

    @pytest.mark.parametrize("extent", [1e-30, 1e-7, 1.0, 1e30])
    def test_ends_are_reached_at_any_scale(self, extent):
        normalized = utils.normalize(np.array([0.0, 0.25, 1.0], np.float32) * np.float32(extent))
        np.testing.assert_allclose(normalized, [0.0, 0.25, 1.0], rtol=1e-6)

    @pytest.mark.parametrize("value", [0.0, 3.0, -1e30])
    def test_a_constant_gives_the_lower_end(self, value):
        np.testing.assert_array_equal(utils.normalize(np.full((2, 2), value), 0.5, 1), np.full((2, 2), 0.5))

    def test_integers_do_not_wrap_around(self):
        np.testing.assert_allclose(utils.normalize(np.array([-100, 0, 100], np.int8)), [0.0, 0.5, 1.0])

    def test_leaves_its_argument_alone(self):
        array = np.array([1.0, 2.0])
        utils.normalize(array)
        np.testing.assert_array_equal(array, [1.0, 2.0])


class TestDeprocessInput:
    def test_standardizes_and_clips(self):
        array = np.random.default_rng(0).normal(7.0, 3.0, (10, 10))
        array[0, 0] = 1000.0
        expected = 0.5 + 0.1 * (array - array.mean()) / array.std()
        result = utils.deprocess_input(array, (-1, 1))
        assert result[0, 0] == 1.0
        np.testing.assert_allclose(result.flat[1:], 2 * expected.flat[1:] - 1)
        assert array[0, 0] == 1000.0

    def test_a_constant_is_the_middle_of_the_range(self):
        np.testing.assert_array_equal(utils.deprocess_input(np.full(3, 9, np.uint8)), np.full(3, 127.5))


class TestRandomArray:
    def test_has_exactly_the_mean_and_deviation_and_is_uniform(self):
        noise = utils.random_array((100, 100), mean=5.0, std=2.0, seed=1)
        assert noise.mean() == pytest.approx(5.0)
        assert noise.std() == pytest.approx(2.0)
        half_width = 2.0 * np.sqrt(3)  # of a uniform distribution with deviation 2
        assert np.abs(noise - 5.0).max() == pytest.approx(half_width, rel=0.02)

    def test_same_seed_same_array(self):
        np.testing.assert_array_equal(utils.random_array((5, 5), seed=3), utils.random_array((5, 5), seed=3))
        assert not np.array_equal(utils.random_array((5, 5), seed=3), utils.random_array((5, 5), seed=4))

    def test_one_element_is_the_mean(self):
        np.testing.assert_array_equal(utils.random_array((1,), mean=4.0), [4.0])


class TestStitchImages:
    def test_places_each_image(self):
        images = np.arange(1, 8)[:, None, None, None] * np.ones((7, 4, 6, 3), np.uint8)
        grid = utils.stitch_images(images, margin=2, cols=3)
        assert grid.shape == (3 * 4 + 2 * 2, 3 * 6 + 2 * 2, 3)
        assert grid.sum() == images.sum()  # nothing lost, and the rest is black
        for index, image in enumerate(images):
            row, column = divmod(index, 3)
            np.testing.assert_array_equal(grid[6 * row : 6 * row + 4, 8 * column : 8 * column + 6], image)

    def test_fewer_images_than_columns_make_a_narrow_row(self):
        assert utils.stitch_images([np.zeros((4, 6))] * 2, margin=5, cols=5).shape == (4, 17)

    def test_keeps_the_type_that_holds_all(self):
        assert utils.stitch_images([np.zeros((2, 2), np.uint8)] * 2).dtype == np.uint8
        assert utils.stitch_images([np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32)]).dtype == np.float32

    def test_no_images(self):
        assert utils.stitch_images([]) is None

    def test_differing_shapes_are_named(self):
        with pytest.raises(ValueError, match=r"\(2, 2\), \(2, 3\)"):
            utils.stitch_images([np.zeros((2, 3)), np.zeros((2, 2))])

    @pytest.mark.parametrize("layout", [{"cols": 0}, {"margin": -1}])
    def test_impossible_layout(self, layout):
        with pytest.raises(ValueError, match=f"{next(iter(layout))} must be a whole number of at least"):
            utils.stitch_images([np.zeros((2, 2))], **layout)


class TestDrawText:
    WHITE = np.full((40, 120, 3), 255, np.uint8)

    def test_writes_in_the_colour_at_the_position(self):
        written = utils.draw_text(self.WHITE, "mm", position=(60, 20), color=(255, 0, 0))
        rows, columns = np.nonzero((written != 255).any(-1))
        assert rows.min() >= 20
        assert 60 <= columns.min() <= 63
        assert (written[rows, columns, 0] == 255).all()  # only green and blue are taken away
        assert written[..., 1].min() < 50
        assert (self.WHITE == 255).all()

    def test_font_size_is_the_height(self):
        heights = []
        for size in (15, 30):
            rows = np.nonzero(utils.draw_text(self.WHITE, "H", (5, 0), font_size=size) != 255)[0]
            heights.append(rows.max() - rows.min() + 1)
        assert heights[1] == pytest.approx(2 * heights[0], abs=1)

    @pytest.mark.parametrize(("shape", "dark"), [((40, 60), 76), ((40, 60, 1), 76), ((40, 60, 4), 0)])
    def test_takes_gray_and_transparent_images(self, shape, dark):
        written = utils.draw_text(np.full(shape, 255, np.uint8), "HHH", font_size=30, color=(255, 0, 0))
        assert written.shape == shape
        assert written.min() == dark  # 76 is the luma of red

    def test_letters_beyond_ascii_differ(self):
        assert not np.array_equal(utils.draw_text(self.WHITE, "ü"), utils.draw_text(self.WHITE, "ñ"))

    def test_unknown_font_warns_and_writes_all_the_same(self):
        with pytest.warns(VisWarning, match=r"'NoSuchFont\.ttf' was not found, so the text is in DejaVu Sans"):
            written = utils.draw_text(self.WHITE, "text", font="NoSuchFont.ttf")
        np.testing.assert_array_equal(written, utils.draw_text(self.WHITE, "text"))

    def test_float_image_is_refused_with_the_remedy(self):
        with pytest.raises(TypeError, match=r"float64.*255 \* img"):
            utils.draw_text(np.ones((4, 4)), "x")

    def test_wrong_shape(self):
        with pytest.raises(ValueError, match=r"\(4, 4, 2\)"):
            utils.draw_text(np.ones((4, 4, 2), np.uint8), "x")


def test_bgr2rgb_is_its_own_inverse():
    image = np.arange(24).reshape(2, 4, 3)
    np.testing.assert_array_equal(utils.bgr2rgb(image)[..., 0], image[..., 2])
    np.testing.assert_array_equal(utils.bgr2rgb(utils.bgr2rgb(image)), image)
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        utils.bgr2rgb(image[..., 0])


class TestImgShape:
    @pytest.mark.parametrize("image_dims", [(7,), (7, 8), (7, 8, 9)])
    def test_samples_channels_dims_in_either_format(self, image_dims):
        expected = (2, 3, *image_dims)
        assert utils.get_img_shape(np.zeros((2, *image_dims, 3)), data_format="channels_last") == expected
        assert utils.get_img_shape(np.zeros((2, 3, *image_dims)), data_format="channels_first") == expected

    def test_tensors_and_keras_tensors(self):
        assert utils.get_img_shape(keras.ops.zeros((2, 7, 8, 3))) == (2, 3, 7, 8)
        assert utils.get_img_shape(keras.Input((None, 8, 3))) == (None, 3, None, 8)

    def test_follows_the_configuration(self):
        assert keras.config.image_data_format() == "channels_last"
        keras.config.set_image_data_format("channels_first")
        try:
            assert utils.get_img_shape(np.zeros((2, 3, 7, 8))) == (2, 3, 7, 8)
            assert utils.slicer[:, 3, 0] == (slice(None), 3, 0)
        finally:
            keras.config.set_image_data_format("channels_last")

    def test_no_batch_of_images(self):
        with pytest.raises(ValueError, match=r"\(2, 3\)"):
            utils.get_img_shape(np.zeros((2, 3)))
        with pytest.raises(TypeError, match="list"):
            utils.get_img_shape([[1]])
        with pytest.raises(ValueError, match="'channels_middle'"):
            utils.get_img_shape(np.zeros((2, 3, 4)), data_format="channels_middle")


class TestSlicer:
    IMAGES = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)

    @pytest.mark.parametrize(
        ("ours", "plain"),
        [
            (utils.slicer[:, 1, ...], np.s_[..., 1]),
            (utils.slicer[:, 1], np.s_[..., 1]),
            (utils.slicer[:, :, ...], np.s_[:]),
            (utils.slicer[0, 1, 2:, :3], np.s_[0, 2:, :3, 1]),
            (utils.slicer[:, 1:, 2, :], np.s_[:, 2, :, 1:]),
            (utils.slicer[1], np.s_[1]),
        ],
    )
    def test_channels_last(self, ours, plain):
        np.testing.assert_array_equal(self.IMAGES[ours], self.IMAGES[plain])

    def test_channels_first(self):
        images = np.moveaxis(self.IMAGES, -1, 1)
        last, first = Slicer("channels_last"), Slicer("channels_first")
        np.testing.assert_array_equal(images[first[:, 1, 2:, :3]], self.IMAGES[last[:, 1, 2:, :3]])

    def test_slices_tensors(self):
        np.testing.assert_array_equal(
            keras.ops.convert_to_tensor(self.IMAGES)[utils.slicer[:, 1, ...]], self.IMAGES[..., 1]
        )

    def test_ellipsis_in_place_of_the_channels_is_refused(self):
        with pytest.raises(ValueError, match="slicer must be indexed .*Write slicer\\["):
            utils.slicer[..., 1]


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
    module_globals = {"ours": TestSlicer.test_channels_first, "np": np, "theirs": np.abs, "constant": 3}
    assert utils.get_identifier("ours", module_globals, __name__) is TestSlicer.test_channels_first
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
