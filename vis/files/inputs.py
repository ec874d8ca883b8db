"""Opens a data set, whatever it is kept in: a CSV file, a Parquet file, or a folder of images."""

from __future__ import annotations

import os
from pathlib import Path

from vis.files.columns import Columns
from vis.files.image_folders import ImageFolder
from vis.files.parquet import ParquetTable
from vis.files.tables import Table

_PARQUET = (".parquet", ".pq")
_MAGIC = b"PAR1"


def open_input(path: str | os.PathLike) -> Columns:
    """Open a data set as a table.

    Args:
        path: A Parquet file, a folder of images, or anything else for a CSV file.

    Returns:
        The table: its header, its rows piece by piece, and how it is written again with more columns.

    Raises:
        ArgumentError: There is nothing of that name, it is of another format, or what reads it is not installed.

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
    return Table(path)


def _starts_as_parquet(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
