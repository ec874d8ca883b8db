"""Who computes: this process, or those of a Ray cluster. A job is the same function of the same pieces for both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, Protocol

from vis.utils.errors import ArgumentError

#: The names of the executors.
NAMES = ("local", "ray")


class Executor(Protocol):
    """Calls a function of independent pieces of work, and gives the results in the pieces' order.

    It is used in a `with` statement, in which it has the processes it needs.

    Attributes:
        is_remote: Whether the pieces are worked on in other processes, which have to be handed a model as a file.
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
        """Yield `function(shared, piece)` for each piece, in order; few pieces are drawn before they are worked on.

        Args:
            function: A function of a module that other processes can import.
            shared: What all pieces need; it reaches each machine once.
            pieces: The pieces of work.
            named: What a piece is called in an error message.
            modules: Modules that other processes cannot import, whose classes and functions `shared` has.

        Yields:
            The results. Warnings of `vis` are raised here, and errors are those that the function raises.
        """

    def pieces_at_once(self, count: int) -> int:
        """Return how many of `count` small units make a piece that is worth its way to another process."""


class Local:
    """This process, one piece after the other."""

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


#: The executor that there always is.
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
        ArgumentError: There is none of that name, Ray is not installed, or an address is given for `"local"`.

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
