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
