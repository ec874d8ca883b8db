"""Render HTML pages that open from disk and load nothing from a network."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from PIL import Image

from vis import __version__, images

_LONGEST_SIDE = 160  # pixels of a thumbnail
_LOSSLESS = 64 * 64  # pixels; smaller pictures are kept as they are


def render(template: str, **values) -> Iterator[str]:
    """Render a page from a template, part by part, so that a long page need not fit in memory.

    Args:
        template: The name of a file in `vis/pages/templates/`.
        **values: The values of the template, including a `title`. Texts are escaped.

    Yields:
        The text of the page.

    Raises:
        jinja2.UndefinedError: One of the values is missing.

    Example:
        >>> page = render("page.html", title="Digits < 5")
        >>> "<h1>Digits &lt; 5</h1>" in "".join(page)
        True
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vis.pages"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template(template).generate(version=__version__, **values)


def thumbnail(path: Path) -> str:
    """Return a thumbnail as a data URI: an unchanged PNG if the picture is small, else a JPEG.

    Args:
        path: An image file.

    Returns:
        The URI, or an empty string if the file cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (8, 8)).save(Path(folder, "a.bmp"))
        ...     thumbnail(Path(folder, "a.bmp"))[:22], thumbnail(Path(folder, "b.bmp"))
        ('data:image/png;base64,', '')
    """
    try:
        image = images.read_image(path, warns=False)  # the run that made the page has warned
    except ValueError:
        return ""
    content = io.BytesIO()
    if image.width * image.height <= _LOSSLESS:
        image.save(content, "PNG")
        kind = "png"
    else:
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.BILINEAR)
        image.save(content, "JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"


def link(path: str | os.PathLike, folder: str | os.PathLike) -> str:
    """Return the relative address of a file for a link on a page.

    Args:
        path: The file.
        folder: The folder of the page.

    Returns:
        The address, percent-encoded. On Windows, the address of a file on another drive is absolute.

    Example:
        >>> link("digits/no. 7?.png", "out")
        '../digits/no.%207%3F.png'
    """
    try:
        relative = Path(os.path.relpath(path, folder or "."))
    except ValueError:
        return Path(path).absolute().as_uri()
    return quote(os.fsencode(relative.as_posix()))
