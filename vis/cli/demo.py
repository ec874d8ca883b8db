"""`vis demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vis.cli.app import app
from vis.cli.messages import UsageError, import_tensorflow


@app.command(short_help="Try it on handwritten digits.")
def demo(
    output: Annotated[Path, typer.Option(help="The folder to write to; it is created if necessary.")] = Path(
        "vis-demo"
    ),
) -> None:
    """Train a small CNN on handwritten digits and write a page that shows where it looks."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be created: {error.strerror}. Give another folder.") from error
    import_tensorflow()
    from vis import demo as library_demo

    try:
        result = library_demo.run(output)
    except ModuleNotFoundError as error:
        # The message names the missing extra; any other missing module is a broken installation and shown as it is.
        if error.name != "mlxtend":
            raise
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written to: {error.strerror}. Give another folder.") from error
    typer.echo(
        f"The network classifies {100 * result.accuracy:.1f} % of the held-out digits correctly. Open {result.page}"
    )
