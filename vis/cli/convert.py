"""`vis convert`: convert a Neural Network Console model to Keras."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from vis.cli import methods
from vis.cli.app import app
from vis.cli.messages import UsageError, option
from vis.cli.options import OutputVariableOption
from vis.utils.errors import ArgumentError


@app.command(short_help="Convert a Neural Network Console model to Keras.")
def convert(
    model: Annotated[Path, typer.Argument(help="The .nnp file.", show_default=False)],
    output: Annotated[Path, typer.Argument(help="The .keras file to write.", show_default=False)],
    output_variable: OutputVariableOption = None,
) -> None:
    """Write a model of Neural Network Console as a Keras model, in channels-last order and with the trained weights."""
    from vis import images, models
    from vis.files import outputs

    with option("MODEL"):
        models.check_file(model)
        if not models.is_project(model):
            raise ArgumentError("path", f"must be an .nnp file, not {model}", "Other models can be used as they are")
    with option("OUTPUT"):
        outputs.check_output(output, (".keras",))
    network = methods.load(model, [], False, output_variable=output_variable)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".vis-") as folder:
            network.save(Path(folder, "model.keras"))
            os.replace(Path(folder, "model.keras"), output)
    except OSError as error:
        raise UsageError(f"OUTPUT {output} cannot be written: {error.strerror or error}.") from error
    typer.echo(f"{output}: {len(network.layers)} layers, {network.count_params():,} parameters")
    scale = models.scale_of(model, network)
    if scale.name != images.scale_of(network).name:
        # The Keras model does not store the scale.
        typer.echo(f"Use it with --preprocess {scale.name}, because {scale.reason}.")
