"""Read and write CSV files with a header, one piece at a time.

Every cell is a string and is written as it was read, including `1.0` and `NA`: pandas converts none to a number, a date
or a missing value.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from vis.files.columns import ROWS_AT_ONCE, Columns
from vis.files.outputs import replacing
from vis.files.paths import moving
from vis.utils.errors import ArgumentError

_BYTES_LOOKED_AT = 2**16


class Table(Columns):
    """A CSV file with a header, of which only the header is kept in memory.

    Args:
        path: The file, in UTF-8 with or without a byte order mark.

    Attributes:
        path: The file's path.
        header: Its header cells, a list of strings. Rows that begin with `#` are comments, which are skipped and not
            counted.

    Raises:
        ValueError: There is no such file, it is empty, or it is not a CSV file in UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "data.csv")
        ...     _ = path.write_text("x:image,y:label,p__0,p__1\\na.png,3,0.1,0.9\\n")
        ...     table = Table(path)
        ...     table.positions("y"), table.positions("p"), table.count()
        ([1], [2, 3], 1)
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if self.path.is_dir():
            raise ArgumentError("path", f"must be a CSV file, not the folder {self.path}")
        if not self.path.exists():
            raise ArgumentError("path", f"must be an existing CSV file, not {self.path}", kind="missing")
        with self.path.open("rb") as file:
            start = file.readline()
            more = file.read(_BYTES_LOOKED_AT)
        if b"\0" in start + more and not start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ArgumentError("path", f"must be a CSV file, not {self.path}, which is not text")
        self.header = next(iter(self._frames(1))).iloc[0].tolist()
        self._encoding = "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"
        self._line_end = "\r\n" if start.endswith(b"\r\n") else "\n"

    def rows(self, size: int = ROWS_AT_ONCE, start: int = 0) -> Iterator[pd.DataFrame]:
        """Read the rows.

        Args:
            size: The number of rows per frame.
            start: The first row to return, from 0 below the header.

        Yields:
            Data frames of `size` rows, all strings, indexed by the rows' numbers from 0; the last one may be shorter.

        Raises:
            ValueError: The file is not a CSV file in UTF-8, or a row has more cells than the header.
        """
        first = 0
        for frame in self._frames(size, header=False):
            frame.index = pd.RangeIndex(first, first + len(frame))
            first += len(frame)
            if first > start:
                yield frame.loc[start:]

    def write(
        self, path: str | os.PathLike, columns: Mapping[str, Iterable[str]], images: Collection[int] = ()
    ) -> None:
        """Write this table with more columns, under a temporary name that is then renamed.

        Args:
            path: The file; it may be the table's own.
            columns: For each new column its header cell, and its cells, one per row.
            images: The positions of columns with paths of images. If the file is in another folder than the table,
                they are written relative to that folder.

        Raises:
            ValueError: There are more rows than cells, or fewer: the file has changed.
        """
        path, rows = Path(path), zip(*columns.values(), strict=True)
        move = moving(self.folder, path.parent)
        with replacing(path, self._encoding) as file:
            _write_rows(file, pd.DataFrame([[*self.header, *columns]]), self._line_end)
            for frame in self.rows():
                more = list(itertools.islice(rows, len(frame)))
                if len(more) < len(frame):
                    raise self.changed("more")
                for position in images:
                    frame[position] = frame[position].map(move)
                for number, cells in enumerate(zip(*more, strict=True)):
                    frame[len(self.header) + number] = cells
                _write_rows(file, frame, self._line_end)
            if next(rows, None) is not None:
                raise self.changed("fewer")

    def _frames(self, size: int, header: bool = True) -> Iterator[pd.DataFrame]:
        try:
            options = {"header": None, "dtype": str, "na_filter": False}
            with self._open() as file, pd.read_csv(file, iterator=True, **options) as reader:
                first = reader.get_chunk(1)
                if header:
                    yield first
                while True:
                    try:
                        frame = reader.get_chunk(size)
                    except StopIteration:
                        return
                    yield frame
        except pd.errors.EmptyDataError:
            raise ArgumentError("path", f"must be a CSV file with a header, not {self.path}, which is empty") from None
        except UnicodeDecodeError as error:
            raise ArgumentError("path", f"must be UTF-8 text, not {self.path} ({error})", "Save it as UTF-8") from error
        except pd.errors.ParserError as error:
            raise self._long_row() or ArgumentError(
                "path", f"must be a CSV file, not {self.path} ({str(error).strip()})"
            ) from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[_WithoutComments]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            yield _WithoutComments(file)

    def no_such_column(self, variable: str) -> ArgumentError:
        if len(self.header) == 1 and re.search("[;\t]", self.header[0]):
            return ArgumentError(
                "variable",
                f"must be a column of {self.path}, not {variable!r}",
                f"It has one column, {self.header[0]!r}; save it with commas between cells",
            )
        return super().no_such_column(variable)

    def _long_row(self) -> ArgumentError | None:
        """Return the error of the first row that has more cells than the header, if there is one."""
        with self._open() as file, contextlib.suppress(ValueError, csv.Error):
            rows = (row for row in csv.reader(file) if row)
            header = next(rows)
            for number, row in enumerate(rows):
                if len(row) > len(header):
                    return ArgumentError(
                        "path",
                        f"must have {len(header)} cells in each row, as the header of {self.path} has, not {len(row)} "
                        f"as in row {number} (from 0, below the header)",
                        "Put quotes around cells that contain a comma",
                    )
        return None


class _WithoutComments:
    """A text file without the rows that begin with `#`, which are comments to Neural Network Console.

    The first line is always the header.
    """

    def __init__(self, file):
        self._lines = self._kept(file)

    @staticmethod
    def _kept(file) -> Iterator[str]:
        is_header, is_quoted = True, False
        for line in file:
            if is_header or is_quoted or not line.startswith("#"):
                yield line
                is_quoted ^= line.count('"') % 2 == 1  # the cell continues in the next line
            is_header = False

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def read(self, size: int = -1) -> str:
        """Return whole lines of `size` characters in total or slightly more; all remaining lines for -1."""
        lines, length = [], 0
        for line in self._lines:
            lines.append(line)
            length += len(line)
            if 0 <= size <= length:
                break
        return "".join(lines)


def write(path: str | os.PathLike, header: list[str], rows: Iterable[Iterable]) -> None:
    """Write a table, under a temporary name that is then renamed.

    Args:
        path: The file.
        header: The header cells.
        rows: The cells of each row.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder, "errors.csv"), ["row", "error"], [(3, "no, really")])
        ...     Path(folder, "errors.csv").read_text()
        'row,error\\n3,"no, really"\\n'
    """
    with replacing(Path(path)) as file:
        pd.DataFrame(rows, columns=header).to_csv(file, index=False, lineterminator="\n")


def _write_rows(file, frame: pd.DataFrame, line_end: str) -> None:
    # Before Python 3.13, csv quotes a line break in a cell only if it is the line break of the file.
    breaks = line_end == "\n" and any("\r" in cell for _, column in frame.items() for cell in column)
    quoting = csv.QUOTE_ALL if breaks else csv.QUOTE_MINIMAL
    frame.to_csv(file, header=False, index=False, lineterminator=line_end, quoting=quoting)
