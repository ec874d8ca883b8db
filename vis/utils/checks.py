"""What a caller gives, checked where it is first used."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError


def whole_number(name: str, value, least: int = 1, *, or_none: bool = False) -> int | None:
    """An argument that must be a whole number.

    Args:
        name: The argument's name.
        value: What came.
        least: The least that will do.
        or_none: Whether None will do.

    Returns:
        The number, or None.

    Raises:
        ValueError: It is something else.

    Example:
        >>> whole_number("max_iter", 20.0)
        20
    """
    if value is None and or_none:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or value % 1 or not value >= least:
        none = ", or None" if or_none else ""
        raise ArgumentError(name, f"must be a whole number of at least {least}{none}, not {value!r}")
    return int(value)


def real_number(name: str, value, what: str = "be a number") -> float:
    """An argument that must be a number.

    Args:
        name: The argument's name.
        value: What came.
        what: What the argument must do, for a number that is only a part of it.

    Returns:
        The number.

    Raises:
        TypeError: It is something else.

    Example:
        >>> real_number("min_delta", 1)
        1.0
    """
    error = ArgumentTypeError(name, f"must {what}, not {value!r}")
    if isinstance(value, (str, bytes)):
        raise error
    try:
        return float(value)
    except (TypeError, ValueError):
        raise error from None


def modified(gradients: np.ndarray, modify: Callable) -> np.ndarray:
    """The gradients as a modifier makes them.

    Args:
        gradients: Array of any shape.
        modify: A function of one array.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: The modifier returns something else.

    Example:
        >>> modified(np.array([-1.0, 2.0]), np.negative)
        array([ 1., -2.])
    """
    result = modify(gradients)
    shape = None if result is None else np.shape(result)
    if shape != gradients.shape:
        came = "None" if result is None else f"an array of shape {shape}"
        raise ArgumentError(
            "grad_modifier",
            f"must return an array of the gradients' shape, {gradients.shape}, not {came}",
            f"Correct the function {getattr(modify, '__name__', modify)!r}",
        )
    return np.asarray(result)
