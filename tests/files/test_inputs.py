"""What a data set may be kept in: Parquet files and folders of images, read and written as CSV files are."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
from PIL import Image

from vis import ArgumentError
from vis.files.image_folders import ImageFolder
from vis.files.inputs import open_input
from vis.files.tables import Table


def cells(table, **options):
    return [row for frame in table.rows(**options) for row in frame.to_numpy().tolist()]


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)


# A folder of images


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


# Parquet


@pytest.fixture
def pq():
    return pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def typed(pq, tmp_path):
    """A Parquet file of seven rows of many types, in row groups of three."""
    import pandas as pd

    frame = pd.DataFrame(
        {
            "x:image": [f"{i}.png" for i in range(7)],
            "y:label": [0, 1, 2, 3, 4, 5, 6],
            "weight": [0.5, np.nan, *range(5)],
            "is_new": [True, False] * 3 + [True],
            "kind": pd.Categorical(list("abcabca")),
            "boxes": [[1, 2], [], [3], [4], [5], [6], [7]],
            "when": pd.date_range("2024-01-01", periods=7),
            "raw": [b"\x00\xff"] * 7,
        }
    )
    frame.to_parquet(tmp_path / "data.parquet", row_group_size=3)
    return tmp_path / "data.parquet", frame


def test_a_parquet_file_is_read_as_text(typed):
    table = open_input(typed[0])
    assert table.header == list(typed[1].columns)
    assert table.count() == 7
    rows = cells(table)
    assert rows[1] == ["1.png", "1", "", "0", "b", "", rows[1][6], ""]
    assert rows[0][2:5] == ["0.5", "1", "a"]
    assert rows[0][6].startswith("2024-01-01")
    with pytest.raises(ArgumentError, match="must be a column of text or numbers, not 'boxes' of .* which holds list"):
        table.positions("boxes")


@pytest.mark.parametrize("start", [0, 2, 3, 6, 7])
@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_parquet_file_s_rows_come_in_pieces(typed, start, size):
    frames = list(open_input(typed[0]).rows(size, start))
    assert [len(frame) for frame in frames[:-1]] == [size] * (len(frames) - 1)
    assert [number for frame in frames for number in frame.index] == list(range(start, 7))
    assert [cell for frame in frames for cell in frame[1]] == [str(row) for row in range(start, 7)]


def test_a_parquet_file_keeps_its_types_and_gets_a_column_of_text(typed, pq, tmp_path):
    import pandas as pd

    names = [f"m/{i}.png" for i in range(6)] + [""]
    open_input(typed[0]).write(tmp_path / "out.parquet", {"map": names})
    before, written = pq.read_table(typed[0]), pq.read_table(tmp_path / "out.parquet")
    assert written.select(before.column_names).equals(before, check_metadata=False)
    assert written["map"].to_pylist() == [*names[:-1], None]
    assert list(pd.read_parquet(tmp_path / "out.parquet").columns) == [*before.column_names, "map"]
    for count, how in ((6, "more"), (8, "fewer")):
        with pytest.raises(ValueError, match=f"has {how} rows than before"):
            open_input(typed[0]).write(tmp_path / "out.parquet", {"map": ["m"] * count})


def test_a_parquet_file_may_replace_itself(typed, pq):
    open_input(typed[0]).write(typed[0], {"map": list("abcdefg")})
    assert pq.read_table(typed[0])["map"].to_pylist() == list("abcdefg")


def test_a_parquet_file_is_known_by_its_name_or_its_first_bytes(typed, pq, tmp_path):
    (tmp_path / "data").write_bytes(typed[0].read_bytes())
    assert open_input(tmp_path / "data").count() == 7
    (tmp_path / "bad.parquet").write_text("x,y\n")
    with pytest.raises(ArgumentError, match=r"must be a Parquet file, not .*bad\.parquet"):
        open_input(tmp_path / "bad.parquet")
    with pytest.raises(ArgumentError, match="must be an existing Parquet file"):
        open_input(tmp_path / "none.parquet")


def test_without_pyarrow_a_line_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArgumentError, match=r"pip install 'keras3-vis\[parquet\]'"):
        open_input(tmp_path / "data.parquet")


def test_anything_else_is_a_csv_file(tmp_path):
    (tmp_path / "data.txt").write_text("x,y\na,1\n")
    assert isinstance(open_input(tmp_path / "data.txt"), Table)
    with pytest.raises(ArgumentError, match="must be an existing CSV file, not none"):
        open_input("none")
