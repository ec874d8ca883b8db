"""CSV files, as Neural Network Console, spreadsheets and people write them."""

from __future__ import annotations

import csv

import pytest
from PIL import Image
from table_files import cells, write

from vis.files import tables
from vis.files.tables import Table


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "must be an existing CSV file"),
        ("empty.csv", b"", "must be a CSV file with a header"),
        ("latin.csv", "x,y\né,1\n".encode("latin-1"), "must be UTF-8 text"),
        ("ragged.csv", b"x,y\n1,2,3\n", "must have 2 cells in each row, .* not 3 as in row 0 .*quotes"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        Table(tmp_path / name).count()
    assert name in caught.value.problem
    assert caught.value.argument == "path"


def test_a_row_with_too_many_cells_is_told_by_its_number(tmp_path):
    table = Table(write(tmp_path, 'x,y\n"a\nb",1\n\nc,1\nd,e,2\n'))
    with pytest.raises(ValueError, match=r"2 cells in each row, .* not 3 as in row 2 \(from 0, below the header\)\."):
        table.count()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators_are_told(tmp_path, separator):
    with pytest.raises(ValueError, match=r"It has one column, 'x.+y'; save it with commas"):
        Table(write(tmp_path, f"x{separator}y\na{separator}1\n")).positions("x")


def test_a_binary_file_is_not_told_to_be_saved_as_text(tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "cat.png")
    with pytest.raises(ValueError, match=r"must be a CSV file, not .*cat\.png, which is not text"):
        Table(tmp_path / "cat.png")


def test_cells_stay_as_they_are(tmp_path):
    text = 'a,b\n1.0,NA\n007,null\n" x ",2020-01-01\n"a ""b"", c",""\n'
    table = Table(write(tmp_path, text))
    assert cells(table) == [["1.0", "NA"], ["007", "null"], [" x ", "2020-01-01"], ['a "b", c', ""]]


@pytest.mark.parametrize("start", [0, 2, 3, 6, 7])
def test_rows_come_in_pieces_and_keep_their_numbers(tmp_path, start):
    table = Table(write(tmp_path, "a\n" + "".join(f"{i}\n" for i in range(7))))
    frames = list(table.rows(size=3, start=start))
    assert all(len(frame) <= 3 for frame in frames)
    numbers = [number for frame in frames for number in frame.index]
    assert numbers == [int(cell) for frame in frames for cell in frame[0]] == list(range(start, 7))
    assert table.count() == 7


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_writing_adds_a_column_and_changes_nothing_else(tmp_path, mark, line_end):
    lines = ["x:image,y:label,x:image", '"a, b.png",3.0,NA', "dir\\c.png,,00"]
    table = Table(write(tmp_path, mark + line_end.join(lines) + line_end))
    table.write(tmp_path / "out.csv", {"map": ["m/0.png", ""]})
    expected = mark + line_end.join(line + cell for line, cell in zip(lines, [",map", ",m/0.png", ","], strict=True))
    assert (tmp_path / "out.csv").read_bytes().decode() == expected + line_end


def test_paths_of_images_start_from_the_new_table_s_folder(tmp_path):
    table = Table(write(tmp_path, 'x:image,y:label,note\n"dir/a, b.png",dir/c.png,dir/d.png\n,1,2\n'))
    (tmp_path / "out").mkdir()
    for folder, cell in (("out", "../dir/a, b.png"), (".", "dir/a, b.png")):
        table.write(tmp_path / folder / "out.csv", {"map": ["m/0.png", ""]}, images=[0])
        ((first, second),) = (frame.to_numpy().tolist() for frame in Table(tmp_path / folder / "out.csv").rows())
        assert first == [cell, "dir/c.png", "dir/d.png", "m/0.png"]
        assert second == ["", "1", "2", ""]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_line_breaks_in_cells_stay_in_them(tmp_path, line_end):
    rows = [["a\rb", "1"], ["c\nd", "2"], ["e\r\nf", "3"]]
    text = line_end.join(["x,y", *(f'"{x}",{y}' for x, y in rows)]) + line_end
    table = Table(write(tmp_path, text))
    table.write(tmp_path / "out.csv", {"map": "mno"})
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file))[1:] == [[*row, cell] for row, cell in zip(rows, "mno", strict=True)]
    assert cells(Table(tmp_path / "out.csv")) == [[*row, cell] for row, cell in zip(rows, "mno", strict=True)]


@pytest.mark.parametrize(("cells", "message"), [("m", "more rows"), ("mno", "fewer rows")])
def test_a_table_that_changes_meanwhile_is_not_written(tmp_path, cells, message):
    with pytest.raises(ValueError, match=message):
        Table(write(tmp_path, "a\n1\n2\n")).write(tmp_path / "out.csv", {"map": cells})
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


@pytest.mark.parametrize("name", ["data.zip", "data.csv.gz"])
def test_a_table_s_name_says_nothing_of_its_contents(tmp_path, name):
    assert Table(write(tmp_path, "a\n1\n", name)).count() == 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    table = Table(write(tmp_path, "a\n1\n2\n"))
    (tmp_path / "out.csv").write_text("before")

    def cells_until_the_disk_is_full():
        yield "m"
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        table.write(tmp_path / "out.csv", {"map": cells_until_the_disk_is_full()})
    assert (tmp_path / "out.csv").read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.csv", "out.csv"]


def test_a_table_may_replace_itself(tmp_path):
    table = Table(write(tmp_path, "a\n1\n"))
    table.write(table.path, {"b": ["2"]})
    assert table.path.read_text() == "a,b\n1,2\n"


def test_errors_are_a_table_too(tmp_path):
    tables.write(tmp_path / "e.csv", ["row", "error"], [(1, 'no "a, b"')])
    assert cells(Table(tmp_path / "e.csv")) == [["1", 'no "a, b"']]
