"""The engine. Conversation by voice, mute in each phase, faults."""

from __future__ import annotations

import asyncio

from appliance.audio import facts as heard
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Phase, State
from appliance.errors import DeviceError
from tests.engine.rig import Rig, play

# --- conversation by voice ---


def test_the_follow_up_window_listens_behind_a_closed_gate_until_somebody_speaks() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.release(100)
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        at.speak(turn=1)
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        at.tail(1)
        at.frames()
        at.reply()
        at.take()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.LISTENING
        assert at.take() == [("microphone", True)]
        assert at.kinds() == ["input_audio_buffer.clear"]
        await asyncio.sleep(5)
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        assert at.take() == [("gate", True, 2)]
        at.speak(turn=2)
        await asyncio.sleep(8)  # the window is over, the turn is not
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        assert at.phase() is Phase.THINKING
        at.tail(2)
        assert at.kinds()[-2:] == ["input_audio_buffer.commit", "response.create"]

    play(story)


def test_a_follow_up_window_in_which_nobody_speaks_closes_quietly() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.release(100)
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        at.speak(turn=1)
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        at.tail(1)
        at.frames()
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert len(at.records) == 1
        at.take()
        await asyncio.sleep(8.1)
        assert at.take() == [("microphone", False), ("speaker", False)]
        assert at.phase() is Phase.IDLE
        assert [record["turn"] for record in at.records] == [1], "the empty window leaves no record"

    play(story)


def test_hands_free_listens_while_idle_and_a_voice_begins_a_turn() -> None:
    async def story(at: Rig) -> None:
        assert ("microphone", True) in at.take()
        assert at.shown == [Led.ATTENTIVE]
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        assert at.take() == [("open",), ("gate", True, 1), ("speaker", True)]
        at.link_up()
        at.speak(turn=1)
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        assert at.take() == [("cue", "sent"), ("gate", False, 1), ("microphone", False)]
        at.tail(1)
        at.frames()
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.LISTENING
        await asyncio.sleep(8.1)
        assert at.phase() is Phase.IDLE
        assert at.take()[-1] == ("speaker", False), "the microphone stays open"

    play(story, hands_free=True)


def test_hands_free_and_muted_is_deaf() -> None:
    async def story(at: Rig) -> None:
        at.take()
        at.engine.post(ev.MuteToggled())
        assert at.take() == [("cue", "muted"), ("microphone", False)]
        at.engine.audio_fact(heard.VoiceBegan(0.0))  # crossed
        assert at.phase() is Phase.IDLE
        at.press()
        assert at.take() == [("cue", "muted")]
        at.engine.post(ev.MuteToggled())
        assert at.take() == [("microphone", True)]

    play(story, hands_free=True)


def test_what_a_press_begins_has_no_past_and_what_a_voice_begins_has() -> None:
    async def story(at: Rig) -> None:
        await asyncio.sleep(5)
        at.press()
        assert at.duplex.asked_at == at.loop.time()
        at.engine.post(ev.TalkReleased(0, 0))
        at.press()
        at.release(50)
        assert at.phase() is Phase.IDLE
        await asyncio.sleep(1)
        at.engine.audio_fact(heard.VoiceBegan(at.loop.time() - 0.1))
        assert at.phase() is Phase.LISTENING
        assert at.duplex.asked_at is None

    play(story, hands_free=True)


def test_a_hold_in_the_window_begins_its_turn_with_the_press() -> None:
    async def story(at: Rig) -> None:
        at.tapped_question()
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        await asyncio.sleep(3)
        pressed_at = at.loop.time()
        at.press()
        await asyncio.sleep(0.35)
        at.engine.post(ev.TalkHeld())
        assert at.duplex.gate_open
        assert at.duplex.asked_at == pressed_at

    play(story)


# --- mute in each phase ---


def test_muted_the_microphone_is_barred() -> None:
    async def story(at: Rig) -> None:
        for muted in (True, False, True):
            at.engine.post(ev.MuteToggled())
            assert at.duplex.barred is muted

    play(story)


def test_muted_from_the_start_it_is_barred() -> None:
    async def story(at: Rig) -> None:
        assert at.duplex.barred

    play(story, state=State(muted=True))


def test_mute_while_listening_throws_the_turn_away_here_and_at_the_server() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak()
        at.frames()
        at.take()
        at.engine.post(ev.MuteToggled())
        assert at.take() == [("cue", "muted"), ("gate", False, 1), ("microphone", False), ("speaker", False)]
        at.speak(turn=1)
        at.tail()
        assert at.kinds() == ["input_audio_buffer.clear"]
        assert at.engine.captured_ms == 0
        at.release()  # the hand is still on the button
        assert at.phase() is Phase.IDLE

    play(story)


def test_mute_while_waiting_or_speaking_lets_the_answer_come_and_then_rests() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.release(100)
        at.engine.audio_fact(heard.VoiceBegan(0.0))
        at.speak(turn=1)
        at.engine.audio_fact(heard.VoiceStopped(0.0))
        at.tail(1)
        at.frames()
        at.engine.post(ev.MuteToggled())
        assert at.phase() is Phase.THINKING
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE, "no follow-up window"
        assert at.engine.mirror.led is Led.MUTED
        assert not at.engine.mirror.microphone

    play(story)


# --- faults ---


def test_a_lost_card_stops_everything_and_its_return_heals() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.reply()
        at.take()
        at.engine.audio_fact(heard.DeviceLost(DeviceError("the card is gone", hint="plug it in")))
        assert at.take()[0] == ("flush",)
        assert at.engine.last_error == "the card is gone; plug it in"
        assert at.engine.mirror.led is Led.ERROR
        at.engine.audio_fact(heard.Flushed({"i1": 100.0}, at.loop.time()))
        at.engine.audio_fact(heard.DeviceBack())
        assert at.phase() is Phase.IDLE
        assert at.engine.last_error == ""
        assert len(at.records) == 1

    play(story)


def test_a_link_lost_in_mid_reply_plays_what_is_there_and_owns_up() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.words("r1", "i1", "Half a")
        at.take()
        at.link_lost()
        assert at.take() == [("end_reply",)]
        assert at.said == [("appliance", "Half a")], "not with the words of the next answer"
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert ("cue", "offline") in at.take()
        assert at.phase() is Phase.IDLE

    play(story)


def test_what_was_asked_for_after_a_tool_is_asked_again_when_the_link_breaks_under_the_words_before() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")  # "let me see"
        call = {"type": "function_call", "call_id": "c1", "name": "wait", "arguments": "{}", "status": "completed"}
        at.serve("response.output_item.done", response_id="r1", item=call)
        at.finish("r1")
        at.slow.set()
        await asyncio.sleep(0.1)
        assert at.kinds() == ["conversation.item.create", "response.create"]
        at.link_lost()
        assert at.phase() is Phase.SPEAKING
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING
        at.link_up()
        assert at.kinds()[-1] == "response.create"

    play(story)


def test_an_answer_without_a_sound_is_owned_up_to() -> None:
    """A server that was asked for speech may answer in writing, or not at all: nobody would know."""

    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.serve("response.output_text.delta", response_id="r1", item_id="i1", delta="Paris.")
        at.take()
        at.finish("r1")
        assert ("cue", "error") in at.take()
        assert at.said[-1] == ("appliance", "Paris.")
        assert at.phase() is Phase.IDLE
        at.question()
        at.announce("r2")
        at.audio("r2", "i2")
        at.take()
        at.finish("r2")
        assert ("cue", "error") not in at.take()

    play(story)


def test_hush_silences_truncates_and_stops_tools() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.frames()
        at.take()
        at.engine.hush()
        assert at.take() == [("flush",)]
        at.engine.audio_fact(heard.Flushed({"i1": 400.0}, at.loop.time()))
        assert [f["type"] for f in at.frames()] == ["response.cancel", "conversation.item.truncate"]

    play(story)


def test_text_is_a_turn_of_its_own() -> None:
    async def story(at: Rig) -> None:
        at.engine.post(ev.TextSaid("Hello"))
        assert at.said == [("you", "Hello")]
        at.link_up()
        assert at.kinds() == ["conversation.item.create", "response.create"]
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE
        assert len(at.records) == 1

    play(story)


def test_the_update_is_taken_when_idle() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.engine.post(ev.UpdateStaged())
        assert ("update",) not in at.told
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert ("update",) in at.told

    play(story)


def test_hours_of_turns_leave_nothing_behind() -> None:
    async def story(at: Rig) -> None:
        for n in range(1, 300):
            at.question()
            at.reply(f"r{n}", f"i{n}", seconds=1)
            at.engine.audio_fact(heard.Drained(n, {f"i{n}": 1000.0}))
            at.take()
            await asyncio.sleep(30)
        engine = at.engine
        assert not engine._events
        assert not engine._words
        assert not engine._heard_before
        assert len(engine.counters) < 10
        assert len(at.protocol.counters) < 10
        assert len(at.records) == 299
        timers = [handle for handle in at.loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        assert len(timers) <= 2

    play(story)
