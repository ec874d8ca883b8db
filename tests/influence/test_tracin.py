"""TracIn beside the sum in its paper, and beside true retraining."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from influence.networks import dense_network, image_network
from scipy.stats import kendalltau

from vis.influence import (
    counterfactual_influence,
    record_training,
    tracin,
)


def test_tracin_is_the_sum_of_gradient_products_over_checkpoints(small_images):
    x, y = small_images
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.05])
    run = record_training(
        image_network(),
        x[:24],
        y[:24],
        optimizer=keras.optimizers.SGD(schedule),
        epochs=2,
        batch_size=10,
        progress=False,
    )
    scores = tracin(run, x[100:140], y[100:140], progress=False)
    model = image_network()

    def gradient(inputs, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels, model(inputs, training=False)))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    expected = np.zeros(24)
    for epoch, rate in enumerate([0.1, 0.05]):  # steps 0, 1, 2 at 0.1; 3, 4, 5 at 0.05
        state = run.state(epoch + 1)
        for variables, values in (
            (model.trainable_variables, state.weights),
            (model.non_trainable_variables, state.buffers),
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        ours = gradient(x[100:140], y[100:140])
        size = {int(i): len(batch) for batch in run.order(epoch) for i in batch}
        for i in range(24):
            theirs = gradient(x[i : i + 1], y[i : i + 1])
            product = sum(float(tf.reduce_sum(a * b)) for a, b in zip(ours, theirs, strict=True))
            expected[i] += rate / size[i] * product
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-6)


def test_tracin_agrees_in_sign_with_true_retraining(tumours):
    training, validation = tumours
    run = record_training(
        dense_network(), *training, optimizer=keras.optimizers.SGD(0.05), epochs=3, batch_size=20, progress=False
    )
    truth = counterfactual_influence(run, *validation, progress=False)
    assert kendalltau(truth, tracin(run, *validation, progress=False)).statistic > 0.5
