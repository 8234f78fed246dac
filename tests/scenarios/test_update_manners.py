"""What an update asks of the real daemon: do frames move, and stand still for a restart. Nobody is cut off."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.update.daemon import Appliance
from appliance.update.idle import disturbed
from tests.fakes.card import Stream
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.home import Home, tone

REPLY = Script(reply=tone(3.0, 24_000).tobytes())


def asks(at: Home) -> Appliance:
    return Appliance(Path(at.daemon.socket_path), time.sleep)


def test_frames_that_move_are_found_silently_and_the_light_says_that_the_microphone_is_open(home: MakeHome) -> None:
    at = home(REPLY)
    at.daemon.command("try-sound")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    status = at.daemon.command("status")
    assert (status["phase"], status["led"], status["mic_open"]) == ("idle", "calibrating", True)
    assert disturbed(status) == "it calibrates"
    at.daemon.until(lambda: at.daemon.command("status")["sound_trial"]["state"] != "running", "the outcome")
    status = at.daemon.command("status")
    assert status["sound_trial"] == {"state": "moves", "why": ""}
    assert (status["led"], status["mic_open"], status["link"]) == ("idle", False, "down")
    assert not at.card.playback_open
    assert not at.replies().any(), "nothing was heard"
    assert disturbed(status) == ""
    assert len(str(status["thumbprint"])) == 43
    assert asks(at).try_sound() == ("moves", "")


def test_a_muted_microphone_stays_closed(home: MakeHome) -> None:
    at = home(REPLY)
    at.daemon.command("mute")
    at.daemon.until(lambda: asks(at).try_sound() == ("muted", ""), "the end of the tone, and the outcome")
    assert at.card.open_spans(Stream.CAPTURE) == []
    assert at.daemon.command("status")["led"] == "muted"


def test_a_hands_free_appliance_hears_again_afterwards(home: MakeHome) -> None:
    at = home(REPLY, "[conversation]\nhands_free = true\n")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    assert asks(at).try_sound() == ("moves", "")
    at.daemon.until(lambda: at.daemon.command("status")["led"] == "attentive", "attentive")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")


@pytest.mark.parametrize("how", ["freeze", "unplug"])
def test_a_card_that_does_not_move_is_found(home: MakeHome, how: str) -> None:
    at = home(REPLY)
    at.daemon.until(lambda: at.daemon.command("status")["thumbprint"] is not None, "the end of the start")
    getattr(at.card, how)()
    sound, why = asks(at).try_sound()
    assert sound == "fails"
    assert why
    at.daemon.until(lambda: at.daemon.command("status")["led"] == "idle", "idle")


def test_a_press_ends_the_trial_and_is_served(home: MakeHome) -> None:
    at = home(REPLY)
    at.daemon.command("try-sound")
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    at.daemon.command("press")
    status = at.daemon.command("status")
    assert (status["phase"], status["led"]) == ("listening", "listening")
    at.daemon.until(lambda: at.daemon.command("status")["sound_trial"]["state"] == "disturbed", "the outcome")
    assert asks(at).try_sound()[0] == "unknown", "refused, in a conversation"
    at.daemon.command("release")


def test_it_stands_still_for_a_restart_and_takes_no_press(home: MakeHome) -> None:
    at = home(REPLY)
    assert asks(at).stand_still()
    status = at.daemon.command("status")
    assert (status["phase"], status["led"]) == ("updating", "updating")
    at.daemon.command("press")
    assert at.daemon.phase() == "updating"
    at.daemon.command("release")
    assert not at.card.capture_open
    assert at.daemon.stop() == 0, "the restart ends it"


def test_it_does_not_stand_still_for_an_update_in_a_conversation(home: MakeHome) -> None:
    at = home(REPLY)
    at.hold(0.5)
    at.daemon.until_phase("speaking")
    with pytest.raises(ApplianceError, match="in use"):
        asks(at).stand_still()
    assert at.daemon.phase() == "speaking"
    at.daemon.until_phase("idle")
    assert asks(at).stand_still()


def test_nobody_there_is_nobody_to_ask(tmp_path: Path) -> None:
    nobody = Appliance(tmp_path / "control.sock", time.sleep)
    assert nobody.status() is None
    assert not nobody.stand_still()
