"""One resumable job over a data set."""
