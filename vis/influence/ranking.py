"""Rank training examples by influence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vis.utils.errors import ArgumentError

if TYPE_CHECKING:
    import pandas as pd


def rank(scores, table: pd.DataFrame | None = None, *, indices=None) -> pd.DataFrame:
    """Sort training examples by influence, most harmful first.

    Args:
        scores: (examples,), from `sgd_influence`, `tracin`, `influence_functions` or `counterfactual_influence`; or
            (runs, examples), to average over runs.
        table: Data about the examples, one row each; its columns follow those of the scores.
        indices: (examples,), the number of each example in the data source; None for 0, 1, ...

    Returns:
        A `pandas.DataFrame` with the columns `influence` and `datasource_index` and those of `table`, in ascending
        order; equal scores are in the order of the data source.

    Raises:
        ValueError: Lengths differ, `scores` has another shape, or a score is not finite.

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
