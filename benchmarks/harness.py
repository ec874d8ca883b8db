"""Registering, timing and reporting, the same for every benchmark.

Times of a shared machine come and go; ratios of calls that follow each other closely stay. So two functions are always
called in turn, in one process, and what is reported is the median of the ratios of those pairs.
"""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

BENCHMARKS: dict[str, Callable[[bool], Iterable["Row"]]] = {}


def benchmark(name: str) -> Callable:
    """Registers a function `(quick: bool) -> rows` to be run by its name."""

    def register(function):
        BENCHMARKS[name] = function
        return function

    return register


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        case: What was measured, within the benchmark.
        ours: What `vis` took, to be read.
        reference: What the lower bound or the peer took, to be read.
        measured: The number that is held against the limit.
        limit: The most that `measured` may be.
        unit: Unit of `measured` and `limit`.
        spread: The quartiles of `measured`, if it was measured several times.
    """

    case: str
    ours: str
    reference: str
    measured: float
    limit: float
    unit: str = "x"
    spread: tuple[float, float] | None = None

    @property
    def passed(self) -> bool:
        return self.measured <= self.limit


@dataclass(frozen=True)
class Comparison:
    """Seconds of two functions, called in turn: one element a pair of calls."""

    ours: np.ndarray
    reference: np.ndarray

    @property
    def ratios(self) -> np.ndarray:
        return self.ours / self.reference

    def row(self, case: str, limit: float) -> Row:
        low, ratio, high = np.percentile(self.ratios, [25, 50, 75])
        return Row(case, _seconds(self.ours), _seconds(self.reference), ratio, limit, spread=(low, high))


def compare(
    ours: Callable,
    reference: Callable,
    repeats: int = 31,
    *,
    seconds: float = 30.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Comparison:
    """Times two functions in turn, after a call of each that is not counted.

    Args:
        ours: Called without arguments.
        reference: Called without arguments.
        repeats: The most pairs of calls.
        seconds: Once this much time has passed no pair is begun, but there are five at least.
        clock: What tells the time in seconds; `time.process_time` for what takes so long that other processes come
            between.

    Returns:
        The seconds of each call.
    """
    ours(), reference()
    return _time_pairs(lambda: ours, lambda: reference, repeats, seconds, clock)


def compare_first_calls(
    make_ours: Callable[[], Callable], make_reference: Callable[[], Callable], repeats: int = 5
) -> Comparison:
    """Times the first call of functions that are made anew for each pair.

    One pair before is not counted: it pays for imports, and for what TensorFlow sets up once in a process.

    Args:
        make_ours: Returns a function that was never called; making it is not timed.
        make_reference: As `make_ours`.
        repeats: The number of pairs.

    Returns:
        The seconds of each first call.
    """
    make_ours()(), make_reference()()
    return _time_pairs(make_ours, make_reference, repeats, float("inf"))


def table(rows: Iterable[tuple[str, Row]]) -> Iterator[str]:
    """Yields the lines of a table.

    Args:
        rows: Pairs of a benchmark's name and one of its rows.

    Yields:
        The head, then a line for each row.
    """
    yield _line("benchmark", "case", "ours", "reference", "measured", "quartiles", "limit", "")
    for name, row in rows:
        spread = f"{row.spread[0]:.2f} .. {row.spread[1]:.2f}" if row.spread else ""
        measured, limit = f"{row.measured:.2f} {row.unit}", f"{row.limit:.2f} {row.unit}"
        yield _line(name, row.case, row.ours, row.reference, measured, spread, limit, "" if row.passed else "MISSED")


def _time_pairs(make_ours, make_reference, repeats, seconds, clock=time.perf_counter):
    begin = time.perf_counter()
    ours, reference = [], []
    while len(ours) < repeats and (len(ours) < 5 or time.perf_counter() - begin < seconds):
        pair = [(make_ours, ours), (make_reference, reference)]
        # Who goes first takes turns, too: the second may profit from what the first left in the caches.
        for make, times in pair if len(ours) % 2 == 0 else reversed(pair):
            times.append(_time(make(), clock))
    return Comparison(np.array(ours), np.array(reference))


def _time(function, clock):
    gc.collect()
    begin = clock()
    function()
    return clock() - begin


def _seconds(times):
    return f"{1e3 * np.median(times):.1f} ms"


def _line(*cells):
    return "{:<19} {:<46} {:>13} {:>11} {:>10} {:>14} {:>10} {}".format(*cells).rstrip()
