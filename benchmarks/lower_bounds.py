"""What the methods cost at least: their mathematics by hand, each in one `tf.function`, for one kind of model.

The model is a `keras.applications` classifier that ends in feature map, global average pooling and a dense softmax, as
MobileNetV2 and ResNet50 do. Knowing that, nothing has to be looked for, checked or made general.
"""

import keras
import numpy as np
import tensorflow as tf

_CLASS = 5


def saliency(model: keras.Model):
    """Vanilla gradients: |d logit / d pixel|, the maximum over channels, each map stretched to [0, 1]."""
    logit = _logit(model)

    @tf.function
    def maps(images, class_index):
        return _normalize(tf.reduce_max(tf.abs(_gradient(logit, images, class_index)), axis=-1))

    return lambda images, class_index: maps(images, np.int32(class_index)).numpy()


def gradcam(model: keras.Model):
    """Grad-CAM on the last feature map; only the layers after the map are differentiated."""
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


def cam(model: keras.Model, method: str):
    """The class activation maps that take one pass and the gradient of the head, on the last feature map."""
    features_of = keras.Model(model.input, model.layers[-3].output)
    head, weigh = model.layers[-1], _CAMS[method]

    @tf.function
    def maps(images, class_index):
        features = features_of(images, training=False)

        def logit(features, class_index):
            return _dense(head, tf.reduce_mean(features, axis=[1, 2]), class_index)

        # What does not need the gradient does not wait for it: TensorFlow leaves it out.
        heat = tf.nn.relu(weigh(features, _gradient(logit, features, class_index)))
        return _normalize(tf.image.resize(heat[..., None], tf.shape(images)[1:3])[..., 0])

    return lambda images: maps(images, np.int32(_CLASS)).numpy()


def guided_cam(model: keras.Model):
    """Guided Grad-CAM: Grad-CAM times the gradient in which each rectifier lets positive gradients through only."""
    guided = keras.models.clone_model(model, clone_function=_as_guided)
    guided.set_weights(model.get_weights())
    cam_of, logit = gradcam(model), _logit(guided)

    @tf.function
    def gradient(images):
        return _gradient(logit, images, _CLASS)

    def maps(images):
        product = gradient(images).numpy() * cam_of(images, _CLASS)[..., None]
        largest = np.take_along_axis(product, np.abs(product).argmax(axis=-1)[..., None], axis=-1)[..., 0]
        return largest / np.abs(largest).max()

    return maps


def gradient_times_input(model: keras.Model):
    """The image times its gradient, summed over channels."""
    logit = _logit(model)

    @tf.function
    def maps(images, class_index):
        product = tf.reduce_sum(images * _gradient(logit, images, class_index), axis=-1)
        return product / tf.reduce_max(tf.abs(product), axis=[1, 2], keepdims=True)

    return lambda images: maps(images, np.int32(_CLASS)).numpy()


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


def _as_guided(layer):
    return _Guided(layer) if isinstance(layer, keras.layers.ReLU) else type(layer).from_config(layer.get_config())


class _Guided(keras.layers.Layer):
    def __init__(self, layer):
        super().__init__(name=layer.name)
        self._max_value = layer.max_value

    def call(self, x):
        @tf.custom_gradient
        def rectified(x):
            y = tf.nn.relu(x) if self._max_value is None else tf.nn.relu6(x)
            passes = (x > 0) if self._max_value is None else (x > 0) & (x < self._max_value)
            return y, lambda upstream: tf.where(passes, tf.nn.relu(upstream), 0.0)

        return rectified(x)


def _gradcam_plus_plus(features, gradients):
    total = tf.reduce_sum(features, axis=[1, 2], keepdims=True)
    alpha = tf.math.divide_no_nan(gradients**2, 2 * gradients**2 + total * gradients**3)
    weights = tf.reduce_sum(alpha * tf.nn.relu(gradients), axis=[1, 2])
    return tf.einsum("nhwc,nc->nhw", features, weights)


def _xgradcam(features, gradients):
    weights = tf.math.divide_no_nan(
        tf.reduce_sum(gradients * features, axis=[1, 2]), tf.reduce_sum(features, axis=[1, 2])
    )
    return tf.einsum("nhwc,nc->nhw", features, weights)


def _eigencam(features, gradients):
    flat = tf.reshape(features, [tf.shape(features)[0], -1, features.shape[-1]])
    direction = tf.linalg.svd(flat - tf.reduce_mean(flat, axis=1, keepdims=True))[2][..., :1]
    maps = tf.reshape(flat @ direction, tf.shape(features)[:3])
    centred = tf.reduce_mean(features, axis=-1)
    centred -= tf.reduce_mean(centred, axis=[1, 2], keepdims=True)
    return maps * tf.sign(tf.reduce_sum(maps * centred, axis=[1, 2], keepdims=True))


_CAMS = {
    "gradcam++": _gradcam_plus_plus,
    "layercam": lambda features, gradients: tf.reduce_sum(tf.nn.relu(gradients) * features, axis=-1),
    "xgradcam": _xgradcam,
    "hirescam": lambda features, gradients: tf.reduce_sum(gradients * features, axis=-1),
    "eigencam": _eigencam,
    "eigengradcam": lambda features, gradients: _eigencam(gradients * features, None),
}
