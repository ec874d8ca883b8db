"""`vis`: where did a Keras model look, and why?

Importing `vis` does not import TensorFlow: each submodule is loaded when it is first used, so `vis.visualization`
after `import vis` is enough.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import warnings

__version__ = "0.1.0"

__all__ = ["VisWarning", "__version__"]


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


_FOLDER = os.path.dirname(__file__) + os.sep


def __getattr__(name: str):
    if not name.startswith("_"):
        module = f"{__name__}.{name}"
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            # A submodule that is there but misses a package of its own says so itself.
            if error.name != module:
                raise
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(module.name for module in pkgutil.iter_modules(__path__))})
