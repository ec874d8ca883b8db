"""Each row of "From tf-keras-vis" in `docs/migrating.md`, beside what tf-keras-vis 0.8.7 gave, stored by `make.py`.

The rows whose results are compared are taken from the page: a new one fails until `make.py` has stored its result.
"""

from __future__ import annotations

import inspect
import re

import keras
import numpy as np
import pytest
from migrating_cases import TF_KERAS_VIS, code, correlations, tables

from vis import ArgumentError, VisWarning
from vis.optimizer.callbacks import OptimizerCallback
from vis.visualization import visualize_activation, visualize_cam, visualize_saliency

TABLES = tables(TF_KERAS_VIS)
ROWS = {row.key: row for table in TABLES for row in table}
MAXIMIZED = {key for key in ROWS if re.match("(?i:activation)?maximization", key, re.IGNORECASE)}
COMPARED = {key for key, row in ROWS.items() if re.match("the same|correlation", row.note)} - MAXIMIZED
TESTED = COMPARED | MAXIMIZED


def row(key: str):
    """Mark a test as that of a row."""
    TESTED.add(key)
    return lambda test: test


def here(key: str, names: dict):
    """Return what the code of the right column gives."""
    return eval(code(ROWS[key].here)[0], names)


@pytest.mark.parametrize("key", sorted(COMPARED), ids=str)
def test_results_compare_as_the_row_says(key, names, stored):
    note, there = ROWS[key].note, stored[key]
    result = np.asarray(here(key, names))
    if note.startswith("the same"):
        np.testing.assert_allclose(result, there, rtol=0, atol=1e-3 * np.abs(there).max())
    else:
        stated = float(re.match(r"correlation (\d\.\d\d)", note)[1])
        assert min(correlations(there, result)) == pytest.approx(stated, abs=0.006)


@pytest.mark.parametrize("key", sorted(MAXIMIZED), ids=str)
def test_images_are_of_the_same_class(key, names, stored):
    keras.utils.set_random_seed(0)
    result = here(key, names)
    scale = 255 if "activation_modifiers" in key else 1
    wanted = None
    for images in (stored[key], np.asarray(result)):
        images = np.reshape(images, (-1, 28, 28, 1)) / scale
        pair = [images[0], images[-1]] if len(images) == 2 else [names["images"][0], images[0]]
        assert images.min() >= 0
        assert images.max() <= 2
        if "binary" in key:
            assert (names["binary"].predict(images, verbose=0) < 0.1).all()
        elif "conv2" in key:
            features = keras.Model(names["model"].input, names["model"].get_layer("conv2").output)
            activation, of_digits = (features(each).numpy()[..., 2].mean() for each in (images, names["images"]))
            assert activation > 2 * of_digits
        elif "two_inputs" in key:
            assert names["two_inputs"].predict([each[None] for each in pair], verbose=0).argmax() == 3
        else:
            wanted = [3, 5] if "[3, 5]" in key else [3]
            probabilities = names["model"].predict(images, verbose=0)
            assert probabilities.argmax(axis=1).tolist() == wanted
    if wanted:
        assert probabilities.max(axis=1).min() > 0.9  # of those made here, which are the last


def test_steps_are_counted_alike(names):
    class Count(OptimizerCallback):
        steps = 0

        def callback(self, i, named_losses, overall_loss, grads, wrt_value):
            self.steps += 1

    count = Count()
    written = code(ROWS["maximization(CategoricalScore(3), steps=50, input_range=(0.0, 1.0))"].here)[0]
    eval(written[:-1] + ", callbacks=[count])", names | {"count": count})
    assert count.steps == 50


def test_one_input_moves_within_its_range(names):
    image = here(next(key for key in MAXIMIZED if "two_inputs" in key), names)
    assert image.shape == (28, 28, 1)
    assert 1 < image.max() <= 2
    with pytest.raises(ArgumentError, match="input_range must"):
        visualize_activation(names["two_inputs"], -1, 3, input_range=[(0.0, 1.0), (0.0, 2.0), (0.0, 1.0)])


def test_the_mean_of_signed_gradients_is_another_map_than_that_of_magnitudes(names, stored):
    key = next(key for key in COMPARED if "smooth_samples" in key)
    signed = eval(code(ROWS[key].here)[0].replace(', aggregate="absolute"', ""), names)
    assert max(correlations(signed, stored[key])) < 0.97


def test_the_pooling_is_taken_where_no_layer_is_named(names, stored):
    key = "gradcam(score, images, penultimate_layer=-1)"
    maps = visualize_cam(names["model"], -1, names["classes"][:, None], names["images"])
    stated = float(re.search(r"without a layer's name (\d\.\d\d)", ROWS[key].note)[1])
    assert min(correlations(maps, stored[key])) == pytest.approx(stated, abs=0.006)
    pooling = visualize_cam(names["model"], -1, names["classes"][:, None], names["images"], "pool2")
    np.testing.assert_array_equal(maps, pooling)


def test_grad_cam_plus_plus_by_its_equation_is_another_map(names, stored):
    key = next(key for key in COMPARED if key.startswith("gradcam_plus_plus"))
    maps = eval(code(ROWS[key].here)[0].replace("unit_sum", '"gradcam++"'), names)
    stated = float(re.search(r"correlation (\d\.\d\d)", ROWS[key].note)[1])
    assert min(correlations(maps, stored[key])) == pytest.approx(stated, abs=0.006)


@row("TotalVariation2D(weight=1.0)(tf.constant(images))")
def test_total_variation(names, stored):
    key = "TotalVariation2D(weight=1.0)(tf.constant(images))"
    ratio = stored[key] / here(key, names).numpy()
    assert ((ratio > 1) & (ratio < np.sqrt(2))).all()


@row("input_range=None")
def test_a_range_is_needed(names):
    with pytest.raises(ArgumentError, match="input_range must be a pair"):
        visualize_activation(names["model"], -1, 3, input_range=None)
    options = eval(f"dict({code(ROWS['input_range=None'].here)[0]})")
    image = visualize_activation(names["model"], -1, 3, max_iter=5, **options)
    assert image.min() >= 0
    assert image.max() <= 1


@row('GifGenerator2D("three")')
def test_an_animation(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gif = here('GifGenerator2D("three")', names)
    visualize_activation(names["model"], -1, 3, input_range=(0.0, 1.0), max_iter=5, callbacks=[gif])
    assert (tmp_path / "three.gif").stat().st_size > 0
    assert len(gif.frames) == 5


@row("Callback")
def test_a_callback_s_arguments(names):
    assert here("Callback", names) is OptimizerCallback
    _, *arguments = inspect.signature(OptimizerCallback.callback).parameters
    assert code(ROWS["Callback"].note)[0] == f"callback({', '.join(arguments)})"


@row("training=True")
def test_dropout_is_off():
    layers = [keras.layers.Dropout(0.5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((4,)), *layers])
    expected = np.abs(model.layers[-1].get_weights()[0][:, 1])
    np.testing.assert_allclose(visualize_saliency(model, -1, 1, np.ones(4), normalize=False), expected, rtol=1e-6)


@row("unconnected_gradients=tf.UnconnectedGradients.ZERO")
def test_a_score_that_does_not_depend_on_the_input():
    used, unused = keras.Input((4,), name="used"), keras.Input((4,), name="unused")
    model = keras.Model([used, unused], keras.layers.Dense(3)(used))
    with pytest.warns(VisWarning, match="unused"):
        _, maps = visualize_saliency(model, -1, 1, [np.ones((1, 4)), np.ones((1, 4))])
    np.testing.assert_array_equal(maps, np.zeros(4))


@row("clone=False")
def test_the_model_is_not_changed(names):
    model = names["model"]
    before = [(layer, getattr(layer, "activation", None)) for layer in model.layers]
    weights = model.get_weights()
    visualize_saliency(model, -1, 3, names["images"], backprop_modifier="guided")
    assert [(layer, getattr(layer, "activation", None)) for layer in model.layers] == before
    for one, other in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_row_has_a_test_and_every_result_a_row(stored):
    assert sum(map(len, TABLES)) == len(ROWS)
    assert set(ROWS) == TESTED
    inputs = {"images", "classes", *(name for name in stored if name.startswith("weights/"))}
    assert COMPARED | MAXIMIZED <= set(stored) - inputs <= set(ROWS)
