"""A journal of a long run: a line for each piece of work done, so that a run that was killed can be taken up again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines: the run's settings, then what came of each piece of work.

    A line is in the file whole or is no line: what a killed process left of its last one is dropped.

    Args:
        path: where it is kept; to be removed when all is done.
        settings: what the results depend on, for another run not to be mixed in; only what JSON can say.
        resume: whether to go on where the file ends, if there is one.

    Attributes:
        done: how many pieces of work are in it.

    Raises:
        ValueError: the run to be resumed had other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Journal(Path(folder, "journal"), {"seed": 0}) as journal:
        ...         journal.append("first")
        ...     with Journal(Path(folder, "journal"), {"seed": 0}, resume=True) as journal:
        ...         journal.append("second")
        ...     journal.done, list(journal)
        (2, ['first', 'second'])
    """

    def __init__(self, path: Path, settings: dict[str, Any], *, resume: bool = False):
        self._path = path
        self.done = 0
        settings = json.loads(json.dumps(settings))
        if resume and path.exists() and self._take_up(settings):
            self._file = path.open("a", encoding="utf-8")
        else:
            self._file = path.open("w", encoding="utf-8")
            self._write(settings)

    def append(self, entry: Any) -> None:
        """Note a piece of work that is done; it stays noted if the process is killed."""
        self._write(entry)
        self.done += 1

    def __iter__(self) -> Iterator[Any]:
        with self._path.open(encoding="utf-8") as file:
            next(file)
            yield from map(json.loads, file)

    def remove(self) -> None:
        """Remove the file: there is nothing left to resume."""
        self._file.close()
        self._path.unlink()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def _write(self, entry) -> None:
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()

    def _take_up(self, settings) -> bool:
        """Whether there is anything to go on from; cuts off a last line that is not whole."""
        whole = 0
        with self._path.open("rb+") as file:
            for number, line in enumerate(file):
                if not line.endswith(b"\n"):
                    break
                if number == 0:
                    self._compare(json.loads(line), settings)
                whole += len(line)
                self.done = number
            file.truncate(whole)
        return whole > 0

    def _compare(self, before, now) -> None:
        for name in now:
            if before.get(name) != now[name]:
                raise ValueError(
                    f"the run to resume had another {name} ({before.get(name)}, now {now[name]}). Start anew without "
                    "resuming, or give what it had."
                )
