"""The progress bar of the methods that run a model many times."""

from __future__ import annotations

import sys

from tqdm import tqdm


def bar(copies: int, shown: bool = True) -> tqdm:
    """Return a bar that appears on standard error once a few seconds have passed, and leaves nothing behind.

    Args:
        copies: How many copies of the samples the model is run on.
        shown: Whether to show it at all.

    Returns:
        A context whose `update` takes how many more copies are done, as `vis.engine.evaluate.evaluate` tells it.

    Example:
        >>> with bar(20) as progress:
        ...     progress.update(20)
        ...     progress.n
        20
    """
    # A file gets a line now and then only.
    every = 0.1 if sys.stderr.isatty() else 10
    return tqdm(
        total=copies, desc="Explaining", unit=" copies", delay=3, mininterval=every, leave=False, disable=not shown
    )
