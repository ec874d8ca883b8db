"""A journal outlives the process that kept it, however that ended."""

from __future__ import annotations

import json

import pytest

from vis.files.journal import Journal


def entries(path, settings=None, **options):
    with Journal(path, settings or {"seed": 0}, resume=True, **options) as journal:
        return list(journal)


@pytest.fixture
def path(tmp_path):
    """Of three pieces of work."""
    with Journal(tmp_path / "maps" / "journal", {"seed": 0}) as journal:
        for entry in ("a", ["b", None], "ç"):
            journal.append(entry)
    return tmp_path / "maps" / "journal"


def test_what_was_noted_is_read_again(path):
    assert entries(path) == ["a", ["b", None], "ç"]


@pytest.mark.parametrize("end", [b'"half a li', b"\0\0\0\0\n", b'not json\n"d"\n'])
def test_what_is_not_whole_is_cut_off(path, end):
    whole = path.read_bytes()
    path.write_bytes(whole + end)
    assert entries(path) == ["a", ["b", None], "ç"]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("start", [b"", b"[]\n", b"null\n", b'"a"\n"b"\n', b"\0\0\0"])
def test_what_is_no_journal_is_started_anew(path, start):
    path.write_bytes(start)
    with Journal(path, {"seed": 0}, resume=True) as journal:
        assert (journal.done, list(journal)) == (0, [])
        journal.append("d")
        assert list(journal) == ["d"]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"seed": 0}, "d"]


def test_work_whose_results_are_gone_is_to_be_done_again_and_what_came_after_it(path):
    assert entries(path, still_there=lambda entry: entry != ["b", None]) == ["a"]


def test_another_run_is_not_taken_up(path):
    before = path.read_bytes()
    with pytest.raises(ValueError, match="resume must continue with the same seed, 0, not 1"):
        entries(path, {"seed": 1})
    assert path.read_bytes() == before


def test_only_one_run_keeps_a_journal(path):
    with Journal(path, {"seed": 0}, resume=True) as journal:
        for resume in (True, False):
            with pytest.raises(ValueError, match="which another run is writing"):
                Journal(path, {"seed": 0}, resume=resume)
        journal.append("d")
    assert entries(path)[-1] == "d"


def test_a_run_that_does_nothing_leaves_what_it_found(path, tmp_path):
    before = path.read_bytes()
    with Journal(path, {"seed": 1}):
        pass
    assert path.read_bytes() == before
    with Journal(tmp_path / "new" / "journal", {"seed": 1}):
        pass
    assert not (tmp_path / "new").exists()


def test_a_run_that_is_not_resumed_starts_anew(path):
    with Journal(path, {"seed": 1}) as journal:
        journal.append("z")
    assert entries(path, {"seed": 1}) == ["z"]
