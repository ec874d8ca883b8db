"""The `vis` command: model files, images and tables in; pictures, pages and tables out.

Arguments only; the mathematics is in the rest of `vis`. TensorFlow is imported inside the commands, after the checks
that need no model, so that `vis --help` and a mistyped path answer at once.
"""

from vis.cli import (  # noqa: F401 - each adds its commands
    activation,
    batch,
    convert,
    demo,
    influence,
    label_errors,
    listing,
    single,
)
from vis.cli.app import app


def main() -> None:
    """Run the `vis` command, as the console script does.

    Example:
        >>> # Not run: it reads the command line, and ends the process.
        >>> main()  # doctest: +SKIP
    """
    app(prog_name="vis")
