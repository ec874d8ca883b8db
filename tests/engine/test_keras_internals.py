"""What Keras does, beside what `vis.engine.keras_internals` says of it: here a new Keras that differs is noticed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, optimizers

from vis.engine import keras_internals


class Noting(layers.Layer):
    """The identity, which notes in a list that it was called."""

    def __init__(self, called: list, name: str):
        super().__init__(name=name)
        self.note = lambda: called.append(name)

    def call(self, inputs):
        self.note()
        return inputs


def in_another_thread(function):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def shared_layer():
    """A dense layer called twice, its inputs and its outputs."""
    inputs = [keras.Input((3,)), keras.Input((3,))]
    shared = layers.Dense(3)
    return shared, inputs, [shared(symbol) for symbol in inputs]


def same(ours, theirs) -> bool:
    return len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))


def test_the_producer_of_each_call_of_a_shared_layer():
    shared, _, outputs = shared_layer()
    assert [keras_internals.producer(symbol) for symbol in outputs] == [(shared, 0, 0), (shared, 1, 0)]


def test_the_producer_of_each_output_of_an_operation():
    symbols = keras.ops.split(keras.Input((6,)), 3, axis=1)
    operations, node_indices, tensor_indices = zip(*map(keras_internals.producer, symbols), strict=True)
    assert len(set(map(id, operations))) == 1
    assert (node_indices, tensor_indices) == ((0, 0, 0), (0, 1, 2))


def test_the_inputs_of_each_call():
    shared, inputs, outputs = shared_layer()
    assert same(keras_internals.node_inputs(shared, 0), inputs[:1])
    assert same(keras_internals.node_inputs(shared, 1), inputs[1:])
    total = keras.ops.add(*outputs)
    assert same(keras_internals.node_inputs(*keras_internals.producer(total)[:2]), outputs)
    assert keras_internals.node_inputs(*keras_internals.producer(inputs[0])[:2]) == []


def test_the_nodes_of_a_layer_are_its_calls():
    shared, inputs, outputs = shared_layer()
    found = keras_internals.nodes(shared)
    assert same([node.operation for node in found], [shared, shared])
    assert same([node.outputs[0] for node in found], outputs)
    assert same([node.input_tensors[0] for node in found], inputs)


def test_the_consumers_of_a_layer_s_outputs():
    shared, _, outputs = shared_layer()
    reader = layers.ReLU()
    read = reader(outputs[0])
    total = keras.ops.add(*outputs)
    found = keras_internals.consumers(shared)
    operations = {id(node.operation) for node in found}
    assert operations == {id(reader), id(keras_internals.producer(total)[0])}
    assert {id(node.outputs[0]) for node in found} == {id(read), id(total)}
    assert keras_internals.consumers(reader) == []


def branches(called):
    """A functional model whose branches were made in another order than they run in."""
    x = keras.Input((2,))
    long = Noting(called, "c")(Noting(called, "b")(Noting(called, "a")(x)))
    short = Noting(called, "d")(x)
    return keras.Model(x, Noting(called, "e")(keras.ops.add(long, short)))


def chain(called):
    return keras.Sequential([keras.Input((2,)), Noting(called, "b"), Noting(called, "a")])


@pytest.mark.parametrize("make", [branches, chain])
def test_nodes_come_in_the_order_in_which_the_model_runs_them(make):
    called: list = []
    model = make(called)
    order = [node.operation for node in keras_internals.node_order(keras_internals.functional_of(model))]
    called.clear()
    model(np.ones((1, 2)))
    assert [operation.name for operation in order if isinstance(operation, Noting)] == called
    assert len(called) == sum(isinstance(layer, Noting) for layer in model.layers)


def test_a_layer_called_twice_has_two_nodes_in_the_order():
    shared, inputs, outputs = shared_layer()
    model = keras.Model(inputs, outputs)
    found = [node for node in keras_internals.node_order(model) if node.operation is shared]
    assert {id(node) for node in found} == {id(node) for node in keras_internals.nodes(shared)}


def test_the_function_inside_a_sequential_computes_what_it_computes():
    model = keras.Sequential([layers.Dense(3), layers.Dense(2, activation="softmax")])
    assert keras_internals.functional_of(model) is None
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    expected = model(x)
    function = keras_internals.functional_of(model)
    assert isinstance(function, keras.Function)
    np.testing.assert_array_equal(function(x), expected)
    operations = [node.operation for node in keras_internals.node_order(function)]
    assert same(operations[1:], model.layers)


def test_the_function_of_other_models():
    class Subclassed(keras.Model):
        pass

    model = branches([])
    assert keras_internals.functional_of(model) is model
    assert keras_internals.functional_of(Subclassed()) is None


def test_layers_inside_layers_and_models():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__()
            self.first = layers.Dense(2)
            self.rest = [layers.ReLU(), layers.Dropout(0.5)]
            self.number = 3

        def call(self, inputs):
            return self.rest[1](self.rest[0](self.first(inputs)))

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.block = Block()

    block = Block()
    assert same(keras_internals.sublayers(block), [block.first, *block.rest])
    distributed = layers.TimeDistributed(block)
    assert same(keras_internals.sublayers(distributed), [block])
    recurrent = layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)])
    (stacked,) = keras_internals.sublayers(recurrent)
    assert same(keras_internals.sublayers(stacked), recurrent.cell.cells)
    model = Subclassed()
    assert same(keras_internals.sublayers(model), [model.block])
    sequential = keras.Sequential([keras.Input((2,)), block])
    assert same(keras_internals.sublayers(sequential), [block])
    assert keras_internals.sublayers(layers.Dense(2)) == []


def test_a_layer_holds_what_it_was_made_with():
    initializer, regularizer = keras.initializers.HeNormal(), keras.regularizers.L1(0.1)
    held = keras_internals.held_by(layers.Dense(2, kernel_initializer=initializer, bias_regularizer=regularizer))
    assert any(each is initializer for each in held)
    assert any(each is regularizer for each in held)


@pytest.mark.parametrize("wrap", [lambda function: function, tf.function])
def test_the_mask_of_what_a_model_returns(wrap):
    model = keras.Sequential([layers.Embedding(5, 2, mask_zero=True), layers.Dense(3)])
    plain = keras.Sequential([layers.Embedding(5, 2), layers.Dense(3)])
    tokens = tf.constant([[1, 2, 0], [3, 0, 0]])

    def masks(tokens):
        assert keras_internals.mask_of(plain(tokens)) is None
        return keras_internals.mask_of(model(tokens))

    np.testing.assert_array_equal(wrap(masks)(tokens), [[True, True, False], [True, False, False]])


def test_the_states_of_random_generators_are_the_variables_that_dropout_changes():
    class Noisy(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.generators = {"a": [keras.random.SeedGenerator(1)], "b": keras.random.SeedGenerator(2)}
            self.metric = keras.metrics.Mean()

        def call(self, inputs):
            return inputs + keras.random.normal((1,), seed=self.generators["b"])

    x = keras.Input((5, 4))
    recurrent = layers.LSTM(3, dropout=0.3, seed=3)
    nested = keras.Sequential([layers.BatchNormalization(), layers.Dropout(0.5, seed=4)])
    noisy = Noisy()
    model = keras.Model(x, noisy(layers.Dense(2)(nested(recurrent(x)))))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((2, 5, 4)), np.ones((2, 2)), epochs=1, verbose=0)
    generators = [
        recurrent.cell.seed_generator,
        nested.layers[-1].seed_generator,
        noisy.generators["a"][0],
        noisy.generators["b"],
    ]
    found = keras_internals.seed_states(model)
    assert {id(variable) for variable in found} == {id(generator.state) for generator in generators}
    assert len(found) == 4
    assert {id(variable) for variable in found} <= {id(variable) for variable in model.non_trainable_variables}
    before = [variable.numpy() for variable in found]
    model(np.ones((1, 5, 4)), training=True)
    changed = [not np.array_equal(variable, old) for variable, old in zip(found, before, strict=True)]
    unused = [variable is noisy.generators["a"][0].state for variable in found]
    assert changed == [not each for each in unused]


def test_a_state_and_a_seed_replay_dropout():
    dropout = layers.Dropout(0.5, seed=7)
    (state,) = keras_internals.seed_states(dropout)
    x = np.ones((1, 100), "float32")
    start = state.numpy()
    first, second = dropout(x, training=True), dropout(x, training=True)
    assert not np.array_equal(first, second)
    state.assign(start)
    np.testing.assert_array_equal(dropout(x, training=True), first)


@pytest.mark.parametrize(
    ("weights", "loss", "factor"),
    [(None, "mse", 1), ([5.0], "mse", 5), (0.5, "mse", 0.5), ({"scores": 3.0}, {"scores": "mse"}, 3)],
)
def test_the_weight_of_the_loss_is_the_factor_of_what_keras_evaluates(weights, loss, factor):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1, name="scores")(inputs))
    x, y = np.ones((4, 2)), np.full((4, 1), 3.0)
    model.compile("sgd", "mse")
    plain = model.evaluate(x, y, verbose=0)
    model.compile("sgd", loss, loss_weights=weights)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(factor * plain)
    assert keras_internals.loss_weight(model) == factor
    assert keras_internals.loss_weight(keras.Sequential([layers.Dense(1)])) == 1


def own_activation(x):
    return x + 1


@keras.saving.register_keras_serializable("tests")
def registered(x):
    return x + 2


def test_functions_have_names_of_their_own_for_as_long_as_a_configuration_is_read():
    def twins():
        def twin(x):
            return x

        return twin

    functions = [lambda x: 2 * x, own_activation, registered, twins(), twins(), keras.activations.relu]
    dense = [layers.Dense(1, activation=function) for function in functions]
    names = [function.__name__ for function in functions]
    with keras_internals.named_functions(dense) as named:
        configs = [layer.get_config() for layer in dense]
    assert [function.__name__ for function in functions] == names
    assert list(named.values()) == [functions[0], functions[1], functions[3], functions[4]]
    with keras.saving.custom_object_scope(named):
        again = [layers.Dense.from_config(config) for config in configs]
    assert [layer.activation for layer in again] == functions


def test_functions_have_their_names_back_after_an_error():
    layer = layers.Dense(1, activation=own_activation)
    with pytest.raises(KeyError), keras_internals.named_functions([layer]):
        raise KeyError
    assert own_activation.__name__ == "own_activation"


def test_the_learning_rate_that_an_optimizer_was_given():
    schedule = optimizers.schedules.ExponentialDecay(0.1, 5, 0.5)

    def constant():
        return 0.3

    assert keras_internals.learning_rate(optimizers.SGD(schedule)) is schedule
    assert keras_internals.learning_rate(optimizers.Adam(constant)) is constant
    optimizer = optimizers.SGD(0.1)
    optimizer.learning_rate = 0.2
    rate = keras_internals.learning_rate(optimizer)
    assert not callable(rate)
    assert float(rate) == pytest.approx(0.2)


@pytest.mark.parametrize("by", ["var_list", "var_names"])
def test_weights_kept_from_weight_decay_are_noticed(by):
    """The rate is 0, so that nothing but weight decay could change a weight if it were not 0."""
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    optimizer = optimizers.AdamW(0.1, weight_decay=0.5)
    assert not keras_internals.excludes_from_weight_decay(optimizer)
    optimizer.exclude_from_weight_decay(**{by: [bias] if by == "var_list" else ["bias"]})
    assert keras_internals.excludes_from_weight_decay(optimizer)
    optimizer.apply([tf.zeros(2), tf.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel, np.full(2, 0.95), rtol=1e-6)
    np.testing.assert_array_equal(bias, np.ones(2))


def test_excluding_nothing_from_weight_decay_is_no_exclusion():
    optimizer = optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay()
    assert not keras_internals.excludes_from_weight_decay(optimizer)


def test_a_replaced_call_acts_for_this_thread_alone():
    layer = layers.Dense(2, activation="relu", kernel_initializer="ones")
    model = keras.Sequential([keras.Input((3,)), layer])
    x = -np.ones((1, 3), "float32")
    with keras_internals.replaced([(layer, "activation", lambda x: x)]):
        ours = model(x)
        theirs = in_another_thread(lambda: model(x))
        predicted = in_another_thread(lambda: model.predict(x, verbose=0))
    np.testing.assert_array_equal(ours, [[-3, -3]])
    np.testing.assert_array_equal(theirs, [[0, 0]])
    np.testing.assert_array_equal(predicted, [[0, 0]])
    np.testing.assert_array_equal(model(x), [[0, 0]])


def test_a_replaced_call_runs_for_layers_and_operations_of_a_model():
    x = keras.Input((1,))
    inner = keras.Sequential([keras.Input((1,)), layers.ReLU(name="deep")])
    model = keras.Model(x, keras.ops.negative(inner(x)))
    changes = [
        (inner.get_layer("deep"), "call", lambda inputs: inputs + 10),
        (keras_internals.producer(model.outputs[0])[0], "call", lambda x: x * 100),
    ]
    with keras_internals.replaced(changes):
        assert float(model(np.ones((1, 1)))[0, 0]) == 1100
    assert float(model(np.ones((1, 1)))[0, 0]) == -1


def test_what_was_replaced_is_put_back_after_an_error():
    layer = layers.Dense(2, activation="relu")
    before = dict(vars(layer))
    changes = [(layer, "call", abs), (layer, "activation", abs), (layer, "call", abs)]

    def fail():
        with keras_internals.replaced(changes):
            assert vars(layer).keys() - before.keys() == {"call"}
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert vars(layer) == before


def test_a_second_thread_waits_to_replace():
    layer = layers.ReLU()
    inside, order = threading.Event(), []

    def replace():
        inside.wait()
        with keras_internals.replaced([(layer, "call", abs)]):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(replace)
        with keras_internals.replaced([(layer, "call", abs)]):
            inside.set()
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.3)
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]
    assert "call" not in vars(layer)


def test_the_keys_of_outputs_are_in_flat_order():
    x = keras.Input((4,))
    first, second = keras.layers.Dense(1)(x), keras.layers.Dense(2)(x)
    model = keras.Model(x, {"b": first, "a": second})
    assert keras_internals.output_keys(model) == ["a", "b"]
    assert [output.shape[-1] for output in model.outputs] == [2, 1]
    assert keras_internals.output_keys(keras.Model(x, [first, second])) == []


def test_a_fingerprint_notices_what_a_call_reads():
    class Scaled(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self._factor = 2.0

        def call(self, x):
            return self._factor * x

    scaled, dense = Scaled(), keras.layers.Dense(2, activation="relu")
    dense.build((None, 3))
    for layer, change in [
        (scaled, lambda: setattr(scaled, "_factor", 3.0)),
        (dense, lambda: setattr(dense, "activation", keras.activations.tanh)),
        (dense, lambda: dense.enable_lora(1)),
    ]:
        before = keras_internals.fingerprint(layer)
        assert keras_internals.fingerprint(layer) == before
        change()
        assert keras_internals.fingerprint(layer) != before


def test_a_fingerprint_is_not_that_of_a_function_that_is_gone():
    dense, seen = keras.layers.Dense(2), []
    for factor in range(50):  # a new function may lie where one lay that is gone
        dense.activation = lambda x, factor=factor: factor * x
        assert keras_internals.fingerprint(dense) not in seen
        seen.append(keras_internals.fingerprint(dense))


def test_a_fingerprint_does_not_change_by_a_call():
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.BatchNormalization()])
    before = [keras_internals.fingerprint(layer) for layer in model.layers]
    model(np.ones((1, 8, 8, 3)))
    model.predict(np.ones((1, 8, 8, 3)), verbose=0)
    assert [keras_internals.fingerprint(layer) for layer in model.layers] == before


@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.Adam, optimizers.AdamW, optimizers.RMSprop])
def test_the_variables_that_an_optimizer_keeps_for_each_weight(make):
    options = {"momentum": 0.5} if make in (optimizers.SGD, optimizers.RMSprop) else {"amsgrad": True}
    options |= {"centered": True} if make is optimizers.RMSprop else {}
    weights = [keras.Variable(np.ones(shape)) for shape in ((2,), (3,))]
    optimizer = make(0.1, **options)
    optimizer.build(weights)
    found = keras_internals.optimizer_slots(optimizer, weights[::-1])
    assert [{slot.shape for slot in slots} for slots in found] == [{(3,)}, {(2,)}]
    # All of them, but for the number of steps and the learning rate.
    assert sum(map(len, found)) == len(optimizer.variables) - 2
    plain = make(0.1)
    plain.build(weights)
    kept = len(keras_internals.optimizer_slots(plain, weights)[0])
    assert kept == {optimizers.SGD: 0, optimizers.RMSprop: 1}.get(make, 2)


def test_the_variables_of_an_optimizer_or_a_weight_that_is_not_known():
    weight = keras.Variable([1.0])
    for optimizer, asked in ((optimizers.Ftrl(), weight), (optimizers.SGD(), keras.Variable([1.0]))):
        optimizer.build([weight])
        assert keras_internals.optimizer_slots(optimizer, [asked]) is None


def test_what_a_running_fit_was_given():
    found = []

    class Ask(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            found.append(keras_internals.fit_arguments())

    class Fitting(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    model = Fitting([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y, weight = np.ones((10, 2)), np.ones((10, 1)), np.arange(10.0)
    ask = Ask()
    options = {"batch_size": 3, "epochs": 1, "verbose": 0, "callbacks": [ask], "validation_split": 0.2}
    model.fit(x, y, sample_weight=weight, shuffle=False, **options)
    (asked,) = found
    assert {name: asked[name] for name in ("batch_size", "shuffle", "class_weight", "steps_per_epoch", "steps")} == {
        "batch_size": 3,
        "shuffle": False,
        "class_weight": None,
        "steps_per_epoch": None,
        "steps": 3,
    }
    assert (len(asked["x"]), len(asked["y"]), asked["validation_split"]) == (8, 8, 0.2)
    np.testing.assert_array_equal(asked["sample_weight"], weight[:8])
    assert asked["callbacks"][0] is ask
    assert keras_internals.fit_arguments() is None


@pytest.mark.parametrize(
    ("change", "reordered"),
    [
        (lambda data: data.batch(2).prefetch(2).cache(), False),
        (lambda data: data.map(lambda x: 2 * x, num_parallel_calls=2), False),
        (lambda data: data.shuffle(8, reshuffle_each_iteration=False), False),
        (lambda data: data.shuffle(8).batch(2).map(lambda x: x), True),
        (lambda data: tf.data.Dataset.zip((data, data.shuffle(8))).batch(2), True),
        (lambda data: data.map(lambda x: tf.cast(x, "float32") + tf.random.normal([])).batch(2), True),
        (lambda data: data.map(lambda x: 2 * x, num_parallel_calls=2, deterministic=False), True),
        (lambda data: data.with_options(unordered()), True),
    ],
)
def test_a_dataset_that_may_give_other_batches_each_time(change, reordered):
    assert keras_internals.is_reordered(change(tf.data.Dataset.range(8))) is reordered


def unordered():
    options = tf.data.Options()
    options.deterministic = False
    return options
