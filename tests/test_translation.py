"""The owner's file in the terms of the conversation: who may interrupt a reply, and why not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from appliance.board import Board
from appliance.config import load
from appliance.translation import half_duplex_reason, settings_of, timing_of, wishes_of

NONE = '[audio]\necho_canceller = "none"\n'
OFF = "[conversation]\nbarge_in = false\n"


@pytest.mark.parametrize(
    ("text", "hardware", "reason"),
    [
        ("", False, ""),
        ("", True, ""),
        (NONE, True, ""),
        (NONE, False, 'audio.echo_canceller = "none", and the board cancels no echo'),
        (OFF, False, "conversation.barge_in = false"),
        (OFF + NONE, True, "conversation.barge_in = false"),
    ],
)
def test_full_duplex_unless_forbidden_or_impossible(tmp_path: Path, text: str, hardware: bool, reason: str) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(text)
    board = Board(name="test", aec="hardware" if hardware else "software")
    loaded = msgspec.structs.replace(load(path), board=board)
    assert half_duplex_reason(loaded) == reason
    assert settings_of(loaded).full_duplex == (reason == "")


def test_a_session_is_replaced_in_good_time(tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text("")
    timing = timing_of(load(path).config)
    assert (timing.ageing_s, timing.old_s) == pytest.approx((50 * 60, 58 * 60))
    path.write_text("[realtime]\nsession_limit_s = 1800\nping_interval_s = 7\n")
    timing = timing_of(load(path).config)
    assert (timing.ageing_s, timing.old_s, timing.ping_interval_s) == pytest.approx((25 * 60, 29 * 60, 7))


def test_what_the_owner_wrote_down_is_known_as_such(tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text('[realtime]\nvoice = "marin"\nspeed = 1.0\n[audio]\nvolume = 40\n')
    assert wishes_of(load(path), ()).own == {"voice", "speed"}, "also where it is what the default would be"
    path.write_text("")
    assert wishes_of(load(path), ()).own == frozenset()
