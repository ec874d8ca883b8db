from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image

from vis.callbacks import GifGenerator, Progress


def frames(path) -> list[np.ndarray]:
    with Image.open(path) as animation:
        pictures = []
        for i in range(animation.n_frames):
            animation.seek(i)
            pictures.append(np.asarray(animation.convert("RGB")))
        assert animation.format == "GIF"
        assert animation.info["loop"] == 0  # for ever
        return pictures


def test_the_gif_shows_the_images_in_their_order(tmp_path):
    gif = GifGenerator(tmp_path / "run", input_range=(-1, 1))
    gif.on_begin(3)
    for i, value in enumerate((-1, 0, 1)):
        gif.callback(i, [], 0.0, None, np.full((1, 8, 8, 1), value))
    gif.on_end()
    assert os.listdir(tmp_path) == ["run.gif"]
    shown = frames(tmp_path / "run.gif")
    assert [picture.shape for picture in shown] == [(128, 128, 3)] * 3
    assert [int(picture.mean()) for picture in shown] == [0, 128, 255]


def test_the_gif_has_colours(tmp_path):
    image = np.zeros((2, 64, 64, 3))
    image[0, ..., 0] = image[1, ..., 2] = 255
    gif = GifGenerator(tmp_path / "colours.gif")
    gif.callback(0, [], 0.0, None, image)
    gif.callback(1, [], 0.0, None, image[::-1])
    gif.on_end()
    first, second = frames(tmp_path / "colours.gif")
    assert first.shape == (128, 261, 3)
    for picture, left, right in ((first, [255, 0, 0], [0, 0, 255]), (second, [0, 0, 255], [255, 0, 0])):
        np.testing.assert_allclose(picture[60, 60], left, atol=3)
        np.testing.assert_allclose(picture[60, 200], right, atol=3)


def test_a_gif_that_cannot_be_made(tmp_path):
    with pytest.raises(ValueError, match="path must be in a folder that exists, not in .*nowhere"):
        GifGenerator(tmp_path / "nowhere" / "run.gif")
    with pytest.raises(ValueError, match=r"images of 1 or 3 channels, not an array of shape \(1, 10\)"):
        GifGenerator(tmp_path / "run.gif").callback(0, [], 0.0, None, np.zeros((1, 10)))
    GifGenerator(tmp_path / "run.gif").on_end()
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    gif = GifGenerator(tmp_path / "run.gif")
    gif.callback(0, [], 0.0, None, np.zeros((1, 8, 8, 1)))
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        gif.on_end()
    assert os.listdir(tmp_path) == []


def test_progress_counts_steps_even_if_it_is_called_now_and_then():
    text = io.StringIO()
    progress = Progress(file=text, desc="Class 3", mininterval=0)
    progress.on_begin(20)
    progress.callback(4, [], np.array([1.0, 3.0]), None, None)
    assert progress.bar.n == 5
    progress.callback(19, [], -0.125, None, None)
    progress.on_end()
    assert "Class 3: 100%" in text.getvalue()
    assert "20/20" in text.getvalue()
    assert "loss -0.125" in text.getvalue()
