"""What a data set may be kept in, told by its name or its first bytes."""

from __future__ import annotations

import pandas as pd
import pytest
from table_files import cells

from vis import ArgumentError
from vis.files.inputs import open_input
from vis.files.tables import Table


def test_a_parquet_file_is_known_by_its_name_or_its_first_bytes(tmp_path):
    pytest.importorskip("pyarrow")
    pd.DataFrame({"x": range(7)}).to_parquet(tmp_path / "data")
    assert open_input(tmp_path / "data").count() == 7
    (tmp_path / "bad.parquet").write_text("x,y\n")
    with pytest.raises(ArgumentError, match=r"must be a Parquet file, not .*bad\.parquet"):
        open_input(tmp_path / "bad.parquet")
    with pytest.raises(ArgumentError, match="must be an existing Parquet file"):
        open_input(tmp_path / "none.parquet")


def test_a_folder_is_one_of_images(tmp_path):
    (tmp_path / "7.png").touch()
    assert cells(open_input(tmp_path)) == [["7.png"]]


def test_anything_else_is_a_csv_file(tmp_path):
    (tmp_path / "data.txt").write_text("x,y\na,1\n")
    assert isinstance(open_input(tmp_path / "data.txt"), Table)
    with pytest.raises(ArgumentError, match="must be an existing CSV or Parquet file, or a folder of images, not none"):
        open_input("none")
