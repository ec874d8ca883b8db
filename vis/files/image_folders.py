"""Read a folder of images as a table: one row per image, with its sub-folder as the label."""

from __future__ import annotations

import hashlib
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

#: The extensions of the files that count as images.
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")


class ImageFolder(Columns):
    """A folder of images as a table with the columns `x:image` and, if it has sub-folders, `y:label`.

    The classes have the numbers that `keras.utils.image_dataset_from_directory` gives them: the sub-folders in the
    order of their names, including empty ones, are the classes 0, 1, ...; everything below a sub-folder belongs to its
    class. A folder without sub-folders has no labels. Only the file names of one sub-folder are in memory at a time.

    Args:
        path: The folder.

    Attributes:
        path: The folder.
        header: The two header cells; only the first if there are no labels.
        names: The names of the sub-folders by class index, or None.

    Raises:
        ArgumentError: There is no such folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("dog/a.png", "cat/b.png"):
        ...         Path(folder, name).parent.mkdir()
        ...         Path(folder, name).touch()
        ...     images = ImageFolder(folder)
        ...     images.names, next(images.rows()).to_numpy().tolist()
        (('cat', 'dog'), [['cat/b.png', '0'], ['dog/a.png', '1']])
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        if not self.path.is_dir():
            raise ArgumentError("path", f"must be an existing folder of images, not {self.path}", kind="missing")
        with os.scandir(self.path) as entries:
            names = sorted(each.name for each in entries if each.is_dir() and not each.name.startswith("."))
        self.names = tuple(names) or None
        self.header = ["x:image", "y:label"] if names else ["x:image"]

    @property
    def folder(self) -> Path:
        return self.path

    def rows(self, size: int = ROWS_AT_ONCE, start: int = 0) -> Iterator[pd.DataFrame]:
        images = itertools.islice(self._images(), start, None)
        while some := list(itertools.islice(images, size)):
            cells = [[image, str(label)][: len(self.header)] for image, label in some]
            yield pd.DataFrame(cells, pd.RangeIndex(start, start + len(some)), dtype=object)
            start += len(some)

    def write(self, path: Path, columns: Mapping[str, Iterable[str]], images: Collection[int] = ()) -> None:
        """Write the images and labels, and more columns, as a CSV file.

        Args:
            path: The file; the images' paths in it are relative to its folder.
            columns: For each new column its header cell, and its cells, one per image.
            images: Ignored: the column of the images is known.

        Raises:
            ValueError: There are more images than cells, or fewer: the folder has changed.
        """
        more, move = zip(*columns.values(), strict=True), moving(self.path, path.parent)
        with replacing(path) as file:
            pd.DataFrame([[*self.header, *columns]]).to_csv(file, header=False, index=False, lineterminator="\n")
            for frame in self.rows():
                added = list(itertools.islice(more, len(frame)))
                if len(added) < len(frame):
                    raise self.changed("more")
                frame[0] = frame[0].map(move)
                both = pd.concat([frame, pd.DataFrame(added, frame.index, dtype=object)], axis=1)
                both.to_csv(file, header=False, index=False, lineterminator="\n")
            if next(more, None) is not None:
                raise self.changed("fewer")

    def fingerprint(self) -> list[Any]:
        names = hashlib.sha256()
        count = 0
        for image, _ in self._images():
            names.update(os.fsencode(image) + b"\0")
            count += 1
        return [self.path.name, count, names.hexdigest()]

    def _images(self) -> Iterator[tuple[str, int]]:
        """Yield the images' paths below the folder, with slashes, and their labels; -1 without sub-folders."""
        if self.names is None:
            yield from ((name, -1) for name in _image_files(self.path))
            return
        for label, name in enumerate(self.names):
            below = sorted(folder for folder, _, _ in os.walk(self.path / name))
            for folder in below:
                inside = Path(folder).relative_to(self.path).as_posix()
                yield from ((f"{inside}/{file}", label) for file in _image_files(folder))


def _image_files(folder: str | Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(each.name for each in entries if each.name.lower().endswith(EXTENSIONS) and each.is_file())
