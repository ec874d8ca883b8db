"""Cross-validation of freshly initialized copies of a model, with statistics of each example's label during training.

The examples are split into K folds. For each fold, a freshly initialized network is trained on the other folds, and
evaluates every example before it can have memorized the label:

* held-out examples by the probabilities predicted after each epoch, averaged over epochs; averaging helps more the more
  a network overfits;
* training examples by the outputs of the training pass, just before the step that learns from the label, averaged over
  epochs. This costs no extra pass.

Folds are independent units of work, and the result of each is a few arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vis.engine.adapted import adapted_state
from vis.engine.copies import fresh_values
from vis.influence import sources
from vis.influence.checks import check_model
from vis.influence.classes import Classifier, class_numbers, classifier, loss_labels, loss_name
from vis.influence.examples import Examples, check_not_overridden, example_loss
from vis.influence.training import State, TrainingStep, compiled, seeded, signature
from vis.influence.update_rules import compiled_schedule, update_rule
from vis.utils.checks import real_number, whole_number
from vis.utils.errors import ArgumentError, sentence

_PREDICTED_AT_ONCE = 256
# Training ends when the held-out loss fell by less than this fraction in that many epochs, or steps if those take
# longer: small data sets have epochs of a few steps.
_WORTHWHILE = 0.005
_PATIENCE, _PATIENCE_IN_STEPS = 3, 200
# It ends at the latest after that many epochs or steps, whichever is longer.
_MOST_EPOCHS, _MOST_STEPS = 30, 2000
_SMALLEST = keras.config.epsilon()  # of a probability whose logarithm is taken, as in Keras's cross entropy


class FoldScores(NamedTuple):
    """The results of training one fold.

    Attributes:
        held: int64, the examples that were held out.
        probabilities: float32, (held-out examples, classes), their predictions, averaged over epochs.
        trained: int64, the examples that were trained on.
        loss: float64, (trained examples,), the cross entropy of each in the training pass, the mean over epochs.
        margin: float64, (trained examples,), the log-probability of the label minus the largest other one, likewise.
        gradient_norm: float64, (trained examples,), the norm of the gradient of the cross entropy with respect to the
            logits, likewise.
        epochs: An int64 scalar, the number of epochs that all these are means over.
    """

    held: np.ndarray
    probabilities: np.ndarray
    trained: np.ndarray
    loss: np.ndarray
    margin: np.ndarray
    gradient_norm: np.ndarray
    epochs: np.ndarray


class CrossValidation:
    """The training of freshly initialized copies of a classifier, each without one fold of the examples.

    Args:
        model: A Keras model with one output, the architecture; it is not changed.
        x: The training inputs, or a data set, as `record_training` takes them.
        y: The labels: class numbers, (examples,), or one-hot rows; None for a data set.
        folds: The number of folds K.
        epochs: The number of epochs of each training; None to stop when the held-out loss stops falling.
        batch_size: The number of examples per step.
        loss: A Keras loss, its name or a function; None for the model's own.
        optimizer: A Keras optimizer, its name or its configuration; None for the model's own, or Adam without one.
        seed: The seed of the folds, the weights, the order and of dropout.
        l2: The factor λ of ½λ‖θ‖² in each example's loss.

    Attributes:
        examples: The `Examples`.
        labels: int64, (examples,), their classes.
        classes: The number of classes.
        folds: As given.
        fold_of: int64, (examples,), the fold in which each example is held out. Every class is split evenly.
        settings: The settings that the results depend on, a dict that JSON can hold.

    Raises:
        ValueError: The model is not a classifier or cannot be trained, a class has fewer examples than there are folds,
            a label is not a class, or a number is out of range.
        TypeError: `model` is not a Keras model, or the labels are not numeric.
    """

    def __init__(
        self, model, x, y, *, folds=3, epochs=None, batch_size=32, loss=None, optimizer=None, seed=0, l2: float = 0.0
    ):
        check_model(model)
        check_not_overridden(model, "train_step", "compute_loss")
        self.folds = whole_number("folds", folds, 2)
        self._epochs = whole_number("epochs", epochs, or_none=True)
        self._batch_size, self._seed = whole_number("batch_size", batch_size), whole_number("seed", seed, 0)
        source = sources.read(x, y)
        self.examples = Examples(model, source.x, source.y, source.sample_weight)
        if not model.trainable_variables:
            raise ArgumentError("model", "must have weights to train, not only frozen layers")
        given = self.examples.labels
        loss, each = example_loss(model, loss, given)
        self._loss_name = loss_name(loss)
        self._classifier = classifier(model, loss, self.examples.specification().inputs)
        self.classes = self._classifier.classes
        self.labels = class_numbers(given, self._classifier)
        self.examples.labels = loss_labels(loss, self.labels, self._classifier, given)
        self.fold_of = deal(self.labels, self.folds, self._seed)
        if optimizer is None:
            optimizer = getattr(model, "optimizer", None) or "adam"
        self._rule = update_rule(optimizer)
        rate = self._rule.config["config"]["learning_rate"]
        schedule = keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else None
        self._schedule = float(rate) if schedule is None else compiled_schedule(schedule)
        self._step = TrainingStep(model, each, self._rule, real_number("l2", l2), each.reduction)
        self._compiled: tuple = ()
        self.settings = {
            "examples": len(self.examples),
            "checksum": self.examples.checksum(),
            "folds": self.folds,
            "epochs": self._epochs,
            "batch_size": self._batch_size,
            "seed": self._seed,
            "l2": float(l2),
            "optimizer": self._rule.config,
            "loss": [self._loss_name, each.weight, self._classifier.activation],
            "model": [list(variable.shape) for variable in model.variables],
            "adapted": adapted_state(model),
        }

    def train(self, fold: int, on_step: Callable[[], None] = lambda: None) -> FoldScores:
        """Train a fresh copy of the model without the examples of a fold.

        Args:
            fold: The fold, from 0.
            on_step: Called after each step.

        Returns:
            The `FoldScores`, over the epochs until the loss of the mean held-out prediction was lowest.

        Raises:
            ValueError: The loss is NaN or infinite, or the model cannot be rebuilt from its configuration.
        """
        held, trained = (np.flatnonzero((self.fold_of == fold) == inside) for inside in (True, False))
        steps = -(-len(trained) // self._batch_size)
        limit = self._epochs or max(_MOST_EPOCHS, -(-_MOST_STEPS // steps))
        patience = max(_PATIENCE, -(-_PATIENCE_IN_STEPS // steps))
        state = self._initial(fold)
        self._compile(state)
        self._check_probabilities(state, trained[:_PREDICTED_AT_ONCE])
        predicted = np.zeros((len(held), self.classes))
        seen = np.zeros((3, len(trained)))
        losses: list[float] = []
        best: FoldScores
        for epoch in range(limit):
            state, predictions = self._epoch(state, fold, epoch, trained, on_step)
            seen += label_scores(predictions, self.labels[trained], self._classifier)
            predicted += self._predicted(state, held)
            mean = predicted / (epoch + 1)
            losses.append(float(label_scores(mean, self.labels[held], self._classifier)[0].mean()))
            if not np.isfinite(losses[-1]):
                problem = f"the loss of the held-out examples of fold {fold} is {losses[-1]} after epoch {epoch}"
                raise ValueError(sentence(f"{problem} (both from 0)", "Lower the learning rate, or scale the inputs"))
            if losses[-1] <= min(losses):
                loss, margin, norm = seen / (epoch + 1)
                count = np.array(epoch + 1, np.int64)
                best = FoldScores(held, mean.astype(np.float32), trained, loss, margin, norm, count)
            if self._epochs is None and has_stalled(losses, patience):
                break
        return best

    def _initial(self, fold: int) -> State:
        """Return the state before the training of a fold: fresh weights, except in frozen layers."""
        model = self._step.model
        seed = int(np.random.SeedSequence([self._seed, fold]).generate_state(1)[0] % 2**31)
        weights, drawn = fresh_values(model, self.examples.batch(slice(0, 1)).inputs, seed)
        buffers = [old if old.dtype.kind in "iu" else new for old, new in zip(seeded(model, seed), drawn, strict=True)]
        return self._step.initial(weights, buffers)

    def _compile(self, state: State) -> None:
        """Compile, once for all folds, the training step with the outputs before it, and the prediction."""
        if self._compiled:
            return

        def train(state, number, rate, batch, example_weights):
            state, loss, outputs = self._step.with_outputs(state, number, rate, batch, example_weights)
            return state, loss, self._classifier.probabilities(outputs)

        def predict(weights, buffers, inputs):
            return self._classifier.probabilities(self._step.outputs(weights, buffers, inputs))

        specs = signature(state, self.examples)
        self._compiled = (
            compiled(train, specs),
            compiled(predict, [specs[0].weights, specs[0].buffers, specs[3].inputs]),
        )

    def _check_probabilities(self, state: State, indices: np.ndarray) -> None:
        """Refuse a model of logits trained by a loss of probabilities, which would be cut off at 0."""
        if self._classifier.activation:
            return
        outputs = self._step.outputs(state.weights, state.buffers, self.examples.batch(indices).inputs)
        outputs = np.asarray(keras.tree.flatten(outputs)[0], np.float64)
        wrong = outputs[(outputs < -_SMALLEST) | (outputs > (1 + _SMALLEST if self._classifier.width == 1 else np.inf))]
        if len(wrong):
            raise ArgumentError(
                "model",
                f"must end in probabilities for the loss {self._loss_name}, not in scores such as {wrong[0]:.2g}",
                "For a model of logits give loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), or "
                "BinaryCrossentropy",
                kind="logits",
            )

    def _epoch(self, state: State, fold: int, epoch: int, trained: np.ndarray, on_step) -> tuple[State, np.ndarray]:
        """Train for an epoch; return the state after it, and the scores of each example before its step."""
        train, _ = self._compiled
        predictions = np.empty((len(trained), self.classes), np.float32)
        order = np.random.default_rng([self._seed, fold, epoch]).permutation(len(trained))
        starts = range(0, len(order), self._batch_size)
        first = epoch * len(starts)
        rates = self._rates(first, len(starts))
        for number, start in enumerate(starts, first):
            places = order[start : start + self._batch_size]
            batch = self.examples.batch(trained[places])
            ones = np.ones_like(batch.sample_weight)
            state, loss, probabilities = train(
                state, tf.constant(number, tf.int64), tf.constant(rates[number - first], tf.float32), batch, ones
            )
            if not np.isfinite(loss):
                problem = f"the training loss of fold {fold} is {loss.numpy()} in epoch {epoch} (both from 0)"
                raise ValueError(sentence(problem, "Lower the learning rate, or scale the inputs"))
            predictions[places] = probabilities.numpy()
            on_step()
        return state, predictions

    def _rates(self, first: int, count: int):
        """Return the learning rates of an epoch; the list of all rates is unknown, because the number of steps is."""
        if callable(self._schedule):
            return self._schedule(tf.constant(first), tf.constant(count)).numpy()
        return [self._schedule] * count

    def _predicted(self, state: State, held: np.ndarray) -> np.ndarray:
        """Return the predicted probabilities of the held-out examples, (examples, classes)."""
        _, predict = self._compiled
        parts = (held[start : start + _PREDICTED_AT_ONCE] for start in range(0, len(held), _PREDICTED_AT_ONCE))
        return np.concatenate(
            [predict(state.weights, state.buffers, self.examples.batch(part).inputs).numpy() for part in parts]
        )


def deal(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Split examples into folds at random, evenly per class.

    Args:
        labels: int64, (examples,), their classes.
        folds: The number of folds.
        seed: The seed.

    Returns:
        An int64 array of shape (examples,), the fold of each example.

    Raises:
        ValueError: All labels are of the same class, or a class has fewer examples than there are folds.

    Example:
        >>> np.bincount(deal(np.array([0, 0, 0, 1, 1, 1, 1, 1, 1]), 3, seed=0)).tolist()
        [3, 3, 3]
    """
    present, counts = np.unique(labels, return_counts=True)
    if len(present) == 1:
        raise ArgumentError("y", f"must name at least 2 classes, not only class {present[0]}", kind="one_class")
    if counts.min() < folds:
        fewest = int(counts.argmin())
        raise ArgumentError(
            "y",
            f"must name every class at least {folds} times for {folds} folds, not class {present[fewest]} "
            f"{'once' if counts[fewest] == 1 else f'{counts[fewest]} times'}",
            "Give fewer folds, or leave out the examples of that class",
            kind="rare_class",
        )
    shuffled = np.random.default_rng([seed, folds]).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    fold_of = np.empty(len(labels), np.int64)
    fold_of[by_class] = np.arange(len(labels)) % folds
    return fold_of


def label_scores(probabilities: np.ndarray, labels: np.ndarray, classifier: Classifier) -> np.ndarray:
    """Score labels by the probabilities of the classes.

    Args:
        probabilities: (examples, classes).
        labels: int64, (examples,).
        classifier: How the model represents classes: the gradient has one component for a single output.

    Returns:
        A float64 array of shape (3, examples): the cross entropy −log p_y; the margin log p_y − max log p_j over the
        other classes j, which is that of the logits; and the norm of the cross entropy's gradient with respect to the
        logits, ‖p − e_y‖, or 1 − p_y for the logit of a single output.
    """
    probabilities = probabilities.astype(np.float64)
    rows = np.arange(len(labels))
    logarithms = np.log(np.maximum(probabilities, _SMALLEST))
    of_label = logarithms[rows, labels]
    logarithms[rows, labels] = -np.inf
    off = probabilities.copy()
    off[rows, labels] -= 1.0
    norm = np.abs(off[rows, labels]) if classifier.width == 1 else np.linalg.norm(off, axis=1)
    return np.stack([-of_label, of_label - logarithms.max(axis=1), norm])


def has_stalled(losses: list[float], patience: int) -> bool:
    """Return whether a loss has stopped falling: by less than half a percent in the last epochs.

    Args:
        losses: The loss after each epoch.
        patience: The number of last epochs to compare.

    Returns:
        Whether the lowest loss of the last `patience` epochs is above 99.5 % of the lowest loss before them.

    Example:
        >>> has_stalled([1.0, 0.8, 0.798, 0.797], patience=2), has_stalled([1.0, 0.8, 0.7, 0.69], patience=2)
        (True, False)
    """
    return len(losses) > patience and min(losses[-patience:]) > (1 - _WORTHWHILE) * min(losses[:-patience])
