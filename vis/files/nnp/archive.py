"""The archive of an `.nnp` file: a text that describes networks, and a file of parameters, both of bounded size."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vis.utils.errors import ArgumentError, reason_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_TEXTS = (".nntxt", ".prototxt")
_PARAMETERS = (".h5", ".protobuf")
# Sony's largest sample project has a megabyte of text; binary protobuf is limited to two gigabytes.
_MOST_TEXT = 16 * 2**20
_MOST_PARAMETERS = 2**31 - 1
_COPY = "Copy or export it again"


def check(path: Path) -> None:
    """Refuse a file that is not an `.nnp` file, reading only the list of its entries.

    Args:
        path: The file.

    Raises:
        ArgumentError: It is not a zip archive, is cut short, or does not contain the text of a network.

    Example:
        >>> check(Path("results.nnp"))  # doctest: +SKIP
    """
    with _opened(path) as archive:
        _entry(path, archive, _TEXTS, "the text of a network (*.nntxt or *.prototxt)")


def is_project(path: Path) -> bool:
    """Return whether a file is a zip archive that contains the text of a network, whatever its name."""
    try:
        check(path)
    except ArgumentError:
        return False
    return True


def read_text(path: Path):
    """Read the description of networks, data sets, optimizers and executors.

    Args:
        path: The file.

    Returns:
        A `vis.files.nnp.schema.File`.

    Raises:
        ArgumentError: The archive is damaged, or its text is too long or not that of a network.
    """
    from google.protobuf import text_format

    from vis.files.nnp.schema import File

    content = _content(path, _TEXTS, _MOST_TEXT, "the text of a network (*.nntxt or *.prototxt)")
    try:
        return text_format.Parse(content.decode("utf-8-sig"), File(), allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else reason_of(error)
        raise ArgumentError(
            "path", f"must contain the text of a network, not what {path} contains ({cause})", _COPY
        ) from error


def read_parameters(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Read the parameters of a network.

    Args:
        path: The file.
        shapes: The shapes of the parameters to read, by name.

    Returns:
        float32 arrays of these shapes, by name.

    Raises:
        ArgumentError: The archive is damaged, or a parameter is missing or has another shape.
    """
    numbers = sum(math.prod(shape) for shape in shapes.values())
    if 4 * numbers > _MOST_PARAMETERS or any(size < 0 for shape in shapes.values() for size in shape):
        raise ArgumentError("path", f"must have parameters of at most 2 GB, not of {numbers:,} numbers as {path} has")
    if not shapes:
        return {}
    content = _content(path, _PARAMETERS, _MOST_PARAMETERS, "a file of parameters (parameter.h5 or .protobuf)")
    read = _from_hdf5 if content.startswith(b"\x89HDF") else _from_protobuf
    try:
        return read(path, content, shapes)
    except ArgumentError:
        raise
    except Exception as error:  # h5py and protobuf raise errors of many types
        raise _damaged(path, error) from error


def _from_hdf5(path, content, shapes):
    import h5py

    found = {}
    with h5py.File(io.BytesIO(content)) as file:
        for name, shape in shapes.items():
            data = file.get(name)
            _check_shape(path, name, shape, data.shape if isinstance(data, h5py.Dataset) else None)
            found[name] = np.asarray(data, dtype=np.float32).reshape(shape)
    return found


def _from_protobuf(path, content, shapes):
    from vis.files.nnp.schema import File

    stored = {parameter.variable_name: parameter for parameter in File.FromString(content).parameter}
    found = {}
    for name, shape in shapes.items():
        data: Any = stored.get(name)
        _check_shape(path, name, shape, tuple(data.shape.dim) if data is not None else None)
        found[name] = np.array(data.data, dtype=np.float32).reshape(shape)
    return found


def _check_shape(path, name, expected, shape):
    if shape is None:
        raise ArgumentError("path", f"must have the parameter {name!r}, which {path} lacks", _COPY)
    # A scalar is stored with one axis or with none.
    if shape != expected and {shape, expected} != {(), (1,)}:
        raise ArgumentError(
            "path", f"must have the parameter {name!r} of shape {expected}, not {shape} as {path} has", _COPY
        )


def _content(path: Path, extensions: tuple[str, ...], most: int, what: str) -> bytes:
    """Return the content of the first entry with one of the extensions; refuse content above the limit."""
    with _opened(path) as archive:
        entry = _entry(path, archive, extensions, what)
        try:
            # The declared size may be wrong: never unpack more than the limit.
            if entry.file_size <= most:
                with archive.open(entry) as file:
                    content = file.read(most + 1)
                if len(content) <= most:
                    return content
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise _damaged(path, error) from error
        size = max(entry.file_size, most + 1) / 2**20
    raise ArgumentError(
        "path", f"must have at most {most / 2**20:.0f} MB in {entry.filename}, not {size:,.0f} MB as in {path}"
    )


def _entry(path: Path, archive: zipfile.ZipFile, extensions: tuple[str, ...], what: str) -> zipfile.ZipInfo:
    for entry in archive.infolist():
        if entry.filename.lower().endswith(extensions):
            return entry
    raise ArgumentError("path", f"must contain {what}, which {path} lacks", _COPY)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except FileNotFoundError:
        raise ArgumentError("path", f"must be an existing model file, not {path}", kind="missing") from None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ArgumentError:
    cause = reason_of(error)
    return ArgumentError(
        "path", f"must be a complete .nnp file, not {path}, which is cut short or damaged ({cause})", _COPY
    )
