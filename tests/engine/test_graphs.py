"""What a traced graph tells: what a tensor was computed from, and where it ends, draws, assigns and rectifies."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from vis.engine import graphs


def graph_of(function, *shapes):
    """What a function of tensors returns while it is traced."""
    found = []
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    tf.function(lambda *tensors: found.append(function(*tensors)), autograph=False).get_concrete_function(*specs)
    return found[0]


@pytest.fixture(scope="module")
def diamond():
    """`a` goes into `left` and `right`, these into `joined`; `beside` is computed from nothing of it but its shape."""

    def function(a, b):
        a, b = tf.identity(a, name="a"), tf.identity(b, name="b")
        left, right = tf.exp(a, name="left"), tf.sin(a, name="right")
        joined = tf.add(left, right, name="joined")
        beside = tf.reshape(b, tf.shape(joined), name="beside")
        return {tensor.op.name: tensor for tensor in (a, b, left, right, joined, beside)}

    return graph_of(function, [None], [None])


def named(names) -> set:
    """Those of the operations of `diamond` that have a name there."""
    return names & {"a", "b", "left", "right", "joined", "beside"}


def test_ancestors_and_descendants(diamond):
    assert named(graphs.ancestors(diamond["joined"])) == {"a", "left", "right", "joined"}
    assert named(graphs.ancestors(diamond["left"])) == {"a", "left"}
    assert named(graphs.descendants(diamond["left"])) == {"left", "joined", "beside"}
    assert named(graphs.descendants(diamond["b"])) == {"b", "beside"}


def test_paths_past_a_tensor_are_those_that_avoid_it_and_carry_values(diamond):
    past_left = graphs.ancestors(diamond["joined"], [diamond["left"]])
    assert named(past_left) == {"a", "right", "joined"}
    past_both = graphs.ancestors(diamond["joined"], [diamond["left"], diamond["right"]])
    assert named(past_both) == {"joined"}
    assert named(graphs.ancestors(diamond["beside"])) == {"a", "b", "left", "right", "joined", "beside"}
    assert named(graphs.ancestors(diamond["beside"], [diamond["left"]])) == {"b", "beside"}


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (tf.nn.softmax, True),
        (tf.nn.sigmoid, True),
        (tf.nn.log_softmax, True),
        (lambda z: tf.transpose(tf.cast(tf.nn.softmax(z), tf.float64)), True),
        (lambda z: tf.squeeze(tf.expand_dims(tf.stop_gradient(tf.nn.sigmoid(z)), 0), 0), True),
        (tf.nn.tanh, False),
        (lambda z: 2 * tf.nn.softmax(z), False),
    ],
)
def test_logits_come_in_the_form_of_the_output(end, found):
    z = np.array([[0.5, -1.0, 2.0]], np.float32)

    @tf.function(autograph=False)
    def ask(z):
        output = end(z)
        logits = graphs.logits_of(output, output)
        return (output, logits) if logits is not None else (output,)

    output, *logits = ask(tf.constant(z))
    assert bool(logits) is found
    if found:
        assert (logits[0].shape, logits[0].dtype) == (output.shape, output.dtype)
        np.testing.assert_array_equal(np.ravel(logits[0]), z[0])


def test_only_what_ends_in_the_probability_has_logits():
    def function(z):
        hidden = tf.nn.relu(z)
        output = tf.nn.softmax(hidden)
        sigmoid = tf.nn.log_softmax(z)
        kinds = graphs.PROBABILITIES
        return [graphs.logits_of(output, hidden), graphs.logits_of(sigmoid, sigmoid, kinds)]

    assert graph_of(function, [2, 3]) == [None, None]


def test_a_function_that_ends_in_a_probability_is_known_through_others():
    softmax = tf.function(lambda z: tf.identity(tf.nn.softmax(z)), autograph=False)
    twice = tf.function(lambda z: tf.reshape(softmax(z), [-1]), autograph=False)
    other = tf.function(lambda z: tf.nn.softmax(z) + 1, autograph=False)
    for function, is_one in ((softmax, True), (twice, True), (other, False), (tf.nn.softmax, False)):
        assert graph_of(lambda z, f=function: graphs.ends_in_probability_call(f(z)), [2, 3]) is is_one


def test_what_draws_and_what_assigns():
    variable = tf.Variable(1.0)

    def function(a):
        noise = tf.random.uniform([3])
        quiet, noisy = tf.exp(a), a + noise
        with tf.name_scope(graphs.CHANGED):
            changed = quiet + tf.random.uniform([3])
        drawn = [graphs.draws_numbers(a.graph, each) for each in (quiet, noisy, changed)]
        before = graphs.assigns(a.graph)
        variable.assign_add(1.0)
        return drawn, before, graphs.assigns(a.graph)

    assert graph_of(function, [3]) == ([False, True, False], False, True)


@pytest.mark.parametrize(
    ("function", "count"),
    [
        (tf.nn.relu, 1),
        (lambda x: tf.nn.relu(tf.nn.elu(x)), 2),
        (lambda x: x * tf.sigmoid(x), 1),
        (lambda x: x * tf.nn.relu6(x + 3) / 6, 1),
        (lambda x: tf.nn.relu6(x + 3) / 6, 0),
        (lambda x: x * tf.sigmoid(tf.reverse(x, [0])), 0),
        (tf.sigmoid, 0),
        (tf.tanh, 0),
    ],
)
def test_what_rectifies_and_what_only_saturates(function, count):
    assert len(graph_of(lambda x: graphs.unreached_activations(function(x)), [3])) == count


def test_what_a_rule_reached_is_left_out():
    def function(x):
        with tf.name_scope(graphs.REACHED):
            x = tf.nn.relu(x)
        return graphs.unreached_activations(tf.nn.elu(x, name="bare"))

    assert graph_of(function, [3]) == ["bare"]


def test_a_lookup_reads_the_input_and_what_is_multiplied_does_not():
    table = tf.constant(np.eye(4, dtype=np.float32))

    def function(x):
        looked_up = tf.gather(table, tf.cast(x, tf.int32))
        return [graphs.reads_directly(each, [x]) for each in (looked_up, keras.ops.matmul(looked_up, table))]

    assert graph_of(function, [2, 3]) == [True, False]
