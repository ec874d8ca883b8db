"""Reads the model files of Neural Network Console, `*.nnp`, without nnabla.

`archive` opens the file, `schema` knows its text, `graph` unrolls loops and orders functions, `table` maps each type of
function to what computes it in Keras (in `dense`, `pooling`, `activations`, `arithmetic`, `shapes` and
`augmentation`), `building` puts the model together, `training` says how it was trained, and `project` is all of it.
"""

from vis.files.nnp.project import Project, read

__all__ = ["Project", "read"]
