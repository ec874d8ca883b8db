"""Makes `confident_learning.npz`, what cleanlab finds in stored probabilities.

In an environment of its own:

    pip install cleanlab==2.9.0 && python make_confident_learning.py

cleanlab is licensed under the AGPL, so that `vis` neither depends on it nor contains any of it.
"""

from pathlib import Path

import numpy as np


def main() -> None:
    from cleanlab.count import compute_confident_joint, num_label_issues
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores, order_label_issues
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    labels = y.copy()
    flipped = rng.permutation(len(y))[:180]
    labels[flipped] = (labels[flipped] + rng.integers(1, 10, 180)) % 10
    classifier = LogisticRegression(C=0.003, max_iter=1000)
    probabilities = cross_val_predict(classifier, x / 16, labels, cv=3, method="predict_proba").astype(np.float32)
    # float32, as stored, is what both are given.
    probabilities = probabilities.astype(np.float64)

    issues = find_label_issues(labels, probabilities, filter_by="confident_learning")
    np.savez_compressed(
        Path(__file__).with_name("confident_learning.npz"),
        labels=labels,
        flipped=flipped,
        probabilities=probabilities.astype(np.float32),
        joint=compute_confident_joint(labels, probabilities, calibrate=False),
        count=num_label_issues(labels, probabilities, estimation_method="off_diagonal"),
        issues=issues,
        quality=get_label_quality_scores(labels, probabilities, method="self_confidence"),
        order=order_label_issues(issues, labels, probabilities, rank_by="self_confidence"),
    )


if __name__ == "__main__":
    main()
