"""Benchmark results in files, and two of them compared."""

import json

import tensorflow as tf

from benchmarks import __main__, harness, results
from benchmarks.harness import Row


def test_rows_are_kept_with_what_they_were_measured_with_and_compared(tmp_path, monkeypatch, capsys):
    files = [str(tmp_path / name) for name in ("old.jsonl", "new.jsonl")]
    for file, ratio in zip(files, (1.0, 1.5), strict=True):

        def rows(quick, ratio=ratio):
            """Two rows."""
            yield Row("saliency", "10 ms", "9 ms", ratio, 1.1, spread=(ratio - 0.1, ratio + 0.1))
            yield Row("memory", "40 MB", "", 40, 50, "MB")

        monkeypatch.setitem(harness.BENCHMARKS, "stub", rows)
        assert __main__.main(["stub", "--json", file]) == (ratio > 1.1)
    entries = [json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()]
    assert [(entry["case"], entry["measured"], entry["unit"]) for entry in entries] == [
        ("saliency", 1.0, "x"),
        ("memory", 40.0, "MB"),
    ]
    assert {"commit", "date", "python", "keras", "cpus"} <= entries[0].keys()
    assert entries[0]["tensorflow"] == tf.__version__
    capsys.readouterr()

    assert __main__.main(["--compare", *files]) == 0
    before, after, _, *lines = capsys.readouterr().out.splitlines()
    assert before.startswith(f"before: {entries[0]['commit']} (TensorFlow ")
    assert after.startswith("after: ")
    assert [line.split()[:2] for line in lines] == [["stub", "saliency"], ["stub", "memory"]], "the worst first"
    assert lines[0].split()[2:] == ["1.00", "x", "1.50", "x", "1.50", "*"]
    assert lines[1].split()[2:] == ["40.00", "MB", "40.00", "MB", "1.00"]


def test_rows_of_one_file_only_are_counted(tmp_path):
    row = Row("saliency", "", "", 1.0, 1.1)
    results.append(tmp_path / "a", "one", row, {"commit": "x", "tensorflow": "2"})
    results.append(tmp_path / "b", "two", row, {"commit": "y", "tensorflow": "2"})
    *_, last = results.comparison(results.read(tmp_path / "a"), results.read(tmp_path / "b"))
    assert last == "2 rows are in one of the files only."
