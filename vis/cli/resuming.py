"""Keep the journal of commands that train several times, so that an interrupted run can be resumed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vis.cli.messages import UsageError, option

if TYPE_CHECKING:
    from vis.files.journal import Journal


@contextlib.contextmanager
def journal_of(
    path: Path,
    output: Path,
    files: Mapping[str, Path],
    settings: Mapping[str, Any],
    *,
    resume: bool,
    unit: str,
    total: int,
    still_there: Callable[[Any], bool] = lambda entry: True,
) -> Iterator[Journal]:
    """Keep the journal of a run: an interrupted run leaves it, a finished run removes it.

    Args:
        path: The journal's file.
        output: The file that the run writes.
        files: The files that the results depend on, by the options that name them.
        settings: The other settings that they depend on.
        resume: Whether to continue an earlier run.
        unit: The name of a piece of work, such as "trial".
        total: The number of entries of a finished run.
        still_there: A function of an entry that returns whether its result still exists.
    """
    from vis.files.journal import Journal, fingerprint

    if resume and not path.exists():
        typer.echo(f"There is no run of {output} to resume: starting with the first {unit}.")
    requested = {**{name: fingerprint(file) for name, file in files.items()}, **settings}
    with option("--resume" if resume else "--output"):
        journal = Journal(path, requested, resume=resume, still_there=still_there)
    with journal:
        try:
            yield journal
        except KeyboardInterrupt:
            if journal.done:
                typer.echo(f"Interrupted after {journal.done} of {total} {unit}s. Continue with --resume.", err=True)
            raise
        except OSError as error:
            advice = " Continue with --resume once there is space." if journal.done else ""
            raise UsageError(f"--output {output} cannot be written: {error.strerror or error}.{advice}") from error
        journal.clear()
