"""A folder of images as a table, beside what Keras makes of it."""

from __future__ import annotations

import keras
import pytest
from PIL import Image
from table_files import cells

from vis.files.image_folders import ImageFolder
from vis.files.inputs import open_input
from vis.files.tables import Table


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)


def test_a_folder_s_classes_are_those_of_keras(tmp_path):
    touch(tmp_path, "b/2.png", "b/10.PNG", "b/deep/x.jpg", "a b/z.png", "a b/Z.jpeg", "Zebra/1.bmp", "b/a/y.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no image")
    touch(tmp_path, "beside.png")
    table = open_input(tmp_path)
    theirs = keras.utils.image_dataset_from_directory(
        tmp_path, shuffle=False, image_size=(2, 2), batch_size=None, verbose=False
    )
    assert list(table.names) == theirs.class_names == ["Zebra", "a b", "b", "empty"]
    images = [path.removeprefix(f"{tmp_path}/") for path in theirs.file_paths]
    labels = [str(int(label)) for _, label in theirs]
    assert cells(table) == [list(row) for row in zip(images, labels, strict=True)]
    assert table.count() == 7
    assert table.positions("x") == [0]
    assert table.positions("y") == [1]


def test_a_folder_without_sub_folders_has_no_labels(tmp_path):
    touch(tmp_path, "b.png", "a.png")
    table = open_input(tmp_path)
    assert table.names is None
    assert table.header == ["x:image"]
    assert cells(table) == [["a.png"], ["b.png"]]


@pytest.mark.parametrize("start", [0, 2, 3, 6, 7])
def test_a_folder_s_rows_come_in_pieces(tmp_path, start):
    touch(tmp_path, *(f"{number % 3}/{number}.png" for number in range(7)))
    frames = list(ImageFolder(tmp_path).rows(size=3, start=start))
    assert [number for frame in frames for number in frame.index] == list(range(start, 7))
    assert [row for frame in frames for row in frame.to_numpy().tolist()] == cells(ImageFolder(tmp_path))[start:]


def test_a_folder_is_written_as_a_csv_file_whose_paths_start_from_its_own_folder(tmp_path):
    touch(tmp_path / "images", "a/1.png", "b/2, or 3.png")
    (tmp_path / "out").mkdir()
    ImageFolder(tmp_path / "images").write(tmp_path / "out" / "o.csv", {"map": ["m/0.png", ""]})
    written = Table(tmp_path / "out" / "o.csv")
    assert written.header == ["x:image", "y:label", "map"]
    assert cells(written) == [["../images/a/1.png", "0", "m/0.png"], ["../images/b/2, or 3.png", "1", ""]]
    for count, how in ((1, "more"), (3, "fewer")):
        with pytest.raises(ValueError, match=f"has {how} rows than before"):
            ImageFolder(tmp_path / "images").write(tmp_path / "out" / "o.csv", {"map": ["m"] * count})


def test_a_folder_s_fingerprint_tells_of_every_image(tmp_path):
    touch(tmp_path, "a/1.png", "b/2.png")
    before = ImageFolder(tmp_path).fingerprint()
    assert ImageFolder(tmp_path).fingerprint() == before
    touch(tmp_path, "b/3.png")
    assert ImageFolder(tmp_path).fingerprint() != before
