"""A training run on disk: one file per epoch with the state at its start, and one file of settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import weakref
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vis.influence.training import State
from vis.utils.errors import ArgumentError, sentence, warn

_FORMAT = 1
# The errors that a damaged file of arrays may raise, depending on where the damage is.
_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


class Storage:
    """A folder with a training run.

    A file is written under a temporary name and then renamed, so that a killed process leaves no partial file.

    Args:
        directory: The folder, created if needed; None for a temporary one that is removed along with this object.

    Raises:
        ValueError: The folder cannot be created.
    """

    def __init__(self, directory: str | os.PathLike | None = None):
        self.temporary = directory is None
        if directory is None:
            directory = tempfile.mkdtemp(prefix="vis-influence-")
            weakref.finalize(self, shutil.rmtree, directory, ignore_errors=True)
        self.directory = Path(directory)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                "directory", f"must be a folder that can be created, not {directory} ({error.strerror})"
            ) from error

    def epochs(self) -> int:
        """Return the number of recorded epochs, which is the number of the last state.

        Returns:
            The number of epochs; -1 if the state before the first is missing.
        """
        recorded = self.recorded()
        return recorded[-1] if recorded[:1] == [0] else -1

    def recorded(self) -> list[int]:
        """Return the epochs at whose start there is a state, in ascending order; the last is the number of epochs."""
        found = (re.fullmatch(r"epoch_(\d+)\.npz", path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def damaged(self) -> int | None:
        """Return the epoch of the first state whose file is damaged, read to its last byte; None if all are sound."""
        for epoch in self.recorded():
            try:
                with zipfile.ZipFile(self.path(epoch)) as file:
                    if file.testzip() is None:
                        continue
            except _DAMAGE:
                pass
            return epoch
        return None

    def discard(self, first: int) -> None:
        """Remove the states from an epoch on, which will be recomputed.

        Args:
            first: The epoch.
        """
        for epoch in self.recorded():
            if epoch >= first:
                self.path(epoch).unlink()

    def write_state(self, epoch: int, state: State, rates=(), history=(), **others) -> None:
        """Write the state at the start of an epoch, and the steps that led to it from the state before.

        Args:
            epoch: The epoch, from 0.
            state: The `State`.
            rates: The learning rate of each step since the state before, a sequence of floats.
            history: For each epoch since the state before, a dict of numbers such as its loss.
            **others: Further arrays to keep in the file.
        """
        arrays: dict[str, Any] = {f"weight_{i}": np.asarray(weight) for i, weight in enumerate(state.weights)}
        arrays |= {f"buffer_{i}": np.asarray(buffer) for i, buffer in enumerate(state.buffers)}
        arrays |= {f"slot_{i}_{k}": np.asarray(slot) for i, own in enumerate(state.slots) for k, slot in enumerate(own)}
        arrays |= {"rates": np.asarray(rates, np.float64), "history": np.array(json.dumps(list(history)))}
        self._write(self.path(epoch), lambda file: np.savez(file, **arrays, **others))

    def read_state(self, epoch: int) -> State:
        """Read the state at the start of an epoch.

        Args:
            epoch: The epoch, from 0; the number of epochs for the final state.

        Returns:
            The `State`, of NumPy arrays.

        Raises:
            ValueError: The file is missing or damaged.
        """

        def state(file):
            weights = [file[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in file))]
            buffers = [file[f"buffer_{i}"] for i in range(sum(name.startswith("buffer_") for name in file))]
            slots = []
            for i in range(len(weights)):
                count = sum(name.startswith(f"slot_{i}_") for name in file)
                slots.append(tuple(file[f"slot_{i}_{k}"] for k in range(count)))
            return State(tuple(weights), tuple(buffers), tuple(slots))

        return self._read(epoch, state)

    def read_rates(self, epoch: int) -> list[float]:
        """Read the learning rates of the steps that lead to a state.

        Args:
            epoch: The epoch at whose start the state is.

        Returns:
            A float for each step since the state before; empty in old records without learning rates.

        Raises:
            ValueError: The file is missing or damaged.
        """
        return self._read(epoch, lambda file: file["rates"].tolist() if "rates" in file else [])

    def read_history(self, epoch: int) -> list[dict]:
        """Read the history of the epochs that led to a state.

        Args:
            epoch: The epoch at whose start the state is.

        Returns:
            A dict of numbers for each epoch since the state before.

        Raises:
            ValueError: The file is missing or damaged.
        """
        return self._read(epoch, lambda file: json.loads(file["history"].item()) if "history" in file else [])

    def write_sample_weight(self, sample_weight: np.ndarray | None) -> None:
        """Write the factors of the examples' losses, if the run has any.

        Args:
            sample_weight: (examples,), or None for ones.
        """
        if sample_weight is not None:
            self._write(self.directory / "sample_weight.npy", lambda file: np.save(file, sample_weight))

    def read_sample_weight(self) -> np.ndarray | None:
        """Return the factors of the examples' losses, (examples,); None for ones."""
        path = self.directory / "sample_weight.npy"
        return np.load(path) if path.exists() else None

    def write_settings(self, settings: dict) -> None:
        """Write how the run was made.

        Args:
            settings: A dict that JSON can hold.
        """
        text = json.dumps({"format": _FORMAT, **settings}, indent=1)
        self._write(self.directory / "run.json", lambda file: file.write(text.encode()))

    def read_settings(self) -> dict | None:
        """Read how the run was made.

        Returns:
            The settings; None for a folder without a run.

        Raises:
            ValueError: The file does not describe a training run, or another version of vis wrote it.
        """
        path = self.directory / "run.json"
        if not path.exists():
            return None
        try:
            settings = json.loads(path.read_text())
            known = settings.pop("format") == _FORMAT
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ArgumentError(
                "directory", f"must be the folder of a training run, not {self.directory}, whose run.json is damaged"
            ) from error
        if not known:
            raise ArgumentError(
                "directory",
                f"must be a record of this version of vis, not {path} of another version",
                "Record it again",
            )
        return settings

    def check_vacant(self) -> None:
        """Refuse a folder that holds a training run.

        Raises:
            ValueError: The folder holds a run.
        """
        if self.read_settings() is not None:
            raise ArgumentError(
                "directory", f"must be a folder without a training run, not {self.directory}", "Give another folder"
            )

    def copy_to(self, directory: str | os.PathLike) -> None:
        """Copy the run into another folder.

        Args:
            directory: The folder, created if needed; the original stays unchanged.

        Raises:
            ValueError: The folder holds a run already, or cannot be created.
        """
        target = Storage(directory)
        if target.directory.resolve() == self.directory.resolve():
            return
        target.check_vacant()
        for epoch in self.recorded():
            with self.path(epoch).open("rb") as source:
                self._write(target.path(epoch), lambda file, source=source: shutil.copyfileobj(source, file))
        target.write_sample_weight(self.read_sample_weight())
        target.write_settings(self.read_settings() or {})

    def path(self, epoch: int) -> Path:
        """Return the file of the state at the start of an epoch.

        Args:
            epoch: The epoch, from 0.

        Returns:
            The path, whether or not there is a file.
        """
        return self.directory / f"epoch_{epoch:04d}.npz"

    def _read(self, epoch: int, take):
        path = self.path(epoch)
        try:
            with path.open("rb") as source, np.load(source) as file:
                return take(file)
        except _DAMAGE as error:
            problem = f"{path} cannot be read as the state of a training run: {error}"
            raise ValueError(sentence(problem, "Load the run again, which then ends before it")) from error

    @staticmethod
    def _write(path: Path, write) -> None:
        beside = path.with_suffix(path.suffix + ".part")
        with beside.open("wb") as file:
            write(file)
        os.replace(beside, path)


def sound_epochs(storage: Storage, remedy: str = "") -> int:
    """Return the number of epochs before the first damaged file, and warn about it.

    Args:
        storage: The `Storage`.
        remedy: The remedy in the warning.

    Returns:
        The number of epochs; -1 if the state before the first one is damaged.

    Warns:
        VisWarning: A file is damaged.
    """
    damaged = storage.damaged()
    if damaged is None:
        return storage.epochs()
    before = max((epoch for epoch in storage.recorded() if epoch < damaged), default=-1)
    end = f"ends after epoch {before} of {storage.epochs()}" if before >= 0 else "has no sound beginning"
    warn("damaged_checkpoint", f"{storage.path(damaged)} is damaged: the run {end}", remedy)
    return before
