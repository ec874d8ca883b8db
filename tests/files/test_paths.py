"""Paths of images in the cells of tables."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from vis.files.paths import image_path, moving


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "dir").mkdir()
    Image.new("L", (4, 4), 255).save(tmp_path / "dir" / "a b.png")
    return tmp_path / "dir" / "a b.png"


@pytest.mark.parametrize("cell", ["dir/a b.png", "./dir/a b.png", "dir\\a b.png", ".\\dir\\a b.png", "{absolute}"])
def test_paths_of_images(tmp_path, picture, cell):
    assert image_path(tmp_path, cell.format(absolute=picture)).samefile(picture)


def test_an_empty_cell_is_no_path(tmp_path):
    with pytest.raises(ValueError, match="is empty"):
        image_path(tmp_path, " ")


@pytest.mark.parametrize("cell", ["dir/a b.png", "./dir/a b.png", "dir\\a b.png", "dir/../dir/a b.png", "{absolute}"])
@pytest.mark.parametrize("to", ["out", ".", "out/below"])
def test_a_cell_names_the_same_image_from_another_folder(tmp_path, picture, cell, to):
    (tmp_path / to).mkdir(parents=True, exist_ok=True)
    cell = cell.format(absolute=picture)
    moved = moving(tmp_path, tmp_path / to)(cell)
    assert image_path(tmp_path / to, moved).samefile(picture)
    if os.path.isabs(cell) or to == ".":
        assert moved == cell
    else:
        assert moved == f"{'../' * (1 + to.count('/'))}dir/a b.png"


def test_a_cell_that_is_empty_stays_empty(tmp_path):
    assert moving(tmp_path, tmp_path / "out")("") == ""


def test_folders_may_be_relative(tmp_path, picture, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert moving("", "dir")("dir/a b.png") == "../dir/a b.png"
    assert moving(Path("dir"), Path())("a b.png") == "dir/a b.png"
