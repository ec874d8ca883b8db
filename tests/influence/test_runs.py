"""Recorded runs: replayed bit for bit, and repeated without some examples."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import assert_same, dense_network, flat, image_network, record

from vis.influence import load_training


def test_a_replay_is_the_record_bit_for_bit_with_dropout(run):
    for epoch in range(run.epochs):
        *_, last = run.replay(epoch)
        assert_same(last, run.state(epoch + 1))
    halfway = list(run.replay(1))[2]
    *_, last = run.replay(1, start=3, state=halfway)
    assert_same(last, run.state(2))


def test_dropout_draws_another_mask_each_step(run):
    seeds = [next(b for b in state.buffers if b.dtype == tf.int64).numpy().tolist() for state in run.replay(0)]
    assert len({tuple(seed) for seed in seeds}) == run.steps_per_epoch


def test_training_again_without_nothing_is_the_same_and_without_something_is_not(run):
    assert_same(run.retrain().state(3), run.state(3))
    again = run.retrain(without=[3, 77])
    assert again.without == (3, 77)
    assert not np.array_equal(flat(again.state(3))[0], flat(run.state(3))[0])
    assert again.retrain(without=[5]).without == (3, 5, 77)


@pytest.mark.parametrize("callbacks", [[], [keras.callbacks.TerminateOnNaN()]], ids=["plain", "callbacks"])
def test_a_run_with_a_schedule_is_trained_again_also_when_it_was_read(callbacks, tumours, tmp_path):
    (x, y), _ = tumours
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
    run = record(dense_network(), x, y, optimizer=keras.optimizers.SGD(schedule), callbacks=callbacks)
    run.save(tmp_path)
    for each in (run, load_training(tmp_path, x, y)):
        again = each.retrain()
        assert_same(again.state(1), run.state(1))
        assert again.learning_rates() == run.learning_rates()


def test_leaving_out_every_example_is_refused(run):
    with pytest.raises(ValueError, match="without must leave at least one of the 150 examples"):
        run.retrain(without=range(150))


def test_a_run_says_what_it_is(run):
    run.retrain()
    assert repr(run) == "<TrainingRun: 150 examples, 3 epochs, Adam>"


def test_leaving_out_an_example_is_training_without_it(tumours):
    (x, y), _ = tumours
    options = {"optimizer": keras.optimizers.SGD(0.1), "batch_size": 20, "epochs": 1}
    model = dense_network()
    run = record(model, x[:20], y[:20], l2=0.1, **options)
    without = run.retrain(without=[4]).state(1)
    kept = np.delete(np.arange(20), 4)
    # One batch of 19 instead of 20, whose mean is put back to the same divisor.
    smaller = record(model, x[kept], y[kept], l2=0.1, **{**options, "optimizer": keras.optimizers.SGD(0.1 * 19 / 20)})
    for ours, theirs in zip(without.weights, smaller.state(1).weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_leaving_out_an_example_that_never_occurs_changes_nothing(images):
    steps = [np.arange(10), np.arange(20, 40)]
    run = record(image_network(), *images, batches=steps, epochs=2)
    assert_same(run.retrain(without=[15, 149]).state(2), run.state(2))
