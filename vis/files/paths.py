"""Paths of images in the cells of tables."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def image_path(folder: str | os.PathLike, cell: str) -> Path:
    """Return the path of the image in a cell: relative to a folder, absolute, or with backslashes from Windows.

    Args:
        folder: The folder that relative paths start from: that of the table.
        cell: The cell's text.

    Returns:
        The path; nothing is read.

    Raises:
        ValueError: The cell is empty.

    Example:
        >>> image_path("data", "digits\\\\7.png").as_posix()
        'data/digits/7.png'
    """
    if not cell.strip():
        raise ValueError("the path of the image is empty")
    path = Path(folder, cell)
    # On other systems a backslash is an ordinary character of a file name, but hardly ever meant as one.
    return path if "\\" not in cell or os.path.exists(path) else Path(folder, cell.replace("\\", "/"))


def moving(folder: str | os.PathLike, to: str | os.PathLike) -> Callable[[str], str]:
    """Return a function from the cell for an image in one table to the cell in a table of another folder.

    Args:
        folder: The first table's folder.
        to: The other table's folder.

    Returns:
        A function that returns the same cell if it is absolute or empty, or the folders are the same; else the path
        relative to the other folder, or an absolute one if that is on another drive.

    Example:
        >>> moving("data", "out")("digits/7.png"), moving("data", "data")("digits/7.png")
        ('../data/digits/7.png', 'digits/7.png')
    """
    if os.path.realpath(folder) == os.path.realpath(to):
        return lambda cell: cell
    try:
        between = os.path.relpath(folder or ".", to or ".")
    except ValueError:  # another drive on Windows
        between = os.path.abspath(folder)

    def moved(cell: str) -> str:
        if not cell.strip() or os.path.isabs(cell):
            return cell
        relative = os.path.relpath(image_path(folder, cell), folder or ".") if "\\" in cell else cell
        return os.path.normpath(os.path.join(between, relative)).replace(os.sep, "/")

    return moved
