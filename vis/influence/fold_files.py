"""Keep the results of folds on disk, one file per fold, so that an interrupted cross-validation can be resumed."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vis.files.outputs import replacing
from vis.influence.folds import FoldScores
from vis.utils.errors import ArgumentError, warn

_SETTINGS = "label_errors.json"


def path_of(directory: str | os.PathLike, fold: int) -> Path:
    """Return the path of a fold's file, whether or not it exists.

    Args:
        directory: The folder.
        fold: The fold, from 0.

    Returns:
        The path.
    """
    return Path(directory, f"fold_{fold}.npz")


def write(directory: str | os.PathLike, fold: int, scores: FoldScores) -> None:
    """Write the result of a fold, completely or not at all.

    Args:
        directory: An existing folder.
        fold: The fold, from 0.
        scores: Its result.

    Raises:
        OSError: The file cannot be written.
    """
    with replacing(path_of(directory, fold), encoding=None) as file:
        np.savez(file, **scores._asdict())


def read(directory: str | os.PathLike, fold: int) -> FoldScores | None:
    """Read the result of a fold.

    Args:
        directory: The folder.
        fold: The fold, from 0.

    Returns:
        The result; None if there is no file, or it is damaged.

    Warns:
        VisWarning: The file is damaged.
    """
    path = path_of(directory, fold)
    if not path.exists():
        return None
    try:
        with path.open("rb") as source, np.load(source) as file:
            return FoldScores(**dict(file))
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        warn("damaged_fold", f"{path} is damaged: fold {fold} is trained again")
        return None


def prepare(directory: str | os.PathLike, settings: dict) -> Path:
    """Prepare a folder for the folds of a cross-validation: a new one, or one that already has some of them.

    Args:
        directory: The folder; it is created if needed.
        settings: What the results depend on, a dict that JSON can hold.

    Returns:
        The folder.

    Raises:
        ValueError: The folder holds other results, or cannot be created.
    """
    directory = Path(directory)
    path = directory / _SETTINGS
    settings = json.loads(json.dumps(settings))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with replacing(path) as file:
                json.dump(settings, file)
        known = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArgumentError(
            "directory", f"must be a folder that can be written to, not {directory} ({error.strerror})"
        ) from error
    except ValueError:
        known = {}
    # A different number of examples also changes the checksum.
    differing = [name for name, value in settings.items() if name != "examples" and known.get(name) != value]
    if differing:
        names = ", ".join({"checksum": "x or y"}.get(name, name) for name in differing)
        raise ArgumentError(
            "directory",
            f"must be a folder without other folds, not {directory}, whose folds differ in {names}",
            "Give another folder, or the same arguments",
        )
    return directory
