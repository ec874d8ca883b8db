"""Rows of a table in shards, and the files that come of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vis import images
from vis.batch.plan import Outcome, Survey
from vis.batch.rows import Explained
from vis.batch.shards import Cells, Shard, _write, explain_rows, numbers_of
from vis.files.tables import Table
from vis.methods import METHODS


def test_a_shard_gives_its_rows_as_the_table_does():
    shard = Shard(64, [[f"{row}.png", "1"] for row in range(64, 101)])
    assert shard.name == "rows 64 to 100"
    frames = list(shard.rows(16, 80))
    assert [number for frame in frames for number in frame.index] == list(range(80, 101))
    assert frames[0].to_numpy().tolist()[0] == ["80.png", "1"]


def test_a_picture_that_is_written_over_has_its_own_length(tmp_path):
    for content in (b"long before", b"short", b"longer again"):
        _write(tmp_path / "0000" / "1.png", content)
        assert (tmp_path / "0000" / "1.png").read_bytes() == content


@pytest.fixture
def survey(tmp_path):
    """A survey of 25 rows of three columns, of which the first and the last are read."""
    lines = ["x,more,y", *(f"{row}.png,?,{row % 3}" for row in range(25)), ""]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    method = METHODS["saliency"]
    options = {each.name: each.default for each in method.options}
    table = Table(tmp_path / "in.csv")
    return Survey(table, tmp_path / "out.csv", "saliency", "x", "y", "unit", method, options, True, {}, save_maps=True)


def test_a_table_is_cut_into_shards_of_the_cells_that_are_read(survey):
    shards = list(Cells(survey).shards(10, start=10))
    assert [(shard.start, len(shard.cells)) for shard in shards] == [(10, 10), (20, 5)]
    assert [shard.name for shard in shards] == ["rows 10 to 19", "rows 20 to 24"]
    assert [cells for shard in shards for cells in shard.cells] == [
        [f"{row}.png", str(row % 3)] for row in range(10, 25)
    ]


def test_rows_are_explained_in_order_and_their_files_written(survey, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (25, 4, 4), np.uint8)
    for row in range(24):  # there is no 24.png
        Image.fromarray(pixels[row]).save(tmp_path / f"{row}.png")

    def ask(rows):
        found = [row for row in rows if row.error is None]
        failed = [Outcome(row.number, error=row.error) for row in rows if row.error]
        return [
            Explained(Outcome(row.number), row.value, row.value.x[..., 0], None, row.value.x) for row in found
        ], failed

    layout = images.InputLayout(4, 4, 1, -1)
    batches = list(explain_rows(survey, ask, layout, 4, Cells(survey), start=4))
    assert [[outcome.row for outcome in batch] for batch in batches] == [
        list(range(first, min(first + 4, 25))) for first in range(4, 25, 4)
    ]
    outcomes = [outcome for batch in batches for outcome in batch]
    assert outcomes[0].picture == "out/0000/4.png"
    assert outcomes[-1].picture is None
    assert "24.png does not exist" in outcomes[-1].error
    for row in (4, 23):
        numbers = np.load(tmp_path / numbers_of(f"out/0000/{row}.png"))
        np.testing.assert_allclose(numbers[..., 0], pixels[row] / 255, rtol=1e-6)
        assert (tmp_path / f"out/0000/{row}.png").exists()
