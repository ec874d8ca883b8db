"""A training run on disk: one file for the state at each epoch's start, one for how the run was made."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np

from vis.influence.training import State
from vis.utils.errors import ArgumentError

_FORMAT = 1


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
        """Return how many epochs are complete: consecutive states from 0 on, minus the first.

        Returns:
            The number of epochs; -1 if there is no state.
        """
        count = 0
        while self._path(count).exists():
            count += 1
        return count - 1

    def write_state(self, epoch: int, state: State) -> None:
        """Write the state at the start of an epoch.

        Args:
            epoch: The epoch, from 0.
            state: The `State`.
        """
        arrays = {f"weight_{i}": np.asarray(weight) for i, weight in enumerate(state.weights)}
        arrays |= {f"buffer_{i}": np.asarray(buffer) for i, buffer in enumerate(state.buffers)}
        arrays |= {f"slot_{i}_{k}": np.asarray(slot) for i, own in enumerate(state.slots) for k, slot in enumerate(own)}
        self._write(self._path(epoch), lambda file: np.savez(file, **arrays))

    def read_state(self, epoch: int) -> State:
        """Read the state at the start of an epoch.

        Args:
            epoch: The epoch, from 0; the number of epochs for the final state.

        Returns:
            The `State`, of NumPy arrays.

        Raises:
            ValueError: The file is missing or damaged.
        """
        path = self._path(epoch)
        try:
            with np.load(path) as file:
                weights = [file[f"weight_{i}"] for i in range(sum(name.startswith("weight_") for name in file))]
                buffers = [file[f"buffer_{i}"] for i in range(sum(name.startswith("buffer_") for name in file))]
                slots = []
                for i in range(len(weights)):
                    count = sum(name.startswith(f"slot_{i}_") for name in file)
                    slots.append(tuple(file[f"slot_{i}_{k}"] for k in range(count)))
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{path} cannot be read as the state of a training run: {error}") from error
        return State(tuple(weights), tuple(buffers), tuple(slots))

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
        except (OSError, ValueError, KeyError, AttributeError) as error:
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
            ValueError: There is one.
        """
        if self.read_settings() is not None:
            raise ArgumentError(
                "directory", f"must be a folder without a training run, not {self.directory}", "Give another folder"
            )

    def copy_to(self, directory: str | os.PathLike) -> None:
        """Copy the run into another folder.

        Args:
            directory: The folder, created if needed; its own folder is left as it is.

        Raises:
            ValueError: The folder holds a run already, or cannot be created.
        """
        target = Storage(directory)
        if target.directory.resolve() == self.directory.resolve():
            return
        target.check_vacant()
        for epoch in range(self.epochs() + 1):
            target.write_state(epoch, self.read_state(epoch))
        target.write_settings(self.read_settings())

    def _path(self, epoch: int) -> Path:
        return self.directory / f"epoch_{epoch:04d}.npz"

    @staticmethod
    def _write(path: Path, write) -> None:
        beside = path.with_suffix(path.suffix + ".part")
        with beside.open("wb") as file:
            write(file)
        os.replace(beside, path)
