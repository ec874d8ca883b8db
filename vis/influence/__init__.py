"""Which training examples made a model what it is: helpful ones, and harmful ones.

Record a training run with `record_training`, then ask for a score of every training example. A score is the change of
the validation loss if the example had been left out: negative means that it does harm.
"""

from vis.influence.recording import load_training, record_training
from vis.influence.runs import TrainingRun
from vis.influence.sgd import sgd_influence

__all__ = ["TrainingRun", "load_training", "record_training", "sgd_influence"]
