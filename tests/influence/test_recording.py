"""Recording, replaying, saving and going on."""

from __future__ import annotations

import os
import warnings

import keras
import numpy as np
import pytest
from influence.networks import assert_same, dense_network, flat, image_network, record
from keras import layers

from vis import VisWarning
from vis.influence import (
    load_training,
)
from vis.influence.storage import Storage


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


def test_l2_is_half_its_square_on_every_weight(tumours):
    (x, y), _ = tumours
    model = dense_network([3])
    plain, decayed = (
        record(model, x, y, batch_size=200, optimizer=keras.optimizers.SGD(1.0), l2=l2).state(1).weights
        for l2 in (0.0, 0.25)
    )
    for before, ours, theirs in zip(model.get_weights(), decayed, plain, strict=True):
        np.testing.assert_allclose(ours, theirs - 0.25 * before, atol=1e-6)


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
    with pytest.warns(VisWarning, match="started from other weights"):
        record(image_network(seed=5), *images, directory=tmp_path, epochs=2)


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
        ({"loss": "foo"}, "loss must be a Keras loss, not 'foo'. Give for example 'mean_squared_error' or"),
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
