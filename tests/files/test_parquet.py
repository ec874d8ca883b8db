"""Parquet files, read as text and written with the types they had."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from table_files import cells

from vis import ArgumentError
from vis.files.inputs import open_input


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


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary"])
def test_paths_of_images_start_from_the_new_parquet_file_s_folder(kind, pq, tmp_path):
    import pyarrow as pa

    types = {"string": pa.string(), "large_string": pa.large_string(), "dictionary": pa.dictionary("int32", "string")}
    cells = pa.array(["dir/a.png", None, "dir/a.png"], pa.string()).cast(types[kind])
    pq.write_table(pa.table({"n": [1, 2, 3], "x": cells}), tmp_path / "data.parquet")
    (tmp_path / "out").mkdir()
    open_input(tmp_path / "data.parquet").write(tmp_path / "out" / "o.parquet", {"map": ["m"] * 3}, images=[1])
    written = pq.read_table(tmp_path / "out" / "o.parquet")
    assert written["x"].to_pylist() == ["../dir/a.png", None, "../dir/a.png"]
    assert written["x"].type == pq.read_table(tmp_path / "data.parquet")["x"].type
    assert written["n"].to_pylist() == [1, 2, 3]


def test_a_parquet_file_may_replace_itself(typed, pq):
    open_input(typed[0]).write(typed[0], {"map": list("abcdefg")})
    assert pq.read_table(typed[0])["map"].to_pylist() == list("abcdefg")


def test_without_pyarrow_a_line_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArgumentError, match=r"pip install 'keras3-vis\[parquet\]'"):
        open_input(tmp_path / "data.parquet")
