"""Checks of arguments, made where a value is first used."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np

from vis.utils.errors import ArgumentError


def whole(name: str, value, least: int = 1, *, or_none: bool = False) -> int | None:
    """Return an argument as an int, refusing anything but a whole number.

    Args:
        name: The argument's name.
        value: The argument's value.
        least: The smallest number allowed.
        or_none: Whether None is allowed.

    Returns:
        The number, or None.

    Raises:
        ValueError: The value is not a whole number, or below `least`.

    Example:
        >>> whole("max_iter", 20.0)
        20
    """
    if value is None and or_none:
        return None
    if isinstance(value, bool) or not isinstance(value, Real) or value % 1 or not value >= least:
        none = ", or None" if or_none else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{none}, not {value!r}")
    return int(value)


def number(name: str, value) -> float:
    """Return an argument as a float, refusing anything but a number.

    Args:
        name: The argument's name.
        value: The argument's value.

    Returns:
        The number.

    Raises:
        TypeError: The value is not a number.

    Example:
        >>> number("min_delta", 1)
        1.0
    """
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{name} must be a number, not {value!r}")


def modified(gradients: np.ndarray, modify: Callable) -> np.ndarray:
    """Apply a gradient modifier, refusing results of another shape.

    Args:
        gradients: An array of any shape.
        modify: A function of one array.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: The modifier returns None or an array of another shape.

    Example:
        >>> modified(np.array([-1.0, 2.0]), np.negative)
        array([ 1., -2.])
    """
    result = modify(gradients)
    shape = None if result is None else np.shape(result)
    if shape != gradients.shape:
        came = "None" if result is None else f"an array of shape {shape}"
        raise ValueError(
            f"grad_modifier {getattr(modify, '__name__', modify)!r} returned {came} for gradients of shape "
            f"{gradients.shape}: it must return an array of that shape"
        )
    return np.asarray(result)


def axis(name: str, value, rank: int) -> int | None:
    """An argument that must be an axis of an array, or None.

    Args:
        name: The argument's name.
        value: What came.
        rank: How many axes the array has.

    Returns:
        The axis, counted from the front, or None.

    Raises:
        ArgumentError: It is something else.

    Example:
        >>> axis("channel_axis", -1, 3)
        2
    """
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or not -rank <= value < rank:
        raise ArgumentError(name, f"must be an axis of a sample ({-rank} to {rank - 1}), None or 'auto', not {value!r}")
    return value % rank
