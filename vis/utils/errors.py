"""What the library says of a mistake or of a doubtful result."""

from __future__ import annotations

import os
import sys
import warnings


class VisWarning(UserWarning):
    """A result that is right but may mislead, such as a class activation map that is negative everywhere.

    Example:
        >>> import warnings
        >>> import vis
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", vis.VisWarning)  # silence these, and only these
    """


def warn(text: str) -> None:
    """Warns with a `VisWarning` at the line that called the library, however deep inside it this is called.

    Args:
        text: What the user should know.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("the map is blank")
        >>> caught[0].category.__name__
        'VisWarning'
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, VisWarning, stacklevel=level)


_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep


class UnusableError(ValueError):
    """A model that is whole but of no use here; the message says why."""
