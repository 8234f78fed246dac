"""The engine. Voices over a reply, an echo out of control, a microphone that ails."""

from __future__ import annotations

import asyncio
import logging

import pytest

from appliance.audio import facts as heard
from appliance.conversation import events as ev
from appliance.conversation.effects import Sound
from appliance.conversation.state import Led, Phase, State
from appliance.engine import RELAPSE_S
from appliance.errors import DeviceError
from tests.engine.rig import Rig, play

ALARM = heard.EchoUncontrolled("its own voice interrupted it three times", "turn it down, then calibrate")


def warnings(log: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in log.records if record.levelno >= logging.WARNING]


# --- full duplex ---


def test_a_voice_over_the_reply_interrupts_truncates_and_is_answered() -> None:
    async def story(at: Rig) -> None:
        at.tapped_question()
        at.announce("r1")
        for _ in range(3):
            at.audio("r1", "i1")
        assert at.engine.mirror.microphone
        at.take()
        at.engine.audio_fact(heard.VoiceSuspected(0.0))
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        assert at.take() == [("flush",), ("gate", True, 2)], "the microphone was open already"
        at.engine.audio_fact(heard.Flushed({"i1": 1200.0}, at.loop.time() + 0.005))
        cut = next(frame for frame in at.frames() if frame["type"] == "conversation.item.truncate")
        assert cut["audio_end_ms"] == 1200
        at.speak(turn=2)
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        at.tail(2)
        at.finish("r1", "cancelled")
        assert at.kinds()[-1] == "response.create"
        assert (at.engine.counters["ducks"], at.engine.counters["voice_barge_ins"]) == (1, 1)
        assert at.records[0]["truncated_at_ms"] == 1200

    play(story, full_duplex=True)


def test_a_suspicion_that_comes_to_nothing_is_counted_and_the_reply_goes_on() -> None:
    async def story(at: Rig) -> None:
        at.tapped_question()
        at.reply()
        at.take()
        at.engine.audio_fact(heard.VoiceSuspected(0.0))
        at.engine.audio_fact(heard.VoiceCleared(0.3))
        assert at.take() == []
        assert at.phase() is Phase.SPEAKING
        assert (at.engine.counters["ducks"], at.engine.counters["ducks_for_nothing"]) == (1, 1)

    play(story, full_duplex=True)


def test_voices_that_interrupt_nothing_are_no_barge_ins() -> None:
    async def story(at: Rig) -> None:
        at.tapped_question()
        at.reply()
        at.engine.audio_fact(heard.VoiceBegan(0.0))  # crossed with the microphone's closing
        assert at.phase() is Phase.SPEAKING
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        assert at.engine.counters["voice_barge_ins"] == 0

    play(story, full_duplex=False)


# --- the echo out of control ---


def test_an_uncontrolled_echo_closes_the_microphone_under_the_reply_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(at: Rig) -> None:
        assert (at.engine.hearing.full_duplex, at.engine.hearing.duplex_reason) == (True, "")
        at.tapped_question()
        at.reply()
        at.take()
        at.engine.audio_fact(ALARM)
        assert at.take() == [("microphone", False)]
        assert at.phase() is Phase.SPEAKING
        assert at.shown[-1] is Led.SPEAKING_ALONE
        assert at.engine.hearing.degraded
        at.engine.audio_fact(heard.EchoUncontrolled("again", "again"))
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        assert at.phase() is Phase.SPEAKING
        assert at.engine.hearing.duplex_reason == ALARM.reason
        assert at.engine.last_error == ""

    play(story, full_duplex=True)
    assert warnings(caplog) == [f"half duplex from now on: {ALARM.reason}; {ALARM.hint}"]


def test_duplex_that_comes_back_needs_no_reason_and_may_be_lost_again() -> None:
    async def story(at: Rig) -> None:
        at.engine.audio_fact(ALARM)
        at.engine.post(ev.DuplexRestored())
        assert (at.engine.hearing.full_duplex, at.engine.hearing.duplex_reason) == (True, "")
        at.engine.audio_fact(heard.EchoUncontrolled("the room changed", "calibrate"))
        assert at.engine.hearing.duplex_reason == "the room changed"

    play(story, full_duplex=True)


def test_it_may_begin_half_duplex_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def story(at: Rig) -> None:
        assert at.engine.hearing.degraded
        assert at.engine.hearing.duplex_reason == "the echo canceller is not installed"
        at.tapped_question()
        at.reply()
        assert at.shown[-1] is Led.SPEAKING_ALONE
        assert not at.engine.mirror.microphone

    play(
        story,
        full_duplex=True,
        state=State(half_duplex=True),
        duplex_reason="the echo canceller is not installed",
    )
    assert warnings(caplog) == []


# --- the microphone's health ---


def test_a_dead_microphone_is_shown_told_logged_once_and_the_turn_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak()
        at.engine.audio_fact(heard.MicrophoneAiled(ev.Ailment.ZERO))
        at.engine.audio_fact(heard.MicrophoneAiled(ev.Ailment.ZERO))
        assert at.shown[-1] is Led.DEAF
        assert at.engine.hearing.microphone == "zero"
        assert "`voice-appliance calibrate` shows each" in at.engine.hearing.microphone_trouble
        assert at.engine.last_error == "", "the card works"
        at.take()
        at.release()
        at.tail()
        assert at.take()[0] == ("cue", "error")
        assert at.kinds()[-1] == "response.create", "whoever called it dead may be wrong"
        at.engine.audio_fact(heard.MicrophoneHealed())
        assert (at.engine.hearing.microphone, at.engine.hearing.microphone_trouble) == ("ok", "")

    play(story)
    (line,) = [text for text in warnings(caplog) if "microphone" in text]
    assert line.startswith("the microphone delivers only zeros; is it muted")


def test_another_ailment_is_logged_anew(caplog: pytest.LogCaptureFixture) -> None:
    async def story(at: Rig) -> None:
        at.engine.audio_fact(heard.MicrophoneAiled(ev.Ailment.ZERO))
        at.engine.audio_fact(heard.MicrophoneAiled(ev.Ailment.CLIPPED))
        assert at.engine.hearing.microphone == "clipped"

    play(story)
    assert warnings(caplog)[-1].startswith("the microphone is driven into clipping; turn its gain down")


def test_the_errors_of_the_card_and_of_the_microphone_are_two() -> None:
    async def story(at: Rig) -> None:
        at.engine.audio_fact(heard.MicrophoneAiled(ev.Ailment.CLIPPED))
        at.engine.audio_fact(heard.DeviceLost(DeviceError("the card is gone", hint="plug it in")))
        assert at.engine.hearing.microphone == "unavailable"
        at.engine.audio_fact(heard.DeviceBack())
        assert at.engine.last_error == ""
        assert at.engine.hearing.microphone == "clipped", "until it is known to hear"

    play(story)


def test_a_card_that_comes_back_and_stands_is_told_once_and_again_to_who_presses() -> None:
    """Such a card is lost and back every three seconds, for as long as the microphone is to be open."""

    async def story(at: Rig) -> None:
        def lose() -> bool:
            at.engine.audio_fact(heard.DeviceLost(DeviceError("the microphone delivers nothing", hint="unplug it")))
            told = ("cue", Sound.ERROR.value) in at.take()
            at.engine.audio_fact(heard.DeviceBack())
            return told

        assert lose()
        for _ in range(20):
            await asyncio.sleep(3)
            assert not lose()
        at.press()
        assert lose()
        await asyncio.sleep(RELAPSE_S + 1)
        assert lose(), "it was well for a while"

    play(story, hands_free=True)
