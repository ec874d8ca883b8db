"""CSV data sets, as Neural Network Console, spreadsheets and people write them."""

from __future__ import annotations

import csv
import threading

import numpy as np
import pytest
from PIL import Image

from vis import ArgumentError, datasets, images
from vis.files import tables
from vis.files.tables import Table


def write(folder, text, name="data.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def cells(table, **options):
    return [row for frame in table.rows(**options) for row in frame.to_numpy().tolist()]


@pytest.mark.parametrize(
    ("header", "variable", "positions"),
    [
        ("x,y", "x", [0]),
        ("x:image,y:label", "x", [0]),
        ("x:image,y:label", "y", [1]),
        ("x:image,y:label", "x:image", [0]),
        ("y'__0,y'__1,x:image", "y'", [0, 1]),
        ("x__0:age,y,x__1:income", "x", [0, 2]),
        ("x__2,x__10,x__0,x__1,x__3,x__4,x__5,x__6,x__7,x__8,x__9", "x", [2, 3, 0, 4, 5, 6, 7, 8, 9, 10, 1]),
        ('"x:the image, as a path",y', "x", [0]),
    ],
)
def test_columns_of_a_variable(tmp_path, header, variable, positions):
    assert Table(write(tmp_path, header + "\n")).positions(variable) == positions


@pytest.mark.parametrize(
    ("header", "variable", "message"),
    [
        ("x:image,y:label", "z", r"variable must be a column of .*, not 'z'\. It has x:image, y:label"),
        ("x:image,x:other", "x", "variable must be one column .* not 2 named 'x'"),
        ("x__0,x__2", "x", "has no x__1. Number its columns x__0 to x__1"),
    ],
)
def test_columns_that_are_not_there(tmp_path, header, variable, message):
    with pytest.raises(ValueError, match=message):
        Table(write(tmp_path, header + "\n")).positions(variable)


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
    with pytest.raises(ValueError, match=r"must be a CSV file, not .*cat\.png, which is no text"):
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


def test_reading_runs_ahead_in_threads_but_not_far(tmp_path):
    table = Table(write(tmp_path, "a\n" + "1\n" * 1000))
    threads, calls = set(), []

    def note(row):
        threads.add(threading.current_thread())
        calls.append(row)
        return row

    rows = datasets.read(table, note, 10)
    next(rows)
    assert len(calls) <= 40
    assert threading.current_thread() not in threads
    rows.close()


def test_one_bad_row_is_that_row_s_own(tmp_path):
    table = Table(write(tmp_path, "a\n1\ntwo\n3\n"))
    ((first, second, third),) = datasets.read(table, lambda row: datasets.label(row[0]), 5)
    assert (first.value, third.value) == (1, 3)
    assert (second.number, second.value, second.error) == (1, None, "the label 'two' is not a whole number")


@pytest.mark.parametrize("cell", ["3", "3.0", " 3 ", "3e0", "+3"])
def test_labels(cell):
    assert datasets.label(cell) == 3


@pytest.mark.parametrize("cell", ["", "  ", "3.5", "cat", "nan", "inf", "1e999", "0x3"])
def test_labels_that_are_none(cell):
    with pytest.raises(ValueError, match="the label"):
        datasets.label(cell)


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "dir").mkdir()
    Image.new("L", (4, 4), 255).save(tmp_path / "dir" / "a b.png")
    return tmp_path / "dir" / "a b.png"


@pytest.mark.parametrize("cell", ["dir/a b.png", "./dir/a b.png", "dir\\a b.png", ".\\dir\\a b.png", "{absolute}"])
def test_paths_of_images(tmp_path, picture, cell):
    assert datasets.image_path(tmp_path, cell.format(absolute=picture)).samefile(picture)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        *[(mode, "png") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
        *[(mode, "tif") for mode in ("1", "L", "RGB", "RGBA", "I;16")],
        ("I", "pgm"),
        *[(mode, "webp") for mode in ("RGB", "RGBA")],
        ("RGB", "bmp"),
        ("L", "jpg"),
    ],
)
def test_any_kind_of_image_is_what_the_model_takes(tmp_path, mode, suffix):
    high = {"1": 1, "L": 255, "LA": (255, 255), "P": 0, "RGB": (255,) * 3, "RGBA": (255,) * 4}.get(mode, 65535)
    image = Image.new(mode, (5, 4), high)
    if mode == "P":
        image.putpalette([255, 255, 255])
    image.save(tmp_path / f"a.{suffix}")
    path = write(tmp_path, f"x:image,y\na.{suffix},1\n")
    for channels in (1, 3):
        ((x, y),) = datasets.batches(path, images.InputLayout(6, 6, channels, -1))
        np.testing.assert_array_equal(x, np.ones((1, 6, 6, channels), np.float32))
        assert y.tolist() == [1]


def test_batches_of_numbers_and_one_hot_labels(tmp_path):
    path = write(tmp_path, "y__0,x__0:age,x__1:income,y__1\n" + "0,30,1000.5,1\n" * 3 + "1,40,-2,0\n")
    batches = list(datasets.batches(path, batch_size=3))
    assert [len(x) for x, _ in batches] == [3, 1]
    assert batches[0][0].tolist() == [[30, 1000.5]] * 3
    assert np.concatenate([y for _, y in batches]).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize("row", ["0,0", "1,1", "0.5,0.5"])
def test_a_one_hot_label_without_one_class(tmp_path, row):
    path = write(tmp_path, f"x,y__0,y__1\n1,0,1\n2,{row}\n")
    with pytest.raises(ValueError, match=r"row 1: no class has the largest of the label's numbers \("):
        list(datasets.batches(path))


def test_batches_of_no_rows(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, not 0"):
        list(datasets.batches(write(tmp_path, "x,y\n1,0\n"), batch_size=0))


def test_batches_without_labels(tmp_path):
    (x,) = datasets.batches(write(tmp_path, "x\n1\n2\n"), label_variable=None)
    assert x.tolist() == [[1], [2]]


def test_batches_name_a_bad_row(tmp_path):
    with pytest.raises(ValueError, match=r"data\.csv, row 1: 'many' is not a number"):
        list(datasets.batches(write(tmp_path, "x,y\n1,0\nmany,1\n")))


def test_errors_are_a_table_too(tmp_path):
    tables.write(tmp_path / "e.csv", ["row", "error"], [(1, 'no "a, b"')])
    assert cells(Table(tmp_path / "e.csv")) == [["1", 'no "a, b"']]


def test_a_missing_column_is_named_after_the_argument_of_batches(tmp_path):
    path = write(tmp_path, "x,y\n1,0\n")
    for argument in ("input_variable", "label_variable"):
        with pytest.raises(ArgumentError, match=rf"^{argument} must be a column of .*, not 'z'\. It has x, y\.$"):
            list(datasets.batches(path, **{argument: "z"}))


# What is usual


@pytest.fixture
def pictures(tmp_path):
    """A folder of five gray pictures, of 0 to 4 tenths, with a file beside them that is no picture; and their table."""
    for number in range(5):
        Image.new("L", (8, 6), round(25.5 * number)).save(tmp_path / f"{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "data.csv").write_text("\n".join(["x:image,y", *(f"{number}.png,0" for number in range(5)), ""]))
    return tmp_path


LAYOUT = images.InputLayout(3, 4, 1, -1)


@pytest.mark.parametrize("name", ["", "data.csv"])
def test_a_background_of_a_folder_or_a_table(pictures, name):
    found = datasets.background(pictures / name, LAYOUT)
    assert found.shape == (5, 3, 4, 1)
    np.testing.assert_allclose(found[:, 0, 0, 0], np.arange(5) / 10, atol=0.002)
    two = datasets.background(pictures / name, LAYOUT, "raw", 2)
    np.testing.assert_allclose(two[:, 0, 0, 0], [0, 51], atol=1)


def test_a_background_of_numbers(tmp_path):
    samples = np.arange(10).reshape(10, 1)
    np.save(tmp_path / "rows.npy", samples)
    np.testing.assert_array_equal(datasets.background(tmp_path / "rows.npy", LAYOUT, count=4)[:, 0], [0, 2, 5, 7])
    np.testing.assert_array_equal(datasets.background(tmp_path / "rows.npy", LAYOUT), samples)


def test_a_background_that_cannot_be_read(pictures, tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros(3))
    (tmp_path / "empty").mkdir()
    for path, layout, message in [
        (tmp_path / "flat.npy", LAYOUT, r"with an axis for the samples, not float64 of shape \(3,\)"),
        (tmp_path / "empty", LAYOUT, "must hold at least one sample"),
        (tmp_path / "nowhere", LAYOUT, "must be a folder of images, a CSV file or an .npy file"),
        (tmp_path / "notes.txt", LAYOUT, "must be a folder of images, a CSV file or an .npy file"),
        (pictures, LAYOUT._replace(height=None), "must be an .npy file for a model that takes images of any size"),
    ]:
        with pytest.raises(ValueError, match=f"background {message}|{message}"):
            datasets.background(path, layout)
