"""The journal of a command: kept by an interrupted run, gone after a finished one."""

from __future__ import annotations

import pytest

from vis.cli.messages import UsageError
from vis.cli.resuming import journal_of


@pytest.fixture
def kept(tmp_path):
    """Opens the journal of a run of three folds, of a table that is its input."""
    (tmp_path / "in.csv").write_text("x,y\n")

    def opened(resume=False, **settings):
        files, asked = {"--input": tmp_path / "in.csv"}, {"--seed": 0, **settings}
        return journal_of(tmp_path / "journal", tmp_path / "out.csv", files, asked, resume=resume, unit="fold", total=3)

    return opened


def interrupted(context, after, error):
    with context as journal:
        for entry in range(journal.done, after):
            journal.append(entry)
        raise error


def test_a_finished_run_leaves_no_journal(kept, tmp_path, capsys):
    with kept() as journal:
        assert journal.done == 0
        journal.append(0)
        assert (tmp_path / "journal").exists()
    assert not (tmp_path / "journal").exists()
    assert capsys.readouterr() == ("", "")


def test_an_interrupted_run_says_how_to_go_on(kept, capsys):
    with pytest.raises(KeyboardInterrupt):
        interrupted(kept(), 2, KeyboardInterrupt())
    assert capsys.readouterr().err == "Interrupted after 2 of 3 folds. Continue with --resume.\n"
    with kept(resume=True) as journal:
        assert journal.done == 2


def test_before_the_first_entry_there_is_nothing_to_go_on_with(kept, capsys, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(kept(), 0, KeyboardInterrupt())
    assert capsys.readouterr().err == ""
    (tmp_path / "journal").unlink(missing_ok=True)
    with kept(resume=True) as journal:
        assert journal.done == 0
    assert (
        capsys.readouterr().out
        == f"There is no run of {tmp_path / 'out.csv'} to resume: starting with the first fold.\n"
    )


@pytest.mark.parametrize(("after", "advice"), [(0, ""), (1, " Continue with --resume once there is space.")])
def test_a_full_disk_is_one_line(kept, tmp_path, after, advice):
    with pytest.raises(UsageError) as caught:
        interrupted(kept(), after, OSError(28, "No space left on device"))
    assert str(caught.value) == f"--output {tmp_path / 'out.csv'} cannot be written: No space left on device.{advice}"


def test_another_run_is_not_resumed(kept, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        interrupted(kept(), 1, KeyboardInterrupt())
    with pytest.raises(UsageError, match="--resume must continue with the same --seed"), kept(True, **{"--seed": 1}):
        pass
    (tmp_path / "in.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="--resume must continue with the same --input"), kept(True):
        pass
