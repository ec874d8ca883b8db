"""Formulas of the pages as MathML, which browsers draw by themselves: no script, no network."""

import re

from latex2mathml.converter import convert

# Code, fenced or inline, is left alone; so the alternatives in front of the formulas.
_PARTS = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL | re.MULTILINE
)


def on_page_markdown(markdown, **_):
    """Replaces `$...$` and `$$...$$` by MathML (called by mkdocs for each page)."""

    def replaced(match):
        if match["code"]:
            return match[0]
        if match["block"]:
            return f'\n\n<div class="formula">{convert(match["block"], display="block")}</div>\n\n'
        return convert(match["inline"])

    return _PARTS.sub(replaced, markdown)
