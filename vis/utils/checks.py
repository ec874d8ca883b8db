"""Check arguments when their values are first used."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Literal, overload

import numpy as np

from vis.utils.errors import ArgumentError, ArgumentTypeError


@overload
def whole_number(name: str, value, least: int = 1, *, or_none: Literal[False] = False) -> int: ...
@overload
def whole_number(name: str, value, least: int = 1, *, or_none: bool) -> int | None: ...
def whole_number(name: str, value, least: int = 1, *, or_none: bool = False) -> int | None:
    """Return an argument as an int, and refuse anything but a whole number.

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
        >>> whole_number("max_iter", 20.0)
        20
    """
    if value is None and or_none:
        return None
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    if not is_real or value % 1 or not value >= least:
        none = ", or None" if or_none else ""
        raise ArgumentError(name, f"must be a whole number of at least {least}{none}, not {value!r}")
    return int(value)


def real_number(name: str, value, what: str = "be a number") -> float:
    """Return an argument as a float, and refuse anything but a number.

    Args:
        name: The argument's name.
        value: The argument's value.
        what: The requirement in the error message, if the number is only a part of the argument.

    Returns:
        The number.

    Raises:
        TypeError: The value is not a number.

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
    """Apply a gradient modifier, and refuse results of another shape, and NaN made of finite gradients.

    Args:
        gradients: An array of any shape.
        modify: A function of one array.

    Returns:
        An array of the same shape.

    Raises:
        ValueError: The modifier returns None, an array of another shape, or numbers that are not finite.

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
    result = np.asarray(result)
    if not np.isfinite(result).all() and np.isfinite(gradients).all():
        raise ArgumentError(
            "grad_modifier",
            "must return finite numbers, not NaN or infinite ones",
            f"Correct the function {getattr(modify, '__name__', modify)!r}",
        )
    return result


def axis(name: str, value, rank: int) -> int | None:
    """Return an argument as an axis of an array counted from the front, or None.

    Args:
        name: The argument's name.
        value: The argument's value.
        rank: The number of axes of the array.

    Returns:
        The axis, counted from the front, or None.

    Raises:
        ArgumentError: The value is neither an axis nor None.

    Example:
        >>> axis("channel_axis", -1, 3)
        2
    """
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or not -rank <= value < rank:
        raise ArgumentError(name, f"must be an axis of a sample ({-rank} to {rank - 1}), None or 'auto', not {value!r}")
    return value % rank
