"""Confident learning: estimate the number of wrong labels from probabilities that were predicted out of sample.

Northcutt, Jiang & Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels" (2021, arXiv 1911.00068). With
ỹ_i the label of example i and p_ij its predicted probability of class j, the threshold t_j of a class is the mean
confidence in it among the examples with its label (equation 2), and an example is confidently of the class

    y*_i = argmax_j {p_ij : p_ij ≥ t_j},    t_j = mean {p_ij : ỹ_i = j}.

The confident joint C counts the examples of label ỹ that are confidently of y* (equation 1); those off its diagonal are
label errors.
"""

from __future__ import annotations

import numpy as np

# How far rounding can put a probability below its threshold.
_ROUNDING = 1e-6


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the class to which each example confidently belongs.

    Args:
        labels: int, (examples,), the labels, from 0.
        probabilities: (examples, classes), predicted out of sample, each row adding up to 1.

    Returns:
        An int64 array of shape (examples,); -1 if no class reaches its threshold. A class without labels has no
        threshold, and no example confidently belongs to it.

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
    """Count the examples of each label that confidently belong to each class.

    Args:
        labels: int, (examples,), the labels, from 0.
        probabilities: (examples, classes), predicted out of sample, each row adding up to 1.

    Returns:
        C, an int64 array of shape (classes, classes): one row per label, one column per class.

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
    """Estimate the number of wrong labels: the examples off the diagonal of C whose predicted class is not their label.

    The second condition excludes examples whose label is the most probable class, but below its high threshold.

    Args:
        labels: int, (examples,), the labels, from 0.
        probabilities: (examples, classes), predicted out of sample, each row adding up to 1.

    Returns:
        An int.

    Example:
        >>> count_errors(np.array([0, 0, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]))
        1
    """
    classes = confident_classes(labels, probabilities)
    other = (classes >= 0) & (classes != labels) & (probabilities.argmax(axis=1) != labels)
    return int(np.count_nonzero(other))
