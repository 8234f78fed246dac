"""Full duplex, all of it: the daemon on the virtual card in a reverberant room, with its own voice in its ears."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from appliance.audio.loudness import DUCK_DB
from tests.acoustic.voices import RATE
from tests.fakes.card.session import card_factory
from tests.fakes.realtime_server import Script
from tests.scenarios.conftest import MakeHome
from tests.scenarios.evidence import Sounded, found_in, sounded, turns_of
from tests.scenarios.home import Home, Samples, Town
from tests.scenarios.room import Place, Talk, insisting_voice, spoken_reply, voice
from tests.scenarios.test_whole_chain import transcribe

SECONDS = 60.0
ROOM = 4  # RT60 0.42 s; a listener understands there what nothing was played over
REVERBERANT = 8  # RT60 0.72 s
BELOW_ECHO_DB = 10.0
LISTENED_S = 3.6  # to the reply, before somebody interrupts
ALIKE = 0.25  # at least: while the echo is full, the canceller takes much of a talker with it
QUIET_DB = 0.0  # a question, asked while nothing sounds


@dataclass(frozen=True)
class Interruption:
    """A reply that somebody talked into, and all that is known of it."""

    sounded: Sounded
    talk: Talk
    kinds: list[str]
    audio_end_ms: int
    sent_over_reply: int
    turns: list[Samples]
    counters: dict[str, Any]


def settle_in(at: Home, room: int = ROOM) -> Place:
    place = Place(at.card, room)
    place.hiss(SECONDS)
    return place


def ask(at: Home, place: Place) -> None:
    """Ask something in a tapped (or hands-free) conversation; the reply sounds."""
    if at.daemon.phase() == "idle" and not at.daemon.command("status")["mic_open"]:
        at.daemon.command("tap")
    place.talk(voice()[: RATE * 8 // 10], at.card.now() + RATE // 3, below_echo_db=QUIET_DB)
    at.daemon.until_phase("speaking")


def interrupt(at: Home, reply: bytes, *, commits: int) -> Interruption:
    """Ask, listen a while, talk into the reply, and wait for what follows."""
    place = settle_in(at)
    ask(at, place)
    time.sleep(1.2)
    before = len(at.server.pcm)
    begun = sounded(at.replies(), reply)
    talk = place.talk(insisting_voice(), begun.at + int(LISTENED_S * RATE), below_echo_db=BELOW_ECHO_DB)
    assert talk.at > at.card.now(), "the machine was too slow to speak in time"
    while at.card.now() < talk.at:
        time.sleep(0.01)
    sent = len(at.server.pcm) - before
    truncation = at.heard("conversation.item.truncate")
    if commits:
        at.heard("input_audio_buffer.commit", commits)
    while at.card.now() < talk.stop + RATE // 2:
        time.sleep(0.02)
    spoken = at.replies()
    status = at.daemon.command("status")
    return Interruption(
        sounded(spoken[: talk.stop], reply),
        talk,
        at.server.kinds(),
        truncation["audio_end_ms"],
        sent,
        turns_of(at.server),
        status["counters"],
    )


@pytest.fixture(scope="module")
def interruption(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interruption]:
    """Somebody interrupts an appliance as it is delivered, once for all tests that look at it."""
    folder = tmp_path_factory.mktemp("interruption")
    with pytest.MonkeyPatch.context() as patch:
        card = card_factory(folder, patch)(rate=RATE, seconds=SECONDS)
        reply = spoken_reply(3)
        at = Home(town, folder, card, Script(reply=reply, pace=0.8), "[conversation]\nfollow_up_s = 0\n")
        try:
            yield interrupt(at, reply, commits=2)
        finally:
            at.close()


def test_a_voice_over_the_reply_ducks_it_and_then_stops_it(interruption: Interruption) -> None:
    """The loudspeaker falls by the duck's depth, and to silence, as the card's own record has it."""
    reply, talk = interruption.sounded, interruption.talk
    silent = reply.silent_from(talk.at, talk.stop)
    assert (silent - talk.at) / RATE < 1.5
    full = np.median(reply.gains_db(talk.at - RATE, talk.at))
    steps = reply.gains_db(talk.at, silent) - full
    assert np.any(np.abs(steps + DUCK_DB) < 1.5), steps
    assert not np.any(reply.spoken[silent : talk.stop])


def test_the_server_learns_what_of_the_reply_was_heard(interruption: Interruption) -> None:
    reply, talk, kinds = interruption.sounded, interruption.talk, interruption.kinds
    assert kinds.index("response.cancel") < kinds.index("conversation.item.truncate")
    told = reply.at + interruption.audio_end_ms * RATE // 1000
    silent = reply.silent_from(talk.at, talk.stop)
    assert silent - told < 0.06 * RATE
    assert not reply.unheard(silent, told - RATE * 6 // 100)
    assert interruption.counters["voice_barge_ins"] == 1
    assert interruption.sent_over_reply == 0


def test_all_that_was_said_over_the_reply_is_the_next_turn(interruption: Interruption) -> None:
    found = found_in(interruption.turns[1], interruption.talk)
    assert found.likeness > ALIKE
    assert found.begin_ms >= 0
    assert found.end_ms >= 0
    assert len(interruption.turns[2]) == 0


@pytest.mark.speech
def test_the_words_said_over_the_reply_are_understood(interruption: Interruption) -> None:
    words = transcribe(interruption.turns[1], 24_000).lower()
    assert "forward" in words or "meters" in words or "metres" in words, words


@pytest.mark.slow
def test_a_voice_interrupts_in_hands_free_mode(home: MakeHome) -> None:
    reply = spoken_reply(3)
    settings = "[conversation]\nfollow_up_s = 0\nhands_free = true\n"
    at = home(Script(reply=reply, pace=0.8), settings, rate=RATE, seconds=SECONDS)
    told = interrupt(at, reply, commits=2)
    assert (told.sounded.silent_from(told.talk.at, told.talk.stop) - told.talk.at) / RATE < 1.5
    assert told.sent_over_reply == 0
    found = found_in(told.turns[1], told.talk)
    assert found.begin_ms >= 0
    assert found.end_ms >= 0


def test_a_server_that_listens_all_the_time_hears_a_voice_and_nothing_of_the_reply(home: MakeHome) -> None:
    reply = spoken_reply(3)
    settings = '[conversation]\nfollow_up_s = 0\n[realtime]\nturn_detection = "server_vad"\n'
    script = Script(reply=reply, pace=0.8, server_vad=True, vad_after_ms=1500)
    at = home(script, settings, rate=RATE, seconds=SECONDS)
    told = interrupt(at, reply, commits=0)
    assert (told.sounded.silent_from(told.talk.at, told.talk.stop) - told.talk.at) / RATE < 1.5
    assert told.sent_over_reply == 0
    (sent,) = told.turns
    found = found_in(sent, told.talk)
    assert found.likeness > ALIKE
    assert found.begin_ms >= 0


def test_its_own_voice_never_interrupts_it(home: MakeHome) -> None:
    """In full duplex, microphone open, nobody there: it sounds to its end, and nothing of it leaves the house."""
    reply = spoken_reply(3)  # 17 s
    at = home(Script(reply=reply), "[conversation]\nfollow_up_s = 1\n", rate=RATE, seconds=SECONDS)
    ask(at, settle_in(at, REVERBERANT))
    sent = len(at.server.pcm)
    assert at.daemon.command("status")["mic_open"]
    at.daemon.until_phase("listening", len(reply) / 48_000 + 10)
    at.daemon.until_phase("idle")
    told = sounded(at.replies(), reply)
    gains = told.gains_db(told.at + RATE // 2, told.at + len(told.reply))
    assert len(gains) > 500
    assert np.mean(gains > np.median(gains) - 3) > 0.8, "ducked now and then, never silenced"
    assert gains.min() > np.median(gains) - DUCK_DB - 3
    assert len(at.server.pcm) == sent
    assert at.server.kinds().count("response.create") == 1
    assert at.daemon.command("status")["counters"].get("voice_barge_ins", 0) == 0
