"""What the methods cost at least: their mathematics by hand, each in one `tf.function`, for one kind of model.

The model is a `keras.applications` classifier that ends in feature map, global average pooling and a dense softmax, as
MobileNetV2 and ResNet50 do. Knowing that, nothing has to be looked for, checked or made general.
"""

import keras
import numpy as np
import tensorflow as tf


def saliency(model: keras.Model):
    """Vanilla gradients: |d logit / d pixel|, the maximum over channels, each map stretched to [0, 1]."""
    logit = _logit(model)

    @tf.function
    def maps(images, class_index):
        return _normalize(tf.reduce_max(tf.abs(_gradient(logit, images, class_index)), axis=-1))

    return lambda images, class_index: maps(images, np.int32(class_index)).numpy()


def gradcam(model: keras.Model):
    """Grad-CAM on the last feature map; only what lies behind the map is differentiated."""
    features_of = keras.Model(model.input, model.layers[-3].output)
    head = model.layers[-1]

    @tf.function
    def maps(images, class_index):
        features = features_of(images, training=False)

        def logit(features, class_index):
            return _dense(head, tf.reduce_mean(features, axis=[1, 2]), class_index)

        weights = tf.reduce_mean(_gradient(logit, features, class_index), axis=[1, 2])
        heat = tf.nn.relu(tf.einsum("nhwc,nc->nhw", features, weights))
        heat = tf.image.resize(heat[..., None], tf.shape(images)[1:3])[..., 0]
        return _normalize(heat)

    return lambda images, class_index: maps(images, np.int32(class_index)).numpy()


def smoothgrad(model: keras.Model, chunk: int, num_samples: int = 25, noise_level: float = 0.15):
    """SmoothGrad: the mean gradient of noisy copies, `chunk` copies of all images at a time.

    `chunk` must divide `num_samples`.
    """
    logit = _logit(model)

    @tf.function
    def maps(images, class_index, seed):
        extent = tf.reduce_max(images, axis=[1, 2, 3]) - tf.reduce_min(images, axis=[1, 2, 3])
        sigma = noise_level * extent[:, None, None, None]
        total = tf.zeros_like(images)
        for step in tf.range(num_samples // chunk):
            noise = tf.random.stateless_normal([chunk, *images.shape], tf.stack([seed, step]))
            noisy = tf.reshape(images + sigma * noise, [-1, *images.shape[1:]])
            gradients = tf.reshape(_gradient(logit, noisy, class_index), [chunk, *images.shape])
            total += tf.reduce_sum(gradients, axis=0)
        return _normalize(tf.reduce_max(tf.abs(total / num_samples), axis=-1))

    return lambda images, class_index, seed: maps(images, np.int32(class_index), np.int32(seed)).numpy()


def _logit(model):
    pooled = keras.Model(model.input, model.layers[-2].output)
    return lambda images, class_index: _dense(model.layers[-1], pooled(images, training=False), class_index)


def _dense(layer, inputs, class_index):
    # Only the asked class's column of the kernel: neither the other logits nor the softmax are computed.
    return tf.linalg.matvec(inputs, layer.kernel[:, class_index]) + layer.bias[class_index]


def _gradient(logit, inputs, class_index):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(inputs)
        score = logit(inputs, class_index)
    return tape.gradient(score, inputs)


def _normalize(maps):
    low = tf.reduce_min(maps, axis=[1, 2], keepdims=True)
    high = tf.reduce_max(maps, axis=[1, 2], keepdims=True)
    return tf.math.divide_no_nan(maps - low, high - low)
