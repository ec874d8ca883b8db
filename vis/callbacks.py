"""Callbacks: receive the progress of an optimization, every `callback_every` steps; or record a `model.fit`."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from vis.influence.fitting import RecordTraining as RecordTraining
from vis.optimizer.callbacks import OptimizerCallback
from vis.optimizer.callbacks import Print as Print
from vis.plotting.sheets import pictures, sheet
from vis.utils.errors import ArgumentError


class Progress(OptimizerCallback):
    """Show a progress bar, with the loss at its end.

    Args:
        **options: Options of `tqdm.tqdm`, such as `desc` or `file`.

    Example:
        >>> import io
        >>> file = io.StringIO()
        >>> progress = Progress(desc="Class 3", file=file)
        >>> progress.on_begin(max_iter=2)
        >>> progress.callback(1, [], 0.25, None, None)
        >>> progress.on_end()
        >>> "Class 3: 100%" in file.getvalue() and "loss 0.25" in file.getvalue()
        True
    """

    def __init__(self, **options):
        self.options = options
        self.bar: Any = None

    def on_begin(self, max_iter):
        from tqdm import tqdm

        self.bar = tqdm(**{"total": max_iter, "unit": "step", **self.options})

    def callback(self, i, named_losses, overall_loss, grads, wrt_value):
        self.bar.set_postfix_str(f"loss {np.mean(overall_loss):.4g}", refresh=False)
        self.bar.update(i + 1 - self.bar.n)

    def on_end(self):
        self.bar.close()


class GifGenerator(OptimizerCallback):
    """Write an animation of the images, one frame per call; several images are laid out in a grid.

    Small images are enlarged, each pixel to a square. The file is written at the end, under a temporary name and then
    renamed.

    Args:
        path: The file to write; `.gif` is appended if it is missing.
        input_range: The values that become black and white: (min, max), two numbers or two lists of one number per
            channel.
        seconds: The duration of a frame, in seconds; the last one stays for two.

    Raises:
        ValueError: The folder does not exist, or the values to show are not images of 1 or 3 channels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     gif = GifGenerator(f"{folder}/gray", input_range=(0, 1))
        ...     gif.callback(0, [], 0.0, None, np.full((1, 8, 8, 1), 0.5))
        ...     gif.on_end()
        ...     os.listdir(folder)
        ['gray.gif']
    """

    def __init__(self, path: str | os.PathLike, input_range=(0, 255), *, seconds: float = 0.1):
        path = Path(path)
        self.path = path if path.suffix.lower() == ".gif" else path.with_name(path.name + ".gif")
        if not self.path.parent.is_dir():
            raise ArgumentError(
                "path", f"must be in a folder that exists, not in {self.path.parent}", "Create it first"
            )
        self.input_range = input_range
        self.seconds = seconds
        self.frames: list[np.ndarray] = []

    def on_begin(self, max_iter):
        self.frames = []

    def callback(self, i, named_losses, overall_loss, grads, wrt_value):
        self.frames.append(sheet(pictures(wrt_value, self.input_range)))

    def on_end(self):
        if not self.frames:
            return
        from PIL import Image

        frames = [Image.fromarray(each) for each in self.frames]
        if frames[0].mode == "RGB":
            frames = [frame.quantize(256, Image.Quantize.MEDIANCUT) for frame in frames]
        durations = [round(1000 * self.seconds)] * (len(frames) - 1) + [2000]
        temporary = self.path.with_name(f".{self.path.stem}.{os.getpid()}.gif")
        try:
            frames[0].save(temporary, save_all=True, append_images=frames[1:], duration=durations, loop=0)
            os.replace(temporary, self.path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
