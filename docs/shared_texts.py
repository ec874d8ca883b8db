"""Lets the API pages show the texts that docstrings share."""

import sys
from pathlib import Path

import griffe

sys.path.insert(0, str(Path(__file__).parent.parent))

from vis.utils.docs import fill


class SharedTexts(griffe.Extension):
    """Griffe reads the source, where placeholders still stand in the docstrings."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Fill the placeholders in a docstring (called by griffe for each object)."""
        if obj.docstring and obj.path != "vis.utils.docs":
            obj.docstring.value = fill(obj.docstring.value)
