"""Which training examples made a model what it is: helpful ones, and harmful ones.

Record a training run with `record_training`, then ask for a score of every training example. A score is the change of
the validation loss if the example had been left out: negative means that it does harm.
"""

from vis.influence.counterfactual import counterfactual_influence
from vis.influence.hessian import influence_functions
from vis.influence.ranking import rank
from vis.influence.recording import load_training, record_training
from vis.influence.runs import TrainingRun
from vis.influence.sgd import sgd_influence
from vis.influence.tracin import tracin

__all__ = [
    "TrainingRun",
    "counterfactual_influence",
    "influence_functions",
    "load_training",
    "rank",
    "record_training",
    "sgd_influence",
    "tracin",
]
