"""What `RecordTraining` records of a `model.fit`, beside what Keras did; and which of these runs can be replayed."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import textwrap
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, image_network

from vis.callbacks import RecordTraining
from vis.influence import (
    counterfactual_influence,
    example_losses,
    load_training,
    record_training,
    sgd_influence,
    tracin,
)

BATCH = 20


@pytest.fixture(scope="module")
def table(tumours):
    """50 to train with, 60 to validate."""
    (x, y), validation = tumours
    return (x[:50], y[:50]), tuple(array[:60] for array in validation)


def compiled(optimizer=None, network=dense_network, loss="binary_crossentropy"):
    model = network([5]) if network is dense_network else network()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9) if optimizer is None else optimizer, loss)
    return model


def recorded(folder, x, y=None, model=None, every=1, callbacks=(), **options):
    """The model, trained, and what it was recorded by."""
    model = compiled() if model is None else model
    options = {"epochs": 3, "batch_size": BATCH, "shuffle": False, "verbose": 0, **options}
    if y is None:
        options.pop("batch_size")
    model.fit(x, y, callbacks=[RecordTraining(folder, every=every), *callbacks], **options)
    return model


def weights_of(model):
    return [weight.numpy() for weight in model.trainable_variables]


def assert_replays(run):
    """Each epoch, done again from its recorded start, ends where Keras ended."""
    for epoch in range(run.epochs):
        *_, last = run.replay(epoch)
        for ours, theirs in zip(tf.nest.flatten(last), tf.nest.flatten(run.state(epoch + 1)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


class Batches(keras.utils.PyDataset):
    """Batches of arrays, in order."""

    def __init__(self, x, y, sample_weight=None):
        super().__init__()
        self.arrays = [x, y] if sample_weight is None else [x, y, sample_weight]

    def __len__(self):
        return -(-len(self.arrays[0]) // BATCH)

    def __getitem__(self, index):
        return tuple(array[BATCH * index : BATCH * (index + 1)] for array in self.arrays)


class Turned(Batches):
    """Batches whose examples turn around after each epoch."""

    def on_epoch_end(self):
        self.arrays = [array[::-1] for array in self.arrays]


@pytest.mark.parametrize("shuffle", [True, False])
def test_training_is_the_same_bit_for_bit(small_images, tmp_path, shuffle):
    x, y = small_images

    def fit(*more):
        keras.utils.set_random_seed(3)
        model = compiled("adam", image_network, "sparse_categorical_crossentropy")
        others = [
            keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=0, min_delta=10),
            keras.callbacks.EarlyStopping(patience=3),
        ]
        history = model.fit(
            x[:100],
            y[:100],
            epochs=4,
            batch_size=32,
            verbose=0,
            shuffle=shuffle,
            class_weight={1: 2.0},
            validation_data=(x[100:150], y[100:150]),
            callbacks=[*more, *others],
        ).history
        return [variable.numpy() for variable in [*model.variables, *model.optimizer.variables]], history

    plain, plain_history = fit()
    watched, history = fit(RecordTraining(tmp_path))
    for ours, theirs in zip(watched, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert history == plain_history
    run = load_training(tmp_path, x[:100], y[:100])
    assert run.history["val_loss"] == history["val_loss"]
    assert run.learning_rates() == pytest.approx(np.repeat(history["learning_rate"], 4))
    assert run.replayable is not shuffle


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        lambda: keras.optimizers.Adam(0.01, amsgrad=True),
        lambda: keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.01, 6)),
        lambda: keras.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    ],
    ids=["momentum", "amsgrad", "adamw schedule", "rmsprop"],
)
def test_checkpoints_are_weights_and_optimizer_state_and_can_be_replayed(table, tmp_path, optimizer):
    model = compiled(optimizer())
    model.fit(*table[0], epochs=1, verbose=0)  # so that the record does not begin with the optimizer's first step
    seen = []
    note = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(weights_of(model)))
    recorded(tmp_path, *table[0], model, callbacks=[note])
    run = load_training(tmp_path, *table[0])
    assert (run.epochs, run.batch_size, run.replayable, run.recorded) == (3, BATCH, True, [0, 1, 2, 3])
    for epoch, weights in enumerate(seen, start=1):
        for ours, theirs in zip(run.state(epoch).weights, weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    slots = [slot for own in run.state(3).slots for slot in own]
    kept = [v.numpy() for v in model.optimizer.variables if v.shape == slots[0].shape and v.shape != ()]
    assert any(np.array_equal(slots[0], value) for value in kept)
    assert_replays(run)


def test_a_network_with_dropout_and_batch_normalization_is_replayed(small_images, tmp_path):
    x, y = small_images[0][:50], small_images[1][:50]
    recorded(tmp_path, x, y, compiled("adam", image_network, "sparse_categorical_crossentropy"))
    assert_replays(load_training(tmp_path, x, y))


@pytest.mark.parametrize("reverse", [False, True])
def test_biases_before_batch_normalization_do_not_keep_a_run_from_being_replayed(reverse, tmp_path):
    """Their gradients are rounding, and Adam makes steps of it."""
    x = 1e-3 * np.random.default_rng(0).normal(size=(320, 16)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    keras.utils.set_random_seed(0)
    stack = [layer for _ in range(4) for layer in (keras.layers.Dense(8), keras.layers.BatchNormalization())]
    model = keras.Sequential([keras.Input((16,)), *stack, keras.layers.Dense(2, "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    recorded(tmp_path, x, y, model, epochs=1)
    run = load_training(tmp_path, x, y)
    *_, last = run.replay(0)
    moved, off = (
        np.concatenate([np.ravel(np.subtract(a, b)) for a, b in zip(state.weights, run.state(1).weights, strict=True)])
        for state in (run.state(0), last)
    )
    assert np.linalg.norm(off) > 0.01 * np.linalg.norm(moved)
    if reverse:
        run.examples.labels = run.examples.labels[::-1]
        with pytest.raises(ValueError, match="not one whose replay of epoch 0 ends"):
            run.check_replay()
    else:
        run.check_replay()


def test_a_model_with_what_it_learned_in_adapt_and_a_weighted_sum_is_replayed(table, tmp_path):
    (x, y), validation = table
    normalization = keras.layers.Normalization()
    normalization.adapt(3 * x + 5)
    model = keras.Sequential([keras.Input((30,)), normalization, keras.layers.Dense(1, activation="sigmoid")])
    loss = keras.losses.BinaryCrossentropy(reduction="sum")
    model.compile(keras.optimizers.SGD(0.01), loss, loss_weights=0.5)
    recorded(tmp_path, 3 * x + 5, y, model)
    run = load_training(tmp_path, 3 * x + 5, y)
    assert_replays(run)
    np.testing.assert_allclose(run.model()(3 * validation[0] + 5), model(3 * validation[0] + 5), rtol=1e-5)
    assert np.isfinite(sgd_influence(run, 3 * validation[0] + 5, validation[1], progress=False)).all()


@pytest.mark.parametrize("kind", ["arrays", "dataset", "pydataset", "dataset read", "pydataset read"])
@pytest.mark.parametrize("weights", ["none", "classes", "examples"])
def test_each_source_of_examples_gives_a_run_that_is_replayed(table, tmp_path, kind, weights):
    x, y = table[0]
    sample_weight = np.linspace(0.2, 2, 50).astype(np.float32) if weights == "examples" else None
    options = {"class_weight": {0: 3.0, 1: 1.0}} if weights == "classes" else {}
    arrays = (x, y) if sample_weight is None else (x, y, sample_weight)
    source = {
        "arrays": lambda: (x, y),
        "dataset": lambda: (tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH).prefetch(1),),
        "pydataset": lambda: (Batches(*arrays),),
    }[kind.split()[0]]()
    if kind == "arrays":
        options["sample_weight"] = sample_weight
    model = recorded(tmp_path, *source, **options)
    if kind.endswith("read"):
        run = load_training(tmp_path, *source)
    else:
        run = load_training(tmp_path, x, y, sample_weight=None if kind == "arrays" else sample_weight)
    assert run.replayable
    assert len(run) == 50
    assert_replays(run)
    for ours, theirs in zip(run.state(3).weights, weights_of(model), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_was_split_off_for_validation_is_no_training_example(table, tmp_path):
    recorded(tmp_path, *table[0], validation_split=0.3)
    run = load_training(tmp_path, *table[0])
    assert len(run) == 35
    assert_replays(run)
    with pytest.raises(ValueError, match="x must be what the run was trained on"):
        load_training(tmp_path, table[0][0][:34], table[0][1][:34])


def test_scores_are_those_of_record_training(table, tmp_path):
    (x, y), validation = table
    model = compiled()
    steps = [np.arange(start, min(start + BATCH, 50)) for start in range(0, 50, BATCH)]
    ours = record_training(model, x, y, epochs=3, batches=steps, progress=False)
    recorded(tmp_path, x, y, model)
    theirs = load_training(tmp_path, x, y)
    for method in (sgd_influence, tracin, counterfactual_influence):
        ours_scores, theirs_scores = (method(run, *validation, progress=False) for run in (ours, theirs))
        np.testing.assert_allclose(theirs_scores, ours_scores, rtol=1e-4, atol=1e-4 * np.abs(ours_scores).max())


def test_scores_are_the_change_of_keras_s_own_result(table, tmp_path):
    """The derivative of the validation loss, by finite differences of the example's weight in `model.fit`."""
    (x, y), validation = table
    scores = None

    def loss(index, change):
        model = compiled()
        weight = np.ones(50, np.float32)
        weight[index] += change
        if scores is None:
            recorded(tmp_path, x, y, model)
        else:
            model.fit(x, y, epochs=3, batch_size=BATCH, shuffle=False, verbose=0, sample_weight=weight)
        probability = np.float64(model(validation[0])[:, 0])
        return -np.mean(np.log(np.where(validation[1] == 1, probability, 1 - probability)))

    loss(0, 0.0)
    scores = sgd_influence(load_training(tmp_path, x, y), *validation, progress=False)
    largest = np.argsort(-np.abs(scores))[:2]
    differences = [-(loss(index, 0.05) - loss(index, -0.05)) / 0.1 for index in largest]
    np.testing.assert_allclose(scores[largest], differences, rtol=0.01)


def test_a_checkpoint_every_few_epochs_gives_the_same_scores(table, tmp_path):
    (x, y), validation = table
    for every in (1, 2):
        recorded(tmp_path / str(every), x, y, every=every, epochs=5)
    each, few = (load_training(tmp_path / str(every), x, y) for every in (1, 2))
    assert (few.recorded, few.epochs) == ([0, 2, 4, 5], 5)
    assert few.learning_rates() == each.learning_rates()
    assert few.history == each.history
    np.testing.assert_allclose(few.state(3).weights[0], each.state(3).weights[0], rtol=1e-4, atol=1e-6)
    ours, theirs = (sgd_influence(run, *validation, progress=False) for run in (few, each))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())
    again = few.retrain()
    np.testing.assert_allclose(again.state(5).weights[0], each.state(5).weights[0], rtol=1e-4, atol=1e-6)


class AtBegin(keras.callbacks.Callback):
    """Sets the learning rate before each step."""

    def on_train_begin(self, logs=None):
        self.count = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.1 / (1 + self.count)
        self.count += 1


class AtEnd(keras.callbacks.Callback):
    """Sets the learning rate of the next step after each."""

    def on_train_begin(self, logs=None):
        self.count = 1

    def on_train_batch_end(self, batch, logs=None):
        self.model.optimizer.learning_rate = 0.1 / (1 + self.count)
        self.count += 1


@pytest.mark.parametrize("kind", [AtBegin, AtEnd])
@pytest.mark.parametrize("before", [True, False])
def test_learning_rates_that_a_callback_sets_each_step_are_recorded(table, tmp_path, kind, before):
    model = compiled()
    record, other = RecordTraining(tmp_path), kind()
    callbacks = [other, record] if before else [record, other]
    model.fit(*table[0], epochs=3, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
    run = load_training(tmp_path, *table[0])
    assert run.learning_rates() == pytest.approx([0.1 / (1 + step) for step in range(9)])
    assert_replays(run)


def test_several_steps_at_once_are_recorded_too(table, tmp_path):
    model = dense_network([5])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    model.compile(keras.optimizers.SGD(schedule), "binary_crossentropy", steps_per_execution=3)
    recorded(tmp_path, *table[0], model)
    run = load_training(tmp_path, *table[0])
    assert run.learning_rates() == pytest.approx([0.1 * 0.5 ** (step / 2) for step in range(9)])
    assert_replays(run)


def test_a_schedule_without_a_configuration_does_not_stop_the_training(table, tmp_path):
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 / (1.0 + keras.ops.cast(step, "float32"))

    recorded(tmp_path, *table[0], compiled(keras.optimizers.SGD(Schedule())))
    run = load_training(tmp_path, *table[0], model=compiled())
    assert run.learning_rates() == pytest.approx([0.1 / (1 + step) for step in range(9)])
    with pytest.raises(ValueError, match="learning-rate schedule that Keras can rebuild, not Schedule"):
        run.retrain(without=[0])


class OwnStep(keras.Sequential):
    """A model with another training step."""

    def train_step(self, data):
        return super().train_step(data)


def own_step():
    model = OwnStep(dense_network([5]).layers)
    model.compile("sgd", "binary_crossentropy")
    return model


def generator(x, y):
    while True:
        yield from (Batches(x, y)[index] for index in range(3))


NOT_REPLAYED = {
    "shuffled arrays": (lambda x, y: (x, y), {"shuffle": True}, "whose examples were shuffled by model.fit"),
    "shuffled dataset": (
        lambda x, y: (tf.data.Dataset.from_tensor_slices((x, y)).shuffle(50).batch(BATCH),),
        {},
        "whose tf.data.Dataset is shuffled or random",
    ),
    "random dataset": (
        lambda x, y: (Batches.noisy(x, y),),
        {},
        "whose tf.data.Dataset is shuffled or random",
    ),
    "endless dataset": (
        lambda x, y: (tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH).repeat(),),
        {"steps_per_epoch": 3},
        "with steps_per_epoch=3",
    ),
    "shuffled pydataset": (lambda x, y: (Batches(x, y),), {"shuffle": True}, "whose PyDataset was shuffled"),
    "turned pydataset": (lambda x, y: (Turned(x, y),), {}, "whose PyDataset changes from epoch to epoch"),
    "generator": (lambda x, y: (generator(x, y),), {"steps_per_epoch": 3}, "trained on a generator"),
    "part of an epoch": (lambda x, y: (x, y), {"steps_per_epoch": 2, "epochs": 1}, "with steps_per_epoch=2"),
    "optimizer": (
        lambda x, y: (x, y),
        {"model": lambda: compiled("ftrl")},
        "with an optimizer that has no update rule",
    ),
    "train_step": (lambda x, y: (x, y), {"model": own_step}, "of a model that overrides train_step"),
}


def noisy(x, y):
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return dataset.map(lambda x, y: (x + tf.random.normal(tf.shape(x)) / 100, y))


Batches.noisy = staticmethod(noisy)


@pytest.mark.parametrize("name", NOT_REPLAYED)
def test_a_run_that_cannot_be_replayed_says_why_and_has_its_other_scores(table, tmp_path, name):
    (x, y), validation = table
    make, options, problem = NOT_REPLAYED[name]
    options = {key: value() if callable(value) else value for key, value in options.items()}
    model = recorded(tmp_path, *make(x, y), **options)
    run = load_training(tmp_path, x, y, model=model)
    assert not run.replayable
    losses = example_losses(run, progress=False)
    assert losses.shape == (len(run.recorded), 50)
    truth = keras.losses.binary_crossentropy(y[:, None].astype("float32"), model(x))
    np.testing.assert_allclose(losses[-1], truth, rtol=1e-4, atol=1e-6)
    assert np.corrcoef(tracin(run, *validation, progress=False), naive_tracin(run, x, y, validation))[0, 1] > 0.9999
    words = (
        rf"^run must be a run that can be replayed, not one {re.escape(problem)}.*or call tracin, which needs no rep"
    )
    for use in (sgd_influence, counterfactual_influence):
        with pytest.raises(ValueError, match=words):
            use(run, *validation, progress=False)
    with pytest.raises(ValueError, match=words):
        run.retrain(without=[3])


def naive_tracin(run, x, y, validation):
    """Σ_k (η_k / B) ∇ℓ_i·∇L_val, with a tape for each example, and the batch size wherever the order is not known."""
    model = run.model()

    def gradient(x, y):
        with tf.GradientTape() as tape:
            loss = keras.losses.BinaryCrossentropy()(y[:, None].astype("float32"), model(x))
        return np.concatenate([value.numpy().ravel() for value in tape.gradient(loss, model.trainable_variables)])

    scores = np.zeros(len(x))
    for epoch in run.recorded[1:]:
        for variable, value in zip(model.trainable_variables, run.state(epoch).weights, strict=True):
            variable.assign(value)
        each = np.stack([gradient(x[i : i + 1], y[i : i + 1]) for i in range(len(x))])
        scores += run.last_rate(epoch) / BATCH * each @ gradient(*validation)
    return scores


def test_examples_in_another_order_than_the_trained_one_are_refused(table, tmp_path):
    (x, y), validation = table
    recorded(tmp_path, tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH))
    run = load_training(tmp_path, x[::-1], y[::-1])
    words = (
        r"not one whose replay of epoch 0 ends \d+ % away from the recorded weights.*in the order that model\.fit saw"
    )
    with pytest.raises(ValueError, match=words):
        sgd_influence(run, *validation, progress=False)


def test_an_epoch_that_was_cut_short_is_told(table, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.model.optimizer.iterations == 5:
                self.model.stop_training = True

    recorded(tmp_path, *table[0], callbacks=[Stop()])
    run = load_training(tmp_path, *table[0])
    assert run.epochs == 2
    with pytest.raises(ValueError, match=r"not one whose epoch 1 had 2 steps and the first one 3\. Train whole"):
        run.retrain()


def test_a_folder_with_a_run_is_refused_before_the_training(table, tmp_path):
    model = recorded(tmp_path, *table[0])
    with pytest.raises(ValueError, match="directory must be a folder without a training run"):
        RecordTraining(tmp_path)
    with pytest.raises(ValueError, match="every must be a whole number of at least 1, not 0"):
        RecordTraining(tmp_path / "other", every=0)
    again = RecordTraining(tmp_path / "again")
    for _ in range(2):
        before = weights_of(model)
        try:
            model.fit(*table[0], epochs=1, verbose=0, callbacks=[again])
        except ValueError as error:
            assert "without a training run" in str(error)  # noqa: PT017 - the second time only
    for ours, theirs in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_is_not_for_influence_is_refused_before_the_training(table, tmp_path):
    inputs = keras.Input((30,))
    model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
    model.compile("sgd", ["mse", "mse"])
    with pytest.raises(ValueError, match="model must have one output, not 2"):
        recorded(tmp_path, table[0][0], [table[0][1], table[0][1]], model)
    model = dense_network()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"^model must be compiled with a loss, not without one\. Give model\.compile"):
        recorded(tmp_path, *table[0], model)
    model = Subclassed()
    model.compile("sgd", "binary_crossentropy")
    with pytest.raises(
        ValueError, match=r"^model must be built before it is recorded on a data set\. Call it on a batch"
    ):
        recorded(tmp_path, tf.data.Dataset.from_tensor_slices(table[0]).batch(BATCH), model=model)
    assert not list(tmp_path.iterdir())


class Subclassed(keras.Model):
    """A model that is built when it is first called."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, activation="sigmoid", kernel_initializer=keras.initializers.HeNormal(seed=0))

    def call(self, inputs):
        return self.dense(inputs)


def test_a_model_that_is_not_built_yet_is_trained_the_same(table, tmp_path):
    plain, watched = Subclassed(), Subclassed()
    for model in (plain, watched):
        model.compile("adam", "binary_crossentropy")
    plain.fit(*table[0], epochs=3, batch_size=BATCH, shuffle=False, verbose=0)
    recorded(tmp_path, *table[0], watched)
    for ours, theirs in zip(weights_of(watched), weights_of(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert_replays(load_training(tmp_path, *table[0], model=watched))


KILLED = """
    import sys
    import keras, numpy as np
    from vis.callbacks import RecordTraining
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(300), keras.layers.Dense(1)])
    model.compile("adam", "mean_squared_error")
    record = RecordTraining(sys.argv[1])
    model.fit(x, x[:, :1], batch_size=10, epochs=100000, shuffle=False, verbose=0, callbacks=[record])
"""


def test_a_killed_process_leaves_a_run_that_can_be_read(tmp_path):
    folder = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 120
        while not (folder / "epoch_0003.npz").exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, errors.decode()[-2000:]
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    run = load_training(folder, x, x[:, :1])
    assert run.epochs >= 3
    assert run.replayable
    *_, last = run.replay(run.epochs - 1)
    np.testing.assert_allclose(last.weights[0], run.state(run.epochs).weights[0], rtol=1e-3, atol=1e-5)
    assert np.isfinite(sgd_influence(run, x[:5], x[:5, :1], epochs=1, progress=False)).all()
