"""The plain model of the zoo, and its mathematics by hand."""

from __future__ import annotations

import pytest
import zoo


@pytest.fixture(scope="module")
def plain():
    return zoo.functional()


@pytest.fixture(scope="module")
def reference(plain):
    return zoo.Reference(plain)
