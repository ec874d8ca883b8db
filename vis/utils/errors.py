"""Errors and warnings as data: the argument, the problem and the remedy.

Messages are composed only here and are never parsed. Code with another audience, such as the `vis` command, composes
its own message from the same parts.
"""

from __future__ import annotations

import os
import re
import sys
import warnings

_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep

# The reason in an error that Keras raises from `call`: in bold, with the name of the layer before and arguments after.
_EMPHASIZED = re.compile(r"\x1b\[1m(.*?)\x1b\[0m", re.DOTALL)


class ArgumentError(ValueError):
    """An argument that the library refuses.

    The message is `<argument> <problem>. <remedy>.`, and the problem reads `must be <what>, not <what came>`.

    Args:
        argument: The name of the argument of the public function.
        problem: What is wrong, to follow the name: `"must be at least 1, not 0"`.
        remedy: What to do, as a sentence without its full stop; empty if the problem says it.
        kind: A short name that distinguishes this error from others of the same argument, such as `"dtype"`, for code
            that replaces the remedy.

    Attributes:
        argument: As given.
        problem: As given.
        remedy: As given.
        kind: As given.

    Example:
        >>> str(ArgumentError("num_samples", "must be at least 2, not 1", "A single copy has no variance"))
        'num_samples must be at least 2, not 1. A single copy has no variance.'
    """

    def __init__(self, argument: str, problem: str, remedy: str = "", *, kind: str = ""):
        super().__init__(sentence(f"{argument} {problem}", remedy))
        self.argument = argument
        self.problem = problem
        self.remedy = remedy
        self.kind = kind

    def __reduce__(self):
        # Keyword-only arguments are not in `args`, from which an exception is pickled for another process.
        return _remade, (type(self), self.argument, self.problem, self.remedy, self.kind)

    def about(self, argument: str) -> ArgumentError:
        """Return the same error for another argument, for a caller whose argument has another name.

        Args:
            argument: The name of the caller's argument.

        Returns:
            A new error of the same type, problem, remedy and kind.
        """
        return type(self)(argument, self.problem, self.remedy, kind=self.kind)


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument of the wrong type; both a `TypeError` and a `ValueError`.

    Example:
        >>> issubclass(ArgumentTypeError, TypeError) and issubclass(ArgumentTypeError, ValueError)
        True
    """


class VisWarning(UserWarning):
    """A result that is correct but may mislead, such as a class activation map that is negative everywhere.

    Args:
        code: A short name of the kind of warning, such as `"blank_map"`.
        problem: What the user should know.
        remedy: What would help, as a sentence without its full stop, or an empty string.

    Attributes:
        code: As given.
        problem: As given.
        remedy: As given.

    Example:
        >>> import warnings
        >>> import vis
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", vis.VisWarning)  # silence these, and only these
    """

    def __init__(self, code: str, problem: str, remedy: str = ""):
        super().__init__(sentence(problem, remedy))
        self.code = code
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self):
        return type(self), (self.code, self.problem, self.remedy)


def warn(code: str, problem: str, remedy: str = "") -> None:
    """Warn with a `VisWarning` at the line that called the library, from any depth inside it.

    Args:
        code: A short name of the kind of warning; each is raised in one place, with one text.
        problem: What the user should know.
        remedy: What would help, as a sentence without its full stop, or an empty string.

    Warns:
        VisWarning: Always.

    Example:
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.simplefilter("always")
        ...     warn("blank_map", "the map is blank", "Choose an earlier layer")
        >>> caught[0].message.code, str(caught[0].message)
        ('blank_map', 'the map is blank. Choose an earlier layer.')
    """
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDER):
        level, frame = level + 1, frame.f_back
    warnings.warn(VisWarning(code, problem, remedy), stacklevel=level)


def sentence(problem: str, remedy: str = "") -> str:
    """Join a problem and a remedy into a text with full stops.

    Args:
        problem: A sentence without its full stop.
        remedy: A sentence without its full stop, or an empty string.

    Returns:
        One or two sentences.

    Example:
        >>> sentence("the map is blank", "Choose an earlier layer")
        'the map is blank. Choose an earlier layer.'
    """
    return " ".join(f"{part}." for part in (problem, remedy) if part)


def reason_of(error: Exception) -> str:
    """Return the reason that another library gives, as a part of a sentence in one line.

    Args:
        error: An error. Of one that Keras has wrapped in a report of the call, only the reason itself counts.

    Returns:
        At most 200 characters, without line breaks, colours and a full stop at the end.

    Example:
        >>> reason_of(ValueError("Exception encountered in M.\\n\\n\\x1b[1mexpected ndim=4.\\x1b[0m\\nArguments: ..."))
        'expected ndim=4'
    """
    text = str(error)
    emphasized = _EMPHASIZED.search(text)
    return " ".join((emphasized[1] if emphasized else text).split())[:200].rstrip(".")


def _remade(kind, argument, problem, remedy, code):
    return kind(argument, problem, remedy, kind=code)
