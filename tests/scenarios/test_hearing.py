"""Ears while it speaks, on the virtual card: open where a voice may interrupt, closed where the owner says so."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from appliance import board
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, tone
from tests.scenarios.voices import go_forward

RATE = 48_000


def ask_by_voice(at: Home) -> None:
    """Begin a conversation; the reply sounds."""
    at.daemon.command("tap")
    at.card.say(go_forward(RATE), at.card.now() + RATE // 5)
    at.daemon.until_phase("speaking")


def test_a_voice_over_the_reply_interrupts_it_and_is_heard(
    home: MakeHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a board that cancels its own echo, so that nothing of ours decides what is a voice."""
    profile = next(folder for folder in board.folders() if (folder / "virtual.toml").exists()) / "virtual.toml"
    (tmp_path / "virtual.toml").write_text('aec = "hardware"\n' + profile.read_text())
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))
    settings = "[conversation]\nfollow_up_s = 0\nend_of_turn_ms = 500\n"
    settings += '[audio]\ncues = false\necho_canceller = "none"\n'
    at = home(Script(reply=tone(8.0, 24_000).tobytes()), settings)
    ask_by_voice(at)
    status = at.daemon.command("status")
    assert (status["mic_open"], status["led"]) == (True, "speaking")
    assert status["duplex"] == {"mode": "full", "reason": None}
    sent = len(at.server.pcm)
    time.sleep(1.0)
    assert len(at.server.pcm) == sent, "open, but nothing leaves"
    at.card.say(go_forward(RATE), at.card.now() + RATE // 10)
    truncation = at.heard("conversation.item.truncate")
    assert 500 < truncation["audio_end_ms"] < 7000
    at.heard("response.create", count=2)
    assert len(at.server.pcm) > sent
    assert at.daemon.command("status")["counters"]["voice_barge_ins"] == 1


def test_where_the_owner_wants_no_barge_in_the_microphone_is_closed_while_it_speaks(home: MakeHome) -> None:
    settings = "[conversation]\nbarge_in = false\nend_of_turn_ms = 500\n[audio]\ncues = false\n"
    at = home(Script(reply=tone(2.0, 24_000).tobytes()), settings)
    ask_by_voice(at)
    at.daemon.until(lambda: not at.card.capture_open, "the microphone to close")
    status = at.daemon.command("status")
    assert (status["phase"], status["mic_open"], status["led"]) == ("speaking", False, "speaking")
    assert status["duplex"] == {"mode": "half", "reason": "conversation.barge_in = false"}
    at.card.say(go_forward(RATE))
    at.daemon.until_phase("listening")
    assert "conversation.item.truncate" not in at.server.kinds()
    assert at.daemon.command("status")["counters"].get("voice_barge_ins", 0) == 0
