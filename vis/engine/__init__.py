"""Runs a model once; reads, changes and differentiates any tensor of it."""
