"""The ground truth itself, and how near to it the scores come."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, image_network
from scipy.stats import kendalltau

from benchmarks.influence import NETWORKS
from vis.influence import counterfactual_influence, record_training, sgd_influence
from vis.influence.counterfactual import unheard
from vis.influence.validation import ValidationLoss


def record(model, training, **options):
    return record_training(model, *training, **{"optimizer": keras.optimizers.SGD(0.1), "progress": False, **options})


@pytest.fixture(scope="module")
def images(small_images):
    x, y = small_images
    return (x[:24], y[:24]), (x[100:140], y[100:140])


@pytest.mark.parametrize(
    "network", [lambda: dense_network([8, 8]), lambda: dense_network([4], dropout=0.5)], ids=["dense", "dropout"]
)
def test_runs_at_once_are_those_that_retrain_makes(network, tumours):
    training, validation = tumours
    run = record(network(), training, optimizer=keras.optimizers.Adam(0.01), batch_size=32, epochs=2)
    changes = counterfactual_influence(run, *validation, [5, 180, 33, 9], progress=False)
    loss = ValidationLoss.of_run(run, *validation)
    expected = [loss(run.retrain(without=[i]).state(2)) - loss(run.state(2)) for i in (5, 180, 33, 9)]
    np.testing.assert_allclose(changes, expected, rtol=1e-3, atol=3e-7)


def test_validation_labels_may_have_another_form_than_the_training_labels(tumours):
    training, (x, y) = tumours
    run = record(dense_network(), (training[0][:40], training[1][:40]))
    expected = counterfactual_influence(run, x, y, range(5), progress=False)
    changes = counterfactual_influence(run, x, y[:, None], range(5), progress=False)
    np.testing.assert_allclose(changes, expected, atol=1e-7)


def test_networks_that_cannot_be_batched_run_in_turn(images):
    training, validation = images
    run = record(image_network(), training, batch_size=8, epochs=2)
    changes = counterfactual_influence(run, *validation, [23, 2, 7, 11], progress=False)
    loss = ValidationLoss.of_run(run, *validation)
    expected = [loss(run.retrain(without=[i]).state(2)) - loss(run.state(2)) for i in (23, 2, 7, 11)]
    np.testing.assert_allclose(changes, expected, atol=1e-7)
    assert (np.abs(changes) > 1e-5).all()


def test_a_network_that_cannot_be_batched_is_no_cause_for_a_word(caplog, capfd):
    layers = [keras.layers.Embedding(20, 4, mask_zero=True), keras.layers.LSTM(4), keras.layers.Dense(2, "softmax")]
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 20, (24, 7)), rng.integers(0, 2, 24)
    run = record(keras.Sequential([keras.Input((7,), dtype="int32"), *layers]), (x[:16], y[:16]), batch_size=8)
    logger = tf.get_logger()
    propagate, filters = logger.propagate, list(logger.filters)
    logger.propagate = True  # to where caplog listens
    try:
        counterfactual_influence(run, x[16:], y[16:], [1, 2, 3], progress=False)
        assert logger.filters == filters
        assert caplog.text == ""
        logger.error("heard again")
        assert "heard again" in caplog.text
    finally:
        logger.propagate = propagate
    assert "pfor" not in capfd.readouterr().err


def test_only_the_one_who_asked_for_silence_is_not_heard(caplog):
    logger = tf.get_logger()
    propagate = logger.propagate
    logger.propagate = True
    try:
        with unheard(logger), ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(logger.error, "from another thread").result()
            logger.error("from this one")
    finally:
        logger.propagate = propagate
    assert "from another thread" in caplog.text
    assert "from this one" not in caplog.text


def test_all_of_them_is_the_default(tumours):
    training, validation = tumours
    run = record(dense_network(), training, batch_size=50)
    changes = counterfactual_influence(run, *validation, progress=False)
    assert changes.shape == (200,)
    np.testing.assert_allclose(
        changes[[7, 3]], counterfactual_influence(run, *validation, [7, 3], progress=False), atol=1e-7
    )


@pytest.mark.parametrize("network", [dense_network, image_network], ids=["together", "in turn"])
def test_an_example_that_never_occurs_changes_nothing(network, tumours, images):
    training, validation = tumours if network is dense_network else images
    run = record(network(), training, batches=[np.arange(10)], epochs=2)
    changes = counterfactual_influence(run, *validation, [3, 15, 4, 5, 20], progress=False)
    assert (changes[[1, 4]] == 0).all()
    assert (changes[[0, 2, 3]] != 0).all()


def test_no_example_gives_no_change(tumours):
    training, validation = tumours
    assert counterfactual_influence(record(dense_network(), training), *validation, indices=[]).shape == (0,)


def test_an_example_out_of_range_is_refused(tumours):
    training, validation = tumours
    run = record(dense_network(), training)
    with pytest.raises(ValueError, match="indices must hold indices of examples, 0 to 199, not 200"):
        counterfactual_influence(run, *validation, [1, 200])


@pytest.mark.parametrize("name", NETWORKS)
def test_sgd_influence_ranks_as_true_retraining_does(name, tumours):
    training, validation = tumours
    network = NETWORKS[name]
    run = record(
        dense_network(network.units), training, optimizer=network.optimizer(), epochs=network.epochs, batch_size=20
    )
    truth = counterfactual_influence(run, *validation, progress=False)
    tau = kendalltau(truth, sgd_influence(run, *validation, progress=False)).statistic
    assert tau >= network.least
