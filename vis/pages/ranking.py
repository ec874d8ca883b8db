"""A page of ranked training images: the most harmful and the most helpful ones, in one file that opens from disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vis import datasets
from vis.files.outputs import replacing
from vis.pages import rendering

if TYPE_CHECKING:
    import pandas as pd


def write(
    path: str | os.PathLike, ranked: pd.DataFrame, folder: str | os.PathLike, image: str, label: str, shown: int = 100
) -> None:
    """Write the page, under a temporary name that is then renamed.

    Args:
        path: The HTML file.
        ranked: A `pandas.DataFrame` from `vis.influence.rank`, ascending, with a column of the images' paths and one of
            labels.
        folder: The folder that those paths are relative to.
        image: The name of the column of paths.
        label: The name of the column of labels.
        shown: How many images of each kind to show at most.

    Raises:
        OSError: The file cannot be written.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 8)).save(Path(folder, "a.png"))
        ...     ranked = pd.DataFrame({"influence": [-0.1], "datasource_index": [3], "x:image": ["a.png"], "y": ["7"]})
        ...     write(Path(folder, "page.html"), ranked, folder, "x:image", "y")
        ...     "-0.1" in Path(folder, "page.html").read_text()
        True
    """

    def cards(frame):
        return [
            {
                "picture": rendering.thumbnail(datasets.image_path(folder, row[image])),
                "label": row[label],
                "influence": row["influence"],
                "row": row["datasource_index"],
            }
            for _, row in frame.iterrows()
        ]

    harmful, helpful = ranked[ranked["influence"] < 0], ranked[ranked["influence"] > 0]
    parts = rendering.render(
        "influence.html",
        title=Path(path).stem,
        count=len(ranked),
        groups=[
            ("Most harmful", len(harmful), "Left out, the validation loss falls.", cards(harmful[:shown])),
            ("Most helpful", len(helpful), "Left out, the validation loss rises.", cards(helpful[::-1][:shown])),
        ],
    )
    with replacing(path) as file:
        file.writelines(parts)
