"""The first words of an utterance reach the server, whenever they are said: the daemon in a room, in full duplex."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.acoustic.voices import RATE
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.evidence import found_in, turns_of
from tests.scenarios.home import Home
from tests.scenarios.room import Place, Talk, spoken_reply, voice

SECONDS = 40.0
ROOM = 6
ALIKE = 0.5  # an echo canceller that thaws may take something of the first sound


def speak(at: Home, place: Place) -> Talk:
    return place.talk(voice(), at.card.now() + RATE // 50, below_echo_db=0)


def at_the_press(at: Home, place: Place) -> Talk:
    talk = place.talk(voice(), at.card.now() + RATE // 50, below_echo_db=0)
    while at.card.now() < talk.at:
        pass
    at.daemon.command("tap")
    return talk


def with_a_microphone_that_waits_for_voices(at: Home, place: Place) -> Talk:
    at.daemon.until(lambda: at.card.capture_open, "the microphone")
    time.sleep(0.5)
    return speak(at, place)


def before_the_reply_sounds(at: Home, place: Place) -> Talk:
    at.daemon.command("tap")
    place.talk(voice()[: RATE * 8 // 10], at.card.now() + RATE // 5, below_echo_db=0)
    at.daemon.until_phase("thinking")
    at.heard("response.create")
    time.sleep(0.2)
    return speak(at, place)


def at_the_beginning_of_the_window(at: Home, place: Place) -> Talk:
    at.daemon.command("tap")
    place.talk(voice()[: RATE * 8 // 10], at.card.now() + RATE // 5, below_echo_db=0)
    at.daemon.until_phase("speaking")
    at.daemon.until_phase("listening")
    return speak(at, place)


# who talks when, settings, number of the turn, milliseconds that may be lost while the microphone opens
CASES: dict[str, tuple[Callable[[Home, Place], Talk], str, int, float]] = {
    "at the press": (at_the_press, "", 0, 150.0),
    "hands free": (with_a_microphone_that_waits_for_voices, "hands_free = true\n", 0, 0.0),
    "before the reply": (before_the_reply_sounds, "", 1, 0.0),
    "in the window": (at_the_beginning_of_the_window, "", 1, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_words_are_at_the_server(case: str, home: MakeHome) -> None:
    story, settings, number, late_ms = CASES[case]
    script = Script(reply=spoken_reply(1)[: 48 * 1500], think_s=1.5 if case == "before the reply" else 0.0)
    at = home(script, "[conversation]\nend_of_turn_ms = 400\n" + settings, rate=RATE, seconds=SECONDS)
    place = Place(at.card, ROOM)
    place.hiss(SECONDS)
    talk = story(at, place)
    at.heard("input_audio_buffer.commit", number + 1)
    found = found_in(turns_of(at.server)[number], talk)
    assert found.begin_ms >= -late_ms
    assert found.end_ms >= 0
    if late_ms == 0:
        assert found.begin_likeness > ALIKE
