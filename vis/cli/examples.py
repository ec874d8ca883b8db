"""The rows of CSV files as training examples: what no training could go by is refused, a bad row is left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import typer

from vis.cli.messages import option, refuse

if TYPE_CHECKING:
    import keras
    import numpy as np

    from vis.files.tables import Table

_ROWS_LOOKED_AT = 10
_ERRORS_SHOWN = 20


class Examples(NamedTuple):
    """The rows of a CSV file that could be read: their numbers, inputs and labels; and how many could not."""

    table: Table
    rows: list[int]
    x: np.ndarray
    y: np.ndarray
    failed: int


def open_tables(input_train: Path, input_val: Path, output: Path, *variables: str) -> list[Table]:
    """The two tables, after all checks that need no model."""
    from vis.files import outputs
    from vis.files.tables import Table

    found = []
    for name, path in (("--input-train", input_train), ("--input-val", input_val)):
        with option(name):
            table = Table(path)
            for variable in variables:
                table.positions(variable)
            if table.count() < 2:
                raise ValueError(f"{path} has fewer than two rows.")
            found.append(table)
    with option("--output"):
        outputs.check_output(output, (".csv",))
        if output.exists() and (output.samefile(input_train) or output.samefile(input_val)):
            raise ValueError(f"{output} is an input itself. Give another name.")
    return found


def check_numbers(name: str, table: Table, variable: str) -> None:
    """Refuse a table whose first rows all have something else than numbers, such as images."""
    from vis import datasets

    columns = table.positions(variable)
    cells = next(table.rows(_ROWS_LOOKED_AT)).iloc[:, columns].to_numpy(dtype=object).tolist()
    errors = []
    for row in cells:
        try:
            datasets.vector(row)
        except ValueError as error:
            errors.append(str(error))
    if len(errors) == len(cells):
        images = " For images use vis influence." if len(columns) == 1 else ""
        refuse(
            name, f"the first {len(cells)} rows of {table.path} have no numbers in {variable!r}: {errors[0]}.{images}"
        )


def check_columns(name: str, table: Table, variable: str, network: keras.Model) -> None:
    """Refuse a table of more or fewer columns than the model takes."""
    shape = getattr(network, "input_shape", None)
    count = len(table.positions(variable))
    if not isinstance(shape, tuple) or None in shape[1:] or shape[1:] == (count,):
        return
    takes = shape[1] if len(shape) == 2 else f"an input of shape {shape[1:]}"
    columns = "1 column" if count == 1 else f"{count} columns"
    refuse(name, f"{table.path} has {columns} of {variable!r}, but the model takes {takes}.")


def read_examples(name: str, table: Table, sample, check, input_variable: str, label_variable: str) -> Examples:
    """All rows of a table that can be read and whose label is one of the model's; the others are named."""
    import numpy as np
    from tqdm import tqdm

    from vis import datasets

    inputs, labels = table.positions(input_variable), table.positions(label_variable)

    def example(cells):
        y = datasets.vector([cells[position] for position in labels])
        y = y[0] if len(labels) == 1 else y
        check(y)
        return sample(table, [cells[position] for position in inputs]), y

    rows, x, y, errors = [], [], [], []
    with tqdm(total=table.count(), desc=table.path.name, unit=" rows") as bar:
        for some in datasets.read(table, example, 64):
            for row in some:
                if row.error:
                    errors.append(f"{table.path}, row {row.number}: {row.error}")
                else:
                    rows.append(row.number)
                    x.append(row.value[0])
                    y.append(row.value[1])
            bar.update(len(some))
    if not rows:
        refuse(name, f"none of the {len(errors)} rows of {table.path} can be used. {errors[0].rstrip('.')}.")
    for error in errors[:_ERRORS_SHOWN]:
        typer.echo(error, err=True)
    if len(errors) > _ERRORS_SHOWN:
        typer.echo(f"... and {len(errors) - _ERRORS_SHOWN} rows more", err=True)
    if len(rows) < 2:
        refuse(name, f"only row {rows[0]} of {table.path} can be used. Two are needed at least.")
    return Examples(table, rows, np.stack(x), np.stack(y), len(errors))
