"""Computing several things at the same time, in threads."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


def overlapped(function: Callable[[Any], Any], arguments: Iterable, at_once: int) -> Iterator[Any]:
    """Call a function that releases Python's lock, such as a compiled function, several times at the same time.

    Args:
        function: A function of one argument.
        arguments: The arguments of its calls; few are taken before they are used.
        at_once: The most calls that are computed, or whose results wait, at the same time.

    Yields:
        The results, in the order of the arguments. The first error of a call is raised in its place; calls that have
        not begun are then dropped.

    Example:
        >>> list(overlapped(lambda x: x**2, range(5), 2))
        [0, 1, 4, 9, 16]
    """
    arguments = iter(arguments)
    first = list(itertools.islice(arguments, 2))
    if at_once == 1 or len(first) < 2:
        yield from map(function, itertools.chain(first, arguments))
        return
    waiting: deque[Future] = deque()
    with ThreadPoolExecutor(at_once, "vis-overlapped") as pool:
        try:
            for argument in itertools.chain(first, arguments):
                waiting.append(pool.submit(function, argument))
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
