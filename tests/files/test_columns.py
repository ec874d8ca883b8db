"""Which columns of a table a variable has."""

from __future__ import annotations

import pytest
from table_files import write

from vis.files.tables import Table


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
