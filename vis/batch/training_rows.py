"""Read the rows of a CSV file as training examples: refuse files unfit for training, and leave out bad rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vis import datasets
from vis.files.tables import Table
from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import keras

_ROWS_LOOKED_AT = 10
_ROWS_AT_ONCE = 64


class TrainingRows(NamedTuple):
    """The rows of a table as training examples.

    Attributes:
        table: The table.
        rows: The numbers of the rows that could be read, from 0, in order.
        x: Their inputs, (rows, ...).
        y: Their labels, (rows,), or (rows, columns) if the label variable is a vector.
        errors: The rows that could not be read, as `vis.datasets.Row`s with their number and error.
    """

    table: Table
    rows: list[int]
    x: np.ndarray
    y: np.ndarray
    errors: list[datasets.Row]


class TooFewRowsError(ArgumentError):
    """A table has fewer than two usable rows.

    Attributes:
        errors: The rows that could not be read, as `vis.datasets.Row`s with their number and error.
    """

    errors: list[datasets.Row]


def open_table(path: Path) -> Table:
    """Open a CSV file of examples.

    Args:
        path: The file; it must have at least two rows.

    Returns:
        The `vis.files.tables.Table`.

    Raises:
        ValueError: There is no such file, it is not a CSV file, or it has fewer than two rows.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.csv")
        ...     _ = path.write_text("x__0,x__1,y\\n30,1000,1\\n40,1500,0\\n")
        ...     open_table(path).count()
        2
    """
    table = Table(path)
    count = table.count()
    if count < 2:
        raise ArgumentError("path", f"must have at least 2 rows, not {count} as {path} has")
    return table


def check_numbers(table: Table, variable: str) -> None:
    """Refuse a table whose first rows all have something other than numbers, such as images.

    Args:
        table: The table.
        variable: The name of the columns of the inputs.

    Raises:
        ArgumentError: None of the first rows holds numbers; its kind is `"images"` for a variable of a single column.

    Example:
        >>> check_numbers(open_table("train.csv"), "x")  # doctest: +SKIP
    """
    positions = table.positions(variable)
    rows = next(table.rows(_ROWS_LOOKED_AT)).iloc[:, positions].to_numpy(dtype=object).tolist()
    if any(all(map(_is_number, row)) for row in rows):
        return
    cell = next(cell for cell in rows[0] if not _is_number(cell))
    raise ArgumentError(
        "table",
        f"must have numbers in {variable!r}, not {cell!r} and the like in the first {len(rows)} rows of {table.path}",
        "Give the column of a number, or of a vector of numbers",
        kind="images" if len(positions) == 1 else "",
    )


def check_columns(table: Table, variable: str, model: keras.Model) -> None:
    """Refuse a table with more or fewer columns than a model takes.

    Args:
        table: The table.
        variable: The name of the columns of the inputs.
        model: The model; if it does not declare its input shape, nothing is checked.

    Raises:
        ArgumentError: The numbers differ.

    Example:
        >>> check_columns(open_table("train.csv"), "x", model)  # doctest: +SKIP
    """
    shape = getattr(model, "input_shape", None)
    count = len(table.positions(variable))
    if not isinstance(shape, tuple) or None in shape[1:] or shape[1:] == (count,):
        return
    if len(shape) == 2:
        columns = "1 column" if shape[1] == 1 else f"{shape[1]} columns"
        raise ArgumentError(
            "table", f"must have {columns} of {variable!r}, as the model takes, not {count} as {table.path} has"
        )
    raise ArgumentError(
        "table",
        f"must fit the model's input of shape {shape[1:]}, not be a row of {count} numbers as in {table.path}",
        "Give a model of rows of numbers",
    )


def read(
    table: Table,
    read_input: Callable[[list[str]], Any],
    *,
    input_variable: str = "x",
    label_variable: str = "y",
    check_label: Callable[[np.ndarray], None] | None = None,
    on_rows: Callable[[int], Any] | None = None,
) -> TrainingRows:
    """Read the usable rows of a table.

    Args:
        table: The table, from `open_table`.
        read_input: Takes the cells of a row's input variable, and returns an array of the model's input shape. If it
            raises a ValueError, the row is left out.
        input_variable: The name of the input's column, or columns.
        label_variable: The name of the label's column, or columns.
        check_label: Takes the label of a row, a number or a vector, and raises a ValueError if it is invalid, like the
            function from `vis.batch.compiled.label_check`.
        on_rows: Called from time to time with the number of rows read since the last call, for a progress bar.

    Returns:
        The `TrainingRows`.

    Raises:
        TooFewRowsError: Fewer than two rows are usable; it has the errors of the others.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.csv")
        ...     _ = path.write_text("x__0,x__1,y\\n30,1000,1\\n40,many,0\\n50,1500,0\\n")
        ...     found = read(open_table(path), datasets.vector)
        >>> found.rows, found.x.tolist(), found.y.tolist(), found.errors[0].number
        ([0, 2], [[30.0, 1000.0], [50.0, 1500.0]], [1.0, 0.0], 1)
    """
    inputs, labels = table.positions(input_variable), table.positions(label_variable)

    def example(cells):
        y = datasets.vector([cells[position] for position in labels])
        y = y[0] if len(labels) == 1 else y
        if check_label is not None:
            check_label(y)
        return read_input([cells[position] for position in inputs]), y

    usable: list = []
    errors: list = []
    for rows in datasets.read(table, example, _ROWS_AT_ONCE):
        for row in rows:
            (errors if row.error else usable).append(row)
        if on_rows is not None:
            on_rows(len(rows))
    if len(usable) < 2:
        count = len(usable) + len(errors)
        error = TooFewRowsError(
            "table", f"must have at least 2 usable rows, not {len(usable)} of the {count} rows of {table.path}"
        )
        error.errors = errors
        raise error
    x, y = (np.stack([row.value[i] for row in usable]) for i in range(2))
    return TrainingRows(table, [row.number for row in usable], x, y, errors)


def _is_number(cell: str) -> bool:
    try:
        datasets.vector([cell])
    except ValueError:
        return False
    return True
