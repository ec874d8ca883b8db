"""Class names: one per line, in the order of the model's outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vis.utils.errors import ArgumentError

_LONGEST = 200


def read(path: str | os.PathLike) -> tuple[str, ...]:
    """Read the names of a model's classes.

    Args:
        path: A text file in UTF-8: one line per class, the first for class 0. Empty lines at the end are ignored.

    Returns:
        The names.

    Raises:
        ArgumentError: There is no such file, it is not text, a line is empty or very long, or the file is empty.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "names.txt")
        ...     _ = path.write_text("cat\\ndog\\n")
        ...     read(path)
        ('cat', 'dog')
    """
    path = Path(path)
    if not path.is_file():
        raise ArgumentError("labels", f"must be an existing text file, not {path}", kind="missing")
    try:
        names = [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError as error:
        raise ArgumentError("labels", f"must be UTF-8 text, not {path} ({error})", "Save it as UTF-8") from error
    wrong = next((number for number, name in enumerate(names) if not 0 < len(name) <= _LONGEST), None)
    if not names or wrong is not None:
        came = "which is empty"
        if wrong is not None:
            came = f"whose line {wrong + 1} is {'empty' if not names[wrong] else 'long'}"
        raise ArgumentError("labels", f"must be a file of one name per line, not {path}, {came}")
    return tuple(names)


def check(names: tuple[str, ...] | None, classes: int) -> None:
    """Refuse names for another number of classes than a model has.

    Args:
        names: The names, or None.
        classes: The number of classes of the model.

    Raises:
        ArgumentError: The numbers differ.

    Example:
        >>> check(("cat", "dog"), 2)
    """
    if names is not None and len(names) != classes:
        raise ArgumentError("labels", f"must have a name for each of the model's {classes} classes, not {len(names)}")


def named(index: int, names: Sequence[str] | None = None) -> str:
    """Return the text for a class: its index, and its name if it has one.

    Args:
        index: The class index.
        names: The class names by class index, or None.

    Returns:
        The text.

    Example:
        >>> named(1, ("cat", "dog")), named(2, ("cat", "dog")), named(1)
        ('1 dog', '2', '1')
    """
    return f"{index} {names[index]}" if names is not None and 0 <= index < len(names) else f"{index}"
