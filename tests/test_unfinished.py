"""The mark of a conversation that was going on: there while it does, taken once by the next run."""

from __future__ import annotations

from pathlib import Path

from appliance.unfinished import FILE_NAME, Unfinished


def test_it_is_there_while_somebody_talks(tmp_path: Path) -> None:
    mark = Unfinished(tmp_path)
    assert not mark.take()
    mark.note(busy=True)
    mark.note(busy=True)
    assert (tmp_path / FILE_NAME).stat().st_size == 0
    mark.note(busy=False)
    assert not Unfinished(tmp_path).take()


def test_the_next_run_takes_it_once(tmp_path: Path) -> None:
    Unfinished(tmp_path).note(busy=True)
    assert Unfinished(tmp_path).take()
    assert not Unfinished(tmp_path).take()


def test_a_place_that_cannot_be_written_troubles_nobody(tmp_path: Path) -> None:
    mark = Unfinished(tmp_path / "no" / "such")
    mark.note(busy=True)
    mark.note(busy=False)
    assert not mark.take()
