"""Read the model files of Neural Network Console, `*.nnp`, without nnabla.

`archive` opens the file, `schema` describes its text, `graph` unrolls loops and orders functions, `table` maps types of
functions to their Keras implementations (in `dense`, `pooling`, `activations`, `arithmetic`, `shapes` and
`augmentation`), `building` builds the model, `training` reads how it was trained, and `project` combines them.
"""

from vis.files.nnp.project import Project, read

__all__ = ["Project", "read"]
