"""Ranges, noise, axes and interpolation of arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.utils import utils
from vis.utils.arrays import Slicer, as_floating, blur, interpolation_matrix, resize


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


@pytest.mark.parametrize(("given", "wanted"), [((5, 7), (16, 9)), ((4, 4), (224, 224)), ((6, 6), (3, 3))])
def test_resize_is_tensorflows(given, wanted):
    maps = np.random.default_rng(0).normal(size=(2, *given))
    expected = tf.image.resize(maps[..., None], wanted, method="bilinear")[..., 0]
    np.testing.assert_allclose(resize(maps, wanted), expected, atol=1e-6)


def test_resize_in_one_and_three_dimensions_is_separable():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(1, 4))
    expected = tf.image.resize(line[0][None, :, None, None], (9, 1))[0, :, 0, 0]
    np.testing.assert_allclose(resize(line, (9,))[0], expected, atol=1e-6)
    a, b, c = rng.normal(size=(3, 4))
    cube = np.einsum("i,j,k->ijk", a, b, c)[None]
    parts = [resize(v[None], (6,))[0] for v in (a, b, c)]
    np.testing.assert_allclose(resize(cube, (6, 6, 6))[0], np.einsum("i,j,k->ijk", *parts), atol=1e-12)


def test_cubic_weights_are_those_of_keys():
    # Keys's kernel at the distances 1.75, 0.75, 0.25 and 1.25, worked out by hand.
    row = interpolation_matrix(8, 16, "cubic")[8]
    np.testing.assert_allclose(row, [0, 0, -0.0234375, 0.2265625, 0.8671875, -0.0703125, 0, 0], atol=1e-12)
    for kind in ("linear", "cubic"):
        np.testing.assert_allclose(interpolation_matrix(5, 13, kind).sum(axis=1), 1)


def test_cubic_interpolation_stays_within_the_range_of_each_sample():
    maps = np.array([[0.0, 0, 1, 0, 0], [5.0, 5, 5, 5, 7]])
    raw = maps @ interpolation_matrix(5, 20, "cubic").T
    assert raw.min() < 0
    found = resize(maps, (20,), "cubic")
    np.testing.assert_allclose(found, np.clip(raw, [[0], [5]], [[1], [7]]))


def test_blur_is_a_gaussian_with_the_edges_repeated():
    line = np.array([0.0, 0.0, 0.0, 8.0])
    sigma = 0.25 * 4
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / sigma) ** 2)
    padded = np.pad(line, 4, "edge")
    expected = [(kernel * padded[i : i + 9]).sum() / kernel.sum() for i in range(4)]
    np.testing.assert_allclose(blur(line, [0], 0.25), expected, rtol=1e-5)
    picture = np.outer(line, [1.0, 1.0, 3.0])
    both = blur(picture, [0, 1], 0.25)
    np.testing.assert_allclose(both, np.outer(blur(line, [0], 0.25), blur(np.array([1.0, 1, 3]), [0], 0.25)), rtol=1e-5)
    np.testing.assert_allclose(blur(picture, [1], 0.25)[3], 8 * blur(np.array([1.0, 1, 3]), [0], 0.25), rtol=1e-5)


@pytest.mark.parametrize(
    ("given", "wanted"), [("uint8", "float32"), ("float16", "float32"), ("float32", "float32"), ("float64", "float64")]
)
def test_numbers_become_floating_point_of_at_least_32_bits(given, wanted):
    array = np.array([1, 200], given)
    found = as_floating(array)
    assert found.dtype == wanted
    np.testing.assert_array_equal(found, [1, 200])
