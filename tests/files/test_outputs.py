"""Files out, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vis.files import outputs


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's device that is always full")
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    """What is buffered fails as late as when the file is closed."""
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *mode, **more: path.touch() or opened(Path("/dev/full"), *mode, **more)
    )
    with pytest.raises(OSError, match="No space left"), outputs.replacing(tmp_path / "out.csv") as file:
        file.write("a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extension", outputs.EXTENSIONS)
def test_pictures_are_written_in_every_format(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    outputs.write_picture(np.full((16, 12, 3), 99, np.uint8), path)
    with Image.open(path) as picture:
        assert picture.size == (12, 16)
        assert np.abs(np.asarray(picture.convert("RGB"), int) - 99).max() <= 3


@pytest.mark.parametrize("shape", [(5, 7), (1, 1), (5, 7, 3), (300, 1, 3)])
def test_png_keeps_every_value(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    outputs.write_picture(picture, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image), picture)


def test_a_failed_write_leaves_the_old_picture_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"the old one")

    def fail_in_the_end(source, target):
        raise OSError("disk full")

    monkeypatch.setattr(outputs.os, "replace", fail_in_the_end)
    with pytest.raises(OSError, match="disk full"):
        outputs.write_picture(np.zeros((4, 4), np.uint8), path)
    assert os.listdir(tmp_path) == ["a.png"]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.xyz", r"path must end in \.png or .* not .*a\.xyz"),
        ("a", r"path must end in \.png or .*a\.$"),
        ("nowhere/a.png", "path must be in an existing folder, not in .*nowhere"),
        ("folder.png", "path must be a file, not the folder"),
    ],
)
def test_places_a_picture_cannot_be_written_to(tmp_path, name, message):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match=message):
        outputs.check_output(tmp_path / name)
