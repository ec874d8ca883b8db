"""What the methods cost at least that run many copies of one image: the same passes, in batches of the same size.

The model is one of those of `benchmarks.lower_bounds`. Each function returns one of an image, (1, height, width,
channels), that gives a map; what is done to the copies is compiled together with the passes.
"""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.lower_bounds import _dense, _gradient, _logit
from vis.engine.evaluate import _VALUES_OF_COPIES, even

CLASS = 5


def batch_size_of(model: keras.Model, copies: int) -> int:
    """The batch size that `vis` chooses by itself."""
    return even(copies, int(np.clip(_VALUES_OF_COPIES // np.prod(model.input_shape[1:]), 8, 128)))


def passes(model: keras.Model, copies: int):
    """Forward passes alone: of so many copies of the image as they are."""
    return _scores(model, copies, lambda image, k: tf.repeat(image, tf.size(k), axis=0))


def gradients(model: keras.Model, copies: int):
    """Gradients alone, with respect to so many copies of the image as they are, and their sum."""
    return _mean_gradient(model, copies, lambda image, k: tf.repeat(image, tf.size(k), axis=0))


def integrated_gradients(model: keras.Model, steps: int = 50):
    """The image times the mean gradient along the line from 0, at the points of Gauss and Legendre."""
    places, weights = np.polynomial.legendre.leggauss(steps)
    alphas, weights = np.float32((places + 1) / 2), np.float32(weights / 2)
    mean = _mean_gradient(model, steps, lambda image, k: image * _column(tf.gather(alphas, k)), weights)
    return lambda image: (image * mean(image)).sum(axis=-1)


def expected_gradients(model: keras.Model, background: np.ndarray, copies: int):
    """The mean of (x - x') times the gradient at a random place on the line from each x'."""
    alphas = np.random.default_rng(0).random(copies).astype(np.float32)

    def place(image, k):
        base = tf.gather(background, k % len(background))
        way = image - base
        return base + _column(tf.gather(alphas, k)) * way, way

    mean = _mean_gradient(model, copies, place)
    return lambda image: mean(image).sum(axis=-1)


def smoothgrad_of(model: keras.Model, samples: int, steps: int | None, noise_level: float = 0.15):
    """The mean over noisy copies of the copy times its gradient, or of its integrated gradients of so many steps."""
    alphas, weights = np.ones(1, np.float32), np.ones(1, np.float32)
    if steps is not None:
        places, weights = np.polynomial.legendre.leggauss(steps)
        alphas, weights = np.float32((places + 1) / 2), np.float32(weights / 2)

    def place(image, k):
        copies = k // len(alphas)
        first = copies[0]  # the copies of a batch follow each other
        seeds = tf.range(first, copies[-1] + 1)
        noise = tf.map_fn(
            lambda seed: tf.random.stateless_normal(image.shape[1:], tf.stack([0, seed])),
            seeds,
            fn_output_signature=tf.float32,
        )
        sigma = noise_level * (tf.reduce_max(image) - tf.reduce_min(image))
        noisy = image + sigma * tf.gather(noise, copies - first)
        return noisy * _column(tf.gather(alphas, k % len(alphas))), noisy

    mean = _mean_gradient(model, samples * len(alphas), place, np.tile(weights, samples) / samples)
    return lambda image: mean(image).sum(axis=-1)


def scorecam(model: keras.Model, filters: int):
    """Score-CAM: a pass for the feature map, and one of the image masked by each of its most varied channels."""
    features_of = tf.function(keras.Model(model.input, model.layers[-3].output))

    def masked(image, k, channels):
        masks = tf.image.resize(tf.gather(channels, k)[..., None], image.shape[1:3])
        low, high = (f(masks, [1, 2, 3], keepdims=True) for f in (tf.reduce_min, tf.reduce_max))
        return image * tf.math.divide_no_nan(masks - low, high - low)

    scores_of = _scores(model, filters, masked, [tf.TensorSpec([None, None, None], tf.float32)])

    def maps(image):
        features = features_of(image).numpy()[0]
        chosen = np.argsort(-features.std(axis=(0, 1)), kind="stable")[:filters]
        scores = scores_of(image, np.moveaxis(features[..., chosen], -1, 0))
        shares = np.exp(scores - scores.max())
        return np.maximum(features[..., chosen] @ (shares / shares.sum()), 0)

    return maps


def ablationcam(model: keras.Model, filters: int):
    """Ablation-CAM: a pass for the feature map, and one with each of its most varied channels set to 0.

    Each is a pass of the whole network, as in `vis`, though what lies before the feature map is the same for all.
    """
    features_of = keras.Model(model.input, model.layers[-3].output)
    head = model.layers[-1]

    def score(features):
        return _dense(head, tf.reduce_mean(features, axis=[1, 2]), CLASS)

    @tf.function
    def whole(image):
        features = features_of(image, training=False)
        return features, score(features)

    @tf.function(reduce_retracing=True)
    def without(image, channels):
        features = features_of(tf.repeat(image, tf.size(channels), axis=0), training=False)
        return score(features * tf.one_hot(channels, features.shape[-1], 0.0, 1.0)[:, None, None])

    def maps(image):
        features, score = (value.numpy()[0] for value in whole(image))
        chosen = np.argsort(-features.std(axis=(0, 1)), kind="stable")[:filters].astype(np.int32)
        size = batch_size_of(model, filters)
        parts = [without(image, tf.constant(chosen[at : at + size])).numpy() for at in range(0, filters, size)]
        return np.maximum(features[..., chosen] @ ((score - np.concatenate(parts)) / abs(score)), 0)

    return maps


def occlusion(model: keras.Model, window: int, stride: int):
    """The mean loss of score over the windows that cover a position; the image itself is the last copy."""
    side = model.input_shape[1]
    count = 1 + -(-(side - window) // stride)
    starts = stride * np.stack(np.divmod(np.arange(count**2), count), axis=1)
    starts = np.concatenate([starts, [[side, side]]]).astype(np.int32)
    covers = np.float64((np.arange(side) >= starts[:count, 1:]) & (np.arange(side) < starts[:count, 1:] + window))

    def hidden(image, k):
        start, at = tf.gather(starts, k), tf.range(side)
        rows, columns = ((at >= start[:, i, None]) & (at < start[:, i, None] + window) for i in range(2))
        return tf.where((rows[:, :, None] & columns[:, None, :])[..., None], 0.0, image)

    scores_of = _scores(model, len(starts), hidden)

    def maps(image):
        scores = scores_of(image)
        lost = (scores[-1] - scores[:-1]).reshape(count, count)
        return covers.T @ lost @ covers / np.outer(covers.sum(axis=0), covers.sum(axis=0))

    return maps


def segments(model: keras.Model, vectors: int, penalty: float):
    """Passes with random ones of 8 x 8 squares switched off, and a linear model of the scores: LIME and KernelSHAP."""
    side = model.input_shape[1]
    number = np.arange(side) * 8 // side
    squares = number[:, None] * 8 + number
    z = np.random.default_rng(0).integers(0, 2, (vectors, 64), np.uint8)

    def switched(image, k, fill):
        on = tf.gather(tf.gather(z, k), squares, axis=1) > 0
        return tf.where(on[..., None], image, fill)

    scores_of = _scores(model, vectors, switched, [tf.TensorSpec([1, 1, 1, 3], tf.float32)])

    def maps(image):
        scores = scores_of(image, image.mean(axis=(1, 2), keepdims=True))
        rows = z - z.mean(axis=0)
        values = np.linalg.solve(rows.T @ rows + penalty * np.eye(64), rows.T @ (scores - scores.mean()))
        return values[squares]

    return maps


def _scores(model, copies, place, more=()):
    """Returns what gives the logit of each copy."""
    logit = _logit(model)
    image = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)

    @tf.function(input_signature=[image, tf.TensorSpec([None], tf.int64), *more])
    def some(image, k, *more):
        return logit(place(image, k, *more), CLASS)

    size = batch_size_of(model, copies)

    def scores(image, *more):
        return np.concatenate([some(image, k, *more).numpy() for k in _numbers(copies, size)])

    return scores


def _mean_gradient(model, copies, place, weights=None):
    """Returns what gives the weighted mean of the copies' gradients, each times what `place` gives beside the copy."""
    logit = _logit(model)
    image = tf.TensorSpec([1, *model.input_shape[1:]], tf.float32)
    weights = np.full(copies, 1 / copies, np.float32) if weights is None else weights.astype(np.float32)

    @tf.function(input_signature=[image, tf.TensorSpec([None], tf.int64)])
    def some(image, k):
        at = place(image, k)
        at, way = at if isinstance(at, tuple) else (at, None)
        gradient = _gradient(logit, at, CLASS)
        gradient = gradient if way is None else gradient * way
        return tf.einsum("k...,k->...", gradient, tf.gather(weights, k))

    size = batch_size_of(model, copies)
    return lambda image: sum(some(image, k).numpy() for k in _numbers(copies, size))


def _numbers(copies, size):
    return [tf.range(start, min(start + size, copies), dtype=tf.int64) for start in range(0, copies, size)]


def _column(values):
    return tf.reshape(values, [-1, 1, 1, 1])
