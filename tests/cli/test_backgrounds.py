"""`vis expected-gradients`, which takes a background from a folder, a table or an array, and `gradient-times-input`."""

from __future__ import annotations

import numpy as np
import pytest
from cli.commands import read, refusal, run
from PIL import Image

from vis import datasets, images
from vis.plotting import styles
from vis.visualization import expected_gradients, gradient_times_input


@pytest.fixture
def folder(digits, tmp_path, monkeypatch):
    """A folder to work in, with pictures of digits in `usual`, a table of them and an array."""
    (tmp_path / "usual").mkdir()
    for number, sample in enumerate(digits.x_train[:6]):
        Image.fromarray(np.uint8(255 * sample[..., 0])).save(tmp_path / "usual" / f"{number}.png")
    rows = [f"usual/{number}.png,{label}" for number, label in enumerate(digits.y_train[:6])]
    (tmp_path / "output_result.csv").write_text("\n".join(["x:image,y:label", *rows, ""]))
    np.save(tmp_path / "usual.npy", datasets.background(tmp_path / "usual", images.InputLayout(28, 28, 1, -1)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("background", ["usual", "output_result.csv", "usual.npy"])
def test_the_background_is_read_as_the_model_takes_it(folder, background, model_path, digit, digit_model):
    code, out, err = run(
        "expected-gradients", "--model", model_path, "--image", digit[0], "--background", background, "-n", 6,
        "--class-index", 7, "--save-map", "map.npy",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert out.startswith("expected-gradients.png: class 7")
    usual = np.load("usual.npy")
    expected = expected_gradients(digit_model, None, 7, digit[1], background=usual, num_samples=6)
    np.testing.assert_allclose(np.load("map.npy"), expected, atol=1e-6)


def test_every_row_of_a_table_has_the_same_background(folder, model_path, digit_model):
    code, _, err = run("expected-gradients-batch", "--model", model_path, "--background", "usual", "-n", "3")
    assert code == 0, err
    lines = (folder / "expected-gradients.csv").read_text().splitlines()
    assert lines[0] == "x:image,y:label,expected_gradients"
    usual = np.load("usual.npy")
    label = int(lines[3].split(",")[1])
    expected = expected_gradients(digit_model, None, label, usual[2], background=usual[[0, 2, 4]], num_samples=3)
    with Image.open(folder / "usual" / "2.png") as image:
        drawn = styles.signed(image, expected)
    assert np.abs(read("expected-gradients/0000/2.png").astype(int) - drawn).max() <= 1


def test_no_background_and_none_that_can_be_read(folder, model_path, digit):
    asked = "expected-gradients", "--model", model_path, "--image", digit[0]
    assert refusal(*asked) == "Error: Missing option '--background'.\n"
    assert refusal(*asked, "--background", "nowhere") == (
        "Error: --background must be a folder of images, a CSV file or an .npy file, not nowhere.\n"
    )
    np.save("wide.npy", np.zeros((2, 5, 5, 1)))
    assert "Error: --background must have shape (None, 28, 28, 1)" in refusal(
        *asked, "--background", "wide.npy", "-c", 7
    )


def test_gradient_times_input_is_the_library_s_map(folder, model_path, digit, digit_model):
    options = ("--class-index", 7, "--save-map", "map.npy")
    assert run("gradient-times-input", "--model", model_path, "--image", digit[0], *options)[0] == 0
    np.testing.assert_allclose(np.load("map.npy"), gradient_times_input(digit_model, None, 7, digit[1]), atol=1e-6)
