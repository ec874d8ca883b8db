"""Confident learning: how many labels are wrong, from probabilities that were predicted out of sample.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (2021, arXiv 1911.00068). With
ỹ_i the label of example i and p_ij its predicted probability of class j, the threshold t_j of a class is the mean
confidence in it among the examples that bear its label (equation 2), and an example is confidently of the class

    y*_i = argmax_j {p_ij : p_ij ≥ t_j},    t_j = mean {p_ij : ỹ_i = j}.

The confident joint C counts the examples of label ỹ that are confidently of y* (equation 1); those off its diagonal are
label errors.
"""

from __future__ import annotations

import numpy as np

# What a probability may be below its threshold by rounding alone.
_ROUNDING = 1e-6


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the class that each example is confidently of.

    Args:
        labels: int, (examples,), the labels, from 0.
        probabilities: (examples, classes), predicted out of sample, each row adding up to 1.

    Returns:
        An int64 array of shape (examples,); -1 where no class reaches its threshold. A class that no label names has
        no threshold, and no example is confidently of it.

    Example:
        >>> confident_classes(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
        array([0, 1, 1])
    """
    thresholds = np.full(probabilities.shape[1], np.inf)
    for each in np.unique(labels):
        thresholds[each] = probabilities[labels == each, each].mean(dtype=np.float64)
    reached = probabilities >= thresholds - _ROUNDING
    best = np.where(reached, probabilities, -1.0).argmax(axis=1)
    return np.where(reached.any(axis=1), best, -1)


def confident_joint(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Count the examples of each label that are confidently of each class.

    Args:
        labels: As for `confident_classes`.
        probabilities: As for `confident_classes`.

    Returns:
        C, an int64 array of shape (classes, classes): a row for each label, a column for each class.

    Example:
        >>> confident_joint(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
        array([[1, 1],
               [0, 1]])
    """
    classes = confident_classes(labels, probabilities)
    joint = np.zeros((probabilities.shape[1],) * 2, np.int64)
    np.add.at(joint, (labels[classes >= 0], classes[classes >= 0]), 1)
    return joint


def count_errors(labels: np.ndarray, probabilities: np.ndarray) -> int:
    """Estimate how many labels are wrong: the examples off the diagonal of C that are not predicted to be as labelled.

    The second condition leaves out examples of a label that is more probable than the class they are confidently of,
    but below its own high threshold.

    Args:
        labels: As for `confident_classes`.
        probabilities: As for `confident_classes`.

    Returns:
        The number.

    Example:
        >>> count_errors(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
        1
    """
    classes = confident_classes(labels, probabilities)
    other = (classes >= 0) & (classes != labels) & (probabilities.argmax(axis=1) != labels)
    return int(np.count_nonzero(other))
