"""What all pages share."""

from __future__ import annotations

import base64
import io

import jinja2
import numpy as np
import pytest
from PIL import Image

from vis.pages import rendering


@pytest.mark.parametrize(
    ("size", "kind", "shown"),
    [((28, 20), "png", (28, 20)), ((64, 64), "png", (64, 64)), ((80, 320), "jpeg", (40, 160))],
)
def test_thumbnails(tmp_path, size, kind, shown):
    pixels = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    header, content = rendering.thumbnail(tmp_path / "a.png").split(",")
    assert header == f"data:image/{kind};base64"
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert seen.shape == shown
    if kind == "png":
        np.testing.assert_array_equal(seen, pixels)


def test_a_picture_that_cannot_be_read_has_no_thumbnail(tmp_path):
    (tmp_path / "empty.png").touch()
    assert rendering.thumbnail(tmp_path / "empty.png") == rendering.thumbnail(tmp_path / "gone.png") == ""


def test_a_link_leads_from_the_page_to_the_file(tmp_path):
    assert rendering.link(tmp_path / "a" / "b c.png", tmp_path / "a") == "b%20c.png"
    assert rendering.link("in/100%.png", "") == "in/100%25.png"
    assert rendering.link("in/a:b#c?.png", "out/deep") == "../../in/a%3Ab%23c%3F.png"
    assert rendering.link("ü.png", ".") == "%C3%BC.png"


def test_a_value_that_a_template_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        "".join(rendering.render("influence.html", count=0, groups=[]))
