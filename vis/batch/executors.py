"""Where to compute: in this process, or on a Ray cluster. Both call the same function on the same pieces of work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Protocol

from vis.utils.errors import ArgumentError

#: The names of the executors.
NAMES = ("local", "ray")


class Executor(Protocol):
    """Call a function on independent pieces of work, and yield the results in their order.

    It is used in a `with` statement, which starts and stops its processes.

    Attributes:
        is_remote: Whether the pieces are computed in other processes, which receive the model as a file.
    """

    is_remote: bool

    def __enter__(self) -> Executor: ...

    def __exit__(self, *error) -> None: ...

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Any,
        pieces: Iterable[Any],
        *,
        named: Callable[[Any], str] = str,
        modules: Iterable[ModuleType] = (),
    ) -> Iterator[Any]:
        """Yield `function(shared, piece)` for each piece, in order; only a few pieces are taken ahead.

        Args:
            function: A function in a module that other processes can import.
            shared: An argument of all calls; it is sent to each machine once.
            pieces: The pieces of work.
            named: Returns the name of a piece for error messages.
            modules: Modules that other processes cannot import but `shared` needs.

        Yields:
            The results. Warnings of `vis` and errors in other processes are raised here.
        """

    def pieces_at_once(self, count: int) -> int:
        """Return how many of `count` units of work to send as one piece, so that sending it is worthwhile."""


class Local:
    """Compute in this process, one piece after the other."""

    is_remote = False

    def __enter__(self) -> Local:
        return self

    def __exit__(self, *error) -> None:
        pass

    def map(self, function, shared, pieces, *, named=str, modules=()) -> Iterator[Any]:
        """Yield `function(shared, piece)` for each piece."""
        return (function(shared, piece) for piece in pieces)

    def pieces_at_once(self, count: int) -> int:
        """Return 1."""
        return 1


#: The executor of this process.
LOCAL = Local()


def executor_named(name: str, address: str | None = None) -> Executor:
    """Return an executor.

    Args:
        name: `"local"` for this process, or `"ray"`.
        address: The address of a Ray cluster to join, such as `"10.0.0.1:6379"` or `"auto"`; None starts Ray on this
            machine.

    Returns:
        The executor, to be used in a `with` statement.

    Raises:
        ArgumentError: The name is unknown, Ray is not installed, or an address is given for `"local"`.

    Example:
        >>> with executor_named("local") as executor:
        ...     list(executor.map(lambda shared, piece: shared * piece, 2, [1, 2, 3]))
        [2, 4, 6]
    """
    if name not in NAMES:
        raise ArgumentError("executor", f"must be one of {', '.join(map(repr, NAMES))}, not {name!r}")
    if name == "local":
        if address is not None:
            raise ArgumentError("address", f"must be None for the executor 'local', not {address!r}")
        return LOCAL
    from vis.batch.ray_executor import Ray

    return Ray(address)
