"""What the pages get when they are built: the methods of the table, and formulas.

Formulas become MathML, which browsers draw by themselves: no script, no network.
"""

import re
import sys
from pathlib import Path

# The pages are about this checkout, as those of the API are, whatever is installed.
sys.path.insert(0, str(Path(__file__).parent.parent))

from vis.methods import FORWARD_PASSES, METHODS

# Code, fenced or inline, is left alone; so the alternatives in front of the formulas.
_PARTS = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL | re.MULTILINE
)


# Lines of a page that stand for the methods of `vis.methods`.
METHOD_ROWS = "| *one row per method of `vis.methods`* | | | | |"
METHOD_PAGES = "<!-- one entry per method of vis.methods -->"


def on_page_markdown(markdown, **_):
    """Fills in the methods, and replaces `$...$` and `$$...$$` by MathML (called by mkdocs for each page)."""
    from latex2mathml.converter import convert

    def replaced(match):
        if match["code"]:
            return match[0]
        if match["block"]:
            return f'\n\n<div class="formula">{convert(match["block"], display="block")}</div>\n\n'
        return convert(match["inline"])

    return _PARTS.sub(replaced, with_methods(markdown))


def with_methods(markdown):
    """Replaces the lines that stand for the methods: by rows of a table, and by entries of the API."""
    rows = "\n".join(map(method_row, METHODS.values()))
    entries = "\n".join(f"::: {method.function.replace(':', '.')}" for method in METHODS.values())
    return markdown.replace(METHOD_ROWS, rows).replace(METHOD_PAGES, entries)


def method_row(method):
    """The row of a method: what it shows, its function, its cost in forward passes, what it needs, when it misleads."""
    path = method.function.replace(":", ".")
    passes, times = FORWARD_PASSES[method.cost.unit], method.cost.times
    if isinstance(times, int):
        cost = f"about {passes * times:g}"
    else:
        cost = f"about `{times}`" if passes == 1 else f"about {passes:g} × `{times}`"
    use = f"[`{path.rpartition('.')[2]}`](api/visualization.md#{path})"
    return f"| {method.line[0].lower()}{method.line[1:]} | {use} | {cost} | {method.needs} | {method.beware} |"
