"""The pictures and figures of the documentation are of the methods that there are."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vis.methods import CAM_METHODS, METHODS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def script():
    """What `docs/make_pictures.py` defines."""
    return runpy.run_path(str(DOCS / "make_pictures.py"))


def test_every_method_is_shown(script):
    shown = script["explanations"]()
    assert {each.row.name for each in shown} == set(METHODS)
    assert tuple(each.options["method"] for each in shown if "method" in each.options) == CAM_METHODS


def test_the_figures_of_the_page_are_of_every_method(script):
    text = (DOCS / "methods.md").read_text("utf-8")
    figures = re.search(r"begin of shares, by docs/make_pictures.py -->(.*)<!-- end of shares", text, re.DOTALL)[1]
    rows = re.findall(r"^\| (.+?) \| 0\.\d\d \| 0\.\d\d \| 0\.\d\d", figures, re.MULTILINE)
    assert rows == [each.title for each in script["explanations"]()]


def test_the_page_shows_a_picture_of_every_method(script):
    text = (DOCS / "methods.md").read_text("utf-8")
    alone = [each.file for each in script["explanations"]() if each.options.get("method", "gradcam") == "gradcam"]
    for file in ["methods", "cams", *alone]:
        assert f"(images/{file}.png)" in text
        path = DOCS / "images" / f"{file}.png"
        assert path.stat().st_size <= 200_000
        with Image.open(path) as picture:
            assert picture.width >= 600


def test_a_share_is_of_what_a_map_shows_for_its_class(script):
    cat, coffee = np.zeros((2, script["SIDE"], script["SIDE"]), np.float32)
    cat[:, :56] = 3
    cat[:, -56:] = 1
    coffee[:, :56] = -5  # speaks against it
    coffee[:, -56:] = 1
    assert script["shares"](np.stack([cat, coffee])) == [0.75, 0.0]


def test_the_share_of_a_coarse_map_is_that_of_its_interpolation(script):
    centred = np.zeros((1, 7, 7), np.float32)
    centred[0, :, 3] = 1
    assert script["shares"](centred) == pytest.approx([0.5])
