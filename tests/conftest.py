"""Real data and a really trained model, made once a session."""

from __future__ import annotations

import fcntl
import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# They need torch and tf-keras-vis, which the tests do not: scripts, run by hand.
collect_ignore = ["visualization/references/make.py", "migrating/make.py"]


@pytest.fixture(scope="session")
def digits():
    """5,000 handwritten digits: (x_train, y_train, x_test, y_test)."""
    from vis.demo import load_digits

    return load_digits()


@pytest.fixture(scope="session")
def model_path(digits, tmp_path_factory, worker_id):
    """The demo's CNN as a file, trained as the demo trains it by the first process that asks for it."""
    from vis.demo import build_model, train

    base = tmp_path_factory.getbasetemp()
    folder = base if worker_id == "master" else base.parent  # the processes of one session share the parent
    path = folder / "digits.keras"
    with (folder / "digits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            train(build_model(), digits.x_train, digits.y_train).save(path)
    return path


@pytest.fixture(scope="session")
def digit_model(model_path):
    """The demo's trained CNN. Shared: tests must leave it as it is."""
    import keras

    return keras.saving.load_model(model_path)


@pytest.fixture
def digit(digits, tmp_path):
    """A seven that no network here was trained with: its file, and its pixels from 0 to 1."""
    import numpy as np
    from PIL import Image

    pixels = np.round(digits.x_test[digits.y_test == 7][0] * 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "seven.png")
    return tmp_path / "seven.png", pixels / np.float32(255)


@pytest.fixture(scope="module")
def plain():
    """The plain model of the zoo. Shared by the tests of a file, which must leave it as it is."""
    import zoo

    return zoo.functional()


@pytest.fixture(scope="module")
def reference(plain):
    """The plain model's mathematics by hand."""
    import zoo

    return zoo.Reference(plain)


@pytest.fixture(autouse=True)
def _the_same_random_weights_whatever_ran_before():
    import keras

    keras.utils.set_random_seed(0)
