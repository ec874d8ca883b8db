"""CSV data sets, as Neural Network Console, spreadsheets and people write them."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from PIL import Image
from table_files import write

from vis import ArgumentError, datasets, images
from vis.files.tables import Table


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
    with pytest.raises(ValueError, match=r"row 1: the label \(.*\) has no unique maximum"):
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
