"""Run pieces of work in the processes of a Ray cluster; a piece whose process or machine is lost is repeated.

What all pieces share is stored once in the object store, from which each machine fetches it once. Pieces and results
are small and travel in Ray's messages. Results are put in order here, and only few pieces wait.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import platform
import socket
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

from vis import __version__
from vis.utils.errors import ArgumentError, VisWarning

# The most batches per piece of work: losing a worker costs no more than these, and handing out a piece takes
# milliseconds.
_MOST_BATCHES = 8
# The fewest pieces per processor, so that all processors are busy until the end.
_PIECES_PER_CPU = 4
# How often a piece is tried: it may be the piece itself that kills its process.
_ATTEMPTS = 4
# Pieces per processor that are handed out at a time: the next is ready when one is done, and a slow one delays few.
_WAITING_PER_CPU = 4
# Environment variables that are passed on, so that all machines compute alike.
_PASSED_ON = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_DETERMINISTIC_OPS", "TF_ENABLE_ONEDNN_OPTS")
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
}


class Ray:
    """The processes of a Ray cluster.

    Args:
        address: The address of the cluster, or None to start Ray on this machine. A process that is already connected
            to a cluster uses that one, and stays connected.

    Attributes:
        is_remote: True.
        lost: The number of pieces that were started again because their process or machine was lost.

    Raises:
        ArgumentError: Ray is not installed.

    Example:
        >>> with Ray() as executor:  # doctest: +SKIP
        ...     list(executor.map(operator.mul, 2, [1, 2, 3]))
        [2, 4, 6]
    """

    is_remote = True

    def __init__(self, address: str | None = None):
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        try:
            import ray
        except ImportError as error:
            raise ArgumentError(
                "executor",
                "needs Ray, which is not installed",
                "Install it with pip install 'keras3-vis[ray]'",
                kind="extra",
            ) from error
        self._ray, self._address, self._began = ray, address, False
        self.lost = 0

    def __enter__(self) -> Ray:
        if not self._ray.is_initialized():
            options = {"address": self._address or "local", "log_to_driver": False, "logging_level": logging.ERROR}
            if self._address is None:
                options["include_dashboard"] = False
            passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            # By default, Ray limits linear algebra in its workers to one processor.
            passed["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(_processors()))
            try:
                if self._address is not None:
                    _check_listening(self._address)
                self._ray.init(**options, runtime_env={"env_vars": passed})
            except (ConnectionError, RuntimeError, ValueError, OSError) as error:
                if self._address is None:
                    raise
                reason = " ".join(str(error).split()) or type(error).__name__
                raise ArgumentError(
                    "address", f"must be the address of a running Ray cluster, not {self._address} ({reason})"
                ) from error
            self._began = True
        return self

    def __exit__(self, *error) -> None:
        if self._began:
            self._ray.shutdown()
            self._began = False

    def pieces_at_once(self, count: int) -> int:
        return batches_per_piece(count, self._cpus())

    def map(
        self,
        function: Callable[[Any, Any], Any],
        shared: Any,
        pieces: Iterable[Any],
        *,
        named: Callable[[Any], str] = str,
        modules: Iterable[ModuleType] = (),
    ) -> Iterator[Any]:
        for module in modules:
            self._ray.cloudpickle.register_pickle_by_value(module)
        try:
            store = self._ray.put((_Place.here(), function, shared))
        finally:
            for module in modules:
                self._ray.cloudpickle.unregister_pickle_by_value(module)
        # Ray's own retries never end if a machine is short of memory, and do not say which piece it is.
        task = self._ray.remote(_attempt).options(num_cpus=1, max_retries=0)
        begin = functools.partial(task.remote, [store])
        pieces, waiting = iter(pieces), deque[Any]()
        try:
            while True:
                window = _WAITING_PER_CPU * self._cpus()  # machines come and go
                while len(waiting) < window and (piece := next(pieces, _Piece)) is not _Piece:
                    waiting.append(_Piece(piece, begin(piece)))
                if not waiting:
                    return
                self._wait(waiting, begin, named)
                while waiting and waiting[0].result is not None:
                    yield self._told(waiting.popleft().result)
        finally:
            for each in waiting:
                if each.result is None:
                    self._ray.cancel(each.reference, force=True)

    def _wait(self, waiting: deque, begin: Callable, named: Callable[[Any], str]) -> None:
        """Wait until a piece is done or lost, and start lost pieces again."""
        by_reference = {each.reference: each for each in waiting if each.result is None}
        references = list(by_reference)
        self._ray.wait(references, num_returns=1)
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0)
        for reference in ready:
            piece = by_reference[reference]
            try:
                piece.result = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                reason = str(error).strip().splitlines()[-1]
                raise ArgumentError(
                    "address", f"must be a cluster whose nodes have vis {__version__}, not one where it fails: {reason}"
                ) from error
            except self._ray.exceptions.RayError as error:
                self.lost += 1
                piece.attempts += 1
                if piece.attempts == _ATTEMPTS:
                    raise ArgumentError(
                        "executor",
                        f"must finish {named(piece.piece)}, which ended its process {_ATTEMPTS} times "
                        f"({type(error).__name__})",
                        "Check its rows, and the memory of the machines",
                        kind="lost",
                    ) from error
                piece.reference = begin(piece.piece)

    def _told(self, result: _Result) -> Any:
        for warning, times in result.warnings:
            for _ in range(times):
                warnings.warn(warning, stacklevel=3)
        if result.error is not None:
            raise result.error
        return result.value

    def _cpus(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))


def batches_per_piece(batches: int, cpus: int) -> int:
    """Return the number of batches per piece of work.

    Args:
        batches: The number of batches.
        cpus: The number of processors that share them.

    Returns:
        An int from 1 to 8.

    Example:
        >>> batches_per_piece(10, 2), batches_per_piece(10_000, 2)
        (1, 8)
    """
    return min(max(batches // (_PIECES_PER_CPU * cpus), 1), _MOST_BATCHES)


class _Piece:
    """A piece of work that is handed out, with its task and the number of times it was lost."""

    def __init__(self, piece: Any, reference: Any):
        self.piece, self.reference, self.attempts, self.result = piece, reference, 0, None


class _Result(NamedTuple):
    """The result of a piece: a value or an error, and its warnings with their counts."""

    value: Any
    error: Exception | None
    warnings: list[tuple[VisWarning, int]]


class _Place(NamedTuple):
    """The folder and the versions of the process that started a job, which paths and numbers depend on."""

    folder: str
    threads: int
    versions: dict[str, str]

    @classmethod
    def here(cls) -> _Place:
        return cls(os.getcwd(), int(os.environ.get("TF_NUM_INTRAOP_THREADS") or _processors()), _versions())

    def enter(self) -> None:
        """Give this process the same folder and settings, and refuse other versions."""
        if (versions := _versions()) != self.versions:
            wrong = next(name for name in versions if versions[name] != self.versions[name])
            raise ArgumentError(
                "address",
                f"must be a cluster whose nodes have {wrong} {self.versions[wrong]}, not {versions[wrong]} as "
                f"{platform.node()} has",
            )
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ArgumentError(
                "address",
                f"must be a cluster whose nodes share {self.folder}, which {platform.node()} does not have",
                "Keep the data, the output and the working folder on a file system that all nodes share",
            ) from error
        os.environ["TF_NUM_INTRAOP_THREADS"] = str(self.threads)  # read when TensorFlow is first used


_entered: dict = {}  # by reference: the function of the last job, and what its pieces share


def _attempt(stored: list, piece: Any) -> _Result:
    """Work on a piece in a process of the cluster."""
    import ray

    with _noted() as noted:
        try:
            (reference,) = stored
            if reference not in _entered:
                place, *job = ray.get(reference)
                place.enter()
                _entered.clear()
                _entered[reference] = job
            function, shared = _entered[reference]
            value, error = function(shared, piece), None
        except ray.exceptions.RayError:
            raise  # the machine that stores it is lost, for example
        except Exception as raised:  # any error is raised again in the process that started the job
            value, error = None, _portable(raised)
    return _Result(value, error, list(noted.values()))


@contextlib.contextmanager
def _noted() -> Iterator[dict[str, tuple[VisWarning, int]]]:
    """Collect the warnings of `vis` from all threads: the first of each code, and their count."""
    first: dict[str, VisWarning] = {}
    times: Counter[str] = Counter()
    noted: dict = {}

    def note(message, category, *place, **more):
        if isinstance(message, VisWarning):
            first.setdefault(message.code, message)
            times[message.code] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always", VisWarning)
        warnings.showwarning = note
        yield noted
    noted.update({code: (warning, times[code]) for code, warning in first.items()})


def _portable(error: Exception) -> Exception:
    """Return an error that another process can unpickle: the error itself, or one with its message."""
    error.__traceback__ = None
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # one that cannot be made from its arguments, for example
        return ValueError(f"{type(error).__name__}: {error}")
    return error


def _check_listening(address: str) -> None:
    """Raise an OSError if nothing listens at the address: Ray itself tries for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"vis": __version__, **{name: version(name) for name in ("keras", "tensorflow", "numpy")}}
