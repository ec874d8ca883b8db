"""`vis occlusion`, `rise`, `lime` and `kernel-shap`, for an image and for every row of a CSV file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from cli.commands import read, refusal, run
from PIL import Image

from vis import visualization
from vis.plotting.styles import STYLES

OPTIONS = {
    "occlusion": (["--window", 3, "--stride", 2, "--fill", "mean"], {"window": 3, "stride": 2, "fill": "mean"}),
    "rise": (["--num-masks", 40, "--probability", 0.4], {"num_masks": 40, "probability": 0.4}),
    "lime": (["--num-samples", 50, "--alpha", 0.1], {"num_samples": 50, "alpha": 0.1}),
    "kernel-shap": (["--num-samples", 60, "--background", 0.5], {"num_samples": 60, "background": 0.5}),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A model, two images and a CSV file that names them."""
    monkeypatch.chdir(tmp_path)
    layers = [keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    keras.Sequential([keras.Input((8, 8, 1)), *layers]).save("model.keras")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8), np.uint8)
    for name, image in zip("ab", pixels, strict=True):
        Image.fromarray(image).save(f"{name}.png")
    (tmp_path / "output_result.csv").write_text("x:image,y:label\na.png,2\nb.png,1\n")
    return pixels[..., None] / np.float32(255)


@pytest.mark.parametrize("name", OPTIONS)
def test_pictures_are_the_library_s_maps(folder, name):
    typed, options = OPTIONS[name]
    code, _, err = run(name, "--model", "model.keras", "--image", "a.png", "--class-index", 2, *typed, "--size", 1)
    assert (code, err) == (0, "")
    model = keras.saving.load_model("model.keras")
    maps = getattr(visualization, name.replace("-", "_"))(model, None, [[2], [1]], folder, **options)
    draw = STYLES["over_image" if name == "rise" else "signed"]
    with Image.open("a.png") as image:
        expected = draw(image, maps[0])
    assert np.abs(read(f"{name}.png").astype(int) - expected).max() <= 1
    column = name.replace("-", "_")
    code, *_ = run(f"{name}-batch", "--model", "model.keras", "--input", "output_result.csv", *typed)
    assert code == 0
    with open(f"{name}.csv") as table:
        header, *rows = table.read().splitlines()
    assert header == f"x:image,y:label,{column}"
    with Image.open("b.png") as image:
        expected = draw(image, maps[1])
    assert np.abs(read(rows[1].rpartition(",")[2]).astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("occlusion", ["--fill", "black"], "--fill must be a number, an array, 'mean' or 'blur', not 'black'."),
        ("occlusion", ["--window", 0], "--window must be at least 1, not 0."),
        ("rise", ["--probability", 0], "--probability must be above 0 and at most 1, not 0.0."),
        ("lime", ["--kernel-width", 0], "--kernel-width must be above 0, not 0.0."),
        ("kernel-shap", ["--num-samples", 2], "--num-samples must be at least 4, not 2."),
    ],
)
def test_refusals_name_the_option(folder, name, typed, message):
    assert message in refusal(name, "--model", "model.keras", "--image", "a.png", *typed)
