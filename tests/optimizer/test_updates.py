"""Update rules by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis import ArgumentError
from vis.optimizer.updates import KerasRule, Rms


def test_rms_divides_by_the_root_of_the_running_mean_square():
    rule, parameters = Rms(), [tf.constant([1.0, 1.0])]
    slots = rule.initial(parameters)
    gradients = [tf.constant([2.0, 0.0])]
    for mean in (0.05 * 4, 0.95 * 0.05 * 4 + 0.05 * 4):
        before = parameters[0].numpy()
        parameters, slots = rule.update(parameters, gradients, slots)
        expected = before - [2 / np.sqrt(mean + 1e-7) / 64, 0]
        np.testing.assert_allclose(parameters[0], expected, rtol=1e-6)
        np.testing.assert_allclose(slots[0], [mean, 0], rtol=1e-6)


def test_a_keras_optimizer_begins_anew_and_is_left_alone():
    mine = keras.optimizers.SGD(0.5, momentum=0.5)
    rule, start = KerasRule(mine), [tf.constant([4.0])]
    for _ in range(2):
        parameters, slots = list(start), rule.initial(start)
        assert slots == []
        found = []
        for _ in range(2):
            parameters, slots = rule.update(parameters, [tf.constant([2.0])], slots)
            found.append(parameters[0].numpy().tolist())
        # A velocity of -1, then of -1.5.
        assert found == [[3.0], [1.5]]
    assert not mine.built


def test_rules_of_the_same_settings_have_one_key():
    assert KerasRule("adam").key == KerasRule(keras.optimizers.Adam()).key
    assert KerasRule("adam").key != KerasRule(keras.optimizers.Adam(0.1)).key
    assert KerasRule("adam").key != KerasRule("nadam").key


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("foo", "optimizer must be a Keras optimizer or the name of one, such as 'adam', not 'foo'"),
        (3, "optimizer must be a Keras optimizer, its name or None, not int"),
    ],
)
def test_what_is_no_optimizer(optimizer, message):
    with pytest.raises(ArgumentError, match=message):
        KerasRule(optimizer)
