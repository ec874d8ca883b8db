"""Check the models and runs passed to the functions of `vis.influence`."""

from __future__ import annotations

import keras

from vis.engine import addressing
from vis.influence.runs import TrainingRun
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError, ArgumentTypeError


@shared_docs
def check_run(run) -> None:
    """Refuse anything but a recorded training run.

    Args:
        run: The argument's value.

    Raises:
        {{run_error}}
    """
    if not isinstance(run, TrainingRun):
        other = (
            "use influence_functions(model, x, y, x_val, y_val), which takes a model"
            if isinstance(run, keras.Model)
            else "read one with load_training(directory, x, y)"
        )
        raise ArgumentTypeError(
            "run",
            f"must be a recorded training run, not {type(run).__name__}",
            f"Record one with record_training(model, x, y), or {other}",
        )


def check_model(model) -> None:
    """Refuse anything but a Keras model that computes in at least float32 and keeps no state between batches.

    Args:
        model: The argument's value.

    Raises:
        ValueError: A layer computes in float16, or is recurrent and stateful.
        TypeError: `model` is not a Keras model.
    """
    if not isinstance(model, keras.Model):
        better = (
            "run.model(), its trained one"
            if isinstance(model, TrainingRun)
            else "one, such as keras.saving.load_model returns"
        )
        raise ArgumentTypeError("model", f"must be a Keras model, not {type(model).__name__}", f"Give {better}")
    # The influence of an example on weights in float16 is mostly rounding, and Keras skips steps that overflow.
    for layer in [model, *addressing.flatten(model)]:
        if getattr(layer, "compute_dtype", None) == "float16":
            raise ArgumentError(
                "model",
                f"must compute in float32, not in float16 as its layer '{layer.name}' with the dtype policy "
                f"'{layer.dtype_policy.name}' does",
                "Build it again after keras.config.set_dtype_policy('float32'), and set_weights(model.get_weights())",
                kind="dtype",
            )
        if getattr(layer, "stateful", False):
            raise ArgumentError(
                "model",
                f"must not keep states from batch to batch, as its layer '{layer.name}' does",
                "Build it with stateful=False",
            )
