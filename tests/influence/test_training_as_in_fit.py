"""A recorded run beside `model.fit(shuffle=False)`, for many kinds of models, losses and optimizers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, losses, optimizers

from vis.influence import (
    counterfactual_influence,
    influence_functions,
    load_training,
    record_training,
    sgd_influence,
    tracin,
)
from vis.influence.validation import ValidationLoss

RNG = np.random.default_rng(0)
COUNT, BATCH = 22, 8  # the last of three batches is smaller
TABLE = RNG.normal(size=(COUNT, 5)).astype("float32")
CLASSES = RNG.integers(0, 3, COUNT)
NUMBERS = RNG.normal(size=COUNT).astype("float32")
IMAGES = RNG.normal(size=(COUNT, 8, 8, 2)).astype("float32")
SERIES = RNG.normal(size=(COUNT, 6, 3)).astype("float32")
# Several of a token in a batch and in an example, and 0 for padding at the ends.
WORDS = RNG.integers(1, 7, (COUNT, 6))
WORDS[np.arange(6) >= RNG.integers(2, 7, COUNT)[:, None]] = 0
TAGS = RNG.integers(0, 3, (COUNT, 6))
BATCHES = [np.arange(start, min(start + BATCH, COUNT)) for start in range(0, COUNT, BATCH)]
WEIGHTS = np.linspace(0.1, 2, COUNT).astype("float32")
BY_CLASS = np.array([0.5, 1.0, 3.0], "float32")[CLASSES]


def stack(shape, *middle, **options):
    return keras.Sequential([keras.Input(shape or None, **options), *middle])


def classifier(shape, *middle, **options):
    return stack(shape, *middle, layers.Dense(3, "softmax"), **options)


def table(*middle):
    return lambda: (classifier((5,), layers.Dense(6, "tanh"), *(make() for make in middle)), TABLE, CLASSES)


def image(*middle):
    def make():
        inside = [each() for each in middle]
        return classifier((8, 8, 2), *inside, layers.GlobalAveragePooling2D()), IMAGES, CLASSES

    return make


def series(*middle):
    return lambda: (classifier((6, 3), *(make() for make in middle)), SERIES, CLASSES)


def words(*middle, **options):
    def make():
        embedding = layers.Embedding(7, 4, **options)
        return classifier((6,), embedding, *(each() for each in middle), dtype="int32"), WORDS, CLASSES

    return make


def tagger():
    inside = [layers.Embedding(7, 4, mask_zero=True), layers.Dense(4, "tanh")]
    return classifier((6,), *inside, dtype="int32"), WORDS, TAGS


def attention():
    inputs = keras.Input((6, 3))
    attended = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    x = layers.LayerNormalization()(layers.Add()([layers.Dense(3)(attended), inputs]))
    return (
        keras.Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling1D()(x))),
        SERIES,
        CLASSES,
    )


def tied():
    inputs = keras.Input((6,), dtype="int32")
    embedding = keras.layers.ReversibleEmbedding(7, 4)
    x = layers.Dense(4, "tanh")(embedding(inputs))
    return keras.Model(inputs, layers.Softmax()(embedding(x, reverse=True))), WORDS, np.roll(WORDS, 1, axis=1)


def adapted(layer, x):
    layer.adapt(x)
    return layer


def normalized():
    scale = adapted(layers.Normalization(), 40 * TABLE + 7)
    return classifier((5,), scale, layers.Dense(4, "tanh")), 40 * TABLE + 7, CLASSES


def normalized_inside():
    backbone = stack((8, 8, 2), adapted(layers.Normalization(), 90 * IMAGES + 30), layers.Conv2D(3, 3))
    return classifier((8, 8, 2), backbone, layers.GlobalAveragePooling2D()), 90 * IMAGES + 30, CLASSES


def discretized():
    x = TABLE[:, :1]
    return (
        classifier((1,), adapted(layers.Discretization(num_bins=4), x), layers.Embedding(5, 3), layers.Flatten()),
        (x),
        CLASSES,
    )


def looked_up(**options):
    def make():
        lookup = adapted(layers.IntegerLookup(output_mode="multi_hot", **options), 10 * WORDS)
        return classifier((6,), lookup, layers.Dense(4, "tanh"), dtype="int64"), 10 * WORDS, CLASSES

    return make


SENTENCES = np.array([[" ".join("abcdefg"[word] for word in row)] for row in WORDS])


def of_texts():
    vectors = adapted(layers.TextVectorization(output_sequence_length=6, split="whitespace"), SENTENCES)
    inside = [vectors, layers.Embedding(9, 3), layers.Flatten()]
    return classifier((1,), *inside, dtype="string"), SENTENCES, CLASSES


def of_strings():
    x = np.array(["rot", "grün", "blau"])[:, None][CLASSES]
    lookup = adapted(layers.StringLookup(output_mode="tf_idf"), x)
    return classifier((1,), lookup, layers.Dense(4, "tanh"), dtype="string"), x, CLASSES


def hashed():
    return classifier((6,), layers.Hashing(5), layers.Embedding(5, 3), layers.Flatten(), dtype="int64"), WORDS, CLASSES


class Scaled(layers.Layer):
    """A layer that is not registered, without a `get_config`, with a weight of its own."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, inputs):
        return keras.ops.tanh(inputs * self.scale)


class Classifier(keras.Model):
    """A subclassed model that is not registered."""

    def __init__(self, units=4):
        super().__init__()
        self.hidden, self.ending = layers.Dense(units, "relu"), layers.Dense(3, "softmax")

    def call(self, inputs, training=False):
        if training:
            inputs = 1.1 * inputs
        return self.ending(self.hidden(inputs))


FACTOR = 2.5
MODELS = {
    "dense": table(),
    "dropout": table(lambda: layers.Dropout(0.4), lambda: layers.GaussianNoise(0.2)),
    "regularized": table(
        lambda: layers.Dense(4, kernel_regularizer="l2", activity_regularizer="l1", kernel_constraint="unit_norm")
    ),
    "batch normalization": table(lambda: layers.BatchNormalization(momentum=0.6)),
    "layer normalization": table(layers.LayerNormalization),
    "group normalization": table(lambda: layers.GroupNormalization(2)),
    "unit normalization": table(layers.UnitNormalization),
    "RMS normalization": table(layers.RMSNormalization),
    "spectral normalization": table(lambda: layers.SpectralNormalization(layers.Dense(4, "tanh"))),
    "convolution": image(lambda: layers.Conv2D(3, 3), layers.BatchNormalization, layers.ReLU, layers.MaxPooling2D),
    "separable": image(lambda: layers.SeparableConv2D(3, 3), lambda: layers.DepthwiseConv2D(2)),
    "augmentation": image(
        layers.RandomFlip, lambda: layers.RandomTranslation(0.2, 0.2), lambda: layers.Conv2D(3, 3, activation="relu")
    ),
    "rescaling": image(lambda: layers.Rescaling(0.5, 0.1), lambda: layers.Conv2D(3, 3)),
    "LSTM": series(lambda: layers.LSTM(4)),
    "bidirectional": series(lambda: layers.Bidirectional(layers.GRU(3))),
    "recurrent dropout": series(lambda: layers.SimpleRNN(4, recurrent_dropout=0.3)),
    "time distributed": series(lambda: layers.TimeDistributed(layers.Dense(3, "relu")), lambda: layers.Flatten()),
    "attention": attention,
    "embedding": words(layers.Flatten),
    "regularized embedding": words(layers.Flatten, embeddings_regularizer="l2"),
    "masked": words(lambda: layers.LSTM(4), mask_zero=True),
    "masked average": words(layers.GlobalAveragePooling1D, mask_zero=True),
    "masked output": tagger,
    "tied embedding": tied,
    "Normalization": normalized,
    "nested Normalization": normalized_inside,
    "Discretization": discretized,
    "IntegerLookup": looked_up(),
    "TextVectorization": of_texts,
    "StringLookup": of_strings,
    "Hashing": hashed,
    "unregistered layer": table(Scaled),
    "Lambda": table(lambda: layers.Lambda(lambda x: FACTOR * x)),
    "lambda activation": table(lambda: layers.Dense(4, activation=lambda x: keras.ops.tanh(x) * FACTOR)),
    "two lambdas": table(
        lambda: layers.Lambda(lambda x: x + 1), lambda: layers.Lambda(lambda x, by=3: x * by, output_shape=(6,))
    ),
    "subclassed": lambda: (Classifier(units=5), TABLE, CLASSES),
}
OPTIMIZERS = {
    "SGD": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=0.5),
    "Adam": lambda: optimizers.Adam(0.03),
    "amsgrad": lambda: optimizers.Adam(0.03, amsgrad=True, clipvalue=0.05),
    "AdamW": lambda: optimizers.AdamW(optimizers.schedules.ExponentialDecay(0.03, 2, 0.7)),
    "RMSprop": lambda: optimizers.RMSprop(0.01),
    "centered": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True, weight_decay=0.05),
}


def tensor(x):
    """What Keras takes of an array: it takes no array of texts."""
    return tf.constant(x) if x.dtype.kind == "U" else x


def both(made, optimizer=lambda: optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", compiled=(), **weights):
    """Train a model by `record_training` and by `model.fit`, from the same weights and seeds; return run and model."""
    model, x, y = made
    x = tensor(x)
    model(x[:2])
    model.compile(optimizer(), loss, jit_compile=False, **dict(compiled))
    run = record_training(model, x, y, epochs=2, batches=BATCHES, progress=False, **weights)
    for variable, value in zip(model.non_trainable_variables, run.state(0).buffers, strict=True):
        variable.assign(value)  # the seeds of dropout
    model.fit(x, y, batch_size=BATCH, epochs=2, shuffle=False, verbose=0, **weights)
    return run, model, x


def difference(run, model) -> float:
    ours = run.state(run.epochs).weights
    theirs = [variable.numpy() for variable in model.trainable_variables]
    return max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_models_train_as_in_fit_and_predict_alike(name):
    keras.utils.set_random_seed(0)
    run, model, x = both(MODELS[name]())
    assert difference(run, model) < 1e-5
    np.testing.assert_allclose(run.model()(x), model(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        *((name, "embedding") for name in OPTIMIZERS),
        *(("Adam", model) for model in ("dense", "masked average", "regularized embedding", "tied embedding")),
        *((name, "dense") for name in ("nesterov", "AdamW", "centered")),
    ],
)
def test_optimizers_train_as_in_fit(name, model):
    keras.utils.set_random_seed(0)
    run, model, _ = both(MODELS[model](), OPTIMIZERS[name])
    assert difference(run, model) < 1e-5


def own_loss(y_true, y_pred):
    return keras.ops.abs(y_true - y_pred)


class OwnLoss(losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.square(y_pred - y_true[:, None]), axis=-1)


def of_classes(loss, **options):
    return lambda: both((classifier((5,), layers.Dense(4, "tanh")), TABLE, CLASSES), loss=loss, **options)


def of_numbers(loss, labels=NUMBERS, **options):
    return lambda: both((stack((5,), layers.Dense(4, "tanh"), layers.Dense(1)), TABLE, labels), loss=loss, **options)


def of_tags(loss, **options):
    return lambda: both((tagger()[0], WORDS, TAGS), loss=loss, **options)


def of_pictures(loss, **options):
    model = stack((8, 8, 2), layers.Conv2D(3, 1, activation="softmax"))
    return lambda: both((model, IMAGES, RNG.integers(0, 3, (COUNT, 8, 8))), loss=loss, **options)


SPARSE = losses.SparseCategoricalCrossentropy
LOSSES = {
    "sum": of_classes(SPARSE(reduction="sum")),
    "sum with weights": of_classes(SPARSE(reduction="sum"), sample_weight=WEIGHTS),
    "sum of positions": of_tags(SPARSE(reduction="sum")),
    "mean": of_classes(SPARSE(reduction="mean")),
    "mean_with_sample_weight": of_classes(SPARSE(reduction="mean_with_sample_weight"), sample_weight=WEIGHTS),
    "mean_with_sample_weight without weights": of_classes(SPARSE(reduction="mean_with_sample_weight")),
    "sample weights": of_classes("sparse_categorical_crossentropy", sample_weight=WEIGHTS),
    "class weights": of_classes("sparse_categorical_crossentropy", sample_weight=BY_CLASS),
    "loss_weights": of_classes("sparse_categorical_crossentropy", compiled={"loss_weights": [5.0]}),
    "a float for loss_weights": of_classes(SPARSE(), compiled={"loss_weights": 0.2}),
    "ignore_class": of_classes(SPARSE(ignore_class=1)),
    "ignore_class with weights": of_classes(SPARSE(ignore_class=1), sample_weight=WEIGHTS),
    "ignore_class, sum": of_classes(SPARSE(ignore_class=1, reduction="sum")),
    "ignore_class of positions": of_pictures(SPARSE(ignore_class=2)),
    "ignore_class and a mask": of_tags(SPARSE(ignore_class=0)),
    "a list": of_classes(["sparse_categorical_crossentropy"]),
    "mean squared error": of_numbers("mse"),
    "Huber": of_numbers(losses.Huber(0.5)),
    "LogCosh of columns": of_numbers(losses.LogCosh(), labels=NUMBERS[:, None]),
    "cosine similarity": of_numbers(losses.CosineSimilarity()),
    "a function": of_numbers(own_loss),
    "a class": of_numbers(OwnLoss()),
    "a class, sum": of_numbers(OwnLoss(reduction="sum")),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_train_as_in_fit(name):
    keras.utils.set_random_seed(0)
    run, model, _ = LOSSES[name]()
    assert difference(run, model) < 1e-5


def test_labels_of_one_more_axis_than_the_outputs_are_paired_with_them():
    keras.utils.set_random_seed(0)
    model = stack((5,), layers.Dense(1), layers.Reshape(()))
    run, model, _ = both((model, TABLE, NUMBERS[:, None]), loss=own_loss)
    assert difference(run, model) < 1e-5


def test_added_losses_of_several_numbers_are_summed():
    class Adding(layers.Layer):
        def call(self, inputs):
            self.add_loss(0.1 * keras.ops.square(inputs[:, 0]))
            return inputs

    keras.utils.set_random_seed(0)
    run, model, _ = both((classifier((5,), layers.Dense(4), Adding()), TABLE, CLASSES))
    assert difference(run, model) < 1e-5


ADAPTED = [
    "Normalization",
    "nested Normalization",
    "Discretization",
    "IntegerLookup",
    "TextVectorization",
    "StringLookup",
]


@pytest.mark.parametrize("name", ADAPTED)
def test_what_layers_have_learned_is_part_of_the_record(name, tmp_path):
    keras.utils.set_random_seed(0)
    model, x, y = MODELS[name]()
    options = {"optimizer": optimizers.Adam(0.02), "loss": "sparse_categorical_crossentropy", "progress": False}
    run = record_training(model, x, y, epochs=2, batch_size=8, **options)
    run.save(tmp_path / "run")
    again = load_training(tmp_path / "run", x, y)
    np.testing.assert_array_equal(again.model()(tensor(x)), run.model()(tensor(x)))
    np.testing.assert_allclose(tracin(again, x[:9], y[:9]), tracin(run, x[:9], y[:9]), rtol=1e-5, atol=1e-9)
    fresh = record_training(model, x, y, init="fresh", epochs=1, batch_size=8, **options)
    ours, theirs = (each.layers[0] for each in (fresh.model(), model))
    ours, theirs = (ours.layers[0], theirs.layers[0]) if isinstance(theirs, keras.Sequential) else (ours, theirs)
    np.testing.assert_array_equal(*(np.asarray(layer(tensor(x))) for layer in (ours, theirs)))


def test_a_model_that_learned_other_statistics_takes_those_of_the_record(tmp_path):
    keras.utils.set_random_seed(0)
    model, x, y = normalized()
    run = record_training(model, x, y, optimizer="sgd", loss=SPARSE(), progress=False)
    run.save(tmp_path / "run")
    other = classifier((5,), layers.Normalization(), layers.Dense(4, "tanh"))
    again = load_training(tmp_path / "run", x, y, model=other)
    np.testing.assert_array_equal(again.model().predict(x, verbose=0), run.model().predict(x, verbose=0))
    np.testing.assert_array_equal(other.layers[0](x), x)


@pytest.mark.parametrize("name", ["embedding", "ignore_class", "sum", "mean_with_sample_weight"])
def test_influence_is_that_of_retraining(name):
    keras.utils.set_random_seed(0)
    run, _, x = both(MODELS[name](), OPTIMIZERS["Adam"]) if name in MODELS else LOSSES[name]()
    y = run.examples.labels
    x_val, y_val = (x[::2], y[::2]) if x is WORDS else (x[::2] + 0.1, y[::2])
    scores = sgd_influence(run, x_val, y_val, progress=False)
    truth = counterfactual_influence(run, x_val, y_val, progress=False)
    assert np.corrcoef(scores, truth)[0, 1] > 0.95
    if name == "ignore_class":
        np.testing.assert_array_equal(scores[y == 1], 0)


@pytest.mark.parametrize(
    ("loss", "optimizer"),
    [
        (SPARSE(ignore_class=0), optimizers.Adam(0.03)),
        (SPARSE(reduction="sum"), optimizers.RMSprop(0.01, centered=True, momentum=0.5)),
        (SPARSE(reduction="mean_with_sample_weight"), optimizers.Adam(0.03, amsgrad=True, clipnorm=0.1)),
    ],
)
def test_influence_through_embeddings_and_masks_is_a_finite_difference(loss, optimizer):
    keras.utils.set_random_seed(0)
    double = {"dtype": "float64"}
    inside = [layers.Embedding(7, 4, mask_zero=True, **double), layers.Dense(3, "softmax", **double)]
    model = stack((6,), *inside, dtype="int32")
    run = record_training(model, WORDS, TAGS, loss=loss, optimizer=optimizer, epochs=1, batch_size=8, progress=False)
    held_out = (WORDS[:9, ::-1].copy(), TAGS[:9])
    scores = sgd_influence(run, *held_out, progress=False)
    validation, step = ValidationLoss.of_run(run, *held_out), run.compiled()

    def with_weight(example, weight):
        state = tf.nest.map_structure(tf.convert_to_tensor, run.state(0))
        for number, (indices, rate) in enumerate(zip(run.order(0), run.learning_rates(), strict=True)):
            weights = np.where(indices == example, weight, 1.0)
            number, rate = tf.constant(number, tf.int64), tf.constant(rate, tf.float32)
            state, _ = step(state, number, rate, run.examples.batch(indices), weights)
        return validation(state)

    differences = [(with_weight(i, 1 - 1e-4) - with_weight(i, 1 + 1e-4)) / 2e-4 for i in range(6)]
    np.testing.assert_allclose(scores[:6], differences, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("method", [sgd_influence, tracin])
def test_a_sum_has_the_scores_of_a_mean_at_so_many_times_the_rate(method):
    keras.utils.set_random_seed(0)
    model = classifier((5,), layers.Dense(4, "tanh"))
    batches = BATCHES[:2]
    scores = [
        method(
            record_training(model, TABLE, CLASSES, loss=loss, optimizer=sgd, batches=batches, epochs=2, progress=False),
            TABLE[:9] + 0.1,
            CLASSES[:9],
            progress=False,
        )
        for loss, sgd in [(SPARSE(), optimizers.SGD(8 * 0.05)), (SPARSE(reduction="sum"), optimizers.SGD(0.05))]
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-7)


def test_the_loss_s_weight_is_part_of_the_record(tmp_path):
    keras.utils.set_random_seed(0)
    run, *_ = LOSSES["loss_weights"]()
    run.save(tmp_path / "run")
    *_, last = load_training(tmp_path / "run", TABLE, CLASSES).replay(1)
    np.testing.assert_array_equal(last.weights[0], run.state(2).weights[0])


class OwnStep(keras.Sequential):
    def train_step(self, data):
        return super().train_step(data)


class OwnObjective(keras.Sequential):
    def compute_loss(self, *args, **options):
        return 5 * super().compute_loss(*args, **options)


@pytest.mark.parametrize(("kind", "method"), [(OwnStep, "train_step"), (OwnObjective, "compute_loss")])
def test_a_model_that_trains_in_its_own_way_is_refused(kind, method):
    model = kind([keras.Input((5,)), layers.Dense(3, "softmax")])
    words = rf"^model must train as keras\.Model does, not by the {method} of {kind.__name__}\. Give"
    with pytest.raises(ValueError, match=words):
        record_training(model, TABLE, CLASSES, optimizer="sgd", progress=False)


def test_a_loss_that_makes_no_number_of_a_batch_is_refused():
    model = classifier((5,))
    with pytest.raises(ValueError, match=r"^loss must reduce a batch to one number, not have reduction='none'\."):
        record_training(model, TABLE, CLASSES, loss=SPARSE(reduction="none"), optimizer="sgd", progress=False)


class Uncopyable(keras.Model):
    """A model whose configuration Keras does not know."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.hidden, self.normalized, self.ending = layers.Dense(4), layers.BatchNormalization(), layers.Dense(3)

    def call(self, inputs, training=False):
        return keras.ops.softmax(self.ending(self.function(self.normalized(self.hidden(inputs), training=training))))


def test_a_model_that_keras_cannot_make_again_is_copied_too():
    keras.utils.set_random_seed(0)
    run, model, _ = both((Uncopyable(keras.ops.tanh), TABLE, CLASSES))
    assert difference(run, model) < 1e-5
    copy = run.model()
    expected = model.predict(TABLE, verbose=0)
    np.testing.assert_allclose(copy.predict(TABLE, verbose=0), expected, rtol=0, atol=1e-6)
    for variables in ("trainable_variables", "non_trainable_variables"):
        assert [v.shape for v in getattr(copy, variables)] == [v.shape for v in getattr(model, variables)]
    before = copy.get_weights()
    copy.compile("sgd", "sparse_categorical_crossentropy")
    copy.fit(TABLE, CLASSES, verbose=0)
    assert all(np.abs(new - old).max() > 0 for new, old in zip(copy.get_weights(), before, strict=True))
    np.testing.assert_array_equal(model.predict(TABLE, verbose=0), expected)


class Keeping(layers.Layer):
    """A layer with a number that is neither a variable nor in its configuration."""

    factor = 1.0

    def call(self, inputs):
        return self.factor * inputs


def test_what_a_layer_keeps_besides_variables_is_in_the_copy():
    keras.utils.set_random_seed(0)
    keeping = Keeping()
    keeping.factor = 7.0
    run, model, _ = both((classifier((5,), keeping), TABLE, CLASSES))
    np.testing.assert_allclose(run.model()(TABLE), model(TABLE), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_bfloat16_trains_as_in_fit(dtype):
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(4, "tanh", kernel_regularizer="l2", dtype="mixed_bfloat16")
    run, model, _ = both((stack((5,), hidden, layers.Dense(3, "softmax", dtype=dtype)), TABLE, CLASSES))
    assert difference(run, model) < 1e-5


def test_an_own_loss_of_the_model_is_refused_for_influence_functions_unless_one_is_given():
    model = OwnObjective([keras.Input((5,)), layers.Dense(3, "softmax")])
    data = (TABLE, CLASSES, TABLE[:4] + 1, CLASSES[:4])
    with pytest.raises(ValueError, match="not by the compute_loss of OwnObjective"):
        influence_functions(model, *data, progress=False)
    assert len(influence_functions(model, *data, loss=SPARSE(), damping=0.1, progress=False)) == COUNT


def test_texts_are_needed_where_the_model_reads_texts():
    model, x, y = of_strings()
    with pytest.raises(TypeError, match=r"^x must hold texts, not int64"):
        record_training(model, np.zeros(x.shape, int), y, optimizer="sgd", progress=False)
