"""Gradient modifiers: functions applied to a gradient before it becomes a map.

A modifier takes an array of gradients and returns a new one of the same shape. The functions of
`vis.visualization` take one as `grad_modifier`, by name or as any function of one array::

    visualize_saliency(model, -1, 3, image, grad_modifier='absolute')
    visualize_saliency(model, -1, 3, image, grad_modifier=lambda gradients: gradients**2)

For a regressor, `None`, `'negate'` and `'small_values'` show what would increase, decrease and keep the output.
"""

from collections.abc import Callable

import numpy as np

from vis.utils.arrays import as_floating
from vis.utils.utils import get_identifier

# The value of keras.config.epsilon(), written out: importing Keras would import TensorFlow.
EPSILON = 1e-7

# Around g = -EPSILON the denominator of `invert` crosses zero. EPSILON**2 is the distance between neighbouring float32
# numbers there, so the bound changes no value but that of an exact zero, and 1 / EPSILON**2 is still a finite float32.
_SMALLEST_DENOMINATOR = EPSILON**2


def identity(gradients: np.ndarray) -> np.ndarray:
    """Return the gradients unchanged; `get(None)` returns this function.

    Args:
        gradients: An array of any shape.

    Returns:
        The same array.

    Example:
        >>> identity(np.array([-2.0, 3.0]))
        array([-2.,  3.])
    """
    return gradients


def negate(gradients: np.ndarray) -> np.ndarray:
    """Flip the sign: what would decrease the output.

    Args:
        gradients: An array g of any shape.

    Returns:
        -g, in the same shape.

    Example:
        >>> negate(np.array([-2.0, 3.0]))
        array([ 2., -3.])
    """
    return np.negative(gradients)


def absolute(gradients: np.ndarray) -> np.ndarray:
    """Drop the sign: what changes the output, either way.

    Args:
        gradients: An array g of any shape.

    Returns:
        |g|, in the same shape.

    Example:
        >>> absolute(np.array([-2.0, 3.0]))
        array([2., 3.])
    """
    return np.abs(gradients)


def relu(gradients: np.ndarray) -> np.ndarray:
    """Keep what increases the output; set the rest to zero.

    Args:
        gradients: An array g of any shape.

    Returns:
        max(g, 0), in the same shape.

    Example:
        >>> relu(np.array([-2.0, 3.0]))
        array([0., 3.])
    """
    return np.maximum(gradients, 0)


def invert(gradients: np.ndarray) -> np.ndarray:
    """Take the reciprocal, so that small gradients become large.

    Args:
        gradients: An array g of any shape.

    Returns:
        1 / (g + ε) with ε = 1e-7, in the same shape and in float32 at least. Where g + ε is zero the denominator is
        kept 1e-14 away from it: the result of finite gradients is finite.

    Example:
        >>> invert(np.array([-2.0, 4.0])).round(6)
        array([-0.5 ,  0.25])
    """
    return 1 / _away_from_zero(as_floating(gradients) + EPSILON)


def small_values(gradients: np.ndarray) -> np.ndarray:
    """Highlight where the gradient is nearly zero: what keeps the output unchanged.

    Args:
        gradients: An array g of any shape.

    Returns:
        |1 / (g + ε)| with ε = 1e-7, in the same shape and in float32 at least; finite for finite gradients.

    Example:
        >>> small_values(np.array([-2.0, 4.0])).round(6)
        array([0.5 , 0.25])
    """
    return np.abs(invert(gradients))


def get(identifier: str | Callable | None) -> Callable[[np.ndarray], np.ndarray]:
    """Find a gradient modifier.

    Args:
        identifier: The name of a function of this module, your own function, or None to leave gradients unchanged.

    Returns:
        A function of one array.

    Raises:
        ValueError: The name is unknown; the message lists the known ones.
        TypeError: `identifier` is neither a string, nor callable, nor None.

    Example:
        >>> get('negate')(np.array([1.0]))
        array([-1.])
        >>> get(None)(np.array([1.0]))
        array([1.])
    """
    return identity if identifier is None else get_identifier(identifier, globals(), __name__)


def _away_from_zero(array):
    return np.copysign(np.maximum(np.abs(array), _SMALLEST_DENOMINATOR), array)
