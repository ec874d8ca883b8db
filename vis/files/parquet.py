"""Read and write Parquet files, one piece at a time; every column keeps its type."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vis.files.columns import ROWS_AT_ONCE, Columns
from vis.files.outputs import replacing
from vis.files.paths import moving
from vis.utils.errors import ArgumentError

# Rows per row group in the files that are written.
_ROWS_PER_GROUP = 65_536
# Bytes that are read from a column at a time.
_BUFFER = 2**18


class ParquetTable(Columns):
    """A Parquet file as a table, of which only the schema is kept in memory.

    Its cells are read as text, like those of a CSV file: a missing value is an empty cell, true is 1, false is 0, and a
    category is its value. Columns of types other than text, numbers, dates and truth values read as empty cells and
    cannot be variables; the table that is written contains them unchanged.

    Args:
        path: The file.

    Attributes:
        path: The file's path.
        header: The columns' names.

    Raises:
        ArgumentError: There is no such file, it is not a Parquet file, or pyarrow is not installed.

    Example:
        >>> ParquetTable("data.parquet").count()  # doctest: +SKIP
        1000
    """

    extension = ".parquet"

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.exists():
            raise ArgumentError("path", f"must be an existing Parquet file, not {self.path}", kind="missing")
        with self._opened() as file:
            self.header = list(file.schema_arrow.names)
            self._text = [is_text(field.type) for field in file.schema_arrow]
            self._count = file.metadata.num_rows

    def positions(self, variable: str) -> list[int]:
        found = super().positions(variable)
        for position in found:
            if not self._text[position]:
                with self._opened() as file:
                    kind = file.schema_arrow.field(position).type
                raise ArgumentError(
                    "variable",
                    f"must be a column of text or numbers, not {variable!r} of {self.path}, which holds {kind}",
                )
        return found

    def rows(self, size: int = ROWS_AT_ONCE, start: int = 0) -> Iterator[pd.DataFrame]:
        with self._opened() as file:
            left = start
            groups = list(range(file.num_row_groups))
            while groups and file.metadata.row_group(groups[0]).num_rows <= left:
                left -= file.metadata.row_group(groups.pop(0)).num_rows
            readable = [position for position, text in enumerate(self._text) if text]
            names = [self.header[position] for position in readable]
            rows = (
                row
                for batch in file.iter_batches(size, row_groups=groups, columns=names, use_threads=False)
                for row in zip(*(_texts(column) for column in batch.columns), strict=True)
            )
            wanted = itertools.islice(rows, left, None)
            while some := list(itertools.islice(wanted, size)):
                frame = pd.DataFrame(some, pd.RangeIndex(start, start + len(some)), readable, dtype=object)
                yield frame.reindex(columns=range(len(self.header)), fill_value="")
                start += len(some)

    def count(self) -> int:
        return self._count

    def write(self, path: Path, columns: Mapping[str, Iterable[str]], images: Collection[int] = ()) -> None:
        """Write this table with more columns of text, under a temporary name that is then renamed.

        Args:
            path: The file; it may be the table's own.
            columns: For each new column its name, and its cells, one per row; an empty one is a missing value.
            images: The positions of columns with paths of images. If the file is in another folder than the table,
                they are written relative to that folder.

        Raises:
            ValueError: There are more rows than cells, or fewer: the file has changed.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        more, move = zip(*columns.values(), strict=True), moving(self.folder, path.parent)
        with self._opened() as file, replacing(path, encoding=None) as to:
            schema = file.schema_arrow
            for name in columns:
                schema = schema.append(pa.field(name, pa.string()))
            with pq.ParquetWriter(to, schema) as writer:
                for batch in file.iter_batches(_ROWS_PER_GROUP, use_threads=False):
                    added = list(itertools.islice(more, len(batch)))
                    if len(added) < len(batch):
                        raise self.changed("more")
                    cells = [
                        pa.array([cell or None for cell in column], pa.string()) for column in zip(*added, strict=True)
                    ]
                    old = list(batch.columns)
                    for position in images:
                        paths = map(move, _texts(old[position]))
                        old[position] = pa.array([cell or None for cell in paths], pa.string()).cast(old[position].type)
                    writer.write_batch(pa.record_batch([*old, *cells], schema=schema))
            if next(more, None) is not None:
                raise self.changed("fewer")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise ArgumentError(
                "path",
                f"must be a CSV file or a folder of images if pyarrow is not installed, not {self.path}",
                "Install it with pip install 'keras3-vis[parquet]'",
                kind="extra",
            ) from error
        try:
            with pq.ParquetFile(self.path, buffer_size=_BUFFER, pre_buffer=False) as file:
                yield file
        except pa.ArrowInvalid as error:
            raise ArgumentError("path", f"must be a Parquet file, not {self.path} ({_first_line(error)})") from error


def is_text(kind: Any) -> bool:
    """Return whether the cells of a column can be read as text.

    Args:
        kind: A type of pyarrow.

    Returns:
        True for text, numbers, truth values, dates and times, and categories of these.

    Example:
        >>> import pyarrow as pa  # doctest: +SKIP
        >>> is_text(pa.int8()), is_text(pa.list_(pa.int8()))  # doctest: +SKIP
        (True, False)
    """
    import pyarrow.types as types

    if types.is_dictionary(kind):
        return is_text(kind.value_type)
    return any(
        check(kind)
        for check in (types.is_string, types.is_large_string, types.is_integer, types.is_floating, types.is_boolean,
                      types.is_decimal, types.is_temporal, types.is_string_view)
    )  # fmt: skip


def _texts(column) -> list[str]:
    import pyarrow as pa
    import pyarrow.types as types

    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return [text or "" for text in column.cast(pa.string()).to_pylist()]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
