"""The demo: data, network, pictures and page."""

from __future__ import annotations

import os
import re

import keras
import numpy as np
import pytest
from PIL import Image, ImageFilter

from vis import demo
from vis.models import load_model
from vis.visualization import visualize_cam

MAPS = ("saliency", "smoothgrad", "guided", "gradcam")


def one_of_each(digits):
    """The first held-out image of each digit."""
    return digits.x_test[[np.flatnonzero(digits.y_test == digit)[0] for digit in range(10)]]


def test_any_part_of_the_digits_holds_all_of_them(digits):
    for labels in (digits.y_train[:200], digits.y_train[-200:], digits.y_test[:100], digits.y_test[-100:]):
        assert len(np.unique(labels)) == 10


def test_digits_are_split_evenly_and_apart(digits):
    assert np.bincount(digits.y_train).tolist() == [400] * 10
    assert np.bincount(digits.y_test).tolist() == [100] * 10
    assert digits.x_train.dtype == np.float32
    assert (digits.x_train.min(), digits.x_train.max()) == (0, 1)
    train = {image.tobytes() for image in digits.x_train}
    assert not any(image.tobytes() in train for image in digits.x_test)


def test_the_split_is_a_matter_of_its_seed(digits):
    np.testing.assert_array_equal(demo.load_digits().x_test, digits.x_test)
    assert (demo.load_digits(seed=1).x_test != digits.x_test).any()


def test_held_out_accuracy(digits, digit_model):
    predicted = digit_model.predict(digits.x_test, verbose=0).argmax(axis=-1)
    assert (predicted == digits.y_test).mean() >= 0.96


def test_gradcam_of_a_one_lights_its_stroke_and_not_the_edges(digits, digit_model):
    """Shares of the map over shares of the picture; a map that is the same everywhere has 1."""
    x = digits.x_test[digits.y_test == 1]
    maps = visualize_cam(digit_model, None, 1, x, normalize=False)
    stroke = (
        np.stack(
            [np.asarray(Image.fromarray(np.uint8(255 * each)).filter(ImageFilter.MaxFilter(5))) for each in x[..., 0]]
        )
        > 80
    )
    edges = np.ones((28, 28), bool)
    edges[3:-3, 3:-3] = False

    def ratio(places):
        places = np.broadcast_to(places, maps.shape)
        return np.mean((maps * places).sum(axis=(1, 2)) / maps.sum(axis=(1, 2)) / places.mean(axis=(1, 2)))

    assert ratio(stroke) > 1.3
    assert ratio(edges) < 0.8
    # With biases and without shifts the brightest point of every other map was there.
    assert np.mean([edges[np.unravel_index(each.argmax(), each.shape)] for each in maps]) < 0.1


def test_training_shifts_the_digits_and_nothing_else(monkeypatch):
    """What the model is given are the digits moved by at most three pixels, each with its label, once an epoch."""
    seen = []

    class Watched:
        def fit(self, batches, **options):
            seen.extend(
                zip(*(np.concatenate(parts) for parts in zip(*batches.as_numpy_iterator(), strict=True)), strict=True)
            )

    x = np.zeros((100, 28, 28, 1), np.float32)
    x[:, 14, 14, 0] = np.arange(1, 101)
    demo.train(Watched(), x, np.arange(100))
    places = np.array([np.argwhere(image)[0] for image, _ in seen])
    assert sorted(label for _, label in seen) == list(range(100))
    assert all(image.sum() == label + 1 for image, label in seen)
    assert (places[:, :2].min(), places[:, :2].max()) == (11, 17)


def test_training_is_a_matter_of_its_seed_and_leaves_the_global_ones_alone(digits):
    def weights(seed):
        few = np.arange(0, 4000, 40)
        model = demo.train(demo.build_model(seed), digits.x_train[few], digits.y_train[few], epochs=2, seed=seed)
        return np.concatenate([weight.ravel() for weight in model.get_weights()])

    np.random.seed(7)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    first = weights(3)
    assert np.random.rand() == expected  # noqa: NPY002
    np.testing.assert_array_equal(first, weights(3))
    assert (first != weights(4)).any()


def test_each_picture_explains_its_own_class(digits, digit_model):
    x = digits.x_test[[np.flatnonzero(digits.y_test == digit)[0] for digit in (0, 5)]]
    both = demo.explain(digit_model, x, np.array([0, 5]))
    for i, index in enumerate([0, 5]):
        alone = demo.explain(digit_model, x[i : i + 1], np.array([index]))
        for name in MAPS:
            assert np.abs(both[name][i].astype(int) - alone[name][0]).mean() < 0.5, name
    other = demo.explain(digit_model, x, np.array([0, 3]))
    for name in MAPS:
        assert np.abs(both[name][1].astype(int) - other[name][1]).mean() > 1, name


def test_guided_saliency_follows_the_strokes_more_than_plain(digits, digit_model):
    x = one_of_each(digits)
    pictures = demo.explain(digit_model, x, np.arange(10))
    ink = np.stack(pictures["digit"]) > 64

    def share_on_ink(name):
        light = np.stack(pictures[name]).astype(float).sum(axis=-1)
        return light[ink].sum() / light.sum()

    assert share_on_ink("guided") > 1.3 * share_on_ink("saliency")


@pytest.fixture(scope="module")
def folder(digit_model, tmp_path_factory):
    """What `run` writes, without training once more."""
    output = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "train", lambda *args, **options: digit_model)
        result = demo.run(output, progress=False)
    assert (result.page, result.model) == (output / "index.html", output / "digits.keras")
    assert result.accuracy >= 0.96
    return output


def test_pictures_of_each_digit(folder):
    pictures = {f"{digit}_{name}.png" for digit in range(10) for name in ("digit", *MAPS)}
    assert set(os.listdir(folder)) == pictures | {"index.html", "digits.keras"}
    for name in pictures:
        with Image.open(folder / name) as picture:
            assert picture.size == (224, 224)
            assert np.asarray(picture).std() > 5, f"{name} is blank"


def test_the_digits_shown_are_the_first_held_out(folder, digits):
    for digit in range(10):
        with Image.open(folder / f"{digit}_digit.png") as picture:
            small = np.asarray(picture)[4::8, 4::8]
        np.testing.assert_array_equal(small, np.round(one_of_each(digits)[digit, ..., 0] * 255))


def test_the_saved_model_is_the_trained_one(folder, digits, digit_model):
    loaded = load_model(folder / "digits.keras")
    np.testing.assert_allclose(loaded(digits.x_test[:3]), digit_model(digits.x_test[:3]), rtol=1e-5)


def test_the_page_shows_every_picture_and_what_was_predicted(folder, digits, digit_model):
    page = (folder / "index.html").read_text(encoding="utf-8")
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert sorted(shown) == sorted(name for name in os.listdir(folder) if name.endswith(".png"))
    scores = digit_model.predict(one_of_each(digits), verbose=0)
    assert re.findall(r"<b>(\d)</b>", page) == [str(index) for index in scores.argmax(axis=-1)]
    probabilities = [float(text) for text in re.findall(r"probability ([\d.]+)<", page)]
    np.testing.assert_allclose(probabilities, scores.max(axis=-1), atol=6e-4)
    assert re.findall(r"true label (\d)", page) == list("0123456789")
    assert not re.search(r"https?://", page), "the page opens without a network"


def test_a_wrong_prediction_is_marked(digits):
    rows = [
        {"label": 4, "predicted": 9, "probability": 0.51},
        {"label": 5, "predicted": 5, "probability": 0.99},
    ]
    page = demo._render(rows, 0.5, digits)
    assert page.count('class="wrong"') == 1
    assert page.index('class="wrong"') < page.index("true label 4") < page.index("true label 5")


def test_the_network_is_small(digit_model):
    assert isinstance(digit_model, keras.Model)
    assert digit_model.count_params() < 100_000
