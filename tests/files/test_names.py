"""Names of classes."""

from __future__ import annotations

import pytest

from vis.files.names import named


@pytest.mark.parametrize(("index", "text"), [(0, "0 cat"), (1, "1 dog"), (2, "2"), (-1, "-1")])
def test_classes_have_their_number_and_their_name(index, text):
    assert named(index, ("cat", "dog")) == text
    assert named(index) == str(index)
