"""What ``doctor`` says of updates, by what the last ones came to."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.config import Update
from appliance.diagnosis import updates
from appliance.diagnosis.finding import Mark
from appliance.update import record
from appliance.update.health import Facts
from appliance.update.record import Record

URL = "https://updates.example.org"
WAITS = record.installed(Record(), "0.2.0", "B")


@pytest.mark.parametrize(
    ("settings", "kept", "mark", "words"),
    [
        (Update(), Record(), Mark.NOTE, "[update] url names one"),
        (Update(url=URL), Record(), Mark.OK, "by itself, from the channel stable"),
        (Update(url=URL), record.noted(Record(), "then", "0.2.0 is kept"), Mark.OK, "last: 0.2.0 is kept"),
        (Update(url=URL, automatic=False), Record(), Mark.NOTE, "only by `voice-appliance update install`"),
        (Update(url=URL), WAITS, Mark.NOTE, "0.2.0 is installed and waits to be started"),
        (Update(url=URL), record.tried(WAITS, Facts()), Mark.NOTE, "tried 1 of 3 times"),
        (Update(url=URL), record.failed(WAITS, "0.2.0", "then", "no sound"), Mark.NOTE, "the version before runs on"),
    ],
)
def test_updates(tmp_path: Path, settings: Update, kept: Record, mark: Mark, words: str) -> None:
    (tmp_path / "system.conf").touch()
    record.save(tmp_path / "state", kept)
    found = updates.examine(settings, tmp_path / "state", tmp_path / "system.conf")
    assert found.mark is mark
    assert words in str(found)


def test_where_there_are_none(tmp_path: Path) -> None:
    found = updates.examine(Update(), tmp_path, tmp_path / "system.conf")
    assert (found.mark, found.remedy) == (Mark.NOTE, "docs/install.md says how to update by hand")


def test_a_damaged_record_is_said(tmp_path: Path) -> None:
    (tmp_path / "system.conf").touch()
    (tmp_path / record.FILE_NAME).write_text("x")
    found = updates.examine(Update(url=URL), tmp_path, tmp_path / "system.conf")
    assert found.mark is Mark.TROUBLE
    assert "is damaged" in found.what
