"""When it cannot hear, or not over its own voice: the daemon says so, and the conversation goes on."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.acoustic.voices import RATE
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.evidence import sounded
from tests.scenarios.home import Home, tone
from tests.scenarios.room import Place, spoken_reply, voice

SECONDS = 40.0
ROOM = 4
LIBRARIES = {
    "absent": 'raise ImportError("no echo canceller here")\n',
    "worn out": """
class EchoCanceller:
    def __init__(self, rate, channels, delay):
        self.calls = 0

    def process(self, near, far):
        self.calls += 1
        if self.calls > 100:
            raise RuntimeError("worn out")
        return near // 64
""",
}
QUICK = "[conversation]\nfollow_up_s = 0\nend_of_turn_ms = 400\n[audio]\ncues = false\n"


@pytest.fixture
def library(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An echo canceller that is not what it should be, before the real one on the daemon's path."""
    name = str(request.param)
    folder = tmp_path / "library"
    folder.mkdir()
    (folder / "pywebrtc_audio.py").write_text(LIBRARIES[name])
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return name


def ask(at: Home) -> Place:
    place = Place(at.card, ROOM)
    place.hiss(SECONDS)
    at.daemon.command("tap")
    place.talk(voice(), at.card.now() + RATE // 5, below_echo_db=0)
    at.daemon.until_phase("speaking")
    return place


@pytest.mark.parametrize("library", ["absent"], indirect=True)
def test_without_an_echo_canceller_it_is_half_duplex_and_a_press_interrupts(library: str, home: MakeHome) -> None:
    del library
    reply = spoken_reply(3)
    at = home(Script(reply=reply), QUICK, rate=RATE, seconds=SECONDS)
    duplex = at.daemon.command("status")["duplex"]
    assert duplex["mode"] == "half"
    assert "the echo canceller cannot be loaded (no echo canceller here)" in duplex["reason"]
    assert "half duplex: the echo canceller cannot be loaded" in at.daemon.log()
    place = ask(at)
    at.daemon.until(lambda: not at.card.capture_open, "the microphone to close")
    status = at.daemon.command("status")
    assert (status["led"], status["mic_open"]) == ("speaking-alone", False)
    place.talk(voice(), at.card.now() + RATE // 10, below_echo_db=0)
    time.sleep(1.5)
    assert at.daemon.phase() == "speaking", "nobody is heard meanwhile"
    at.daemon.command("press")
    assert at.heard("conversation.item.truncate")["audio_end_ms"] > 1000
    assert at.daemon.phase() == "listening"
    at.daemon.command("release")


@pytest.mark.parametrize("library", ["worn out"], indirect=True)
def test_an_echo_canceller_that_fails_meanwhile_costs_full_duplex_and_not_the_reply(
    library: str, home: MakeHome
) -> None:
    del library
    reply = spoken_reply(1)
    at = home(Script(reply=reply), QUICK, rate=RATE, seconds=SECONDS)
    assert at.daemon.command("status")["duplex"] == {"mode": "full", "reason": None}
    ask(at)
    at.daemon.until(lambda: "half duplex from now on" in at.daemon.log(), "the warning")
    status = at.daemon.command("status")
    assert (status["phase"], status["led"]) == ("speaking", "speaking-alone")
    assert status["duplex"]["mode"] == "half"
    assert "the echo canceller failed (worn out)" in status["duplex"]["reason"]
    at.daemon.until(lambda: not at.card.capture_open, "the microphone to close")
    at.daemon.until_phase("idle")
    told = sounded(at.replies(), reply)
    gains = told.gains_db(told.at + RATE, told.at + len(told.reply) - RATE // 10)
    assert len(gains) > 200
    assert gains.min() > np.median(gains) - 3, "not a dip"
    assert at.server.kinds().count("response.create") == 1


def test_a_dead_microphone_is_told_of_and_heals(home: MakeHome) -> None:
    at = home(Script(), rate=RATE, seconds=SECONDS)
    Place(at.card, ROOM).hiss(SECONDS)
    at.card.deafen(True)
    at.daemon.command("tap")
    began = time.monotonic()
    at.daemon.until(lambda: at.daemon.command("status")["microphone"] == "zero", "the ailment")
    assert 2.5 < time.monotonic() - began < 5.0
    status = at.daemon.command("status")
    assert (status["phase"], status["led"]) == ("listening", "deaf")
    assert "the microphone delivers only zeros" in status["last_error"]
    assert "the microphone delivers only zeros" in at.daemon.log()
    errors = status["counters"].get("cue_error", 0)
    at.daemon.command("tap")
    at.daemon.until_phase("idle")
    assert at.daemon.command("status")["counters"]["cue_error"] == errors + 1
    at.card.deafen(False)
    at.daemon.command("tap")
    at.daemon.until(lambda: at.daemon.command("status")["microphone"] == "ok", "the cure")
    at.daemon.until(lambda: at.daemon.command("status")["led"] == "listening", "the light")
    assert "the microphone hears again" in at.daemon.log()


def test_a_microphone_that_is_driven_into_clipping_is_told_of(home: MakeHome) -> None:
    at = home(Script(), rate=RATE, seconds=SECONDS)
    at.daemon.command("press")  # held, so that nothing else ends the turn
    loud = np.clip(tone(4.0, RATE, 300.0, 1.0).astype(int) * 3, -32768, 32767).astype(np.int16)
    at.card.say(loud)
    at.daemon.until(lambda: at.daemon.command("status")["microphone"] == "clipped", "the ailment")
    status = at.daemon.command("status")
    assert status["led"] == "deaf"
    assert "clipping" in status["last_error"]
    assert "driven into clipping" in at.daemon.log()
    at.daemon.command("release")
