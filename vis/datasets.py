"""Read data sets in CSV files, in the format of Sony's Neural Network Console, ahead of the code that uses them.

A header cell is `name` or `name:label`; the columns `x__0:age, x__1:income, ...` are one vector `x`. An image is a
path, relative to the folder of the CSV file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from vis import images
from vis.files.image_folders import EXTENSIONS
from vis.files.paths import image_path
from vis.files.tables import Table
from vis.utils.checks import whole_number
from vis.utils.errors import ArgumentError


class Row(NamedTuple):
    """The result of one row: its number, and a value or the reason why there is none.

    Attributes:
        number: The row's number, from 0 below the header.
        value: What the function returned, or None.
        error: Why there is no value, or None.

    Example:
        >>> Row(3, error="the label is empty").value is None
        True
    """

    number: int
    value: Any = None
    error: str | None = None


class _Rows(Protocol):
    """A source of rows: a table, or a part of one."""

    def rows(self, size: int, start: int = 0) -> Iterator[pd.DataFrame]:
        """Yield data frames of `size` rows, indexed by the rows' numbers, from row `start` on."""


def attempt(function: Callable[[list[str]], Any], number: int, cells: list[str]) -> Row:
    """Call a function on the cells of a row; if it raises a ValueError, the row's result is that error.

    Args:
        function: A function of a list of strings.
        number: The row's number.
        cells: The row's cells.

    Returns:
        The `Row`.

    Example:
        >>> attempt(lambda cells: label(cells[0]), 3, ["two"]).error
        "the label 'two' is not a whole number"
    """
    try:
        return Row(number, function(cells))
    except ValueError as error:
        return Row(number, error=" ".join(str(error).split()))


def read(table: _Rows, function: Callable[[list[str]], Any], size: int) -> Iterator[list[Row]]:
    """Call a function on every row, in threads and ahead of the consumer of the results.

    Args:
        table: The data set.
        function: A function of a row's cells, as `attempt` takes it.
        size: The number of rows per list, at least 1; two more lists are read ahead, however many rows there are.

    Yields:
        Lists of `size` `Row`s, in order; the last one may be shorter.

    Raises:
        ValueError: The table is not, or no longer, a CSV file in UTF-8.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "data.csv")
        ...     _ = path.write_text("y\\n1\\ntwo\\n3\\n")
        ...     rows = [row for rows in read(Table(path), lambda cells: label(cells[0]), 2) for row in rows]
        >>> [row.value for row in rows], rows[1].error
        ([1, None, 3], "the label 'two' is not a whole number")
    """
    threads = os.cpu_count() or 1
    together = max(1, size // (2 * threads))  # reading a small image takes less time than handing it to a thread
    with ThreadPoolExecutor(threads, "vis-read") as pool:
        waiting: deque = deque()
        try:
            for frame in table.rows(size):
                rows = numbered(frame)
                parts = (rows[at : at + together] for at in range(0, len(rows), together))
                waiting.append(
                    [pool.submit(lambda part: [attempt(function, *row) for row in part], part) for part in parts]
                )
                if len(waiting) > 2:
                    yield _joined(waiting.popleft())
            while waiting:
                yield _joined(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def numbered(frame: pd.DataFrame) -> list[tuple[int, list[str]]]:
    """Return the number and the cells of each row of a data frame.

    Args:
        frame: A data frame that is indexed by the rows' numbers, as `Table.rows` yields it.

    Returns:
        A list of pairs of a number and a list of strings.

    Example:
        >>> numbered(pd.DataFrame({"x": ["a.png"], "y": ["3"]}, [7]))
        [(7, ['a.png', '3'])]
    """
    return list(zip(frame.index.tolist(), frame.to_numpy(dtype=object).tolist(), strict=True))


def _joined(parts: list[Future]) -> list[Row]:
    return [row for part in parts for row in part.result()]


def label(cell: str) -> int:
    """Read a class index from a cell: `3`, `3.0` or `3e0`.

    Args:
        cell: The cell's text.

    Returns:
        The index.

    Raises:
        ValueError: The cell is empty, or not a whole number.

    Example:
        >>> label("3.0")
        3
    """
    if not cell.strip():
        raise ValueError("the label is empty")
    try:
        number = float(cell)
        if number != int(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"the label {cell!r} is not a whole number") from None
    return int(number)


def labels(cells: list[str]) -> int:
    """Read a class index from the cells of a variable: the number in one cell, or the argmax of a vector.

    Args:
        cells: The texts of the cells: one, or those of a vector (one-hot or probabilities).

    Returns:
        The index.

    Raises:
        ValueError: A cell is empty or not a finite number, a single cell is not a whole number, or the maximum of a
            vector is not unique.

    Example:
        >>> labels(["0", "0", "1"])
        2
    """
    if len(cells) == 1:
        return label(cells[0])
    numbers = vector(cells)
    if np.count_nonzero(numbers == numbers.max()) > 1:
        raise ValueError(f"the label ({', '.join(cells)}) has no unique maximum")
    return int(numbers.argmax())


def vector(cells: list[str]) -> np.ndarray:
    """Read the numbers in the cells of a variable.

    Args:
        cells: The texts of the cells.

    Returns:
        A float32 array of shape (cells,).

    Raises:
        ValueError: A cell is not a finite number.

    Example:
        >>> vector(["0.5", "2"])
        array([0.5, 2. ], dtype=float32)
    """
    numbers = np.empty(len(cells), np.float32)
    for position, cell in enumerate(cells):
        try:
            numbers[position] = float(cell)
        except ValueError:
            raise ValueError(f"{cell!r} is not a number") from None
    if not np.isfinite(numbers).all():
        raise ValueError(f"{cells[int(np.argmin(np.isfinite(numbers)))]!r} is not a finite number")
    return numbers


def batches(
    path: str | os.PathLike,
    layout: images.InputLayout | None = None,
    *,
    input_variable: str = "x",
    label_variable: str | None = "y",
    batch_size: int = 32,
    preprocess: str = "unit",
) -> Iterator[Any]:
    """Read the samples of a CSV data set batch by batch, as an input of the functions of `vis.visualization`.

    Args:
        path: The CSV file.
        layout: The images that the model takes, from `vis.images.input_layout`; all images are resized to its height
            and width, which must be set. None for a variable of numbers.
        input_variable: The name of the image column, or of the columns of a vector.
        label_variable: The name of the label column, or columns if they are one-hot; None for samples without labels.
        batch_size: The number of rows per batch, at least 1; the last batch may be smaller.
        preprocess: The scale of pixel values: `'unit'` for [0, 1], `'raw'` for [0, 255], `'tf'`, `'caffe'` or `'torch'`
            for those of `keras.applications`, or one with a mean and a standard deviation, such as `'unit:0.5:0.25'`;
            see `vis.images.to_model_input`.

    Yields:
        `(x, y)` with x float32, (rows, ...), and y int64, (rows,); or x alone without a label variable.

    Raises:
        ValueError: There is no such file or column, `layout` has no size, the variable is a vector although a layout is
            given, `batch_size` is below 1, or a row cannot be read; the message contains its number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "data.csv")
        ...     _ = path.write_text("x__0:age,x__1:income,y\\n30,1000,1\\n40,1500,0\\n")
        ...     for x, y in batches(path):
        ...         print(x.tolist(), y.tolist())
        [[30.0, 1000.0], [40.0, 1500.0]] [1, 0]
    """
    batch_size = whole_number("batch_size", batch_size)
    table = Table(path)
    inputs = _positions(table, input_variable, "input_variable")
    outputs = _positions(table, label_variable, "label_variable") if label_variable is not None else []
    if layout is not None and len(inputs) > 1:
        raise ArgumentError(
            "input_variable",
            f"must be one column of images, not the vector {input_variable!r} of {len(inputs)} columns of {table.path}",
            "Leave out layout to read numbers",
        )
    if layout is not None and None in (layout.height, layout.width):
        raise ArgumentError(
            "layout",
            f"must have a height and a width, not {layout.height} and {layout.width}",
            "All images of a batch have the same size",
        )
    if layout is not None:
        images.check_preprocess(preprocess, layout)

    def sample(cells):
        if layout is None:
            x = vector([cells[position] for position in inputs])
        else:
            image = images.read_image(image_path(table.folder, cells[inputs[0]]))
            x = images.to_model_input(image, layout, preprocess)
        return x, labels([cells[position] for position in outputs]) if outputs else None

    for rows in read(table, sample, batch_size):
        for row in rows:
            if row.error:
                raise ValueError(f"{table.path}, row {row.number}: {row.error}")
        x = np.stack([row.value[0] for row in rows])
        yield (x, np.array([row.value[1] for row in rows])) if outputs else x


def background(
    path: str | os.PathLike,
    layout: images.InputLayout,
    preprocess: str = "unit",
    count: int | None = None,
    *,
    input_variable: str = "x",
) -> np.ndarray:
    """Read background samples, typical inputs for `vis.visualization.expected_gradients`.

    Args:
        path: A folder of images, a CSV file of images, or an `.npy` file of samples in the form that the model takes.
        layout: The images that the model takes, from `vis.images.input_layout`, with their height and width.
        preprocess: The scale of pixel values: `'unit'`, `'raw'`, `'tf'`, `'caffe'` or `'torch'`, or one with a mean and
            a standard deviation, such as `'unit:0.5:0.25'`; ignored for an `.npy` file.
        count: The maximum number of samples, taken at even intervals; None takes all.
        input_variable: The name of the image column of a CSV file.

    Returns:
        float32, of shape (samples, ...).

    Raises:
        ValueError: There is no such file or column, it has no samples, an image cannot be read, or `layout` has no size
            to resize the images to.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for number in range(5):
        ...         Image.new("L", (8, 8), 51 * number).save(Path(folder, f"{number}.png"))
        ...     background(folder, images.InputLayout(2, 2, 1, -1), count=3)[:, 0, 0, 0]
        array([0. , 0.2, 0.6], dtype=float32)
    """
    check_background(path)
    path = Path(path)
    if path.suffix.lower() == ".npy":
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
        if samples.ndim < 2 or samples.dtype.kind not in "biuf":
            raise ArgumentError(
                "background",
                f"must contain an array of numbers with an axis for the samples, not {samples.dtype} of shape "
                f"{samples.shape}",
                kind="shape",
            )
        return np.asarray(samples[_evenly(len(samples), count, path)], np.float32)
    if None in (layout.height, layout.width):
        raise ArgumentError(
            "background",
            f"must be an .npy file for a model that takes images of any size, not {path}",
            "All samples in it have the same size",
            kind="size",
        )
    images.check_preprocess(preprocess, layout)
    if path.is_dir():
        paths = sorted(each for each in path.iterdir() if each.suffix.lower() in EXTENSIONS)
    else:
        table = Table(path)
        (column, *_) = _positions(table, input_variable, "background")
        paths = [image_path(table.folder, cell) for frame in table.rows() for cell in frame[column] if cell.strip()]
    chosen = [paths[number] for number in _evenly(len(paths), count, path)]
    with ThreadPoolExecutor(thread_name_prefix="vis-read") as pool:
        return np.stack(
            list(pool.map(lambda each: images.to_model_input(images.read_image(each), layout, preprocess), chosen))
        )


def check_background(path: str | os.PathLike) -> None:
    """Refuse a path that `background` cannot read.

    Args:
        path: The path of a folder of images, a CSV file or an `.npy` file.

    Raises:
        ArgumentError: There is no such folder, and no CSV or `.npy` file.

    Example:
        >>> check_background("nowhere")
        Traceback (most recent call last):
        ...
        vis.utils.errors.ArgumentError: background must be a folder of images, a CSV file or an .npy file, not nowhere.
    """
    path = Path(path)
    if not path.is_dir() and not (path.is_file() and path.suffix.lower() in (".csv", ".npy")):
        raise ArgumentError(
            "background", f"must be a folder of images, a CSV file or an .npy file, not {path}", kind="missing"
        )


def _evenly(size: int, count: int | None, path: Path) -> np.ndarray:
    """Return at most `count` indices below `size`, at even intervals."""
    if not size:
        raise ArgumentError("background", f"must hold at least one sample, not none as {path} has", kind="empty")
    count = min(size, count or size)
    return np.arange(count) * size // count


def _positions(table: Table, variable: str, argument: str) -> list[int]:
    try:
        return table.positions(variable)
    except ArgumentError as error:
        raise error.about(argument) from error
