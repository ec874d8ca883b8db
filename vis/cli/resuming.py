"""What the commands that train several times have in common: a journal, from which an interrupted run goes on."""

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
    """Keep the journal of a run: an interrupted run leaves it, a finished one does not.

    Args:
        path: The journal's file.
        output: The file that the run writes.
        files: The files that the results depend on, by the options that name them.
        settings: What else they depend on.
        resume: Whether to continue an earlier run.
        unit: What an entry is of, such as a trial.
        total: The number of entries of a finished run.
        still_there: Whether the result of an entry is still there.
    """
    from vis.files.journal import Journal, fingerprint

    if resume and not path.exists():
        typer.echo(f"There is no run of {output} to resume: starting with the first {unit}.")
    asked = {**{name: fingerprint(file) for name, file in files.items()}, **settings}
    with option("--resume" if resume else "--output"):
        journal = Journal(path, asked, resume=resume, still_there=still_there)
    with journal:
        try:
            yield journal
        except KeyboardInterrupt:
            if journal.done:
                typer.echo(f"Interrupted after {journal.done} of {total} {unit}s. Go on with --resume.", err=True)
            raise
        except OSError as error:
            advice = " Go on with --resume when there is room." if journal.done else ""
            raise UsageError(f"--output {output} cannot be written: {error.strerror or error}.{advice}") from error
        journal.clear()
