"""The `vis` command itself; its subcommands are in the modules beside this one."""

from __future__ import annotations

from typing import Annotated

import typer

import vis
from vis.cli.messages import OneLineErrors
from vis.methods import METHODS


class _Commands(OneLineErrors):
    """Lists the commands in the order in which people need them."""

    def list_commands(self, ctx):
        names = super().list_commands(ctx)
        first = ["demo", "methods", *METHODS, "activation", *(f"{name}-batch" for name in METHODS)]
        return sorted(names, key=lambda name: first.index(name) if name in first else len(first))


app = typer.Typer(
    name="vis",
    cls=_Commands,
    add_completion=False,
    # Boxes cut long option names short in a narrow terminal, and cannot be searched.
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    # --class_index is --class-index.
    context_settings={"token_normalize_func": lambda token: token.replace("_", "-")},
)


@app.callback(invoke_without_command=True)
def _vis(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """See where a Keras model looks, and which training examples shaped it.

    Every option also accepts underscores in place of hyphens.
    """
    if version:
        typer.echo(f"vis {vis.__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
