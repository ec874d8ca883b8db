"""Score training examples: which ones help a model, and which ones harm it.

Record a training run with `record_training`, then compute a score for every training example. A score is the change in
validation loss if the example had been left out of training; negative means harmful. `label_errors` finds wrong labels
and needs neither validation examples nor a recorded run.
"""

from vis.influence.counterfactual import counterfactual_influence
from vis.influence.first_order import FirstOrder, check_first_order
from vis.influence.hessian import influence_functions
from vis.influence.label_errors import label_errors
from vis.influence.loading import load_training
from vis.influence.loss_history import example_losses
from vis.influence.ranking import rank
from vis.influence.recording import record_training
from vis.influence.runs import TrainingRun
from vis.influence.self_influence import self_influence
from vis.influence.sgd import sgd_influence
from vis.influence.tracin import tracin

__all__ = [
    "FirstOrder",
    "TrainingRun",
    "check_first_order",
    "counterfactual_influence",
    "example_losses",
    "influence_functions",
    "label_errors",
    "load_training",
    "rank",
    "record_training",
    "self_influence",
    "sgd_influence",
    "tracin",
]
