"""Lets the API pages draw a docstring's `Example:` as code."""

import re

import griffe


class ExamplesAsCode(griffe.Extension):
    """Griffe takes a section for code where it is called `Examples:`."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        """Renames the section in a docstring (called by griffe for each object)."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
