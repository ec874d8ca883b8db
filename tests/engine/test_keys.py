"""Keys of functions and objects: equal for what computes the same, and for nothing else."""

from __future__ import annotations

import dataclasses
import functools
import gc
import operator
import weakref

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.engine.keys import key_of

SCALE = 1.0


def of_global(output):
    return output * SCALE


class Settings:
    def __init__(self, index):
        self.index = index


@dataclasses.dataclass
class Weighted:
    weights: list

    def __call__(self, output):
        return output * self.weights


class Slotted:
    __slots__ = ("index",)

    def __init__(self, index):
        self.index = index

    def __call__(self, output):
        return output[:, self.index]


def closing_over(value):
    return lambda output: output[:, value]


MAKERS = {
    "a closure": closing_over,
    "a default": lambda value: lambda output, k=value: output[:, k],
    "an attribute": lambda value: (lambda settings: lambda output: output[:, settings.index])(Settings(value)),
    "a partial": lambda value: functools.partial(lambda output, k: output[:, k], k=value),
    "an itemgetter": lambda value: operator.itemgetter((slice(None), value)),
    "a dataclass": lambda value: Weighted([value, 1]),
    "slots": Slotted,
    "an array": lambda value: (lambda array: lambda output: output * array)(np.full(3, value)),
    "a tensor": lambda value: (lambda tensor: lambda output: output * tensor)(tf.constant([value])),
    "a nested function": lambda value: (lambda inner: lambda output: inner(output))(closing_over(value)),
    "a method": lambda value: Slotted(value).__call__,
}


@pytest.mark.parametrize("name", MAKERS)
def test_equal_values_have_equal_keys_and_others_others(name):
    make = MAKERS[name]
    assert key_of(make(1)) == key_of(make(1))
    assert key_of(make(1)) != key_of(make(2))
    hash(key_of(make(1)))


def test_a_global_that_changes_changes_the_key(monkeypatch):
    before = key_of(of_global)
    assert key_of(of_global) == before
    monkeypatch.setitem(globals(), "SCALE", 2.0)
    assert key_of(of_global) != before


def test_a_loop_variable_of_a_notebook_is_read_anew():
    space: dict = {}
    exec("def score(output):\n    return output[:, k]", space)
    keys = []
    for k in range(3):
        space["k"] = k
        keys.append(key_of(space["score"]))
    assert len(set(keys)) == 3


def test_one_and_true_and_one_point_zero_are_three_constants():
    assert len({key_of(closing_over(value)) for value in (1, True, 1.0)}) == 3
    assert key_of(float("nan")) == key_of(float("nan"))


def test_layers_and_variables_are_told_apart_by_which_they_are_and_not_kept_alive():
    first, second = keras.layers.Dense(2), keras.layers.Dense(2)
    key = key_of(closing_over(first))
    assert key == key_of(closing_over(first))
    assert key != key_of(closing_over(second))
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None
    assert hash(key) == hash(key)


def test_things_that_hold_themselves_have_a_key():
    settings = Settings(1)
    settings.me = settings
    other = Settings(1)
    other.me = other
    assert key_of(settings) == key_of(other)


def test_what_cannot_be_compared_is_like_nothing_else():
    def counting():
        yield 1

    generator = counting()
    assert key_of(generator) != key_of(generator)
