"""Where a map lies in the input: turned axes, folded tokens, branches, and positions that are made inside the model."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from vis import VisWarning
from vis.utils.arrays import resize
from vis.visualization import visualize_cam, visualize_saliency
from vis.visualization.cam_methods import gradcam

L = keras.layers
RAW = {"normalize": False, "grad_modifier": "absolute"}
RNG = np.random.default_rng(0)


def strength(activations, gradients):
    """A map that is nowhere negative."""
    return np.abs(activations * gradients).sum(axis=-1)


def test_axes_that_the_model_turns_are_turned_back():
    inputs, turned = keras.Input((12, 16, 1)), keras.Input((16, 12, 1))
    conv, flat = L.Conv2D(3, 3, activation="tanh"), L.GlobalAveragePooling2D()
    head = L.Dense(2)
    straight = keras.Model(turned, head(flat(conv(turned))))
    inside = keras.Model(inputs, head(flat(conv(L.Permute((2, 1, 3))(inputs)))))
    x = RNG.random((2, 12, 16, 1)).astype("float32")
    want = visualize_cam(straight, -1, 1, x.transpose(0, 2, 1, 3), **RAW)
    np.testing.assert_allclose(visualize_cam(inside, -1, 1, x, **RAW), want.transpose(0, 2, 1), atol=1e-6)


def test_a_map_over_columns_is_constant_along_the_rows_that_were_folded_away():
    image = keras.Input((16, 24, 1))
    x = L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same", activation="relu")(image))
    steps = L.GRU(5, return_sequences=True, name="steps")(L.Reshape((12, -1))(L.Permute((2, 1, 3))(x)))
    model = keras.Model(image, L.Dense(2)(L.GlobalAveragePooling1D()(steps)))
    x = RNG.random((2, 16, 24, 1)).astype("float32")
    cam = visualize_cam(model, -1, 1, x, "steps", method=strength, **RAW)
    assert cam.shape == (2, 16, 24)
    assert (cam == cam[:, :1]).all()
    assert np.ptp(cam, axis=2).min() > 0


class ExtraTokens(L.Layer):
    """Learned tokens before and after those of the patches."""

    def __init__(self, before, after):
        super().__init__()
        self.before, self.after = before, after

    def build(self, shape):
        self.tokens = self.add_weight(shape=(1, self.before + self.after, shape[-1]), initializer="random_normal")

    def call(self, x):
        tokens = keras.ops.broadcast_to(self.tokens, (keras.ops.shape(x)[0], *self.tokens.shape[1:]))
        return keras.ops.concatenate([tokens[:, : self.before], x, tokens[:, self.before :]], axis=1)


def transformer(before, after, blocks=2):
    """A small vision transformer whose target reads its first token alone, and the names of its blocks."""
    image = keras.Input((16, 24, 3))
    x = ExtraTokens(before, after)(L.Reshape((-1, 8))(L.Conv2D(8, 4, strides=4)(image)))
    for i in range(blocks):
        y = L.LayerNormalization(name=f"norm{i}")(x)
        x = L.Add(name=f"block{i}")([x, L.MultiHeadAttention(2, 4)(y, y)])
    return keras.Model(image, L.Dense(3)(L.LayerNormalization(name="last")(x)[:, 0]))


@pytest.mark.parametrize("extra", [(1, 0), (2, 0), (5, 0), (1, 4)])
def test_the_default_layer_of_a_transformer_is_read_by_the_target_and_folds_into_its_patches(extra):
    model = transformer(*extra)
    x = RNG.random((2, 16, 24, 3)).astype("float32")
    cam = visualize_cam(model, -1, 1, x, method=strength, **RAW)
    # Of the last block the target reads the first token alone; all that it reads of the patches comes from the first.
    np.testing.assert_allclose(cam, visualize_cam(model, -1, 1, x, "block0", method=strength, **RAW), atol=1e-6)
    count = 24 + sum(extra)
    grid = visualize_cam(model, -1, 1, x, "block0", method=lambda a, g: np.arange(count) + 0 * a[..., 0], **RAW)
    patches = np.arange(extra[0], count - extra[1]).reshape(4, 6)
    np.testing.assert_allclose(grid[0], resize(patches[None].astype(float), (16, 24))[0], atol=1e-5)


def test_tokens_that_the_model_does_not_explain_fold_as_the_caller_says():
    image = keras.Input((12, 16, 1))
    tokens = L.Reshape((14, 2), name="tokens")(L.Dense(28)(L.Flatten()(image)))
    model = keras.Model(image, L.Dense(1)(L.Flatten()(tokens)))
    x = RNG.random((12, 16, 1)).astype("float32")
    with pytest.warns(VisWarning, match="the 14 rows of 'tokens' are not known to be places.*token_grid"):
        rows = visualize_cam(model, -1, 0, x, "tokens", **RAW)
    assert rows.shape == (14,)
    told = visualize_cam(model, -1, 0, x, "tokens", token_grid=(3, 4), extra_tokens=(2, 0), **RAW)
    np.testing.assert_allclose(told, resize(rows[2:].reshape(1, 3, 4), (12, 16))[0], atol=1e-6)
    with pytest.raises(ValueError, match="token_grid must have as many places as there are tokens"):
        visualize_cam(model, -1, 0, x, "tokens", token_grid=(3, 4))


def test_heads_of_classes_and_dimensions_are_passed_by():
    image = keras.Input((12, 12, 1))
    conv = L.Conv2D(3, 3, activation="tanh", name="conv")(image)
    heads = L.Reshape((6, 4))(L.Dense(24)(L.Flatten()(conv)))
    model = keras.Model(image, keras.ops.sum(heads**2, axis=-1))
    x = RNG.random((12, 12, 1)).astype("float32")
    np.testing.assert_array_equal(
        visualize_cam(model, None, 2, x, **RAW), visualize_cam(model, None, 2, x, "conv", **RAW)
    )


def test_a_backbone_that_returns_its_features_beside_what_the_head_reads():
    inner = keras.Input((8, 8, 1))
    features = L.Conv2D(3, 3, activation="tanh", name="conv")(inner)
    backbone = keras.Model(inner, [features, L.GlobalAveragePooling2D()(features)], name="backbone")
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, L.Dense(2)(backbone(image)[1]))
    x = RNG.random((8, 8, 1)).astype("float32")
    cam = visualize_cam(model, -1, 1, x, **RAW)
    assert cam.max() > 0
    np.testing.assert_array_equal(cam, visualize_cam(model, -1, 1, x, "backbone/conv", **RAW))


def test_a_siamese_network_gives_a_map_for_each_call():
    tower = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(3, 3, activation="tanh"), L.GlobalAveragePooling2D()])
    left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    model = keras.Model([left, right], keras.ops.sum(tower(left) * tower(right), axis=-1, keepdims=True))
    x = [RNG.random((2, 8, 8, 1)).astype("float32") for _ in range(2)]
    maps = visualize_cam(model, None, 0, x, **RAW)
    assert maps.shape == (2, 2, 8, 8)
    swapped = visualize_cam(model, None, 0, x[::-1], **RAW)
    np.testing.assert_allclose(maps, swapped[:, ::-1], atol=1e-6)


def test_branches_over_different_inputs_give_a_map_each():
    image, text = keras.Input((8, 8, 1), name="image"), keras.Input((10,), dtype="int32", name="text")
    shapes = L.GlobalAveragePooling2D()(L.Conv2D(3, 3, activation="tanh", name="shapes")(image))
    words = L.GlobalAveragePooling1D()(L.Conv1D(3, 3, name="words")(L.Embedding(9, 4)(text)))
    model = keras.Model([image, text], L.Dense(2)(L.Concatenate()([shapes, words])))
    x = [RNG.random((2, 8, 8, 1)).astype("float32"), RNG.integers(9, size=(2, 10))]
    with pytest.warns(VisWarning, match="no layer has a feature map that all branches come from: '(shapes|words)'"):
        maps = visualize_cam(model, -1, 1, x, **RAW)
    assert {name: each.shape for name, each in maps.items()} == {"image": (2, 8, 8), "text": (2, 10)}
    for name, layer in (("image", "shapes"), ("text", "words")):
        np.testing.assert_allclose(maps[name], visualize_cam(model, -1, 1, x, layer, **RAW), atol=1e-6)


def test_members_over_one_picture_are_added():
    image = keras.Input((8, 8, 1))
    members = [
        keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                L.Conv2D(3, 3, activation="tanh", name="conv"),
                L.GlobalAveragePooling2D(),
                L.Dense(2),
            ],
            name=name,
        )
        for name in ("first", "second")
    ]
    model = keras.Model(image, L.Average()([member(image) for member in members]))
    x = RNG.random((8, 8, 1)).astype("float32")
    with pytest.warns(VisWarning, match="'first/conv', 'second/conv' are taken"):
        cam = visualize_cam(model, None, 1, x, **RAW)
    parts = [visualize_cam(model, None, 1, x, f"{name}/conv", **RAW) for name in ("first", "second")]
    np.testing.assert_allclose(cam, parts[0] + parts[1], atol=1e-6)


def test_the_channel_axis_may_be_given():
    inputs = keras.Input((4, 6, 5))
    model = keras.Model(inputs, L.Dense(2)(L.Flatten()(inputs)))
    x = RNG.random((2, 4, 6, 5)).astype("float32")
    kept = np.abs(visualize_saliency(model, -1, 0, x, keepdims=True, normalize=False))
    for axis in (0, 1, 2, -1):
        maps = visualize_saliency(model, -1, 0, x, channel_axis=axis, normalize=False)
        np.testing.assert_array_equal(maps, kept.max(axis=axis + 1 if axis >= 0 else axis))
    np.testing.assert_array_equal(visualize_saliency(model, -1, 0, x, channel_axis=None, normalize=False), kept)
    with pytest.raises(ValueError, match="channel_axis must be an axis of a sample"):
        visualize_saliency(model, -1, 0, x, channel_axis=3)


def test_a_method_may_be_a_function_of_activations_and_gradients():
    model = keras.Sequential([keras.Input((8, 8, 1)), L.Conv2D(3, 3), L.GlobalAveragePooling2D(), L.Dense(2)])
    x = RNG.random((2, 8, 8, 1)).astype("float32")
    named = visualize_cam(model, -1, 1, x, **RAW)
    np.testing.assert_array_equal(visualize_cam(model, -1, 1, x, method=gradcam, **RAW), named)
    layercam = visualize_cam(model, -1, 1, x, method=lambda a, g: (np.maximum(g, 0) * a).sum(axis=-1), **RAW)
    # Behind an average pooling the gradient is the same everywhere, so that LayerCAM is Grad-CAM of |gradients|.
    np.testing.assert_allclose(layercam, named, atol=1e-6)
    with pytest.raises(ValueError, match=r"method must return maps of shape \(2, 6, 6\)"):
        visualize_cam(model, -1, 1, x, method=lambda a, g: a, **RAW)
    with pytest.raises(TypeError, match="method must be one of 'gradcam', .* or a function, not int"):
        visualize_cam(model, -1, 1, x, method=3)


def test_an_input_of_bytes_is_explained_at_its_first_real_tensor():
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = L.Rescaling(1 / 255, name="rescaling")(inputs)
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(L.Conv2D(3, 3, activation="tanh")(x))))
    image = RNG.integers(256, size=(8, 8, 3)).astype("uint8")
    np.testing.assert_array_equal(
        visualize_saliency(model, -1, 1, image, normalize=False),
        visualize_saliency(model, -1, 1, image, wrt_tensor="rescaling", normalize=False),
    )


def test_tied_embeddings_are_explained_at_the_input_s_call():
    class Tied(L.Embedding):
        def compute_output_spec(self, x, reverse=False):
            return keras.KerasTensor((*x.shape[:2], 9 if reverse else 4), "float32")

        def call(self, x, reverse=False):
            return keras.ops.matmul(x, keras.ops.transpose(self.embeddings)) if reverse else super().call(x)

    tokens = keras.Input((6,), dtype="int32")
    tied = Tied(9, 4, name="tied")
    hidden = L.LSTM(4, return_sequences=True)(tied(tokens))
    model = keras.Model(tokens, tied(hidden, reverse=True)[:, -1])
    assert visualize_saliency(model, None, 3, np.arange(6), wrt_tensor="tied").shape == (6,)
