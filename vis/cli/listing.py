"""`vis methods`: what each method shows, costs and needs."""

from __future__ import annotations

import typer

from vis.cli.app import app
from vis.methods import FORWARD_PASSES, METHODS, Method


@app.command("methods", short_help="List what each method shows, costs and needs.")
def list_methods() -> None:
    """List the methods: what each one shows, how many passes through the model a map costs, and what it needs."""
    rows = [("METHOD", "SHOWS", "PASSES", "NEEDS")]
    rows += [(each.name, each.line, _passes(each), each.needs) for each in METHODS.values()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    typer.echo(
        f"\nA gradient costs about {FORWARD_PASSES['gradient']:g} forward passes. `vis NAME --help` has the options."
    )


def _passes(method: Method) -> str:
    """Return the cost of a map, with the default of the option that sets the number of passes."""
    if not isinstance(method.cost.times, str):
        return str(method.cost)
    (each,) = [option for option in method.options if option.name == method.cost.times]
    return f"{method.cost._replace(times=each.default)} ({each.flag})"
