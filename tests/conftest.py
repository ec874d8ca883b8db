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


@pytest.fixture(autouse=True)
def _the_same_random_weights_whatever_ran_before():
    import keras

    keras.utils.set_random_seed(0)
