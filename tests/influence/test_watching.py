"""The validation loss beside that of `model.evaluate`, and callbacks as in `model.fit`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from influence.networks import assert_same, dataset, dense_network, record_table

from vis import VisWarning
from vis.influence import load_training


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
def test_losses_are_those_that_keras_logs(table, reduction):
    (x, y), validation = table
    weighted = (*validation, np.linspace(0, 2, 60).astype(np.float32))
    model = keras.Sequential([keras.Input((30,)), keras.layers.Dense(1, "sigmoid", kernel_regularizer="l2")])
    rate = 0.1 if reduction != "sum" else 0.005
    model.compile(keras.optimizers.SGD(rate), keras.losses.BinaryCrossentropy(reduction=reduction))
    start = model.get_weights()
    for data in (weighted, dataset(*weighted, size=7)):
        run = record_table(dataset(x, y), model=model, optimizer=None, validation_data=data)
        logs = model.fit(dataset(x, y), validation_data=data, epochs=3, shuffle=False, verbose=0).history
        assert run.history["loss"] == pytest.approx(logs["loss"], rel=1e-4)
        assert run.history["val_loss"] == pytest.approx(logs["val_loss"], rel=1e-4)
        assert run.retrain().history == {"loss": run.history["loss"]}
        model.set_weights(start)


def test_callbacks_change_the_learning_rate_as_in_model_fit(table, tmp_path):
    (x, y), validation = table

    def callbacks():
        return [
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * (0.5 if epoch == 2 else 1)),
            keras.callbacks.ReduceLROnPlateau(monitor="val_loss", patience=0, min_delta=10, factor=0.3),
        ]

    model = dense_network([5])
    run = record_table(
        dataset(x, y), model=model, epochs=5, validation_data=validation, callbacks=callbacks(), directory=tmp_path
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy")
    logs = model.fit(
        dataset(x, y), epochs=5, validation_data=validation, callbacks=callbacks(), shuffle=False, verbose=0
    ).history
    assert len(set(run.learning_rates())) > 2
    assert run.history["val_loss"] == pytest.approx(logs["val_loss"], rel=1e-4)
    for one, other in zip(run.state(5).weights, model.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    again = load_training(tmp_path, x, y)
    assert again.learning_rates() == run.learning_rates()
    assert_same(again.retrain().state(5), run.state(5))
    *_, last = again.replay(4)
    assert_same(last, run.state(5))


def test_a_callback_sees_the_model_and_stops_the_training(table):
    (x, y), validation = table
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((logs["val_loss"], self.model.evaluate(*validation, verbose=0)))

    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1, min_delta=10)
    run = record_table(x, y, epochs=9, validation_data=validation, callbacks=[Look(), stop])
    assert run.epochs == len(seen) == 2
    for noted, evaluated in seen:
        assert noted == pytest.approx(evaluated, rel=1e-4)
    assert run.history["val_loss"] == [noted for noted, _ in seen]


def test_weights_that_a_callback_changes_are_told(table):
    change = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: change.model.set_weights(dense_network([5]).get_weights())
    )
    with pytest.warns(
        VisWarning, match="a callback changed the weights of the model, which is not part of the recorded"
    ):
        run = record_table(*table[0], callbacks=[change])
    assert_same(run.state(3), record_table(*table[0]).state(3))
