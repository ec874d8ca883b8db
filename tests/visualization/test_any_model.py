"""Models that are no plain convolutional network: beside references, or the same weights spelled plainly."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from vis import VisWarning
from vis.engine import keras_internals
from vis.losses import ActivationMaximization, Target
from vis.visualization import (
    smoothgrad,
    visualize_activation,
    visualize_cam,
    visualize_cam_with_losses,
    visualize_saliency,
    visualize_saliency_with_losses,
)
from vis.visualization.cam import resize

RAW = {"normalize": False}
SIGNED = {"grad_modifier": None, "keepdims": True, "normalize": False}


def every_map(model, target, label, x, *, penultimate=None, wrt=None):
    """Saliency, SmoothGrad and Grad-CAM of one model."""
    return [
        visualize_saliency(model, target, label, x, wrt_tensor=wrt, **RAW),
        smoothgrad(model, target, label, x, wrt_tensor=wrt, num_samples=4, seed=5, **RAW),
        visualize_cam(model, target, label, x, penultimate, **RAW),
    ]


def without_noise(model, label, x, target=-1, **options):
    """SmoothGrad with noise so small that it must give the plain gradient's map."""
    return smoothgrad(model, target, label, x, noise_level=1e-9, num_samples=3, seed=0, **RAW, **options)


@pytest.mark.parametrize("kind", [kind for kind in zoo.KINDS if kind is not zoo.functional])
def test_a_model_of_every_kind_gives_the_plain_models_maps(kind):
    x = zoo.images(3)
    model = kind()
    target = None if kind is zoo.subclassed else -1
    plain = zoo.functional()  # the same seeds make the same weights
    for actual, expected in zip(every_map(model, target, 2, x), every_map(plain, -1, 2, x), strict=True):
        zoo.assert_close(actual, expected, 1e-4)


def test_a_model_loaded_from_a_file_with_custom_objects(tmp_path):
    model = zoo.subclassed()
    x = zoo.images(2)
    expected = every_map(model, None, 2, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", custom_objects={"Subclassed": zoo.Subclassed})
    for actual, before in zip(every_map(loaded, None, 2, x), expected, strict=True):
        zoo.assert_close(actual, before)


def backbone():
    parts = zoo.layers()
    x = inputs = keras.Input(zoo.SHAPE)
    for name in ("conv1", "relu1", "conv2"):
        x = parts[name](x)
    return keras.Model(inputs, x, name="backbone"), parts


def test_time_distributed_is_the_backbone_on_each_frame():
    inner, _ = backbone()
    frames = keras.Input((4, *zoo.SHAPE))
    pooled = keras.layers.TimeDistributed(keras.layers.GlobalAveragePooling2D())(
        keras.layers.TimeDistributed(inner)(frames)
    )
    model = keras.Model(
        frames, keras.layers.Dense(2, name="sum", kernel_initializer="ones")(keras.layers.Flatten()(pooled))
    )
    image = keras.Input(zoo.SHAPE)
    single = keras.Model(
        image, keras.layers.Dense(2, kernel_initializer="ones")(keras.layers.GlobalAveragePooling2D()(inner(image)))
    )
    x = zoo.images(2, (4, *zoo.SHAPE))
    flat = x.reshape(8, *zoo.SHAPE)

    def by_frame(maps):
        return maps.reshape(2, 4, *maps.shape[1:])

    zoo.assert_close(
        visualize_saliency(model, -1, 1, x, **RAW), by_frame(visualize_saliency(single, -1, 1, flat, **RAW))
    )
    for modifier in ("guided", "rectified"):
        zoo.assert_close(
            visualize_saliency(model, -1, 1, x, backprop_modifier=modifier, **RAW),
            by_frame(visualize_saliency(single, -1, 1, flat, backprop_modifier=modifier, **RAW)),
        )
    zoo.assert_close(without_noise(model, 1, x), by_frame(visualize_saliency(single, -1, 1, flat, **RAW)))
    # One call a frame: one map a frame.
    zoo.assert_close(
        visualize_cam(model, -1, 1, x, "conv2", **RAW), by_frame(visualize_cam(single, -1, 1, flat, "conv2", **RAW))
    )


def test_time_distributed_over_any_number_of_frames():
    inner, _ = backbone()
    frames = keras.Input((None, *zoo.SHAPE))
    features = keras.layers.TimeDistributed(inner)(frames)
    model = keras.Model(frames, keras.layers.Dense(2)(keras.ops.mean(features, axis=(1, 2, 3))))
    for count in (2, 3):
        x = zoo.images(1, (count, *zoo.SHAPE))
        with tf.GradientTape() as tape:
            watched = tf.constant(x)
            tape.watch(watched)
            score = model(watched)[0, 1]
        zoo.assert_close(visualize_saliency(model, -1, 1, x, **SIGNED), tape.gradient(score, watched).numpy()[0])
        assert visualize_cam(model, -1, 1, x, "conv2").shape == (count, 16, 16)
        assert np.abs(visualize_saliency(model, -1, 1, x, backprop_modifier="guided", **RAW)).max() > 0


def two_branches():
    """A shared convolution on two images, and scores of both."""
    shared = keras.layers.Conv2D(
        4, 3, activation="relu", name="shared", kernel_initializer=zoo.layers()["conv1"].kernel_initializer
    )
    left, right = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    joined = keras.layers.Concatenate()([keras.layers.Flatten()(shared(left)), keras.layers.Flatten()(shared(right))])
    return keras.Model([left, right], keras.layers.Dense(3, "softmax", name="scores")(joined))


def reference_of_two_branches(model, left, right, label):
    """The gradients with respect to both images and to what the shared layer returned for each."""
    kernel, bias = model.get_layer("shared").get_weights()
    dense = model.get_layer("scores").get_weights()
    left, right = tf.constant(left), tf.constant(right)
    with tf.GradientTape() as tape:
        tape.watch([left, right])
        maps = [tf.nn.relu(tf.nn.conv2d(image, kernel, 1, "VALID") + bias) for image in (left, right)]
        flat = tf.concat([tf.reshape(each, [len(each), -1]) for each in maps], axis=1)
        score = tf.reduce_sum((flat @ dense[0] + dense[1])[:, label])
    gradients = [gradient.numpy() for gradient in tape.gradient(score, [left, right, *maps])]
    return gradients[:2], gradients[2:], [each.numpy() for each in maps]


def test_several_inputs_and_a_shared_layer():
    model = two_branches()
    left, right = zoo.images(2, (8, 8, 3), seed=1), zoo.images(2, (8, 8, 3), seed=2)
    of_inputs, of_maps, maps = reference_of_two_branches(model, left, right, 1)
    for given in ([left, right], (left, right)):
        both = visualize_saliency(model, -1, 1, given, **SIGNED)
        assert isinstance(both, list)
        for actual, expected in zip(both, of_inputs, strict=True):
            zoo.assert_close(actual, expected)
    named = visualize_saliency(model, -1, 1, {"right": right, "left": left}, **SIGNED)
    zoo.assert_close(named["left"], of_inputs[0])
    zoo.assert_close(named["right"], of_inputs[1])
    for wrt in ("right", model.inputs[1], model.get_layer("right")):
        zoo.assert_close(visualize_saliency(model, -1, 1, [left, right], wrt_tensor=wrt, **SIGNED), of_inputs[1])
    chosen = visualize_saliency(model, -1, 1, [left, right], wrt_tensor=[model.inputs[1], "left"], **SIGNED)
    zoo.assert_close(chosen[0], of_inputs[1])
    zoo.assert_close(chosen[1], of_inputs[0])
    # The shared layer is called twice: a map a call.
    zoo.assert_close(
        visualize_saliency(model, -1, 1, [left, right], wrt_tensor="shared", **SIGNED), np.stack(of_maps, axis=1)
    )
    cams = visualize_cam(model, -1, 1, [left, right], "shared", **RAW)
    for call in range(2):
        weights = of_maps[call].mean(axis=(1, 2), keepdims=True)
        expected = resize(np.maximum((weights * maps[call]).sum(axis=-1), 0), (8, 8))
        zoo.assert_close(cams[:, call], expected.astype("float32"))
    single = visualize_saliency(model, -1, 1, [left[0], right[0]], **SIGNED)
    zoo.assert_close(single[0], of_inputs[0][0])


def test_one_call_of_a_shared_layer_by_its_tensor():
    model = two_branches()
    left, right = zoo.images(2, (8, 8, 3), seed=1), zoo.images(2, (8, 8, 3), seed=2)
    _, of_maps, _ = reference_of_two_branches(model, left, right, 1)
    symbols = [node.outputs[0] for node in keras_internals.nodes(model.get_layer("shared"))]
    for symbol, expected in zip(symbols, of_maps, strict=True):
        zoo.assert_close(visualize_saliency(model, -1, 1, [left, right], wrt_tensor=symbol, **SIGNED), expected)


def test_smoothgrad_of_several_inputs_has_noise_on_each():
    model = two_branches()
    left, right = zoo.images(2, (8, 8, 3), seed=1), zoo.images(2, (8, 8, 3), seed=2)
    maps = smoothgrad(model, -1, 1, [left, right], num_samples=3, seed=0, noise_level=0.5, **SIGNED)
    expected = [np.zeros_like(left), np.zeros_like(right)]
    for draw in range(3):
        noisy = []
        for position, image in enumerate((left, right)):
            key = tf.random.experimental.stateless_fold_in(tf.constant([0, draw], tf.int64), position + 1)
            noise = tf.random.stateless_normal(image.shape[1:], key).numpy()
            noisy.append(image + 0.5 * np.ptp(image, axis=(1, 2, 3), keepdims=True) * noise)
        for total, gradient in zip(expected, reference_of_two_branches(model, *noisy, 1)[0], strict=True):
            total += gradient / 3
    for actual, wanted in zip(maps, expected, strict=True):
        zoo.assert_close(actual, wanted, 1e-4)


def test_a_dict_of_inputs_as_the_model_declares_it():
    image, table = keras.Input((4,), name="image"), keras.Input((3,), name="table")
    out = keras.layers.Dense(1, name="out")(keras.layers.Concatenate()([image, table]))
    model = keras.Model({"table": table, "image": image}, out)
    kernel = model.get_layer("out").get_weights()[0][:, 0]
    maps = visualize_saliency(model, -1, 0, {"image": np.ones(4), "table": np.ones(3)}, **SIGNED)
    np.testing.assert_allclose(maps["image"], kernel[:4], rtol=1e-6)
    np.testing.assert_allclose(maps["table"], kernel[4:], rtol=1e-6)
    with pytest.raises(ValueError, match=r"must have the keys of the model's inputs, .* not \['image'\]"):
        visualize_saliency(model, -1, 0, {"image": np.ones(4)})
    with pytest.raises(ValueError, match="list or dict of the model's 2 inputs"):
        visualize_saliency(model, -1, 0, np.ones(4))
    with pytest.raises(ValueError, match="same number of samples for every input, not (2, 3|3, 2)"):
        visualize_saliency(model, -1, 0, {"image": np.ones((2, 4)), "table": np.ones((3, 3))})


def test_several_inputs_of_a_subclassed_model():
    class Product(keras.Model):
        def call(self, inputs):
            return tf.reduce_sum(inputs["a"] * inputs["b"], axis=1, keepdims=True)

    a, b = np.arange(6.0).reshape(2, 3), np.ones((2, 3))
    maps = visualize_saliency(Product(), None, 0, {"a": a, "b": b}, **SIGNED)
    np.testing.assert_allclose(maps["a"], b)
    np.testing.assert_allclose(maps["b"], a)
    np.testing.assert_allclose(visualize_saliency(Product(), None, 0, {"a": a, "b": b}, wrt_tensor="b", **SIGNED), a)


def test_one_of_several_outputs():
    inputs = keras.Input((4,))
    heads = [keras.layers.Dense(3, "softmax", name="kind")(inputs), keras.layers.Dense(1, name="size")(inputs)]
    model = keras.Model(inputs, heads)
    for name, index in (("kind", 2), ("size", 0)):
        kernel = model.get_layer(name).get_weights()[0]
        np.testing.assert_allclose(
            visualize_saliency(model, name, index, np.ones(4), **SIGNED), kernel[:, index], rtol=1e-6
        )
        zoo.assert_close(without_noise(model, index, np.ones(4), target=name), np.abs(kernel[:, index]))
    with pytest.raises(ValueError, match="the model gave 2 outputs .* Give the name of one"):
        visualize_saliency(model, None, 0, np.ones(4))


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(rank):
    conv = {1: keras.layers.Conv1D, 3: keras.layers.Conv3D}[rank]
    shape = (6,) * rank + (2,)
    model = keras.Sequential(
        [
            keras.Input(shape),
            conv(3, 3, activation="relu", name="c"),
            keras.layers.Flatten(),
            keras.layers.Dense(4, "softmax"),
        ]
    )
    x = zoo.images(2, shape)
    kernel, bias = model.layers[0].get_weights()
    dense = model.layers[-1].get_weights()
    convolve = tf.nn.conv1d if rank == 1 else tf.nn.conv3d
    strides = 1 if rank == 1 else [1] * 5

    def gradient(x):
        watched = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(watched)
            hidden = tf.nn.relu(convolve(watched, kernel, strides, "VALID") + bias)
            score = tf.reduce_sum((tf.reshape(hidden, [len(x), -1]) @ dense[0] + dense[1])[:, 1])
        return tape.gradient(score, watched).numpy()

    zoo.assert_close(visualize_saliency(model, -1, 1, x, **RAW), np.abs(gradient(x)).max(axis=-1))
    total = np.zeros_like(x)
    for draw in range(3):
        noise = tf.random.stateless_normal(
            shape, tf.random.experimental.stateless_fold_in(tf.constant([0, draw], tf.int64), 1)
        )
        span = np.ptp(x, axis=tuple(range(1, rank + 2)), keepdims=True)
        total += gradient(x + np.float32(0.15) * span * noise.numpy()) / 3
    zoo.assert_close(smoothgrad(model, -1, 1, x, num_samples=3, seed=0, **RAW), np.abs(total).max(axis=-1), 1e-4)


def test_tables_have_a_value_a_feature():
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, "tanh"), keras.layers.Dense(3, "softmax")])
    x = zoo.images(3, (5,))
    (kernel, bias), (last, _) = (layer.get_weights() for layer in model.layers)
    expected = ((1 - np.tanh(x @ kernel + bias) ** 2) * last[:, 2]) @ kernel.T
    zoo.assert_close(visualize_saliency(model, -1, 2, x, **SIGNED), expected)
    zoo.assert_close(visualize_saliency(model, -1, 2, x, **RAW), np.abs(expected))
    assert smoothgrad(model, -1, 2, x, num_samples=3).shape == (3, 5)


def test_tokens_over_an_embedding_give_a_map_a_token():
    layers = [
        keras.layers.Embedding(20, 4, name="words"),
        keras.layers.Conv1D(6, 3, padding="same", activation="relu", name="c"),
        keras.layers.GlobalMaxPooling1D(),
        keras.layers.Dense(2, "softmax", name="scores"),
    ]
    model = keras.Sequential([keras.Input((7,), dtype="int32"), *layers])
    layers[-1].set_weights([np.abs(array) for array in layers[-1].get_weights()])  # so that no map is negative
    tokens = np.random.default_rng(0).integers(0, 20, (3, 7))
    table = layers[0].get_weights()[0]
    # The same weights as a model of the embedded words.
    plain = keras.Sequential([keras.Input((7, 4)), *layers[1:]])
    words = table[tokens]
    for actual, expected in zip(
        every_map(model, -1, 1, tokens, wrt="words", penultimate="c"),
        every_map(plain, -1, 1, words, penultimate="c"),
        strict=True,
    ):
        assert actual.shape == (3, 7)
        zoo.assert_close(actual, expected, 1e-4)


def test_channels_first():
    # The same computation in both orders, by layers that a CPU can run in either.
    def model(data_format):
        shape = (3, 8, 8) if data_format == "channels_first" else (8, 8, 3)
        inputs = keras.Input(shape)
        x = keras.layers.AveragePooling2D(2, data_format=data_format, name="map")(inputs)
        x = keras.layers.Activation("tanh")(x)
        x = keras.layers.GlobalMaxPooling2D(data_format=data_format)(x)
        return keras.Model(
            inputs, keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant([[1, 2], [3, -1], [2, 1]]))(x)
        )

    x = zoo.images(2, (8, 8, 3))
    last, first = model("channels_last"), model("channels_first")
    swapped = np.moveaxis(x, -1, 1)
    zoo.assert_close(visualize_saliency(first, -1, 0, swapped, **RAW), visualize_saliency(last, -1, 0, x, **RAW))
    for penultimate in ("map", None):
        zoo.assert_close(
            visualize_cam(first, -1, 0, swapped, penultimate, **RAW), visualize_cam(last, -1, 0, x, penultimate, **RAW)
        )
    zoo.assert_close(
        visualize_saliency(first, "map", 1, swapped, **SIGNED),
        np.moveaxis(visualize_saliency(last, "map", 1, x, **SIGNED), -1, 1),
    )
    zoo.assert_close(
        smoothgrad(first, -1, 0, x.transpose(0, 3, 1, 2) * 0, num_samples=2, noise_level=0, **RAW),
        visualize_saliency(last, -1, 0, x * 0, **RAW),
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_agrees_with_float32(policy):
    def model():
        initializer = keras.initializers.RandomNormal(stddev=0.2, seed=7)
        layers = [
            keras.layers.Conv2D(6, 3, activation="relu", name="c1", kernel_initializer=initializer),
            keras.layers.Conv2D(8, 3, activation="relu", name="c2", kernel_initializer=initializer),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(5, kernel_initializer=initializer),
            keras.layers.Activation("softmax", dtype="float32"),
        ]
        return keras.Sequential([keras.Input(zoo.SHAPE), *layers])

    x = zoo.images(2)
    expected = every_map(model(), -1, 2, x)
    keras.config.set_dtype_policy(policy)
    try:
        mixed = model()
    finally:
        keras.config.set_dtype_policy("float32")
    assert mixed.layers[0].compute_dtype == policy[len("mixed_") :]
    for actual, wanted in zip(every_map(mixed, -1, 2, x), expected, strict=True):
        assert actual.dtype == np.float32
        assert np.isfinite(actual).all()
        if policy == "mixed_float16":
            zoo.assert_close(actual, wanted, 2e-2)
        # With 8 bits, a ReLU near 0 may open or close: a few pixels then differ by more.
        assert np.sqrt(np.mean((actual - wanted) ** 2)) < 2e-2 * np.abs(wanted).max()


def test_an_input_of_bfloat16_is_one_of_real_numbers():
    def model(dtype):
        initializer = keras.initializers.RandomNormal(stddev=0.2, seed=7)
        layers = [keras.layers.Conv2D(6, 3, activation="relu", kernel_initializer=initializer), keras.layers.Flatten()]
        last = keras.layers.Dense(5, "softmax", kernel_initializer=initializer)
        return keras.Sequential([keras.Input(zoo.SHAPE, dtype=dtype), *layers, last])

    half, full = model("bfloat16"), model("float32")
    x = zoo.images(2).round(1)
    guided = {"backprop_modifier": "guided", **RAW}
    actual = [*every_map(half, -1, 2, x), visualize_saliency(half, -1, 2, x, **guided)]
    wanted = [*every_map(full, -1, 2, x), visualize_saliency(full, -1, 2, x, **guided)]
    for of_half, of_full in zip(actual, wanted, strict=True):
        assert of_half.dtype == np.float32
        assert np.sqrt(np.mean((of_half - of_full) ** 2)) < 3e-2 * np.abs(of_full).max()
    image = visualize_activation(half, -1, 2, input_range=(0.0, 1.0), max_iter=50, seed=0)
    assert half(image[None])[0, 2] > 0.99


def test_a_half_precision_gradient_below_its_range_survives():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(1)])
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights([np.full((4, 3), 1e-4), np.zeros(3), np.full((3, 1), 1e-4), np.zeros(1)])
    np.testing.assert_allclose(visualize_saliency(model, -1, 0, np.ones(4), **RAW), np.full(4, 3e-8), rtol=2e-2)


def test_a_mask_over_a_segmentation_output():
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, padding="same", name="c"), keras.layers.Softmax()]
    )
    mask = np.zeros((8, 8), "float32")
    mask[2:5, 3:6] = 1
    x = zoo.images(2, (8, 8, 3))
    kernel, bias = model.layers[0].get_weights()
    watched = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        scores = tf.nn.conv2d(watched, kernel, 1, "SAME") + bias
        total = tf.reduce_sum(scores[..., 2] * mask)
    target = Target(lambda output: output[..., 2] * mask, logits=True)
    # Behind the only convolution stands nothing but the softmax: its channel 2 is the score, and the rest counts 0.
    channel = np.maximum(mask.mean() * scores.numpy()[..., 2], 0)
    zoo.assert_close(visualize_cam_with_losses(model, [(target, 1)], x, "c", **RAW), channel)
    zoo.assert_close(
        visualize_saliency_with_losses(model, [(target, 1)], x, **SIGNED), tape.gradient(total, watched).numpy()
    )


def test_a_boxs_score_in_a_detectors_output():
    inputs = keras.Input((4, 4, 2))
    boxes = keras.layers.Reshape((16, 5))(keras.layers.Conv2D(5, 1, name="c")(inputs))
    scores = keras.layers.Activation("sigmoid")(keras.layers.Reshape((16,))(keras.layers.Conv2D(1, 1)(inputs)))
    model = keras.Model(inputs, {"boxes": boxes, "scores": scores})
    x = zoo.images(1, (4, 4, 2))
    # Box 6 is the one at row 1, column 2: nothing else decides its width.
    maps = visualize_saliency_with_losses(
        model,
        [(Target(lambda boxes: boxes[:, 6, 2], layer=boxes), 1)],
        x,
        **SIGNED,
    )
    expected = np.zeros((4, 4, 2))
    expected[1, 2] = model.get_layer("c").get_weights()[0][0, 0, :, 2]
    zoo.assert_close(maps, expected.astype("float32"))


def patches(size=8, patch=2, width=12, class_token=True):
    """A small vision transformer."""

    class ClassToken(keras.layers.Layer):
        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), initializer=keras.initializers.RandomNormal(seed=1))

        def call(self, x):
            return tf.concat([tf.tile(self.token, [tf.shape(x)[0], 1, 1]), x], axis=1)

    def attend(x, name):
        y = keras.layers.LayerNormalization()(x)
        x = keras.layers.Add()([x, keras.layers.MultiHeadAttention(2, 6, name=f"{name}_attention")(y, y)])
        y = keras.layers.LayerNormalization(name=f"{name}_norm")(x)
        return keras.layers.Add(name=name)([x, keras.layers.Dense(width)(keras.layers.Dense(2 * width, "gelu")(y))])

    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 3))
    x = keras.layers.Conv2D(width, patch, patch, name="embed")(inputs)
    x = keras.layers.Reshape((-1, width), name="tokens")(x)
    if class_token:
        x = ClassToken(name="class_token")(x)
    x = attend(attend(x, "block1"), "block2")
    x = x[:, 0] if class_token else keras.layers.GlobalAveragePooling1D()(x)
    return keras.Model(inputs, keras.layers.Dense(4, "softmax", name="scores")(x))


@pytest.mark.parametrize("class_token", [True, False])
def test_vision_transformer(class_token):
    model = patches(class_token=class_token)
    x = zoo.images(3, (8, 8, 3))
    layer = model.get_layer("block1")
    watched = tf.constant(x)
    front = keras.Model(model.input, layer.output)
    rest = keras.Function(layer.output, model.get_layer("scores").input)
    weights = model.get_layer("scores").get_weights()
    with tf.GradientTape() as tape:
        tape.watch(watched)
        tokens = front(watched)
        score = tf.reduce_sum((rest(tokens) @ weights[0] + weights[1])[:, 1])
    of_input, of_tokens = tape.gradient(score, [watched, tokens])
    zoo.assert_close(visualize_saliency(model, -1, 1, x, **SIGNED), of_input.numpy(), 1e-4)
    alpha = of_tokens.numpy().mean(axis=1, keepdims=True)
    grid = (alpha * tokens.numpy()).sum(axis=-1)[:, int(class_token) :].reshape(3, 4, 4)
    cams = visualize_cam(model, -1, 1, x, "block1", **RAW)
    zoo.assert_close(cams, resize(np.maximum(grid, 0), (8, 8)).astype("float32"), 1e-4)
    zoo.assert_close(without_noise(model, 1, x), np.abs(of_input).max(axis=-1), 1e-4)


def test_a_layer_of_which_only_the_class_token_is_read_is_told():
    with pytest.warns(VisWarning, match="reads only the class token of 'block2': the gradient is zero at every patch"):
        visualize_cam(patches(), -1, 1, zoo.images(3, (8, 8, 3)), "block2")


def test_tokens_of_an_image_that_is_not_square_fold_into_its_grid():
    inputs = keras.Input((8, 16, 1))
    tokens = keras.layers.Reshape((-1, 1), name="tokens")(keras.layers.AveragePooling2D(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(keras.layers.Flatten()(tokens)))
    x = np.zeros((8, 16, 1))
    x[4:, 12:] = 1
    cam = visualize_cam(model, -1, 0, x, "tokens")
    assert cam.shape == (8, 16)
    assert (cam[7, 15], cam[0, 15], cam[7, 0]) == (1, 0, 0)


def test_per_sample_classes_in_a_loss():
    model = zoo.functional()
    x = zoo.images(3)
    losses = [(ActivationMaximization(model.layers[-1], [[1], [0], [4]]), -1)]
    maps = visualize_saliency_with_losses(model, losses, x, **RAW)
    for i, label in enumerate([1, 0, 4]):
        zoo.assert_close(maps[i], zoo.Reference(model).saliency(x[i : i + 1], label)[0])


@pytest.mark.parametrize("function", [visualize_saliency, smoothgrad, visualize_cam])
def test_batches_of_any_size_equal_single_samples(function):
    model = zoo.nested()
    x = zoo.images(33)
    options = {"seed": 0, "num_samples": 3} if function is smoothgrad else {}
    alone = np.stack([function(model, -1, 2, each, **options) for each in x])
    for count in (1, 3, 16, 33):
        np.testing.assert_allclose(
            function(model, -1, 2, x[:count], squeeze=False, **options), alone[:count], atol=1e-5
        )


def test_sequence_model_with_a_recurrent_layer():
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2, "softmax")])
    x = zoo.images(2, (5, 3))
    watched = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(watched)
        weights = model.layers[-1].get_weights()
        score = tf.reduce_sum((model.layers[0](watched) @ weights[0] + weights[1])[:, 1])
    expected = tape.gradient(score, watched).numpy()
    zoo.assert_close(visualize_saliency(model, -1, 1, x, **SIGNED), expected)
    zoo.assert_close(without_noise(model, 1, x), np.abs(expected).max(axis=-1))


def test_any_size_of_image_gives_the_maps_of_a_model_made_for_it():
    def model(size):
        initializer = keras.initializers.RandomNormal(stddev=0.2, seed=7)
        conv = keras.layers.Conv2D(6, 3, activation="relu", name="c", kernel_initializer=initializer)
        dense = keras.layers.Dense(3, "softmax", kernel_initializer="ones")
        return keras.Sequential([keras.Input((*size, 3)), conv, keras.layers.GlobalAveragePooling2D(), dense])

    any_size = model((None, None))
    for size in ((12, 16), (20, 14)):
        x = zoo.images(2, (*size, 3))
        for actual, expected in zip(every_map(any_size, -1, 1, x), every_map(model(size), -1, 1, x), strict=True):
            assert actual.shape == (2, *size)
            zoo.assert_close(actual, expected)


def test_warns_of_a_gradient_that_is_zero_everywhere():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)])
    model.set_weights([np.ones((2, 3)), np.full(3, -9.0), np.ones((3, 1)), np.zeros(1)])
    with pytest.warns(VisWarning, match="zero everywhere for 1 of 2 samples.*dead ReLU"):
        maps = visualize_saliency(model, -1, 0, np.array([[1.0, 1.0], [9.0, 9.0]]))
    np.testing.assert_array_equal(maps, np.zeros((2, 2)))


def test_a_constant_map_is_zeros():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, kernel_initializer="ones")])
    np.testing.assert_array_equal(visualize_saliency(model, -1, 0, np.ones(3)), np.zeros(3))


def test_a_stateful_recurrent_layer_is_explained_and_has_no_feature_map():
    layers = [keras.layers.LSTM(4, stateful=True), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((5, 3), batch_size=2), *layers])
    plain = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)])
    plain.set_weights(model.get_weights())
    x = zoo.images(2, (5, 3))
    for _ in range(2):  # whose state no map changes
        np.testing.assert_allclose(
            visualize_saliency(model, -1, 1, x, **RAW), visualize_saliency(plain, -1, 1, x, **RAW), rtol=1e-5
        )
    with pytest.raises(ValueError, match="must be a layer with a feature map .*, which the model .* does not have"):
        visualize_cam(model, -1, 1, x)
    with pytest.raises(ValueError, match=f"'{model.layers[-1].name}'"):  # by its name, though given by its index
        visualize_cam(model, -1, 1, x, penultimate_layer_idx=1)
