"""One resumable job over a data set: `explain`, and what it is made of."""

from vis.batch.data_sets import explain

__all__ = ["explain"]
