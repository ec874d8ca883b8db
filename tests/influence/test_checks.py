"""Models and runs that the functions of `vis.influence` refuse."""

from __future__ import annotations

import keras
import pytest
from influence.networks import dense_network, record
from keras import layers

from vis.influence import (
    counterfactual_influence,
    influence_functions,
    sgd_influence,
    tracin,
)
from vis.influence.checks import check_model


@pytest.mark.parametrize("method", [sgd_influence, tracin, counterfactual_influence])
def test_what_is_no_run_is_refused(method, tumours):
    _, validation = tumours
    words = (
        r"^run must be a recorded training run, not Sequential\. Record one with record_training\(model, x, y\), or "
        r"use influence_functions\(model, x, y, x_val, y_val\), which takes a model\.$"
    )
    with pytest.raises(TypeError, match=words):
        method(dense_network(), *validation)
    with pytest.raises(
        TypeError, match=r"^run must be .* not str\. .* or read one with load_training\(directory, x, y\)\.$"
    ):
        method("run", *validation)


def test_float16_is_refused_and_the_layer_named():
    network = dense_network([4])
    check_model(network)
    half = keras.Sequential([keras.Input((5,)), layers.Dense(3, dtype="mixed_float16", name="half")])
    words = (
        r"^model must compute in float32, not in float16 as its layer 'half' with the dtype policy "
        r"'mixed_float16' does\. "
        r"Build it again after keras\.config"
    )
    with pytest.raises(ValueError, match=words):
        check_model(half)


def test_a_stateful_layer_is_refused_by_name():
    memory = layers.LSTM(2, stateful=True, name="memory")
    model = keras.Sequential([keras.Input(batch_shape=(8, 6, 3)), memory, layers.Dense(3)])
    with pytest.raises(ValueError, match="model must not keep states from batch to batch, as its layer 'memory' does"):
        check_model(model)


def test_what_is_no_model_is_refused(images, run):
    with pytest.raises(
        TypeError, match=r"^model must be a Keras model, not str\. Give one, such as keras\.saving\.load_mo"
    ):
        record("model.keras", *images)
    with pytest.raises(
        TypeError, match=r"^model must be a Keras model, not TrainingRun\. Give run\.model\(\), its train"
    ):
        record(run, *images)
    with pytest.raises(TypeError, match=r"^model must be a Keras model, not TrainingRun\. Give run\.model\(\)"):
        influence_functions(run, *images, *images, progress=False)
