"""A journal of a long run: one line per finished piece of work, so that an interrupted run can be resumed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vis.utils.errors import ArgumentError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # Windows has no such module


class Journal:
    """A file of JSON lines: the run's settings, then the result of each piece of work.

    Each line is written completely or not at all: an incomplete last line of an interrupted run is dropped. Only one
    run can have the file open (on Windows this is not checked). Nothing is written before the first piece of work is
    done, so a run that fails earlier leaves the file unchanged.

    Args:
        path: The file; its folder is created.
        settings: What the results depend on, so that those of different runs are not mixed; a dict that JSON can hold.
        resume: Whether to continue at the end of the file, if it exists.
        still_there: A function of an entry that returns whether its results still exist; the work is repeated from the
            first entry for which it returns False.

    Attributes:
        done: The number of pieces of work in the file.

    Raises:
        ValueError: Another run is writing the file, or the run to resume had other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Journal(Path(folder, "journal"), {"seed": 0}) as journal:
        ...         journal.append("first")
        ...     with Journal(Path(folder, "journal"), {"seed": 0}, resume=True) as journal:
        ...         journal.append("second")
        ...         journal.done, list(journal)
        (2, ['first', 'second'])
    """

    def __init__(
        self,
        path: Path,
        settings: dict[str, Any],
        *,
        resume: bool = False,
        still_there: Callable[[Any], bool] = lambda entry: True,
    ):
        self._path = path
        self._settings = json.loads(json.dumps(settings))
        self.done = 0
        self._file = _locked(path)
        try:
            if resume:
                self._take_up(still_there)
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Any) -> None:
        """Record a finished piece of work, so that it survives if the process is killed.

        Args:
            entry: The result, anything that JSON can hold.
        """
        if not self.done:
            self._file.truncate(0)
            self._write(self._settings)
        self._write(entry)
        self.done += 1

    def clear(self) -> None:
        """Drop all entries: closing the journal then removes its file, and its folder if that is empty."""
        self._file.truncate(0)
        self.done = 0

    def __iter__(self) -> Iterator[Any]:
        if self.done:
            with self._path.open(encoding="utf-8") as file:
                next(file)
                yield from map(json.loads, file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error) -> None:
        empty = not os.fstat(self._file.fileno()).st_size
        self._file.close()
        if empty:
            self._path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # there are other files in it
                self._path.parent.rmdir()

    def _write(self, entry) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        self._file.flush()

    def _take_up(self, still_there) -> None:
        """Continue from the complete entries whose results still exist, and cut off what follows them."""
        whole = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file):
                try:
                    entry = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:  # as after a power failure
                    entry = None
                if number == 0 and isinstance(entry, dict):
                    self._compare(entry)
                elif number == 0 or entry is None or not still_there(entry):
                    break
                whole += len(line)
                self.done = number
        if self.done:
            self._file.truncate(whole)

    def _compare(self, before) -> None:
        for name, now in self._settings.items():
            if before.get(name) != now:
                # A reader cannot interpret a fingerprint.
                values = "" if isinstance(now, list) else f", {before.get(name)}, not {now}"
                raise ArgumentError(
                    "resume",
                    f"must continue with the same {name}{values or ', which has changed'}",
                    f"Start again without resuming, or give the {name} of that run",
                )


def fingerprint(path: Path) -> list:
    """Return a fingerprint of a file for the settings of a journal: its name, size and modification time.

    Args:
        path: A file or a folder; for a SavedModel folder, the fingerprint is that of its graph.

    Returns:
        A list that JSON can hold.

    Example:
        >>> fingerprint(Path(__file__))[0]
        'journal.py'
    """
    saved_model = path / "saved_model.pb"
    state = (saved_model if saved_model.exists() else path).stat()
    return [path.name, state.st_size, state.st_mtime_ns]


def _locked(path: Path):
    """Return the file, opened for appending, and locked until it is closed or the process ends."""
    while True:
        path.parent.mkdir(exist_ok=True)
        file = path.open("ab")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except BlockingIOError:
            file.close()
            raise ArgumentError(
                "path", f"must not be {path}, which another run is writing", "Wait for that run, or give another output"
            ) from None
        file.close()  # another run has removed it
