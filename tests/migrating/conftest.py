"""The models that `docs/migrating.md` speaks of, with the weights that tf-keras-vis was given."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from migrating_cases import FILE, definitions, models

from vis import backprop_modifiers, callbacks, input_modifiers, losses, regularizers, visualization
from vis.utils import utils
from vis.visualization import cam


@pytest.fixture(scope="session")
def stored() -> dict[str, np.ndarray]:
    """The weights, the images, and what tf-keras-vis gave, by the code of the left columns."""
    return dict(np.load(FILE))


@pytest.fixture
def names(stored) -> dict:
    """What the code of the right columns speaks of; fresh models for each test."""
    weights = [stored[f"weights/{i}"] for i in range(sum(name.startswith("weights/") for name in stored))]
    found = {"keras": keras, "utils": utils, "backprop_modifiers": backprop_modifiers, "ScoreCAM": cam.ScoreCAM}
    for module in (losses, regularizers, input_modifiers, callbacks, visualization):
        found |= {name: value for name, value in vars(module).items() if callable(value)}
    return found | definitions() | models(weights) | {"images": stored["images"], "classes": stored["classes"]}


@pytest.fixture
def model(names) -> keras.Model:
    return names["model"]


@pytest.fixture
def images(names) -> np.ndarray:
    return names["images"]
