"""Images: loaded, laid out in a grid, written on."""

import numpy as np
import pytest
from PIL import Image
from skimage.transform import resize

from vis import VisWarning
from vis.utils import images, utils


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


def test_overlay_is_a_weighted_sum_in_the_upper_picture_s_type():
    upper, lower = np.uint8([[0, 100, 255]]), np.uint8([[200, 200, 0]])
    found = images.overlay(upper, lower, alpha=0.25)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, [[150, 175, 63]])
    np.testing.assert_array_equal(images.overlay(upper, lower, 1), upper)
    np.testing.assert_array_equal(images.overlay(upper, lower, 0), lower)
    with pytest.raises(ValueError, match="alpha must be from 0 to 1, not 1.5"):
        images.overlay(upper, lower, 1.5)
    with pytest.raises(ValueError, match=r"two arrays of the same shape, not \(1, 3\) and \(1, 2\)"):
        images.overlay(upper, lower[:, :2])
