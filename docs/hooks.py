"""Fill the pages in when they are built: the rows of `vis.methods`, and formulas.

Formulas become MathML, which browsers draw by themselves: no script, no network.

    python docs/hooks.py

rewrites the table of the README, which shows three columns of the table of `choose.md`.
"""

import re
import sys
from pathlib import Path

# The pages describe this checkout, not an installed package.
sys.path.insert(0, str(Path(__file__).parent.parent))

from vis.methods import FORWARD_PASSES, METHODS

# Code, fenced or inline, stays as it is: hence its alternatives before the formulas.
_PARTS = re.compile(
    r"(?P<code>^```.*?^```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL | re.MULTILINE
)

# Lines of a page that stand for the methods of `vis.methods`.
METHOD_ROWS = "| *one row per method of `vis.methods`* | | | | |"
METHOD_PAGES = "<!-- one entry per method of vis.methods -->"

# The lines around the README's table.
TABLE_START = "<!-- made from vis.methods and docs/choose.md by: python docs/hooks.py -->"
TABLE_END = "<!-- end of the table -->"
# The columns of `choose.md` that the README shows: the question, the function, the pitfalls.
_README_COLUMNS = (0, 1, 4)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def on_page_markdown(markdown, **_):
    """Fill in the methods and replace `$...$` and `$$...$$` by MathML (called by mkdocs for each page)."""
    from latex2mathml.converter import convert

    def replaced(match):
        if match["code"]:
            return match[0]
        if match["block"]:
            return f'\n\n<div class="formula">{convert(match["block"], display="block")}</div>\n\n'
        return convert(match["inline"])

    return _PARTS.sub(replaced, with_methods(markdown))


def with_methods(markdown):
    """Replace the lines that stand for the methods by rows of a table and by entries of the API."""
    rows = "\n".join(map(method_row, METHODS.values()))
    entries = "\n".join(f"::: {method.function.replace(':', '.')}" for method in METHODS.values())
    return markdown.replace(METHOD_ROWS, rows).replace(METHOD_PAGES, entries)


def with_table(readme, choose):
    """Replace the table of the README by the first table of `choose.md`, with fewer columns and without links."""
    rows = re.search(r"^\|.*?(?=\n\n)", with_methods(choose), re.DOTALL | re.MULTILINE)[0].splitlines()
    cells = ([cell.strip() for cell in _LINK.sub(r"\1", row).strip("|").split("|")] for row in rows)
    table = "\n".join("| " + " | ".join(row[column] for column in _README_COLUMNS) + " |" for row in cells)
    before, _, rest = readme.partition(TABLE_START)
    return f"{before}{TABLE_START}\n\n{table}\n\n{TABLE_END}{rest.partition(TABLE_END)[2]}"


def method_row(method):
    """Return the row of a method: what it shows, its function, its cost in forward passes, its needs and pitfalls."""
    path = method.function.replace(":", ".")
    passes, times = FORWARD_PASSES[method.cost.unit], method.cost.times
    if isinstance(times, int):
        cost = f"about {passes * times:g}"
    else:
        cost = f"about `{times}`" if passes == 1 else f"about {passes:g} × `{times}`"
    use = f"[`{path.rpartition('.')[2]}`](api/visualization.md#{path})"
    return f"| {method.line[0].lower()}{method.line[1:]} | {use} | {cost} | {method.needs} | {method.beware} |"


if __name__ == "__main__":
    docs = Path(__file__).parent
    readme = docs.parent / "README.md"
    choose = (docs / "choose.md").read_text("utf-8")
    readme.write_text(with_table(readme.read_text("utf-8"), choose), "utf-8")
