"""Bytes in and out: tables, journals, outputs and model files."""
