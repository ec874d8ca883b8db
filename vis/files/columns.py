"""The common interface of tables, whatever their file: a header, variables of one or several columns, and rows."""

from __future__ import annotations

import abc
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from vis.files.journal import fingerprint
from vis.utils.errors import ArgumentError

_VECTOR = re.compile(r"(.*)__(\d+)")

#: The default number of rows that are read at once.
ROWS_AT_ONCE = 4096


class NoSuchColumnError(ArgumentError):
    """A table has no column of that name."""


class Columns(abc.ABC):
    """A table, of which only the header is kept in memory.

    Attributes:
        path: The file, or the folder.
        header: Its header cells, a list of strings.
        extension: The extension of the files that `write` writes.
        names: The class names by class index, or None if the table has none.
    """

    path: Path
    header: list[str]
    extension = ".csv"
    names: tuple[str, ...] | None = None

    @property
    def folder(self) -> Path:
        """Return the folder that paths in the cells are relative to."""
        return self.path.parent

    def positions(self, variable: str) -> list[int]:
        """Return the columns of a variable: one for `x` or `x:image`, several for a vector `x__0, x__1, ...`.

        Args:
            variable: The variable's name, such as `x` or `x:image`.

        Returns:
            The columns' positions, from 0, in the vector's order.

        Raises:
            NoSuchColumnError: No column has that name.
            ValueError: Several columns have that name, a vector has gaps, or the cells cannot be read.
        """
        variable = variable.partition(":")[0].strip()
        names = [cell.partition(":")[0].strip() for cell in self.header]
        found = [position for position, name in enumerate(names) if name == variable]
        if len(found) > 1:
            raise ArgumentError(
                "variable",
                f"must be one column of {self.path}, not {len(found)} named {variable!r}",
                "Rename all but one",
            )
        if found:
            return found
        parts = [(position, _VECTOR.fullmatch(name)) for position, name in enumerate(names)]
        vector = sorted((int(part[2]), position) for position, part in parts if part and part[1] == variable)
        if not vector:
            raise self.no_such_column(variable)
        missing = next((i for i, (number, _) in enumerate(vector) if number != i), None)
        if missing is not None:
            raise ArgumentError(
                "variable",
                f"must be a vector without gaps, not {variable!r} of {self.path}, which has no {variable}__{missing}",
                f"Number its columns {variable}__0 to {variable}__{len(vector) - 1}",
            )
        return [position for _, position in vector]

    @abc.abstractmethod
    def rows(self, size: int = ROWS_AT_ONCE, start: int = 0) -> Iterator[pd.DataFrame]:
        """Read the rows.

        Args:
            size: The number of rows per frame.
            start: The first row to return, from 0.

        Yields:
            Data frames of `size` rows, all strings, with a column for each header cell, named by its position, and
            indexed by the rows' numbers from 0; the last one may be shorter.

        Raises:
            ValueError: The file cannot be read.
        """

    @abc.abstractmethod
    def write(self, path: Path, columns: Mapping[str, Iterable[str]], images: Collection[int] = ()) -> None:
        """Write this table with more columns, under a temporary name that is then renamed.

        Args:
            path: The file; it may be the table's own.
            columns: For each new column its header cell, and its cells, one per row.
            images: The positions of columns with paths of images. If the file is in another folder than the table,
                they are written relative to that folder.

        Raises:
            ValueError: There are more rows than cells, or fewer: the table has changed.
        """

    def count(self) -> int:
        """Return the number of rows, without the header."""
        return sum(len(frame) for frame in self.rows())

    def fingerprint(self) -> list[Any]:
        """Return a fingerprint to detect changes of the table, a list that JSON can hold."""
        return fingerprint(self.path)

    def changed(self, how: str) -> ValueError:
        """Return the error of a table whose number of rows has changed.

        Args:
            how: `"more"` or `"fewer"`.

        Returns:
            The error, to be raised.
        """
        return ValueError(f"{self.path} has changed during the run: it has {how} rows than before. Start again.")

    def no_such_column(self, variable: str) -> ArgumentError:
        """Return the error of a variable that the table does not have.

        Args:
            variable: The name of the variable.

        Returns:
            The error, to be raised.
        """
        return NoSuchColumnError(
            "variable", f"must be a column of {self.path}, not {variable!r}", f"It has {', '.join(self.header)}"
        )
