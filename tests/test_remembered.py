"""What was said outlives a restart of the daemon, not the machine, and never what it may have broken."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from appliance import remembered
from appliance.realtime.history import History
from appliance.remembered import FILE_NAME, FOLDER, TRIES, Remembered


def talked() -> History:
    history = History()
    history.user("u", "Hello?")
    history.called("c", "timer", '{"s":60}')
    history.returned("c", "1")
    history.assistant("a", "Yes.")
    return history


def kept(run: Path) -> History:
    history = talked()
    Remembered(history, str(run)).keep()
    return history


def taken_up(run: Path) -> History:
    history = History()
    Remembered(history, str(run)).take_up()
    return history


def test_the_next_run_tells_what_this_one_would_have(tmp_path: Path) -> None:
    told = kept(tmp_path).replay()
    assert len(told.before) == 4
    assert taken_up(tmp_path).replay() == told


def test_it_is_for_the_service_alone_and_leaves_the_directory_around_it_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    kept(tmp_path)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path, tmp_path / FOLDER, tmp_path / FOLDER / FILE_NAME)]
    assert modes == [0o750, 0o700, 0o600]


def test_without_a_directory_in_run_nothing_is_kept() -> None:
    history = talked()
    nowhere = Remembered(history, None)
    nowhere.keep()
    nowhere.take_up()
    assert len(history) == 4


def test_a_conversation_that_ends_every_run_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept(tmp_path)
    assert [len(taken_up(tmp_path)) for _ in range(TRIES + 1)] == [4] * TRIES + [0]
    assert "3 starts in a row ended with it" in caplog.text
    assert len(taken_up(tmp_path)) == 0


def test_a_turn_that_ends_begins_the_count_anew(tmp_path: Path) -> None:
    kept(tmp_path)
    for turn in range(TRIES * 2):
        history = History()
        again = Remembered(history, str(tmp_path))
        again.take_up()
        history.user(f"v{turn}", "More?")
        again.keep()
        assert len(history) == 5 + turn


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"entries":[["song","k","la",""]]}', '{"entries":[["user"]]}', "\ud800"]
)
def test_a_damaged_file_costs_the_conversation_and_nothing_else(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept(tmp_path)
    path = tmp_path / FOLDER / FILE_NAME
    path.write_bytes(content.encode(errors="surrogatepass"))
    assert len(taken_up(tmp_path)) == 0
    assert "forgotten" in caplog.text
    assert not path.exists()


def test_what_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    history = talked()
    keeping = Remembered(history, str(tmp_path))
    keeping.keep()
    keeping.keep()
    assert caplog.text.count("would not survive a restart") == 1


def test_a_factory_reset_forgets_it(tmp_path: Path) -> None:
    remembered.forget(tmp_path)
    kept(tmp_path)
    remembered.forget(tmp_path)
    assert len(taken_up(tmp_path)) == 0
