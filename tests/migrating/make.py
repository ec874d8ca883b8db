"""Make `tf_keras_vis.npz`: what tf-keras-vis gives for the left columns of `docs/migrating.md`.

It needs tf-keras-vis, which no test and nothing of `vis` imports. From the root of the repository:

    python -m venv .venv-peers
    .venv-peers/bin/pip install .[demo] tf-keras-vis==0.8.7 imageio
    PYTHONPATH=tests .venv-peers/bin/python tests/migrating/make.py

It trains the network on handwritten digits, and stores the weights, two digits, and each row's result by its code.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from migrating_cases import FILE, TF_KERAS_VIS, classifier, models, tables
from tf_keras_vis import scorecam
from tf_keras_vis.activation_maximization import ActivationMaximization, callbacks, input_modifiers, regularizers
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.gradcam_plus_plus import GradcamPlusPlus
from tf_keras_vis.layercam import Layercam
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.utils import model_modifiers, scores

from vis.demo import load_digits

CLASSES = np.array([3, 5])


def trained(digits) -> keras.Model:
    """Train the network until it knows nearly all digits."""
    keras.utils.set_random_seed(0)
    model = classifier()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(digits.x_train, digits.y_train, epochs=8, verbose=0)
    print("accuracy", model.evaluate(digits.x_test, digits.y_test, verbose=0)[1])
    return model


def namespace(weights: list[np.ndarray], images: np.ndarray) -> dict:
    """Return what the left columns speak of."""
    names = {"images": images, "classes": CLASSES, "keras": keras, "tf": tf, **models(weights)}
    for module in (model_modifiers, scores, callbacks, input_modifiers, regularizers):
        names |= {name: value for name, value in vars(module).items() if isinstance(value, type)}
    kinds = {
        "saliency": Saliency,
        "gradcam": Gradcam,
        "gradcam_plus_plus": GradcamPlusPlus,
        "layercam": Layercam,
        "maximization": ActivationMaximization,
    }
    linear = model_modifiers.ReplaceToLinear()
    names |= {name: kind(names["model"], linear) for name, kind in kinds.items()}
    names |= {kind.__name__: kind for kind in (*kinds.values(), scorecam.Scorecam)}
    return names | {"score": scores.CategoricalScore(CLASSES.tolist())}


def main() -> None:
    """Train the network, and store it with what tf-keras-vis makes of it."""
    digits = load_digits()
    images = np.stack([digits.x_test[digits.y_test == each][0] for each in CLASSES])
    weights = trained(digits).get_weights()
    stored = {"images": images, "classes": CLASSES, **{f"weights/{i}": value for i, value in enumerate(weights)}}
    names = namespace(weights, images)
    for row in (row for table in tables(TF_KERAS_VIS) for row in table):
        if not is_expression(row.key):
            continue
        keras.utils.set_random_seed(0)
        result = eval(row.key, names)
        if isinstance(result, (np.ndarray, tf.Tensor, list)):
            stored[row.key] = np.asarray(result)
    single = {name: value.astype("f4") if value.dtype.kind == "f" else value for name, value in stored.items()}
    np.savez_compressed(FILE, **single)


def is_expression(text: str) -> bool:
    """Whether a row is about what can be evaluated, and not about an option alone."""
    try:
        compile(text, text, "eval")
    except SyntaxError:
        return False
    return True


if __name__ == "__main__":
    main()
