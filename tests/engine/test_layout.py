"""Which axis of a tensor is which, found in the traced graph."""

from __future__ import annotations

import keras
import pytest
import tensorflow as tf

from vis.engine import taps
from vis.engine.inputs import symbolic_inputs

L = keras.layers


def layouts(model, *names):
    """The layouts of a model's inputs, and those of layers by name."""
    found = {}

    @tf.function(autograph=False)
    def trace(*tensors):
        structure = model.input if isinstance(model, keras.Function) else tensors[0]
        run = taps.run(model, keras.tree.pack_sequence_as(structure, list(tensors)))
        found["inputs"] = [run.layout(tensor) for tensor in run.inputs]
        found.update({name: run.layout(run.tensors(name)[0]) for name in names})

    trace.get_concrete_function(*(tf.TensorSpec(s.shape, s.dtype) for s in symbolic_inputs(model)))
    return found


def ending(inputs, x):
    return keras.Model(inputs, L.Dense(2)(L.Flatten()(x)))


@pytest.mark.parametrize("order", ["channels_last", "channels_first"])
def test_a_convolution_s_channels_are_where_its_data_format_says(order):
    # A pooling, which TensorFlow's CPU kernels trace in both orders.
    shape, channel = ((12, 16, 3), 2) if order == "channels_last" else ((3, 12, 16), 0)
    inputs = keras.Input(shape)
    found = layouts(ending(inputs, L.Conv2D(4, 3, data_format=order, name="conv")(inputs)), "conv")
    assert found["conv"].channel == found["inputs"][0].channel == channel
    positions = tuple(axis for axis in range(3) if axis != channel)
    assert found["conv"].along == tuple((0, axis) for axis in positions)


@pytest.mark.parametrize("front", [L.Reshape((28, 28, 1)), L.Rescaling(2.0)])
def test_a_picture_without_channels_has_none(front):
    inputs = keras.Input((28, 28))
    x = front(inputs)
    x = L.Conv2D(2, 3)(x) if len(x.shape) == 4 else x
    (layout,) = layouts(ending(inputs, x))["inputs"]
    assert layout.channel is None
    assert layout.along == ((0, 0), (0, 1))


def test_channels_that_are_permuted_inside_the_model_are_found():
    inputs = keras.Input((3, 12, 16))
    found = layouts(ending(inputs, L.Conv2D(4, 3, name="conv")(L.Permute((2, 3, 1))(inputs))), "conv")
    assert found["inputs"][0].channel == 0
    assert found["conv"].along == ((0, 1), (0, 2))


def test_axes_that_are_turned_are_followed():
    inputs = keras.Input((12, 16, 3))
    found = layouts(ending(inputs, L.Conv2D(4, 3, name="conv")(L.Permute((2, 1, 3))(inputs))), "conv")
    assert found["conv"].along == ((0, 1), (0, 0))


def test_rows_that_are_folded_into_the_features_of_steps_are_known():
    image = keras.Input((16, 24, 3))
    x = L.Permute((2, 1, 3))(L.MaxPooling2D(2)(L.Conv2D(4, 3, padding="same")(image)))
    steps = L.GRU(5, return_sequences=True, name="steps")(L.Reshape((12, -1))(x))
    layout = layouts(ending(image, steps), "steps")["steps"]
    assert (layout.channel, layout.along, layout.melted) == (1, ((0, 1),), ((0, 0),))


class ExtraTokens(L.Layer):
    """Learned tokens before and after those of the patches."""

    def __init__(self, before, after):
        super().__init__()
        self.before, self.after = before, after

    def build(self, shape):
        self.tokens = self.add_weight(shape=(1, self.before + self.after, shape[-1]))

    def call(self, x):
        tokens = keras.ops.broadcast_to(self.tokens, (keras.ops.shape(x)[0], *self.tokens.shape[1:]))
        return keras.ops.concatenate([tokens[:, : self.before], x, tokens[:, self.before :]], axis=1)


@pytest.mark.parametrize("extra", [(0, 0), (1, 0), (2, 0), (5, 0), (0, 1), (1, 4)])
def test_patches_fold_into_their_grid_whatever_tokens_stand_beside_them(extra):
    image = keras.Input((32, 24, 3))
    x = L.Reshape((-1, 8))(L.Conv2D(8, 4, strides=4)(image))
    x = ExtraTokens(*extra)(x) if sum(extra) else x
    y = L.LayerNormalization()(x)
    x = L.Add(name="block")([x, L.MultiHeadAttention(2, 4)(y, y)])
    layout = layouts(ending(image, x), "block")["block"]
    assert (layout.grid, layout.extra) == ((8, 6), extra)
    assert layout.along == ((0, 0), (0, 1))


def test_windows_that_are_cut_and_put_together_again_are_the_picture():
    image = keras.Input((16, 8, 3))
    x = L.Conv2D(4, 1)(image)
    x = keras.ops.reshape(x, (-1, 4, 4, 2, 4, 4))
    x = keras.ops.reshape(keras.ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 16, 4))
    x = L.Dense(4)(x)
    x = keras.ops.transpose(keras.ops.reshape(x, (-1, 4, 2, 4, 4, 4)), (0, 1, 3, 2, 4, 5))
    x = L.Identity(name="whole")(keras.ops.reshape(x, (-1, 16, 8, 4)))
    layout = layouts(ending(image, x), "whole")["whole"]
    assert (layout.channel, layout.along) == (2, ((0, 0), (0, 1)))


@pytest.mark.parametrize("anchors", [3, 9])
def test_rows_of_anchors_are_no_places(anchors):
    image = keras.Input((8, 8, 3))
    rows = L.Reshape((-1, 5), name="rows")(L.Conv2D(5 * anchors, 3, padding="same")(image))
    layout = layouts(keras.Model(image, rows), "rows")["rows"]
    assert layout.grid is None
    assert not layout.is_map


def test_one_anchor_per_place_is_a_place():
    image = keras.Input((8, 6, 3))
    rows = L.Reshape((-1, 5), name="rows")(L.Conv2D(5, 3, padding="same")(image))
    assert layouts(keras.Model(image, rows), "rows")["rows"].grid == (8, 6)


@pytest.mark.parametrize("make", [lambda x: L.Reshape((6, 4), name="head")(L.Dense(24)(L.Flatten()(x)))])
def test_a_head_of_classes_and_dimensions_is_no_feature_map(make):
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, keras.ops.sum(make(L.Conv2D(2, 3)(image)) ** 2, axis=-1))
    assert not layouts(model, "head")["head"].is_map


def test_each_branch_lies_along_its_own_input():
    text, image = keras.Input((20,), dtype="int32"), keras.Input((16, 12, 3))
    words = L.Conv1D(4, 3, name="words")(L.Embedding(10, 6)(text))
    shapes = L.Conv2D(4, 3, name="shapes")(image)
    pooled = [L.GlobalMaxPooling1D()(words), L.GlobalMaxPooling2D()(shapes)]
    found = layouts(keras.Model([text, image], L.Dense(2)(L.Concatenate()(pooled))), "words", "shapes")
    assert found["words"].along == ((0, 0),)
    assert found["shapes"].along == ((1, 0), (1, 1))


@pytest.mark.parametrize("unroll", [False, True])
def test_time_is_followed_through_recurrent_layers_and_frames(unroll):
    frames = keras.Input((6, 12, 16, 1))
    each = L.TimeDistributed(L.Conv2D(3, 3), name="each")(frames)
    pooled = L.TimeDistributed(L.GlobalAveragePooling2D(), name="pooled")(each)
    steps = L.LSTM(4, return_sequences=True, unroll=unroll, name="steps")(pooled)
    found = layouts(ending(frames, steps), "each", "pooled", "steps")
    assert found["each"].along == ((0, 0), (0, 1), (0, 2))
    assert found["pooled"].along == found["steps"].along == ((0, 0),)


def test_recurrent_convolutions_leave_height_and_width():
    frames = keras.Input((6, 12, 16, 1))
    x = L.ConvLSTM2D(3, 3, name="last")(frames)
    assert layouts(ending(frames, x), "last")["last"].along == ((0, 1), (0, 2))


def test_a_spectrogram_made_inside_has_no_channels_and_its_own_size():
    wave = keras.Input((2048,))
    mel = L.MelSpectrogram(num_mel_bins=32, sampling_rate=8000, sequence_stride=128, fft_length=256, name="mel")(wave)
    conv = L.Conv2D(3, 3, name="conv")(L.Reshape((*mel.shape[1:], 1))(mel))
    found = layouts(ending(wave, conv), "mel", "conv")
    assert found["mel"].channel is None
    assert found["conv"].along == (None, None)
    assert found["conv"].sizes == tuple(mel.shape[1:])


def test_a_table_s_features_are_no_channels():
    table = keras.Input((7,))
    (layout,) = layouts(keras.Model(table, L.Dense(2)(table)))["inputs"]
    assert layout.channel is None


def test_one_row_of_each_sample_s_grid_keeps_the_axes_around_it():
    inputs, rows = keras.Input((12, 16, 3)), keras.Input((2,), dtype="int32")
    gather = L.Lambda(lambda each: tf.gather(*each, axis=1, batch_dims=1), (2, 16, 3), name="chosen")
    chosen = gather([inputs, rows])
    model = keras.Model([inputs, rows], L.Dense(2)(L.Flatten()(L.Conv2D(4, 1)(chosen))))
    layout = layouts(model, "chosen")["chosen"]
    assert layout.channel == 2
    assert layout.along == (None, (0, 1))
