from __future__ import annotations

from pathlib import Path

import pytest

from appliance import kept
from appliance.kept import Clocks, Kept


def test_what_was_saved_is_found(tmp_path: Path) -> None:
    settings = Kept(muted=True, volume=40, volume_over=80, clocks=Clocks("mic", "speaker", 150.3))
    kept.save(tmp_path, settings)
    assert kept.load(tmp_path) == settings


def test_a_file_of_an_older_version_knows_no_clocks(tmp_path: Path) -> None:
    (tmp_path / kept.FILE_NAME).write_text('{"muted":true,"volume":40,"volume_over":80}')
    assert kept.load(tmp_path) == Kept(muted=True, volume=40, volume_over=80)


@pytest.mark.parametrize("content", ["", "{", '{"clocks":{"ppm":"fast"}}', "[]"])
def test_a_damaged_file_costs_a_warning(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / kept.FILE_NAME).write_text(content)
    assert kept.load(tmp_path) == Kept()
    assert "is not used" in caplog.text


def test_clocks_belong_to_a_pair_of_cards() -> None:
    settings = Kept(clocks=Clocks("mic", "speaker", 150.0))
    assert settings.clock_ppm_for("mic", "speaker") == 150.0
    assert settings.clock_ppm_for("mic", "other") is None
    assert Kept().clock_ppm_for("mic", "speaker") is None


def test_clocks_are_written_anew_when_they_differ_by_enough() -> None:
    settings = Kept(clocks=Clocks("mic", "speaker", 150.0))
    assert settings.clocks_with("mic", "speaker", None) == settings.clocks
    assert settings.clocks_with("mic", "speaker", 154.0) == settings.clocks
    assert settings.clocks_with("mic", "speaker", 156.04) == Clocks("mic", "speaker", 156.0)
    assert settings.clocks_with("other", "speaker", 150.0) == Clocks("other", "speaker", 150.0)
    assert Kept().clocks_with("mic", "speaker", 0.2) == Clocks("mic", "speaker", 0.2)
