"""The first start on a board that wants to know its loop: a moment's hiss, kept, shown, and gone at a press."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance import board, calibrated
from tests.fakes.card import Stream, VirtualCard
from tests.fakes.card.session import CardFactory
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Daemon, Home, tone
from tests.scenarios.voices import go_forward

RATE = 48_000
Start = Callable[[VirtualCard], Daemon]


@pytest.fixture(autouse=True)
def _board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtual board, but one that calibrates."""
    profile = next(folder for folder in board.folders() if (folder / "virtual.toml").exists()) / "virtual.toml"
    text = profile.read_text()
    assert 'calibrate = "never"' in text
    (tmp_path / "virtual.toml").write_text(text.replace('calibrate = "never"', 'calibrate = "first_start"'))
    monkeypatch.setenv("VOICE_APPLIANCE_HARDWARE", str(tmp_path))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Daemon] = []

    def started(card: VirtualCard) -> Daemon:
        text = f"""
board = "virtual"
[panel]
backend = "none"
[control]
socket = "{tmp_path / "alone" / "control.sock"}"
[state]
directory = "{tmp_path / "state"}"
"""
        made.append(Daemon(tmp_path / "alone", text, card.environment))
        return made[-1]

    yield started
    for one in made:
        one.close()


def room(card: VirtualCard) -> VirtualCard:
    card.say(np.random.default_rng(1).normal(0, 10, (20 * RATE, 1)).astype(np.int16))
    return card


def led(at: Daemon) -> object:
    return at.command("status")["led"]


def test_the_first_start_measures_and_the_second_remembers(
    start: Start, virtual_card: CardFactory, tmp_path: Path
) -> None:
    card = room(virtual_card(rate=RATE, seconds=60, echo_delay=RATE // 20, echo_gain=0.3))
    at = start(card)
    at.until(lambda: card.capture_open, "the microphone")
    status = at.command("status")
    assert (status["phase"], status["led"], status["mic_open"]) == ("idle", "calibrating", True)
    at.until(lambda: led(at) == "idle", "the end of it")
    assert not card.capture_open
    assert not card.playback_open
    ((opened, closed),) = card.open_spans(Stream.CAPTURE)
    assert closed is not None
    assert closed - opened < 2.5 * RATE
    path = tmp_path / "state" / calibrated.FILE_NAME
    at.until(path.exists, "calibration.json")
    found = at.command("status")["calibration"]
    assert found["delay_ms"] == pytest.approx(50.0, abs=2.0)
    assert found["full_duplex"] is True
    assert json.loads(path.read_text())["loops"][0]["at"] == found["at"]
    assert at.command("status")["duplex"]["mode"] == "full"
    assert at.stop() == 0

    begun = card.now()
    again = start(card)
    again.until(lambda: again.command("status")["calibration"] == found, "the loop of the first start")
    time.sleep(0.5)
    assert len(card.open_spans(Stream.CAPTURE)) == 1
    assert not card.spoken(begun, card.now()).any()
    assert again.stop() == 0


def test_a_press_during_it_is_served_at_once(home: MakeHome, tmp_path: Path) -> None:
    at = home(Script(reply=tone(0.3, 24_000).tobytes()), echo_gain=0.3, echo_delay=RATE // 20)
    at.daemon.until(lambda: led(at.daemon) == "calibrating", "the calibration")
    at.daemon.command("press")
    pressed = at.card.now()
    assert led(at.daemon) == "listening"
    at.daemon.until(lambda: len(at.card.open_spans(Stream.CAPTURE)) == 2, "the microphone")
    assert at.card.open_spans(Stream.CAPTURE)[1][0] - pressed < 0.2 * RATE
    at.card.say(go_forward(RATE), at.card.now())
    time.sleep(1.0)
    at.daemon.command("release")
    at.heard("response.create")
    at.daemon.until_phase("idle")
    assert at.daemon.command("status")["calibration"] is None
    assert not (tmp_path / "state" / calibrated.FILE_NAME).exists()
    assert "again when it was idle for a while" in at.daemon.log()


def ask_by_voice(at: Home) -> None:
    at.daemon.command("tap")
    at.card.say(go_forward(RATE), at.card.now() + RATE // 5)
    at.daemon.until_phase("speaking")


def test_a_loop_that_is_too_loud_means_half_duplex_and_everything_says_so(home: MakeHome) -> None:
    settings = "[conversation]\nend_of_turn_ms = 500\n[audio]\ncues = false\nvolume = 100\n"
    reply = tone(2.0, 24_000, level=0.1).tobytes()
    at = home(Script(reply=reply), settings, echo_gain=0.9, echo_delay=RATE // 20)
    at.daemon.until(lambda: at.daemon.command("status")["calibration"] is not None, "the finding")
    status = at.daemon.command("status")
    assert status["calibration"]["full_duplex"] is False
    assert status["duplex"]["mode"] == "half"
    assert "a loud sound comes back at" in status["duplex"]["reason"]
    assert "half duplex from now on: a loud sound comes back at" in at.daemon.log()
    assert "turn the microphone's gain down" in at.daemon.log()
    ask_by_voice(at)
    at.daemon.until(lambda: not at.card.capture_open, "the microphone to close")
    status = at.daemon.command("status")
    assert (status["phase"], status["mic_open"], status["led"]) == ("speaking", False, "speaking-alone")


def test_a_board_that_says_never_keeps_its_microphone_closed(
    start: Start, virtual_card: CardFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOICE_APPLIANCE_HARDWARE")
    card = virtual_card(rate=RATE)
    at = start(card)
    time.sleep(1.5)
    assert card.open_spans(Stream.CAPTURE) == []
    assert card.open_spans(Stream.PLAYBACK) == []
    assert at.command("status")["calibration"] is None
    assert at.stop() == 0
