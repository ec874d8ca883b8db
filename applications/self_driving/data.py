"""Reads what Udacity's driving simulator records: a driving_log.csv and a folder of pictures.

A row of the log names the pictures of the centre, left and right camera and has the steering angle, throttle, brake and
speed, without a header in the simulator's own logs and with one in published ones. The paths are absolute ones of the
machine that recorded, often with backslashes, and a space follows each comma.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
from PIL import Image

from applications.self_driving.model import SHAPE

COLUMNS = ["center", "left", "right", "steering", "throttle", "brake", "speed"]


def read_log(path: str | Path) -> pd.DataFrame:
    """Read a driving log and find its pictures.

    Args:
        path: of a `driving_log.csv`. A picture is looked for where the log says, and else by its name in the folder
            `IMG` beside the log, or beside the log itself.

    Returns:
        A row a moment: `center`, `left` and `right` (paths), `steering` (from -1, left, to 1, right), and `throttle`,
        `brake` and `speed` where the log has them.

    Raises:
        ValueError: there is no such file, or it is not a driving log, or pictures are missing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (320, 160)).save(Path(folder, "a.png"))
        ...     _ = Path(folder, "driving_log.csv").write_text("a.png, a.png, a.png, -0.25")
        ...     read_log(Path(folder, "driving_log.csv")).steering.tolist()
        [-0.25]
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist. Give the driving_log.csv of a recording.")
    try:
        log = pd.read_csv(path, header=None, skipinitialspace=True, dtype=str)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a driving log: {error}") from error
    if log.shape[1] < 4:
        raise ValueError(f"{path} has {log.shape[1]} columns. A driving log has center, left, right, steering, ...")
    log = log.iloc[:, : len(COLUMNS)]
    log.columns = COLUMNS[: log.shape[1]]
    if str(log.center.iloc[0]).strip().lower() == "center":
        log = log.iloc[1:].reset_index(drop=True)
    for column in log.columns[3:]:
        numbers = pd.to_numeric(log[column], errors="coerce")
        if numbers.isna().any():
            row = int(numbers.isna().argmax())
            raise ValueError(f"{path}: {column} of row {row + 1} is {log[column].iloc[row]!r}, not a number.")
        log[column] = numbers.astype(np.float32)
    if not len(log):
        raise ValueError(f"{path} has no rows.")
    if not log.steering.between(-1, 1).all():
        raise ValueError(f"{path}: steering is from {log.steering.min()} to {log.steering.max()}, not from -1 to 1.")
    for camera in COLUMNS[:3]:
        log[camera] = [_find(str(name).strip(), path.parent) for name in log[camera]]
    return log


def _find(name: str, folder: Path) -> str:
    # Windows's paths have backslashes or slashes; PureWindowsPath takes both.
    plain = PureWindowsPath(name).name
    for place in (Path(name), folder / "IMG" / plain, folder / plain):
        if plain and place.is_file():
            return str(place)
    raise ValueError(f"the picture {name} of the log is not there, nor is IMG/{plain} beside the log.")


def read_frame(path: str | Path, *, crop: tuple[float, float] = (0.375, 0.125)) -> np.ndarray:
    """Read a picture as the network takes it.

    Args:
        path: of a picture of any size.
        crop: the shares of its height that are cut off at the top (the sky) and at the bottom (the car). A picture of
            70 rows and 180 columns is a frame already, and is left as it is.

    Returns:
        uint8 (70, 180, 3).

    Raises:
        ValueError: it cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (320, 160)).save(Path(folder, "camera.png"))
        ...     read_frame(Path(folder, "camera.png")).shape
        (70, 180, 3)
    """
    from vis.images import read_image

    image = read_image(path).convert("RGB")
    if (image.height, image.width) != SHAPE[:2]:
        box = (0, round(image.height * crop[0]), image.width, round(image.height * (1 - crop[1])))
        image = image.resize((SHAPE[1], SHAPE[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def read_recording(log: pd.DataFrame, *, correction: float = 0.2, held_out: float = 0.2, seed: int = 0):
    """Read the pictures of a log: those of all three cameras to train with, those of the centre to test with.

    The left camera sees what the centre one would see if the car were too far left, where one would steer more to the
    right: its angle is steering + correction, that of the right camera steering - correction.

    Args:
        log: from `read_log`.
        correction: of the side cameras' angles.
        held_out: the share of the rows to test with. They are the last ones: a random choice would test with
            neighbours, nearly the same pictures, of what was trained with.
        seed: of the order in which training frames are given.

    Returns:
        (frames, angles) to train with and (frames, angles) to test with; uint8 (N, 70, 180, 3) and float32 (N,).

    Raises:
        ValueError: there are too few rows to hold some out.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (320, 160)).save(Path(folder, "a.png"))
        ...     _ = Path(folder, "driving_log.csv").write_text("a.png, a.png, a.png, -0.25\\n" * 5)
        ...     train, test = read_recording(read_log(Path(folder, "driving_log.csv")))
        >>> len(train[0]), len(test[0])
        (12, 1)
    """
    tested = round(len(log) * held_out)
    if not 0 < tested < len(log):
        raise ValueError(f"the log has {len(log)} rows, too few to hold out a share of {held_out}.")
    rows, last = log.iloc[:-tested], log.iloc[-tested:]
    cameras = [("center", 0.0), ("left", correction), ("right", -correction)]
    paths = np.concatenate([rows[camera].to_numpy(dtype=object) for camera, _ in cameras])
    angles = np.concatenate([np.clip(rows.steering.to_numpy() + shift, -1, 1) for _, shift in cameras])
    order = np.random.default_rng(seed).permutation(len(paths))
    frames = np.stack([read_frame(path) for path in paths[order]])
    test = np.stack([read_frame(path) for path in last.center]), last.steering.to_numpy(np.float32)
    return (frames, angles[order].astype(np.float32)), test
