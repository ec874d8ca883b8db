"""Small data sets and networks for what `vis.influence` computes."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tumours():
    """Scikit-learn's breast cancer data, standardized: (x, y), 200 to train with, and 200 to validate."""
    from sklearn.datasets import load_breast_cancer

    x, y = load_breast_cancer(return_X_y=True)
    rows = np.random.default_rng(0).permutation(len(x))
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    return (x[rows[:200]], y[rows[:200]]), (x[rows[200:400]], y[rows[200:400]])


@pytest.fixture(scope="session")
def small_images():
    """Digits 0, 1 and 2 of scikit-learn, 8 by 8: (x, y)."""
    from sklearn.datasets import load_digits

    x, y = load_digits(n_class=3, return_X_y=True)
    return (x.reshape(-1, 8, 8, 1) / 16).astype(np.float32), y


@pytest.fixture(scope="session")
def images(small_images):
    """150 of them."""
    x, y = small_images
    return x[:150], y[:150]


@pytest.fixture(scope="session")
def run(images):
    """Three epochs of a network with dropout and batch normalization; the last batch of each is smaller."""
    from influence.networks import image_network, record

    return record(image_network(), *images, epochs=3, batch_size=32)


@pytest.fixture(scope="session")
def table(tumours):
    """Of the tumours 50 to train with, 60 to validate."""
    (x, y), validation = tumours
    return (x[:50], y[:50]), tuple(array[:60] for array in validation)


@pytest.fixture(scope="session")
def flipped():
    """Scikit-learn's digits, every tenth with a wrong label: x, y, the right labels, and which ones are wrong."""
    from sklearn.datasets import load_digits

    x, right = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    wrong = rng.permutation(len(x))[: len(x) // 10]
    y = right.copy()
    y[wrong] = (y[wrong] + rng.integers(1, 10, len(wrong))) % 10
    return (x / 16).astype("float32"), y, right, wrong
