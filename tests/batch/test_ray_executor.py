"""What the processes of a Ray cluster are told, without one; `test_ray.py` forms one."""

from __future__ import annotations

import socket
import threading

import pytest

from vis import ArgumentError
from vis.batch import ray_executor
from vis.utils.errors import warn


def test_a_node_of_other_versions_or_without_the_folder_is_named(tmp_path):
    here = ray_executor._Place.here()
    with pytest.raises(ArgumentError, match="address must be a cluster whose nodes have keras 1.0, not 3"):
        here._replace(versions={**here.versions, "keras": "1.0"}).enter()
    with pytest.raises(ArgumentError, match="address must be a cluster whose nodes share .*gone"):
        here._replace(folder=str(tmp_path / "gone")).enter()


class PartialError(Exception):
    """It cannot be made from its message alone."""

    def __init__(self, what, why):
        super().__init__(f"{what}: {why}")


def test_errors_that_no_other_process_could_read_become_their_words():
    known = ArgumentError("layer", "must be one, not none", kind="missing")
    assert ray_executor._portable(known) is known
    other = ray_executor._portable(PartialError("shapes", "they differ"))
    assert type(other) is ValueError
    assert str(other) == "PartialError: shapes: they differ"


@pytest.mark.parametrize(
    ("batches", "cpus", "expected"), [(3, 2, 1), (8, 2, 1), (32, 2, 4), (64, 2, 8), (10_000, 2, 8), (10_000, 1000, 2)]
)
def test_pieces_are_small_enough_for_all_and_to_be_lost(batches, cpus, expected):
    assert ray_executor.batches_per_piece(batches, cpus) == expected


def test_warnings_of_all_threads_are_noted_once_and_counted():
    def work():
        for _ in range(3):
            warn("odd", "it is odd")

    with ray_executor._noted() as told:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        warn("even", "it is even")
    assert {code: (str(warning), times) for code, (warning, times) in told.items()} == {
        "odd": ("it is odd.", 3),
        "even": ("it is even.", 1),
    }


def test_nobody_listens():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(OSError, match="refused"):
            ray_executor._check_listening(f"127.0.0.1:{port}")
        unused.listen()
        ray_executor._check_listening(f"127.0.0.1:{port}")
    ray_executor._check_listening("auto")
