"""Open a data set in any format: a CSV file, a Parquet file, or a folder of images."""

from __future__ import annotations

import os
from pathlib import Path

from vis.files.columns import Columns
from vis.files.image_folders import ImageFolder
from vis.files.parquet import ParquetTable
from vis.files.tables import Table
from vis.utils.errors import ArgumentError

_PARQUET = (".parquet", ".pq")
_MAGIC = b"PAR1"


def open_input(path: str | os.PathLike) -> Columns:
    """Open a data set as a table.

    Args:
        path: A Parquet file or a folder of images; any other file is read as CSV.

    Returns:
        The table, which reads its rows piece by piece and can be written with more columns.

    Raises:
        ArgumentError: There is no such file or folder, it has another format, or the reader of its format is not
            installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "a.png").touch()
        ...     open_input(folder).header
        ['x:image']
    """
    path = Path(path)
    if path.is_dir():
        return ImageFolder(path)
    if path.suffix.lower() in _PARQUET or _starts_as_parquet(path):
        return ParquetTable(path)
    if not path.exists():
        problem = f"must be an existing CSV or Parquet file, or a folder of images, not {path}"
        raise ArgumentError("path", problem, kind="missing")
    return Table(path)


def _starts_as_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
