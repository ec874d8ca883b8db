"""Images in, pictures out."""

from __future__ import annotations

import struct

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from vis import ArgumentError, VisWarning, images
from vis.images import InputLayout

COLOURS = np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


def saved(picture: Image.Image, path, **options):
    picture.save(path, **options)
    return path


def beginning_with(*layers):
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(2)])


def rescaling(*values, **options):
    return keras.layers.Rescaling(*values, name="first", **options)


def normalization(mean, variance):
    return keras.layers.Normalization(mean=mean, variance=variance, name="first")


@pytest.mark.parametrize(
    ("layers", "name"),
    [
        ([lambda: rescaling(1 / 255)], "raw"),
        ([lambda: rescaling(1 / 127.5, offset=-1)], "raw"),
        ([lambda: rescaling([1 / 255, 1 / 128, 1 / 64])], "raw"),
        ([lambda: normalization([120, 110, 100], [4900, 4900, 4900])], "raw"),
        # What is 0 to 1 before it.
        ([lambda: rescaling(2.0, offset=-1)], "unit"),
        ([lambda: normalization([0.485, 0.456, 0.406], [0.05, 0.05, 0.05])], "unit"),
        ([lambda: keras.layers.RandomFlip(), lambda: keras.layers.Resizing(4, 4), lambda: rescaling(1 / 255)], "raw"),
        ([lambda: beginning_with(rescaling(1 / 255)), lambda: keras.layers.Reshape((2, 1))], "raw"),
        ([lambda: keras.Sequential([keras.layers.RandomFlip()]), lambda: rescaling(1 / 255)], "raw"),
    ],
)
def test_a_model_that_begins_with_a_scale_says_how_pixels_go_in(layers, name):
    scale = images.scale_of(beginning_with(*(make() for make in layers)))
    assert scale.name == name
    assert scale.reason.startswith("the model begins with 'first', which ")


def test_a_model_adapted_to_pixels_says_so():
    layer = keras.layers.Normalization(name="first")
    layer.adapt(np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.float32))
    assert images.scale_of(beginning_with(layer)).name == "raw"


def test_a_model_that_says_nothing_takes_0_to_1():
    x = keras.Input((8, 8, 3))
    branches = keras.layers.Add()([rescaling(1 / 255)(x), keras.layers.Rescaling(1 / 100)(x)])
    for model in (
        beginning_with(keras.layers.Conv2D(2, 3), rescaling(1 / 255)),
        beginning_with(),
        keras.Model(x, branches),
        keras.Sequential([keras.layers.Dense(2)]),
    ):
        assert images.scale_of(model) == ("unit", "")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tiff"])
def test_colours_are_read_as_they_are(tmp_path, name):
    image = images.read_image(saved(Image.fromarray(COLOURS), tmp_path / name))
    np.testing.assert_array_equal(image, COLOURS)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = images.read_image(saved(Image.fromarray(deep), tmp_path / "deep.png"))
    assert np.asarray(image).tolist() == [[0, 1, 128, 255]]


@pytest.mark.parametrize(("mode", "expected"), [("1", "L"), ("L", "L"), ("LA", "L"), ("P", "RGB"), ("RGBA", "RGB")])
def test_modes_become_grayscale_or_rgb(tmp_path, mode, expected):
    path = saved(Image.fromarray(COLOURS).convert(mode), tmp_path / "a.png")
    assert images.read_image(path).mode == expected


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = images.read_image(saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif))
    np.testing.assert_array_equal(image, np.rot90(COLOURS, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_that_of_pillow(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif)
    with Image.open(path) as image:
        np.testing.assert_array_equal(images.read_image(path), ImageOps.exif_transpose(image))


def test_other_exif_data_may_be_broken(tmp_path):
    """A resolution that is text, which Pillow cannot write back."""
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 2)
    exif += struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack(">HHI4s", 0x011A, 7, 4, b"3 dp") + b"\0" * 4
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.jpg", quality=95, exif=exif)
    with Image.open(path) as image, pytest.raises(Exception, match=r"bad operand|required argument"):
        ImageOps.exif_transpose(image)
    assert images.read_image(path).size == (10, 14)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_an_image_whose_white_is_not_known(tmp_path, mode):
    path = saved(Image.new(mode, (3, 2), 1), tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"a\.tif holds 32 bits a pixel"):
        images.read_image(path)


def test_a_decoder_s_error_of_any_kind_is_the_file_s(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("Failed to decode image")

    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(ValueError, match=r"a\.png is not an image that can be read"):
        images.read_image(path)


def test_what_the_system_says_of_a_file(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be read: File name too long"):
        images.read_image(tmp_path / ("a" * 300 + ".png"))
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(ValueError, match=r"cannot be read: Too many levels of symbolic links"):
        images.read_image(tmp_path / "a" / "1.png")


def test_not_an_image_and_no_image(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png is not an image"):
        images.read_image(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"b\.png does not exist"):
        images.read_image(tmp_path / "b.png")


def test_an_image_cut_short(tmp_path):
    path = saved(Image.fromarray(COLOURS), tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"a\.png is not an image"):
        images.read_image(path)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        *((mode, "a.png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "a.tif") for mode in ("1", "L", "RGB", "RGBA", "I;16")),  # Pillow writes the others otherwise
    ],
)
def test_a_very_large_image_is_reduced_while_it_is_read(tmp_path, monkeypatch, mode, name):
    monkeypatch.setattr(images, "_LARGEST_IMAGE", 30 * 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    ramp = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (60, 1))
    image = Image.fromarray(ramp.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(ramp).convert(mode)
    path = saved(image, tmp_path / name)
    with pytest.warns(VisWarning, match="read at a size of 30 by 20"):
        read = images.read_image(path)
    assert read.size == images.read_size(path) == (30, 20)
    if mode != "1":
        np.testing.assert_allclose(np.asarray(read.convert("L"))[10], ramp[0].reshape(30, 3).mean(axis=1), atol=4)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_a_very_large_jpeg_is_decoded_at_a_smaller_size(tmp_path, monkeypatch):
    ramp = np.tile(np.linspace(0, 255, 320).astype(np.uint8), (160, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(Image.fromarray(ramp), tmp_path / "a.jpg", quality=95, exif=exif)
    monkeypatch.setattr(images, "_LARGEST_IMAGE", 80 * 40)
    with pytest.warns(VisWarning, match="read at a size of 40 by 80"):
        read = images.read_image(path)
    assert read.size == (40, 80)
    np.testing.assert_allclose(np.asarray(read)[:, 20], ramp[0].reshape(80, 4).mean(axis=1), atol=4)


def test_an_image_of_too_many_pixels(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_MOST_PIXELS", 10**6)
    path = saved(Image.new("1", (2000, 1000)), tmp_path / "a.png")
    with pytest.raises(ArgumentError, match=r"must be an image of at most 1 million pixels, not .* of 2,000 by 1,000"):
        images.read_image(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_laid_on_white(tmp_path, mode):
    image = Image.new("RGBA", (3, 1))
    for x, color in enumerate([(90, 90, 90, 255), (0, 0, 0, 0), (0, 0, 0, 51)]):
        image.putpixel((x, 0), color)
    if mode == "P":  # where a single colour is transparent
        image = Image.fromarray(np.array([[1, 0, 1]], np.uint8), "L").convert("P")
        image.putpalette([0, 0, 0, 90, 90, 90])
        path = saved(image, tmp_path / "a.png", transparency=0)
        wanted = [90, 255, 90]
    else:
        path = saved(image.convert(mode), tmp_path / "a.png")
        wanted = [90, 255, 204]
    assert np.asarray(images.read_image(path).convert("L")).tolist() == [wanted]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif"])
def test_says_that_of_several_frames_the_first_is_read(tmp_path, name):
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "lime", "blue")]
    frames[0].save(
        tmp_path / name, save_all=True, append_images=frames[1:], **({"lossless": True} if "webp" in name else {})
    )
    with pytest.warns(VisWarning, match="has 3 frames, of which the first is read"):
        image = images.read_image(tmp_path / name)
    assert np.asarray(image)[0, 0].tolist() == [255, 0, 0]


def network(shape, **options):
    layer = keras.layers.Conv2D(2, 3, **options) if len(shape) == 3 else keras.layers.Flatten()
    return keras.Sequential([keras.Input(shape), layer])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (network((28, 30, 1)), InputLayout(28, 30, 1, -1)),
        (network((None, None, 3)), InputLayout(None, None, 3, -1)),
        (network((3, 20, 24), data_format="channels_first"), InputLayout(20, 24, 3, 0)),
        (network((28, 30)), InputLayout(28, 30, 1, None)),
        (
            keras.Sequential([keras.Input((3, 20, 24)), network((3, 20, 24), data_format="channels_first")]),
            InputLayout(20, 24, 3, 0),
        ),
    ],
    ids=["grayscale", "any size", "channels first", "no channel axis", "nested channels first"],
)
def test_layout_is_read_off_the_model(model, expected):
    assert images.input_layout(model) == expected


@pytest.mark.parametrize(
    ("shape", "data_format", "expected"),
    [
        ((16, 12, 3), "channels_first", InputLayout(16, 12, 3, -1)),
        ((3, 16, 12), "channels_last", InputLayout(16, 12, 3, 0)),
        ((3, 16, 3), "channels_first", InputLayout(16, 3, 3, 0)),
        ((3, 16, 3), "channels_last", InputLayout(3, 16, 3, -1)),
    ],
)
def test_channels_are_where_one_or_three_are(shape, data_format, expected):
    """Whatever the layers behind a permutation take."""
    layers = [keras.layers.Permute((1, 2, 3)), keras.layers.GlobalAveragePooling2D(data_format=data_format)]
    assert images.input_layout(keras.Sequential([keras.Input(shape), *layers])) == expected


def test_layout_of_a_subclassed_model():
    class Classifier(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(2, 3)

        def call(self, x):
            return self.convolution(x)

    model = Classifier()
    with pytest.raises(ValueError, match="model must say which shape of input it takes"):
        images.input_layout(model)
    model(np.zeros((1, 9, 8, 3), np.float32))
    assert images.input_layout(model) == InputLayout(9, 8, 3, -1)


def test_models_that_take_no_image():
    a, b = keras.Input((4, 4, 1)), keras.Input((4, 4, 1))
    with pytest.raises(ValueError, match="model must take one image, not 2 inputs"):
        images.input_layout(keras.Model([a, b], keras.layers.Add()([a, b])))
    with pytest.raises(ValueError, match=r"model must take images, not an input of shape \(7,\)"):
        images.input_layout(network((7,)))
    with pytest.raises(ValueError, match="model must take images of 1 or 3 channels, .* not of 5"):
        images.input_layout(network((8, 8, 5)))


@pytest.mark.parametrize("preprocess", ["tf", "caffe", "torch"])
def test_preprocessing_is_that_of_keras_applications(preprocess):
    module = {"tf": "mobilenet_v2", "caffe": "vgg16", "torch": "densenet"}[preprocess]
    expected = getattr(keras.applications, module).preprocess_input(COLOURS.astype(np.float32))
    sample = images.to_model_input(Image.fromarray(COLOURS), InputLayout(10, 14, 3, -1), preprocess)
    np.testing.assert_allclose(sample, expected, rtol=1e-6)


def test_unit_and_raw():
    layout = InputLayout(10, 14, 3, -1)
    raw = images.to_model_input(Image.fromarray(COLOURS), layout, "raw")
    np.testing.assert_array_equal(raw, COLOURS)
    np.testing.assert_allclose(images.to_model_input(Image.fromarray(COLOURS), layout), COLOURS / 255, rtol=1e-6)
    assert raw.dtype == np.float32


def test_channels_first_and_no_channels():
    sample = images.to_model_input(Image.fromarray(COLOURS), InputLayout(10, 14, 3, 0), "raw")
    np.testing.assert_array_equal(sample, np.moveaxis(COLOURS, -1, 0))
    gray = images.to_model_input(Image.fromarray(COLOURS), InputLayout(None, None, 1, None), "raw")
    np.testing.assert_array_equal(gray, Image.fromarray(COLOURS).convert("L"))


def test_the_image_gets_the_model_s_size():
    halves = Image.fromarray(np.repeat(np.array([[0, 255]], np.uint8), 20, axis=1))
    sample = images.to_model_input(halves, InputLayout(3, 4, 1, -1))
    assert sample.shape == (3, 4, 1)
    assert sample[:, 0].max() < 0.1
    assert sample[:, -1].min() > 0.9


@pytest.mark.parametrize("preprocess", ["caffe", "torch"])
def test_preprocessing_for_colours_refuses_grayscale(preprocess):
    with pytest.raises(ValueError, match=f"preprocess must be unit, raw or tf .* not '{preprocess}'"):
        images.to_model_input(Image.new("L", (4, 4)), InputLayout(4, 4, 1, -1), preprocess)


@pytest.mark.parametrize(
    ("preprocess", "unit", "mean", "deviation"),
    [
        ("unit:0.5:0.25", 255, 0.5, 0.25),
        ("raw:127.5:127.5", 1, 127.5, 127.5),
        ("unit:0.485,0.456,0.406:0.229,0.224,0.225", 255, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("raw:124,116,104:58", 1, [124, 116, 104], 58),
    ],
)
@pytest.mark.parametrize("channel_axis", [0, -1])
def test_a_mean_and_a_deviation_of_one_s_own(preprocess, unit, mean, deviation, channel_axis):
    layout = InputLayout(10, 14, 3, channel_axis)
    sample = images.to_model_input(Image.fromarray(COLOURS), layout, preprocess)
    assert sample.dtype == np.float32
    expected = (COLOURS / unit - np.array(mean)) / np.array(deviation)
    np.testing.assert_allclose(np.moveaxis(sample, channel_axis, -1), expected, atol=1e-5)
    black, white = images.value_range(layout, preprocess)
    np.testing.assert_allclose(black, np.broadcast_to((0 - np.array(mean)) / deviation, 3), rtol=1e-5)
    np.testing.assert_allclose(white, np.broadcast_to((255 / unit - np.array(mean)) / deviation, 3), rtol=1e-5)
    shown = images.from_model_input(np.moveaxis(sample, channel_axis, -1)[None], layout, preprocess)
    np.testing.assert_allclose(shown[0], COLOURS / 255, atol=1e-5)


def test_a_mean_and_a_deviation_for_grayscale_without_a_channel_axis():
    gray = Image.fromarray(COLOURS[..., 0])
    sample = images.to_model_input(gray, InputLayout(10, 14, 1, None), "unit:0.1307:0.3081")
    np.testing.assert_allclose(sample, (COLOURS[..., 0] / 255 - 0.1307) / 0.3081, atol=1e-5)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        ("tf:0.5:0.5", "must be one of unit, raw, .*, not 'tf:0.5:0.5'"),
        ("unit:0.5", "must be one of unit, raw, .*, not 'unit:0.5'"),
        ("unit:0.5:0", ".* deviations above 0, not 'unit:0.5:0'. Give for example unit:0.5:0.25"),
        ("unit:0.5:-1", ".* deviations above 0"),
        ("unit:nan:1", "must have numbers"),
        ("unit:half:1", "must have numbers"),
        ("unit:1,2:1,2,3", ".* as many of each"),
        ("unit:1,2:1", "must have one mean and deviation or 3 of each, .* not 2"),
    ],
)
def test_a_mean_or_a_deviation_that_cannot_be(preprocess, message):
    with pytest.raises(ValueError, match=f"preprocess {message}"):
        images.check_preprocess(preprocess, InputLayout(4, 4, 3, -1))


def test_unknown_preprocessing():
    with pytest.raises(ValueError, match=r"preprocess must be one of unit, raw, tf, caffe, torch, .* not 'imagenet'"):
        images.to_model_input(Image.new("L", (4, 4)), InputLayout(4, 4, 1, -1), "imagenet")


def test_where_both_ends_could_be_channels_the_model_decides():
    shape = (3, 8, 3)
    first = keras.Sequential([keras.Input(shape), keras.layers.Permute((2, 3, 1)), keras.layers.Conv2D(2, 1)])
    last = keras.Sequential([keras.Input(shape), keras.layers.Conv2D(2, 1)])
    assert images.input_layout(first) == InputLayout(8, 3, 3, 0)
    assert images.input_layout(last) == InputLayout(3, 8, 3, -1)
