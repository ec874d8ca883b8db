"""Real data and a really trained model, made once a session."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def digits():
    """5,000 handwritten digits: (x_train, y_train, x_test, y_test)."""
    from vis.demo import load_digits

    return load_digits()


@pytest.fixture(scope="session")
def digit_model(digits):
    """The demo's CNN, trained as the demo trains it. Shared: tests must leave it as it is."""
    from vis.demo import build_model, train

    return train(build_model(), digits.x_train, digits.y_train)


@pytest.fixture(scope="session")
def model_path(digit_model, tmp_path_factory):
    """The demo's CNN as a file."""
    path = tmp_path_factory.mktemp("model") / "digits.keras"
    digit_model.save(path)
    return path


@pytest.fixture
def digit(digits, tmp_path):
    """A seven that no network here was trained with: its file, and its pixels from 0 to 1."""
    import numpy as np
    from PIL import Image

    pixels = np.round(digits.x_test[digits.y_test == 7][0] * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "seven.png")
    return tmp_path / "seven.png", pixels / np.float32(255)


@pytest.fixture(autouse=True)
def _the_same_random_weights_whatever_ran_before():
    import keras

    keras.utils.set_random_seed(0)
