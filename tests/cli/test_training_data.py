"""What the commands that train a model on a table have in common."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from vis.cli import training_data
from vis.cli.messages import UsageError
from vis.files.tables import Table
from vis.images import InputLayout

LABELS = {"input_variable": "x", "label_variable": "y"}


@pytest.fixture
def table(tmp_path):
    """Four rows: a white image, a black one, one that is missing, and one without a label."""
    for name, level in (("white", 255), ("black", 0)):
        Image.new("L", (6, 4), level).save(tmp_path / f"{name}.png")
    (tmp_path / "train.csv").write_text("x:image,y:label\nwhite.png,1\nblack.png,0\ngone.png,1\nblack.png,\n")
    return Table(tmp_path / "train.csv")


def refused(function, *arguments) -> str:
    with pytest.raises(UsageError) as raised:
        function(*arguments)
    return str(raised.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(("nothing.csv", "x", "y"), "--input-val"), (("train.csv", "z", "y"), "--input-variable"),
     (("train.csv", "x", "z"), "--label-variable")],
)  # fmt: skip
def test_a_table_is_opened_only_with_its_columns(table, arguments, words):
    name, *columns = arguments
    assert training_data.open_table("--input-val", table.path, "x", "y").count() == 4
    assert words in refused(training_data.open_table, "--input-val", table.folder / name, *columns)


def test_an_output_must_not_be_an_input(table):
    training_data.check_output(table.folder / "out.csv", [table.path])
    assert "is an input itself" in refused(
        training_data.check_output, table.path, [table.folder / "white.png", table.path]
    )


def test_a_vector_of_columns_is_no_image(table):
    training_data.check_one_column("--input-train", table, "x", "Use another command")
    (table.folder / "two.csv").write_text("x__0:a,x__1:b,y:label\n1,2,0\n")
    message = refused(
        training_data.check_one_column, "--input-train", Table(table.folder / "two.csv"), "x", "Use another command"
    )
    assert "--input-train" in message
    assert "vector of 2" in message
    assert "Use another command" in message


def test_images_are_read_as_the_model_takes_them(table):
    read = training_data.image_reader(table, InputLayout(2, 3, 1, -1), "raw")
    np.testing.assert_array_equal(read(["white.png"]), np.full((2, 3, 1), 255, np.float32))
    with pytest.raises(ValueError, match=r"gone\.png does not exist"):
        read(["gone.png"])


@pytest.mark.parametrize(
    ("first", "scale"), [(layers.Rescaling(1 / 255), "raw"), (layers.Activation("linear"), "unit")]
)
def test_the_scale_is_that_of_the_model_unless_it_is_typed(first, scale, tmp_path):
    model = keras.Sequential([keras.Input((4, 6, 3)), first, layers.Flatten(), layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    layout, found = training_data.image_inputs(model, tmp_path / "model.keras", "auto")
    assert (layout, found.name) == (InputLayout(4, 6, 3, -1), scale)
    assert training_data.image_inputs(model, tmp_path / "model.keras", "tf")[1].name == "tf"
    assert "--preprocess" in refused(training_data.image_inputs, model, tmp_path / "model.keras", "unit:0,0:1,1")


def test_images_of_any_size_cannot_be_trained_on(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D(), layers.Dense(2)])
    assert "of one size" in refused(training_data.image_inputs, model, tmp_path / "model.keras", "auto")


def test_rows_that_cannot_be_read_are_left_out_and_named(table, capsys):
    read = training_data.image_reader(table, InputLayout(4, 6, 1, -1), "unit")
    rows = training_data.read_rows("--input-train", table, read, lambda label: None, **LABELS)
    assert list(rows.rows) == [0, 1]
    np.testing.assert_array_equal(rows.x.mean(axis=(1, 2, 3)), [1, 0])
    assert list(np.ravel(rows.y)) == [1, 0]
    told = capsys.readouterr().err
    assert "row 2" in told
    assert "row 3" in told
    assert "Rows are counted from 0" in told


def test_only_the_first_errors_are_listed(table, capsys):
    rows = "".join(f"gone{number}.png,1\n" for number in range(30))
    table.path.write_text(f"x:image,y:label\nwhite.png,1\nblack.png,0\n{rows}")
    table = Table(table.path)
    read = training_data.image_reader(table, InputLayout(4, 6, 1, -1), "unit")
    training_data.read_rows("--input-train", table, read, lambda label: None, **LABELS)
    told = capsys.readouterr().err
    assert "gone19.png" in told
    assert "gone20.png" not in told
    assert "and 10 more rows" in told


def test_a_table_without_a_row_to_train_on_is_refused_with_the_first_reason(table):
    table.path.write_text("x:image,y:label\ngone.png,1\n")
    table = Table(table.path)
    read = training_data.image_reader(table, InputLayout(4, 6, 1, -1), "unit")
    with pytest.raises(UsageError, match=r"--input-train .*Row 0: .*gone\.png"):
        training_data.read_rows("--input-train", table, read, lambda label: None, **LABELS)


def test_the_executor_is_this_process_unless_ray_is_asked_for():
    assert not training_data.executor_of(None).is_remote
