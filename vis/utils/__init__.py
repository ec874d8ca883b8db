"""The helpers of keras-vis, by their old names: `from vis.utils import utils`."""
