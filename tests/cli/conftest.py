"""The demo's model and a digit as files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def model_path(digit_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "digits.keras"
    digit_model.save(path)
    return path


@pytest.fixture
def digit(digits, tmp_path):
    """A seven that no network here was trained with: its file, and its pixels from 0 to 1."""
    pixels = np.round(digits.x_test[digits.y_test == 7][0] * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "seven.png")
    return tmp_path / "seven.png", pixels / np.float32(255)
