"""The plain model of the zoo, which the tests move inputs of."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def model(plain):
    return plain
