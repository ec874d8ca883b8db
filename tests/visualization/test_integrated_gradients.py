"""Integrated gradients beside closed forms, a plain loop and the completeness of the attribution."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis.losses import Target
from vis.visualization import expected_gradients, integrated_gradients, smoothgrad, visualize_saliency

RAW = {"normalize": False}
RNG = np.random.default_rng(0)


def plain_loop(model, x, label, baseline, steps=64):
    """The midpoint rule by a loop over the points, (features,) of one sample."""
    total = np.zeros_like(x)
    for k in range(steps):
        point = tf.constant((baseline + (k + 0.5) / steps * (x - baseline))[None])
        with tf.GradientTape() as tape:
            tape.watch(point)
            score = model(point)[0, label]
        total += tape.gradient(score, point).numpy()[0] / steps
    return (x - baseline) * total


def dense(activation="tanh", outputs=3):
    layers = [keras.layers.Dense(8, activation), keras.layers.Dense(outputs)]
    return keras.Sequential([keras.Input((5,)), *layers])


def test_a_linear_model_is_exact_with_one_step():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    x, baseline = RNG.normal(size=(2, 4)), RNG.normal(size=4)
    kernel = model.get_weights()[0]
    maps = integrated_gradients(model, -1, [[0], [2]], x, baseline=baseline, steps=1, **RAW)
    np.testing.assert_allclose(maps, (x - baseline) * kernel[:, [0, 2]].T, rtol=1e-5)


def test_a_polynomial_is_exact():
    # S = Σ x⁴, whose attributions from 0 are x⁴: the gradient is of degree 3, for which two points will do.
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.sum(inputs**4, axis=-1, keepdims=True))
    x = RNG.normal(size=4).astype("float32")
    maps, gap = integrated_gradients(model, None, 0, x, steps=2, return_gap=True, **RAW)
    np.testing.assert_allclose(maps, x**4, rtol=1e-5)
    assert np.abs(gap).max() < 1e-5


@pytest.mark.parametrize("quadrature", ["midpoint", "gausslegendre"])
def test_it_is_a_loop_over_the_line(quadrature):
    model = dense()
    x = RNG.normal(size=(3, 5)).astype("float32")
    baseline = RNG.normal(size=5).astype("float32")
    maps = integrated_gradients(model, -1, 1, x, baseline=baseline, steps=64, quadrature=quadrature, **RAW)
    expected = np.stack([plain_loop(model, sample, 1, baseline) for sample in x])
    np.testing.assert_allclose(maps, expected, atol=1e-3)
    if quadrature == "midpoint":
        np.testing.assert_allclose(maps, expected, atol=1e-6)


def test_the_gap_is_what_the_attributions_miss():
    model = dense("relu")
    x = 3 * RNG.normal(size=(2, 5)).astype("float32")
    baseline = np.full(5, -1.5, "float32")
    maps, gap = integrated_gradients(model, -1, 1, x, baseline=baseline, steps=3, return_gap=True, **RAW)
    change = (model(x) - model(baseline[None])).numpy()[:, 1]
    np.testing.assert_allclose(gap, maps.sum(axis=1, dtype=np.float64) - change, atol=1e-5)
    _, fine = integrated_gradients(model, -1, 1, x, baseline=baseline, steps=500, return_gap=True, **RAW)
    assert np.abs(fine).max() < np.abs(gap).max() / 5


def test_the_digit_network_misses_less_than_a_hundredth(digit_model, digits):
    x = digits.x_test[:8]
    labels = digits.y_test[:8]
    _, gap = integrated_gradients(digit_model, -1, labels[:, None], x, return_gap=True, **RAW)
    logits = keras.Model(digit_model.inputs, digit_model.layers[-1].input)
    kernel, bias = digit_model.layers[-1].get_weights()
    ends = [logits.predict(each, verbose=0) @ kernel + bias for each in (x, np.zeros_like(x))]
    change = (ends[0] - ends[1])[np.arange(8), labels]
    assert (np.abs(gap) < 0.01 * np.abs(change)).all()


def test_pictures_are_summed_over_channels_unless_they_are_kept():
    model = zoo.functional()
    x = zoo.images(2)
    kept = integrated_gradients(model, -1, 2, x, keepdims=True, steps=4, **RAW)
    assert kept.shape == x.shape
    summed = integrated_gradients(model, -1, 2, x, steps=4, **RAW)
    np.testing.assert_allclose(summed, kept.sum(axis=-1), atol=1e-6)
    both = integrated_gradients(model, -1, 2, x, steps=4)
    np.testing.assert_allclose(both, summed / np.abs(summed).max(axis=(1, 2), keepdims=True), rtol=1e-5)


def test_a_sample_has_the_same_attribution_alone_and_in_a_batch_of_any_size():
    model, x = zoo.functional(), zoo.images(3)
    together = integrated_gradients(model, -1, [[0], [1], [2]], x, steps=5, **RAW)
    for i in range(3):
        alone = integrated_gradients(model, -1, i, x[i], steps=5, batch_size=2, **RAW)
        np.testing.assert_allclose(alone, together[i], atol=1e-6)


def test_several_baselines_are_averaged():
    model, x = dense(), RNG.normal(size=(2, 5))
    parts = [integrated_gradients(model, -1, 0, x, baseline=b, steps=9, **RAW) for b in (0.0, 1.0)]
    both, gap = integrated_gradients(model, -1, 0, x, baseline=[0.0, 1.0], steps=9, return_gap=True, **RAW)
    np.testing.assert_allclose(both, np.mean(parts, axis=0), atol=1e-6)
    assert np.abs(gap).max() < 1e-4


def test_a_blurred_picture_is_a_baseline():
    model, x = zoo.functional(), zoo.images(1)[0]
    _, gap = integrated_gradients(model, -1, 0, x, baseline="blur", steps=200, return_gap=True, **RAW)
    assert np.abs(gap).max() < 0.02
    # A flat picture is its own blur, edges and all.
    linear = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    flat = integrated_gradients(linear, -1, 0, np.ones((8, 8, 1)), baseline="blur", steps=2, **RAW)
    np.testing.assert_allclose(flat, 0, atol=1e-6)


def test_the_tokens_of_an_embedding():
    layers = [keras.layers.Embedding(10, 4, name="words"), keras.layers.LSTM(5), keras.layers.Dense(3)]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    tokens = np.arange(7)
    maps, gap = integrated_gradients(model, -1, 1, tokens, wrt_tensor="words", return_gap=True, **RAW)
    assert maps.shape == (7,)
    vectors = model.layers[0](tokens[None])
    change = (layers[2](layers[1](vectors)) - layers[2](layers[1](0 * vectors))).numpy()[0, 1]
    assert maps.sum() == pytest.approx(change, abs=1e-5)
    assert np.abs(gap).max() < 1e-6


def test_inputs_move_together_each_from_its_own_baseline():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    product = keras.ops.sum(a, axis=-1, keepdims=True) * keras.ops.sum(b, axis=-1, keepdims=True)
    model = keras.Model({"a": a, "b": b}, product)
    x = {"a": np.ones(4), "b": np.full(3, 2.0)}
    baseline = {"a": 0.5, "b": np.zeros(3)}
    maps, gap = integrated_gradients(model, None, 0, x, baseline=baseline, return_gap=True, **RAW)
    # Along a = 1/2 + α/2, b = 2α: ∫ (∂S/∂a) (a − a') = 4 · ½ · ∫ 6α dα = 6, and the rest of 24 is b's.
    assert maps["a"].sum() == pytest.approx(6, rel=1e-5)
    assert maps["b"].sum() == pytest.approx(18, rel=1e-5)
    assert np.abs(gap).max() < 1e-4


def test_several_baselines_of_several_inputs():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], keras.ops.sum(a * b, axis=-1, keepdims=True))
    x = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    pairs = [(0.0, 1.0), (0.5, 1.0)]
    parts = [integrated_gradients(model, None, 0, x, baseline=list(pair), **RAW) for pair in pairs]
    both, gap = integrated_gradients(model, None, 0, x, baseline=[[0.0, 0.5], 1.0], return_gap=True, **RAW)
    for i in range(2):
        np.testing.assert_allclose(both[i], np.mean([part[i] for part in parts], axis=0), rtol=1e-5)
    assert np.abs(gap).max() < 1e-5


def test_pictures_of_whole_numbers_move_beside_real_numbers():
    # The picture's first tensor of real numbers comes after the other input in the graph, and is told from it.
    picture, vector = keras.Input((2, 2, 1), dtype="uint8", name="picture"), keras.Input((3,), name="vector")
    reals = keras.layers.Rescaling(1.0)(picture)
    score = keras.ops.sum(reals, axis=(1, 2)) * keras.ops.sum(vector, axis=-1, keepdims=True)
    model = keras.Model([picture, vector], score)
    x = [np.full((2, 2, 1), 2, "uint8"), np.ones(3)]
    maps, gap = integrated_gradients(model, None, 0, x, baseline=[0.0, 0.5], return_gap=True, **RAW)
    # Along p = 8α, v = 3/2 + 3α/2: ∫ 8 v dα = 18, and the rest of 24 is the vector's.
    assert [each.sum() for each in maps] == pytest.approx([18, 6], rel=1e-5)
    assert np.abs(gap).max() < 1e-4


def test_several_tensors_in_any_order():
    a, b = keras.layers.Dense(3, "tanh", name="a"), keras.layers.Dense(3, "tanh", name="b")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.sum(a(inputs) * b(inputs) ** 2, axis=-1, keepdims=True))
    x = RNG.normal(size=4)
    there = integrated_gradients(model, None, 0, x, ["a", "b"], baseline=[0.1, 0.7], **RAW)
    back, gap = integrated_gradients(model, None, 0, x, ["b", "a"], baseline=[0.7, 0.1], return_gap=True, **RAW)
    for one, other in zip(there, back[::-1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(gap).max() < 1e-5


def test_what_is_like_the_baseline_gets_nothing_and_no_warning(recwarn):
    maps = integrated_gradients(dense(), -1, 0, np.zeros(5))
    np.testing.assert_array_equal(maps, np.zeros(5))
    assert not recwarn.list


def test_a_function_of_the_output_and_of_a_stream():
    model, x = dense(), RNG.normal(size=(4, 5)).astype("float32")
    maps = integrated_gradients(model, None, lambda output: output[:, 1] - output[:, 0], x, steps=9, **RAW)
    parts = [integrated_gradients(model, -1, label, x, steps=9, **RAW) for label in (1, 0)]
    np.testing.assert_allclose(maps, parts[0] - parts[1], atol=1e-6)
    stream = integrated_gradients(model, -1, None, iter([(x[:3], [1, 1, 1]), (x[3:], [1])]), steps=9, **RAW)
    np.testing.assert_allclose(np.concatenate(list(stream)), parts[0], atol=1e-6)


def test_no_new_trace_for_another_class_image_or_number_of_steps():
    from vis.engine import cache

    model = dense()
    for label, steps in [(0, 10), (1, 10), (2, 33)]:
        integrated_gradients(model, -1, label, RNG.normal(size=5), steps=steps, return_gap=True)
    assert cache.traced(model) == 2  # the mean gradient, and the two scores


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, not 0"),
        ({"quadrature": "simpson"}, "quadrature must be 'gausslegendre' or 'midpoint', not 'simpson'"),
        ({"baseline": "black"}, "baseline must be a number, an array, 'blur' or a list of these, not 'black'"),
        ({"baseline": np.zeros(4)}, r"baseline must be a number or an array of shape \(5,\)"),
        ({"baseline": []}, "baseline must hold at least one baseline"),
        ({"baseline": {"z": 0}}, "baseline must have the keys"),
        ({"baseline": {"x": []}}, "baseline must hold at least one baseline"),
    ],
)
def test_refusals(options, message):
    inputs = keras.Input((5,), name="x")
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    with pytest.raises(ValueError, match=message):
        integrated_gradients(model, -1, 0, np.ones(5), **options)


def test_a_list_of_baselines_for_each_input_has_one_length():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model([a, b], keras.ops.sum(a * b, axis=-1, keepdims=True))
    with pytest.raises(ValueError, match="baseline must have one baseline per input, .* not 2, 3"):
        integrated_gradients(model, None, 0, [np.ones(2)] * 2, baseline=[[0, 1], [0, 1, 2]])


def test_it_stands_beside_a_target_of_losses():
    # The gradient at the input itself is what saliency shows of the same target.
    model, x = dense(), RNG.normal(size=5)
    score = Target(lambda output: output[:, 1] ** 2)
    near = integrated_gradients(model, None, score.function, x, baseline=x - 1e-3, steps=1, **RAW)
    slope = visualize_saliency(model, None, score.function, x, grad_modifier=None, **RAW)
    np.testing.assert_allclose(near / 1e-3, slope, rtol=2e-2, atol=1e-3)


def test_half_precision_has_the_attributions_of_single_precision():
    weights, x = None, RNG.normal(size=(2, 5)).astype("float32")
    maps = {}
    for policy in ("float32", "mixed_float16"):
        layers = [keras.layers.Dense(8, "tanh", dtype=policy, name="hidden"), keras.layers.Dense(3, dtype=policy)]
        model = keras.Sequential([keras.Input((5,)), *layers])
        weights = weights or model.get_weights()
        model.set_weights(weights)
        maps[policy] = [
            integrated_gradients(model, -1, 1, x, baseline=-1.0, **RAW),
            integrated_gradients(model, -1, 1, x, "hidden", baseline=0.25, **RAW),
            expected_gradients(model, -1, 1, x, "hidden", background=-x, num_samples=4, **RAW),
            smoothgrad(model, -1, 1, x, of="gradient_times_input", **RAW),
        ]
    for single, half in zip(*maps.values(), strict=True):
        np.testing.assert_allclose(half, single, atol=5e-3)
