"""`vis`: where did a Keras model look, and why?

Importing `vis` does not import TensorFlow: each submodule is loaded when it is first used, so `vis.visualization`
after `import vis` is enough.
"""

from __future__ import annotations

import importlib
import pkgutil

from vis.utils.errors import ArgumentError, ArgumentTypeError, VisWarning

__version__ = "0.1.0"

__all__ = ["ArgumentError", "ArgumentTypeError", "VisWarning", "__version__", "forget"]


def __getattr__(name: str):
    if name == "forget":  # which needs TensorFlow
        from vis.engine.cache import forget

        return forget
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
