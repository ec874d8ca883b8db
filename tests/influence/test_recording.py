"""Recording, replaying, saving and going on."""

from __future__ import annotations

import json
import os
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from influence.networks import dense_network, image_network
from keras import layers

from vis import VisWarning
from vis.influence import (
    counterfactual_influence,
    influence_functions,
    load_training,
    record_training,
    sgd_influence,
)
from vis.influence.storage import Storage


def record(model, x, y, **options):
    return record_training(model, x, y, **{"optimizer": "adam", "progress": False, **options})


def flat(state):
    return [np.asarray(value) for value in tf.nest.flatten(state)]


def assert_same(ours, theirs):
    for one, other in zip(flat(ours), flat(theirs), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def images(small_images):
    x, y = small_images
    return x[:150], y[:150]


@pytest.fixture(scope="module")
def run(images):
    """Three epochs of a network with dropout and batch normalization; the last batch of each is smaller."""
    return record(image_network(), *images, epochs=3, batch_size=32)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=1.0),
        lambda: keras.optimizers.AdamW(keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.7)),
    ],
)
def test_training_is_that_of_keras(optimizer, small_images):
    x, y = small_images[0][:48], small_images[1][:48]
    weight = np.linspace(0.1, 2, 48).astype(np.float32)
    model = image_network(dropout=0)
    steps = [np.arange(start, start + 16) for start in (0, 16, 32)]
    run = record(model, x, y, optimizer=optimizer(), batches=steps, epochs=2, sample_weight=weight)
    model.compile(optimizer(), "sparse_categorical_crossentropy")
    for indices in steps * 2:
        model.train_on_batch(x[indices], y[indices], sample_weight=weight[indices])
    for ours, theirs in zip(run.model().get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


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


def test_the_model_and_the_global_state_are_left_alone(images):
    model = image_network()
    before = [array.copy() for array in model.get_weights()]
    state = [variable.numpy() for variable in model.variables]
    random = np.random.get_state()[1].copy()  # noqa: NPY002 - that is what is left alone
    record(model, *images, init="fresh").model()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for old, variable in zip(state, model.variables, strict=True):
        np.testing.assert_array_equal(old, variable.numpy())
    np.testing.assert_array_equal(random, np.random.get_state()[1])  # noqa: NPY002
    assert not model.compiled


def test_the_same_seed_gives_the_same_run_whatever_the_model_was_used_for(images, run):
    model = image_network()
    model(images[0][:5], training=True)  # draws from the dropout layer's generator
    model.set_weights(image_network().get_weights())
    again = record(model, *images, epochs=1)
    assert_same(again.state(1), run.state(1))
    other = record(model, *images, epochs=1, seed=1)
    assert not np.array_equal(flat(other.state(1))[0], flat(run.state(1))[0])


def test_every_epoch_sees_each_example_once_in_another_order(run):
    orders = [np.concatenate(run.order(epoch)) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(150))
    assert not np.array_equal(orders[0], orders[1])


def test_fresh_weights_are_a_matter_of_the_seed_even_where_initializers_have_their_own(images):
    model = image_network()
    kernels = [record(model, *images, init="fresh", seed=seed).state(0).weights[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])
    assert not np.array_equal(kernels[0], model.get_weights()[0])
    assert np.std(kernels[0]) == pytest.approx(np.sqrt(2 / 9), rel=0.4)  # as He has it


def test_frozen_layers_keep_their_weights(images):
    model = image_network()
    model.layers[0].trainable = model.layers[1].trainable = False
    model.layers[1].set_weights([array + 0.5 for array in model.layers[1].get_weights()])
    for init in ("weights", "fresh"):
        trained = record(model, *images, init=init).model()
        for old, new in zip(model.layers[0].get_weights(), trained.layers[0].get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        for old, new in zip(model.layers[1].get_weights(), trained.layers[1].get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)
        assert not np.array_equal(model.layers[-1].get_weights()[0], trained.layers[-1].get_weights()[0])


def test_training_again_without_nothing_is_the_same_and_without_something_is_not(run):
    assert_same(run.retrain().state(3), run.state(3))
    again = run.retrain(without=[3, 77])
    assert again.without == (3, 77)
    assert not np.array_equal(flat(again.state(3))[0], flat(run.state(3))[0])
    assert again.retrain(without=[5]).without == (3, 5, 77)


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


def test_l2_is_half_its_square_on_every_weight(tumours):
    (x, y), _ = tumours
    model = dense_network([3])
    plain, decayed = (
        record(model, x, y, batch_size=200, optimizer=keras.optimizers.SGD(1.0), l2=l2).state(1).weights
        for l2 in (0.0, 0.25)
    )
    for before, ours, theirs in zip(model.get_weights(), decayed, plain, strict=True):
        np.testing.assert_allclose(ours, theirs - 0.25 * before, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "units", "labels", "name"),
    [
        ("softmax", 2, np.int64, "sparse_categorical_crossentropy"),
        ("sigmoid", 1, np.int64, "binary_crossentropy"),
        ("linear", 1, np.float32, "mean_squared_error"),
    ],
)
def test_the_loss_goes_with_the_last_layer(tumours, activation, units, labels, name):
    (x, y), _ = tumours
    model = keras.Sequential([keras.Input((30,)), layers.Dense(units, activation=activation)])
    run = record(model, x, y.astype(labels), epochs=1)
    theirs = record(model, x, y.astype(labels), loss=name, epochs=1)
    assert_same(run.state(1), theirs.state(1))


def test_several_inputs_and_an_embedding():
    rng = np.random.default_rng(0)
    tokens, numbers = keras.Input((4,), dtype="int32", name="tokens"), keras.Input((3,), name="numbers")
    words = layers.Flatten()(layers.Embedding(10, 2)(tokens))
    model = keras.Model({"tokens": tokens, "numbers": numbers}, layers.Dense(1)(layers.Concatenate()([words, numbers])))
    x = {"tokens": rng.integers(0, 10, (40, 4)), "numbers": rng.normal(size=(40, 3))}
    y = x["numbers"].sum(axis=1) + (x["tokens"] == 3).any(axis=1)
    run = record(model, x, y, optimizer=keras.optimizers.Adam(0.05), epochs=40)
    predicted = run.model().predict(x, verbose=0)[:, 0]
    assert np.corrcoef(predicted, y)[0, 1] > 0.95


def test_a_saved_run_is_read_again(run, images, tmp_path):
    run.save(tmp_path / "run")
    again = load_training(tmp_path / "run", *images)
    for epoch in range(4):
        assert_same(again.state(epoch), run.state(epoch))
    *_, last = again.replay(2)
    assert_same(last, run.state(3))
    weights_only = load_training(tmp_path / "run")
    np.testing.assert_array_equal(weights_only.state(3).weights[0], run.state(3).weights[0])
    with pytest.raises(ValueError, match=r"load_training\(directory, x, y\)"):
        list(weights_only.replay(0))
    with pytest.raises(ValueError, match="x must be what the run was trained on"):
        load_training(tmp_path / "run", images[0] + 0.1, images[1])
    with pytest.raises(ValueError, match="directory must be a folder without a training run"):
        run.save(tmp_path / "run")


def test_a_run_takes_a_weight_set_an_epoch_and_a_few_kilobytes(images, tmp_path):
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(300), layers.Dense(3, activation="softmax")]
    )
    record(model, *images, optimizer="sgd", epochs=5, batch_size=5, directory=tmp_path)
    weights = 4 * model.count_params()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6 * (weights + 2000) + 8000


def test_a_run_that_was_killed_goes_on(run, images, tmp_path, monkeypatch):
    write = Storage.write_state

    def killed(storage, epoch, *content):
        if epoch == 2:
            raise KeyboardInterrupt
        write(storage, epoch, *content)

    monkeypatch.setattr(Storage, "write_state", killed)
    with pytest.raises(KeyboardInterrupt):
        record(image_network(), *images, epochs=3, directory=tmp_path)
    assert load_training(tmp_path, *images).epochs == 1
    monkeypatch.undo()
    os.utime(tmp_path / "epoch_0001.npz", (0, 0))
    (tmp_path / "epoch_0002.npz.part").write_bytes(b"half a file")
    assert_same(record(image_network(), *images, epochs=3, directory=tmp_path).state(3), run.state(3))
    assert (tmp_path / "epoch_0001.npz").stat().st_mtime_ns == 0, "was written again"


def test_another_run_in_the_folder_is_not_overwritten(images, tmp_path):
    record(image_network(), *images, directory=tmp_path)
    with pytest.raises(ValueError, match=r"directory must be a folder without another run, .* differs in seed\."):
        record(image_network(), *images, directory=tmp_path, seed=5)
    with pytest.raises(ValueError, match=r"differs in x, y or sample_weight\."):
        record(image_network(), images[0][:100], images[1][:100], directory=tmp_path)
    with pytest.warns(VisWarning, match="began with other weights"):
        record(image_network(seed=5), *images, directory=tmp_path, epochs=2)


def test_broken_records_are_named(images, tmp_path):
    with pytest.raises(ValueError, match="directory must be an existing folder, not "):
        load_training(tmp_path / "nothing")
    with pytest.raises(ValueError, match="directory must be a folder that a training run was saved to"):
        load_training(tmp_path)
    run = record(image_network(), *images, directory=tmp_path)
    (tmp_path / "epoch_0001.npz").write_bytes(b"half a")
    with pytest.raises(ValueError, match=r"epoch_0001\.npz cannot be read as the state .*\. Load the run again, which"):
        run.model()
    settings = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**settings, "format": 99}))
    with pytest.raises(ValueError, match="another version"):
        load_training(tmp_path)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 3
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [cut, flipped, lambda content: b""], ids=["cut", "flipped", "empty"])
@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_a_run_with_a_damaged_checkpoint_ends_before_it_and_goes_on_from_there(run, images, tmp_path, damage, epoch):
    run.save(tmp_path / "run")
    path = tmp_path / "run" / f"epoch_{epoch:04d}.npz"
    path.write_bytes(damage(path.read_bytes()))
    if epoch:
        words = (
            rf"{path.name} is damaged: the run ends after epoch {epoch - 1} of 3\. Call record_training with the same"
        )
        with pytest.warns(VisWarning, match=words):
            loaded = load_training(tmp_path / "run", *images)
        assert loaded.epochs == epoch - 1
        assert_same(loaded.state(epoch - 1), run.state(epoch - 1))
    else:
        with (
            pytest.warns(VisWarning, match=rf"{path.name} is damaged: the run has no sound beginning"),
            pytest.raises(ValueError, match=rf"{path.name} cannot be read"),
        ):
            load_training(tmp_path / "run", *images)
    with pytest.warns(VisWarning, match=f"{path.name} is damaged"):
        again = record(image_network(), *images, epochs=3, batch_size=32, directory=tmp_path / "run")
    assert_same(again.state(3), run.state(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_training(tmp_path / "run", *images).epochs == 3


def test_each_epoch_may_have_steps_of_its_own(images, small_images, tmp_path):
    lists = [[[0, 1], [2, 3, 4]], [[4, 2]], [[7], [8], [9, 1]]]
    options = {"optimizer": keras.optimizers.SGD(0.1, momentum=0.9), "epochs": 3}
    run = record(image_network(), *images, batches=lists, directory=tmp_path, **options)
    assert [[step.tolist() for step in run.order(epoch)] for epoch in range(3)] == lists
    # The same steps as one epoch.
    flat_run = record(
        image_network(), *images, batches=[step for steps in lists for step in steps], **{**options, "epochs": 1}
    )
    assert_same(run.state(3), flat_run.state(1))
    validation = small_images[0][150:170], small_images[1][150:170]
    ours, theirs = (sgd_influence(each, *validation, progress=False) for each in (run, flat_run))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    truths = [
        counterfactual_influence(each, *validation, indices=[1, 4, 9], progress=False) for each in (run, flat_run)
    ]
    np.testing.assert_allclose(*truths, rtol=1e-5, atol=1e-9)
    assert_same(load_training(tmp_path, *images).retrain().state(3), run.state(3))
    longer = record(
        image_network(), *images, batches=[*lists, [[5, 6]]], directory=tmp_path, **{**options, "epochs": 4}
    )
    assert longer.epochs == 4
    with pytest.raises(
        ValueError, match="batches must hold one list of steps for each of the 2 epochs, not 3. Give one"
    ):
        record(image_network(), *images, batches=lists, epochs=2)
    with pytest.raises(ValueError, match="batches must hold at least one step"):
        record(image_network(), *images, batches=[[[1]], []], epochs=2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"y": np.arange(149)}, "y must hold one label for each of the 150 examples of x, not 149"),
        ({"y": np.full(150, 3)}, "y must be a class from 0 to 2, not 3 as at index 0"),
        ({"y": np.full(150, -1)}, "y must be .* not -1 as at index 0"),
        (
            {"y": np.zeros((150, 3)), "loss": "categorical_crossentropy", "epochs": 0},
            "epochs must be a whole number of at least 1, not 0",
        ),
        ({"y": np.zeros(150), "loss": "categorical_crossentropy"}, "y must be one row of 3 probabilities per example"),
        ({"sample_weight": np.ones(3)}, r"sample_weight must have the shape \(150,\), not \(3,\)"),
        ({"init": "zeros"}, "init must be 'weights' or 'fresh', not 'zeros'"),
        ({"batches": [[0, 150]]}, "batches must hold indices of examples, 0 to 149, not 150"),
        ({"batches": []}, "batches must hold at least one step"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"l2": -1}, "l2 must be at least 0, not -1"),
        ({"optimizer": "ftrl"}, "optimizer must be one of .* not Ftrl"),
        ({"optimizer": None}, "optimizer must be given"),
        ({"loss": "foo"}, "loss must be a loss of Keras, not 'foo'. Give for example 'mean_squared_error' or"),
        (
            {"loss": lambda y, p: keras.ops.mean(p)},
            "loss must return one number per example, not one number for a whole batch",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(images, change, words):
    arguments = {"x": images[0], "y": images[1], **change}
    with pytest.raises(ValueError, match=words):
        record(image_network(), arguments.pop("x"), arguments.pop("y"), **arguments)


def test_one_example_and_bad_inputs_are_refused(images):
    with pytest.raises(ValueError, match="x must hold at least 2 examples, not 1"):
        record(image_network(), images[0][:1], images[1][:1])
    with pytest.raises(
        ValueError, match=r"x must have shape \(None, 8, 8, 1\), or that of one sample, not \(150, 7, 8, 1\)"
    ):
        record(image_network(), images[0][:, 1:], images[1])
    with pytest.raises(ValueError, match="without must hold indices of examples, 0 to 149, not 150"):
        record(image_network(), *images).retrain(without=[150])


def two_outputs(subclassed=False):
    inputs = keras.Input((8, 8, 1))
    flat = layers.Flatten()(inputs)
    model = keras.Model(inputs, {"digit": layers.Dense(3, "softmax")(flat), "half": layers.Dense(1)(flat)})

    class Wrapped(keras.Model):
        def __init__(self):
            super().__init__()
            self.inside = model

        def call(self, x):
            return self.inside(x)

    return Wrapped() if subclassed else model


@pytest.mark.parametrize("form", ["list", "dict", "array"])
def test_a_model_of_several_outputs_is_refused(images, form):
    x, y = images
    labels = {"list": [y, np.zeros((150, 1))], "dict": {"digit": y, "half": y}, "array": y}[form]
    words = r"^model must have one output, not 2\. Give a model with one of them, such as keras\.Model\("
    with pytest.raises(ValueError, match=words):
        record(two_outputs(), x, labels)
    with pytest.raises(ValueError, match=words):
        influence_functions(two_outputs(), x, labels, x, labels, progress=False)


def test_a_model_that_does_not_say_how_many_outputs_it_has_is_refused_too(images):
    x, y = images
    with pytest.raises(ValueError, match=r"^model must have one output, not 2\."):
        record(two_outputs(subclassed=True), x, y, loss="mse")
    with pytest.raises(
        ValueError,
        match=r"^y must be one array, not arrays of different shapes\. vis\.influence is for models with one output",
    ):
        record(two_outputs(subclassed=True), x, [y, np.zeros((150, 1))], loss="mse")
    with pytest.raises(
        TypeError, match=r"^y must be one array, not a dict\. vis\.influence is for models with one output"
    ):
        record(two_outputs(subclassed=True), x, {"digit": y, "half": y}, loss="mse")


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


def test_a_loss_that_is_not_a_number_stops_with_the_step(images):
    x = images[0].copy()
    steps = [np.arange(30), np.arange(30, 60)]
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])
    with pytest.raises(ValueError, match=r"training loss is (nan|inf) at step \d+"):
        record(model, x, images[1] * 1e30, optimizer=keras.optimizers.SGD(1e9), batches=steps, epochs=20)


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_run_that_diverges_is_told(tumours, epochs):
    (x, y), _ = tumours
    model = keras.Sequential([keras.Input((30,)), layers.Dense(1)])
    options = {"batch_size": 50, "epochs": epochs, "loss": "mean_absolute_error"}
    with pytest.warns(VisWarning, match=r"loss rose from [\d.]+ at the first step to [\d.e+]+ in .*learning rate"):
        record(model, x, y, optimizer=keras.optimizers.SGD(1e6), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error", VisWarning)
        record(model, x, y, optimizer=keras.optimizers.SGD(0.01), **options)


def test_a_frozen_model_is_refused(images):
    model = image_network()
    model.trainable = False
    with pytest.raises(ValueError, match="model must have weights to train, not only frozen layers"):
        record(model, *images)
