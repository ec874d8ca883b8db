"""Results as lines of JSON, each with the commit and the versions that it was measured with; two files compared."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row

PACKAGES = ("tensorflow", "keras", "numpy")


def circumstances() -> dict:
    """Return what a measurement depends on beside the benchmark: commit, versions, machine."""
    return {
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
    }


def append(path: str | os.PathLike, name: str, row: Row, measured_with: dict) -> None:
    """Append a row to a file of results.

    Args:
        path: The file.
        name: The benchmark's name.
        row: What was measured.
        measured_with: What `circumstances` returned.
    """
    low, high = row.spread or (None, None)
    entry = {
        "benchmark": name,
        "case": row.case,
        "measured": float(row.measured),
        "unit": row.unit,
        "limit": float(row.limit),
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
        "ours": row.ours,
        "reference": row.reference,
        **measured_with,
    }
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def read(path: str | os.PathLike) -> dict[tuple[str, str], dict]:
    """Read a file of results.

    Args:
        path: The file.

    Returns:
        The entries by benchmark and case; of a row that was measured several times the last one.
    """
    with Path(path).open(encoding="utf-8") as file:
        entries = [json.loads(line) for line in file if line.strip()]
    return {(entry["benchmark"], entry["case"]): entry for entry in entries}


def comparison(before: dict, after: dict) -> Iterator[str]:
    """Yield the lines of a table of the rows that two files have in common, the largest increase first.

    Args:
        before: Entries from `read`.
        after: Entries from `read`.

    Yields:
        What was measured with what, the head, a line per row, and how many rows only one of them has.
    """
    for name, entries in (("before", before), ("after", after)):
        commits = sorted({f"{entry['commit']} (TensorFlow {entry['tensorflow']})" for entry in entries.values()})
        yield f"{name}: {', '.join(commits) or 'nothing'}"
    yield _line("benchmark", "case", "before", "after", "ratio", "")
    common = [(before[key], after[key]) for key in before if key in after]
    for old, new in sorted(common, key=lambda pair: -_ratio(*pair)):
        # Beyond the quartiles of both, a difference is more than the scatter of single pairs.
        beyond = None not in (old["high"], new["low"]) and (new["low"] > old["high"] or new["high"] < old["low"])
        values = [f"{entry['measured']:.2f} {entry['unit']}" for entry in (old, new)]
        yield _line(old["benchmark"], old["case"], *values, f"{_ratio(old, new):.2f}", "*" * beyond)
    alone = len(before.keys() ^ after.keys())
    if alone:
        yield f"{alone} rows are in one of the files only."


def _ratio(old: dict, new: dict) -> float:
    return new["measured"] / old["measured"] if old["measured"] else float("nan")


def _commit() -> str:
    """Return the commit that is checked out, with a plus sign if files differ from it."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short", "HEAD")
        return commit + "+" * bool(_git(folder, "status", "--porcelain"))
    except (OSError, subprocess.CalledProcessError):  # an archive without git
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _line(*cells: str) -> str:
    return "{:<20} {:<40} {:>12} {:>12} {:>7} {}".format(*cells).rstrip()
