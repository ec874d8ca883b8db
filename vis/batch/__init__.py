"""Run one resumable job over a data set: `explain`, and the parts it is built from."""

from vis.batch.data_sets import explain

__all__ = ["explain"]
