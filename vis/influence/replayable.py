"""Find out whether the steps of a `model.fit` can be replayed, and if not, why."""

from __future__ import annotations

import keras
import tensorflow as tf

from vis.engine import keras_internals
from vis.influence import sources
from vis.influence.order import sizes_of
from vis.influence.update_rules import update_rule
from vis.utils.errors import ArgumentError

_IN_ORDER = "Shuffle the examples before, and call model.fit(shuffle=False)"
# The methods of a model that make up a training step; if one is overridden, a replay would train differently.
_TRAINING = ("train_step", "compute_loss", "make_train_function")


def unknown_order(fit: dict | None) -> dict | None:
    """Return why the order of the examples in `model.fit` cannot be known, or None if it can.

    Args:
        fit: The result of `keras_internals.fit_arguments`.

    Returns:
        A dict of a `problem`, to follow "not one", and a `remedy`; or None.
    """

    def reason(problem: str, remedy: str = _IN_ORDER) -> dict:
        return {"problem": problem, "remedy": remedy}

    if fit is None:
        return reason("that was not trained by model.fit", "Train with model.fit or record_training")
    x, steps = fit["x"], fit["steps_per_epoch"]
    once = "Shuffle the examples once, before making the data set"
    if isinstance(x, tf.data.Dataset):
        if keras_internals.is_reordered(x):
            return reason("whose tf.data.Dataset is shuffled or random in each epoch", once)
        whole = int(x.cardinality())
    elif isinstance(x, keras.utils.PyDataset):
        if fit["shuffle"]:
            return reason("whose PyDataset was shuffled by model.fit", _IN_ORDER)
        plain = keras.utils.PyDataset
        if type(x).on_epoch_end is not plain.on_epoch_end or type(x).on_epoch_begin is not plain.on_epoch_begin:
            return reason("whose PyDataset changes from epoch to epoch", once)
        whole = x.num_batches
    elif is_arrays(x):
        if fit["shuffle"]:
            return reason("whose examples were shuffled by model.fit, which does not reveal the order")
        count = len(keras.tree.flatten(x)[0])
        whole = len(sizes_of(count, batch_size_of(fit, count)))
    else:
        return reason(f"trained on a {type(x).__name__}, whose order is unknown", "Give arrays or a data set")
    if steps not in (None, whole):
        return reason(f"with steps_per_epoch={steps}, so that an epoch does not cover the data", "Leave it out")
    if whole == tf.data.INFINITE_CARDINALITY or whole is None:
        return reason("trained on an infinite data set", "Leave out .repeat()")
    return None


def unknown_steps(model, no_slots: bool) -> dict | None:
    """Return why the steps of a model cannot be replayed, or None if they can.

    Args:
        model: A compiled Keras model.
        no_slots: Whether the state of its optimizer is unknown.

    Returns:
        A dict of a `problem`, to follow "not one", and a `remedy`; or None.
    """
    try:
        update_rule(model.optimizer)
    except ArgumentError as error:
        return {
            "problem": f"with an optimizer that has no update rule here ({str(error).rstrip('.')})",
            "remedy": "Train with another",
        }
    if no_slots:
        name = type(model.optimizer).__name__
        return {"problem": f"with the optimizer {name}, whose state is unknown", "remedy": "Train with another"}
    own = [name for name in _TRAINING if getattr(type(model), name) is not getattr(keras.Model, name)]
    if own:
        return {"problem": f"of a model that overrides {own[0]}", "remedy": "Train a model without it"}
    return None


def is_arrays(x) -> bool:
    """Return whether `model.fit` trains on arrays, not on a data set or a generator.

    Args:
        x: The argument of `model.fit`.

    Returns:
        A bool.
    """
    return not sources.is_data_set(x) and all(hasattr(leaf, "__array__") for leaf in keras.tree.flatten(x))


def batch_size_of(fit: dict, count: int) -> int:
    """Return the batch size that Keras uses for arrays.

    Args:
        fit: The result of `keras_internals.fit_arguments`.
        count: The number of examples.

    Returns:
        An int.
    """
    return fit["batch_size"] or (-(-count // fit["steps_per_epoch"]) if fit["steps_per_epoch"] else 32)
