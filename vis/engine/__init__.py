"""Runs a model once; reads, changes and differentiates any tensor of it."""

from __future__ import annotations

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"vis needs Keras on TensorFlow, but Keras runs on {keras.backend.backend()!r}. "
        "Set KERAS_BACKEND=tensorflow before Keras is imported."
    )
