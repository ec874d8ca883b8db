"""Writes CSV files, and reads the cells of tables of any kind."""

from __future__ import annotations


def write(folder, text, name="data.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def cells(table, **options):
    return [row for frame in table.rows(**options) for row in frame.to_numpy().tolist()]
