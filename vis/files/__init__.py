"""Read and write files: tables, journals, outputs and model files."""
