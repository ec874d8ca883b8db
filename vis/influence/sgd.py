"""SGD influence: what the validation loss would be without a training example, by the adjoint of training.

Leaving an example out moves its weight w_i in the training loss from 1 to 0, so its score is -∂L_val/∂w_i.

With plain SGD this is the method of Hara, Nitanda & Maehara, "Data Cleansing for Models Trained with SGD" (2019, arXiv
1906.08473), where the adjoint is propagated by Hessian-vector products; here it runs through the optimizer's update as
well. With `weights='final'` it is that of Suzuki et al., "Data Cleansing for Deep Neural Networks with
Storage-efficient Approximation of Influence Functions" (2021, arXiv 2103.11807).
"""

from __future__ import annotations

import numpy as np

from vis.influence.adjoint import differentiated, epochs_back
from vis.influence.checks import check_run
from vis.influence.first_order import warn_past_first_order
from vis.influence.runs import TrainingRun
from vis.influence.validation import ValidationLoss
from vis.utils.docs import shared_docs
from vis.utils.errors import ArgumentError


@shared_docs
def sgd_influence(
    run: TrainingRun,
    x_val,
    y_val,
    *,
    epochs: int | None = None,
    weights: str = "exact",
    check: bool = True,
    progress: bool = True,
) -> np.ndarray:
    """Score every training example by the change in validation loss if it had been left out, to first order.

    score_i = −Σ_t u_{t+1}ᵀ ∂f_t/∂w_i, with f_t the training step t, w_i the example's weight in it and u_t the
    derivative of the validation loss with respect to the state before step t (Hara, Nitanda & Maehara 2019, "Data
    Cleansing for Models Trained with SGD", arXiv 1906.08473; here also through the optimizer's update).
    With `weights='final'`, Suzuki et al. 2021, arXiv 2103.11807.

    Args:
        {{run}}
        {{validation_set}}
        epochs: The number of epochs to go back from the end; None for all.
        weights: The weights at which steps are differentiated. `'exact'`: the weights of each step, recomputed from the
            start of its epoch. `'epoch'`: the weights at the end of the epoch. `'final'`: the weights after training.
        check: Whether to compare the scores of four examples with retraining without each of them, if the scores go
            back several epochs. This about doubles the time.
        {{progress}}

    Returns:
        {{scores}}
        With batch normalization, an example that is left out still counts in the statistics of its batch.

    Raises:
        ValueError: The model has a layer whose second derivatives are wrong (bilinear resizing, a custom gradient or a
            stopped one), `epochs` or `weights` is out of range or unknown, the validation set does not fit the model,
            the run was loaded without its examples, or the scores are not finite.
        {{run_error}}

    Warns:
        {{validation_warning}}
        VisWarning: The scores go back too far for a first-order approximation; see `check_first_order`.

    Example:
        >>> import keras, numpy as np
        >>> from vis.influence import record_training
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer='zeros')])
        >>> x = np.array([[1.0], [2.0], [3.0], [1.0]])
        >>> y = np.array([2.0, 4.0, 6.0, -9.0])  # the last one is wrong
        >>> run = record_training(model, x, y, optimizer='sgd', epochs=20, progress=False)
        >>> sgd_influence(run, x[:3] + 0.5, y[:3] + 1, progress=False).argmin().item()
        3
    """
    check_run(run)
    if weights not in ("exact", "epoch", "final"):
        raise ArgumentError("weights", f"must be 'exact', 'epoch' or 'final', not {weights!r}", kind="unknown")
    backs = epochs_back(run, epochs)
    validation = ValidationLoss.of_run(run, x_val, y_val)
    found = differentiated(run, validation, backs, weights, progress=progress)
    if check and backs > 1:
        warn_past_first_order(run, validation, found, progress=progress)
    return found.scores
