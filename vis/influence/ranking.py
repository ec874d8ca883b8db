"""Scores as a table, the most harmful example first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd


def rank(scores, table: pd.DataFrame | None = None, *, indices=None) -> pd.DataFrame:
    """Sorts training examples by influence, harmful first.

    Args:
        scores: (examples,), from `sgd_influence`, `tracin`, `influence_functions` or `counterfactual_influence`; or
            (runs, examples), of which the mean over runs is taken.
        table: What is known of the examples, a row each; its columns come after those of the scores.
        indices: (examples,), the number of each example in the data source; 0, 1, ... unless given.

    Returns:
        A `pandas.DataFrame` with the columns `influence` and `datasource_index` and those of `table`, ascending; equal
        scores in the order of the data source.

    Raises:
        ValueError: Lengths that differ, or scores that are not finite.

    Example:
        >>> rank([0.5, -1.0, 0.0])["datasource_index"].tolist()
        [1, 2, 0]
    """
    import pandas as pd

    scores = np.asarray(scores, dtype=np.float64)
    scores = scores.mean(axis=0) if scores.ndim == 2 else scores
    if scores.ndim != 1:
        raise ArgumentError("scores", f"must have the shape (examples,) or (runs, examples), not {scores.shape}")
    if not np.isfinite(scores).all():
        raise ArgumentError("scores", "must be finite, not NaN or infinite")
    indices = np.arange(len(scores)) if indices is None else np.asarray(indices)
    if len(indices) != len(scores):
        raise ArgumentError("indices", f"must hold one index for each of the {len(scores)} scores, not {len(indices)}")
    if table is not None and len(table) != len(scores):
        raise ArgumentError("table", f"must have one row for each of the {len(scores)} scores, not {len(table)}")
    order = np.lexsort((indices, scores))
    ranked = pd.DataFrame({"influence": scores[order], "datasource_index": indices[order]})
    if table is not None:
        ranked = pd.concat([ranked, table.iloc[order].reset_index(drop=True)], axis=1)
    return ranked
