"""The engine with the real protocol: facts in, acts in their order, whatever crosses on the way.

Time is virtual; the loudspeaker, the microphone and the socket are the test.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest

from appliance.audio import facts as heard
from appliance.audio.duplex import Duplex
from appliance.conversation import events as ev
from appliance.conversation.state import Led, Link, Phase, Settings, State, Turns
from appliance.engine import Engine, Hooks, Parts
from appliance.errors import DeviceError
from appliance.realtime.configuration import Wishes
from appliance.realtime.protocol import Protocol
from appliance.records import Record, Records
from appliance.tools.toolbox import Arguments, Tool, Toolbox
from tests.fakes.parts import RecordedDuplex, RecordedSession
from tests.virtual_time import run

SECOND = bytes(48_000)
Told = list[tuple[Any, ...]]


class Rig:
    """An engine, and everything that it told its parts."""

    def __init__(self, group: asyncio.TaskGroup, settings: Settings, *, cues: bool = True) -> None:
        self.loop = asyncio.get_running_loop()
        self.told: Told = []
        self.shown: list[Led] = []
        self.said: list[tuple[str, str]] = []
        self.records: list[Record] = []
        self.slow = asyncio.Event()
        turns = "local" if settings.turns is Turns.LOCAL else "server_vad"
        toolbox = Toolbox([Tool("wait", "", {}, self._wait)], group.create_task, self._tool_finished)
        self.protocol = Protocol(
            Wishes("m", "v", "i", turn_detection=turns, tools=toolbox.declarations()),
            (f"id_{n}" for n in itertools.count()),
        )
        self.session = RecordedSession(self.told, self.protocol)
        records = Records(self.records.append, lambda: (0.0, 0.0))
        parts = Parts(cast("Duplex", RecordedDuplex(self.told)), self.protocol, self.session, toolbox, records)
        hooks = Hooks(
            self.shown.append,
            lambda: None,
            lambda who, text: self.said.append((who, text)),
            lambda: self.told.append(("update",)),
        )
        self.engine = Engine(parts, settings, hooks, self.loop, State(), cues=cues)
        self.engine.reflect()

    async def _wait(self, _: Arguments) -> Arguments:
        await self.slow.wait()
        return {"done": True}

    def _tool_finished(self, event: ev.ToolFinished) -> None:
        self.engine.post(event)

    def phase(self) -> Phase:
        return self.engine.state.phase

    def take(self) -> Told:
        """Take what was told since the last look."""
        told = self.told[:]
        self.told.clear()
        return told

    def frames(self) -> list[dict[str, Any]]:
        """Take what would be on the wire now."""
        out = []
        while (frame := self.protocol.next_frame()) is not None:
            out.append(json.loads(frame.text))
        return out

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames()]

    # --- the server ---

    def serve(self, kind: str, **fields: Any) -> None:
        for fact in self.protocol.receive(json.dumps({"type": kind, "event_id": "e", **fields})):
            self.engine.session_fact(fact)

    def link_up(self) -> None:
        """The socket that the engine asked for opens."""
        assert self.session.wanted
        self.protocol.connected("m")
        self.serve("session.created", session={})
        assert "session.update" in self.kinds()
        self.serve("session.updated", session={})
        assert self.engine.state.link is Link.UP

    def link_lost(self, *, was_up: bool = True) -> None:
        self.session.wanted = False
        self.protocol.disconnected()
        self.engine.session_fact(ev.LinkLost(was_up))

    def audio(self, response: str, item: str, pcm: bytes = SECOND) -> None:
        delta = base64.b64encode(pcm).decode()
        self.serve("response.output_audio.delta", response_id=response, item_id=item, content_index=0, delta=delta)

    def words(self, response: str, item: str, words: str) -> None:
        self.serve("response.output_audio_transcript.delta", response_id=response, item_id=item, delta=words)

    def announce(self, response: str) -> None:
        self.serve("response.created", response={"id": response, "status": "in_progress"})

    def finish(self, response: str, status: str = "completed", output: list[dict[str, Any]] | None = None) -> None:
        self.serve("response.done", response={"id": response, "status": status, "output": output or []})

    # --- the person and the card ---

    def press(self) -> None:
        self.engine.pressed(self.loop.time())

    def speak(self, ms: int = 500, turn: int | None = None) -> None:
        gates = [told for told in self.told if told[0] == "gate"]
        number = turn if turn is not None else gates[-1][2]
        self.engine.audio_fact(heard.Captured(number, bytes(48 * ms), self.loop.time()))

    def release(self, held_ms: int = 1000) -> None:
        """Come up after a hold, or a tap; the last audio follows when the gate closes."""
        if held_ms >= 350:
            self.engine.post(ev.TalkHeld())
        self.engine.post(ev.TalkReleased(held_ms, self.engine.captured_ms))

    def tail(self, turn: int = 1) -> None:
        self.engine.audio_fact(heard.TurnTail(turn, self.loop.time() - 0.2))

    def question(self) -> None:
        """A whole question, up to response.create."""
        self.press()
        turn = self.engine._turn
        if self.engine.state.link is not Link.UP:
            self.link_up()
        self.speak(turn=turn)
        self.release()
        self.tail(turn)
        assert self.kinds()[-1] == "response.create"
        assert self.phase() is Phase.THINKING

    def reply(self, response: str = "r1", item: str = "i1", seconds: int = 2) -> None:
        """The answer arrives whole, and sounds."""
        self.announce(response)
        for _ in range(seconds):
            self.audio(response, item)
        self.finish(response)
        assert self.phase() is Phase.SPEAKING


def play(story: Callable[[Rig], Coroutine[Any, Any, None]], *, cues: bool = True, **settings: Any) -> Rig:
    async def told() -> Rig:
        async with asyncio.TaskGroup() as group:
            rig = Rig(group, Settings(**settings), cues=cues)
            await story(rig)
            rig.slow.set()
        rig.engine.close()
        return rig

    return run(told())


# --- the order of acts ---


def test_a_press_opens_the_microphone_before_anything_else_and_asks_for_the_link() -> None:
    async def story(at: Rig) -> None:
        assert at.take() == [("gate", False, 0)]
        at.press()
        assert at.take() == [
            ("cue", "listening"),
            ("open",),
            ("microphone", True),
            ("gate", True, 1),
            ("speaker", True),
        ]
        assert at.shown == [Led.IDLE, Led.LISTENING]

    play(story)


def test_a_whole_turn() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.take()
        at.announce("r1")
        at.audio("r1", "i1")
        at.words("r1", "i1", "It is ")
        at.words("r1", "i1", "noon.")
        at.audio("r1", "i1")
        at.finish("r1")
        assert at.take() == [("push", "i1", 48_000), ("push", "i1", 48_000), ("end_item", "i1"), ("end_reply",)]
        assert at.said == [("appliance", "It is noon.")]
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE
        assert at.take() == [("speaker", False)]
        assert at.frames() == []
        assert at.shown == [Led.IDLE, Led.LISTENING, Led.THINKING, Led.SPEAKING, Led.IDLE]
        (record,) = at.records
        assert (record["turn"], record["heard_ms"], record["truncated_at_ms"]) == (1, 2000.0, None)

    play(story)


def test_release_closes_the_gate_and_the_microphone_and_commits_after_the_tail() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak()
        at.take()
        at.kinds()
        at.release()
        assert at.take() == [("cue", "sent"), ("gate", False, 1), ("microphone", False)]
        assert at.kinds() == []
        at.speak(40, turn=1)  # the last words were still in the card
        at.tail()
        assert at.kinds() == ["input_audio_buffer.append", "input_audio_buffer.commit", "response.create"]

    play(story)


def test_cues_can_be_switched_off_and_are_counted_all_the_same() -> None:
    async def story(at: Rig) -> None:
        at.press()
        assert ("cue", "listening") not in at.told
        assert at.engine.counters["cue_listening"] == 1

    play(story, cues=False)


def test_facts_posted_while_deciding_follow_in_order() -> None:
    """A hook that posts must not decide in the middle of a decision."""

    async def story(at: Rig) -> None:
        phases: list[Phase] = []

        def show(led: Led) -> None:
            phases.append(at.phase())
            if led is Led.LISTENING:
                at.engine.post(ev.MuteToggled())
                phases.append(at.phase())

        at.engine._hooks = Hooks(show, lambda: None, lambda *_: None, lambda: None)
        at.press()
        assert phases == [Phase.LISTENING, Phase.LISTENING, Phase.IDLE]
        assert at.engine.mirror.led is Led.MUTED

    play(story)


def test_a_bug_in_a_part_does_not_block_the_next_event() -> None:
    async def story(at: Rig) -> None:
        def fail(_: Led) -> None:
            raise ZeroDivisionError

        at.engine._hooks = Hooks(fail, lambda: None, lambda *_: None, lambda: None)
        with pytest.raises(ZeroDivisionError):
            at.press()
        at.engine._hooks = Hooks(at.shown.append, lambda: None, lambda *_: None, lambda: None)
        at.engine.post(ev.MuteToggled())
        assert at.phase() is Phase.IDLE

    play(story)


# --- audio of which turn ---


def test_audio_of_an_earlier_turn_does_not_enter_the_present_one() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.speak(200)
        at.engine.post(ev.MuteToggled())
        at.engine.post(ev.MuteToggled())
        at.press()
        at.speak(300, turn=1)  # crossed with the second press
        at.tail(1)
        assert at.engine.captured_ms == 0
        at.speak(400, turn=2)
        assert at.engine.captured_ms == 400
        assert [told for told in at.take() if told[0] == "gate"] == [
            ("gate", False, 0),
            ("gate", True, 1),
            ("gate", False, 1),
            ("gate", True, 2),
        ]

    play(story)


def test_a_turn_too_short_is_told_and_nothing_is_asked() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak(50)
        at.release(400)
        assert at.phase() is Phase.IDLE
        assert at.told[-1] == ("speaker", False)
        assert ("cue", "too-short") in at.told
        assert "response.create" not in at.kinds()
        assert at.records == []

    play(story)


# --- drained, stale and not ---


def test_a_drain_that_missed_a_push_is_not_the_end() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.audio("r1", "i1")
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.SPEAKING
        at.finish("r1")
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE

    play(story)


def test_the_loudspeaker_runs_dry_in_mid_reply_and_goes_on() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING
        at.audio("r1", "i1")
        assert at.phase() is Phase.SPEAKING
        at.press()
        at.engine.audio_fact(heard.Flushed({"i1": 250.0}, at.loop.time()))
        (cut,) = [frame for frame in at.frames() if frame["type"] == "conversation.item.truncate"]
        assert (cut["item_id"], cut["audio_end_ms"]) == ("i1", 1250)

    play(story)


def test_a_drain_that_crosses_with_an_interruption_counts_as_heard() -> None:
    """The reply had sounded to its end when the button went down: nothing of it may be forgotten."""

    async def story(at: Rig) -> None:
        at.question()
        at.reply()
        at.press()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        at.engine.audio_fact(heard.Flushed({}, at.loop.time()))
        assert [kind for kind in at.kinds() if kind.startswith("conversation.item")] == []
        assert at.phase() is Phase.LISTENING
        assert at.records[0]["heard_ms"] == 2000.0
        assert at.records[0]["truncated_at_ms"] is None

    play(story)


# --- interruptions ---


def test_interrupt_flush_repair() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        for _ in range(3):
            at.audio("r1", "i1")
        at.words("r1", "i1", "A long story")
        at.take()
        at.press()
        acts = at.take()
        assert acts[0] == ("flush",)
        assert acts.index(("flush",)) < acts.index(("gate", True, 2))
        assert at.kinds() == ["response.cancel", "input_audio_buffer.clear"]
        assert at.said == [("appliance", "A long story")]
        at.audio("r1", "i1")  # still on its way
        assert [told for told in at.take() if told[0] == "push"] == []
        at.engine.audio_fact(heard.Flushed({"i1": 1200.4}, at.loop.time() + 0.005))
        (cut,) = at.frames()
        assert (cut["type"], cut["item_id"], cut["audio_end_ms"]) == ("conversation.item.truncate", "i1", 1200)
        at.finish("r1", "cancelled")
        assert at.phase() is Phase.LISTENING
        (record,) = at.records
        assert record["barge_in_to_silence_ms"] == 5.0
        assert record["truncated_at_ms"] == 1200

    play(story)


def test_the_question_after_an_interruption_is_answered() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.press()
        at.engine.audio_fact(heard.Flushed({"i1": 500.0}, at.loop.time()))
        at.speak(turn=2)
        at.release()
        at.tail(2)
        assert "response.create" not in at.kinds(), "one response at a time"
        at.finish("r1", "cancelled")
        assert at.kinds() == ["response.create"]
        at.reply("r2", "i2")

    play(story)


def test_pressing_again_before_the_response_is_asked_for_does_not_lose_the_next_answer() -> None:
    """The request was withdrawn inside the protocol: the conversation must hear of that."""

    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak(turn=1)
        at.release()
        at.press()  # within the milliseconds before the tail, or while the socket is stalled
        at.tail(1)
        assert "response.create" not in at.kinds()
        at.speak(turn=2)
        at.release()
        at.tail(2)
        assert "response.create" in at.kinds()
        at.reply()

    play(story)


def test_two_responses_in_one_reply_end_once() -> None:
    """The model says something, calls a tool, and goes on when it has the answer."""

    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "wait", "arguments": "{}"}
        at.finish("r1", output=[{**call, "status": "completed"}])
        at.take()
        await asyncio.sleep(1)
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING, "the tool still runs"
        at.slow.set()
        await asyncio.sleep(1)
        assert at.kinds() == ["conversation.item.create", "response.create"]
        at.announce("r2")
        at.audio("r2", "i2")
        at.finish("r2")
        at.engine.audio_fact(heard.Drained(1, {}))  # stale
        assert at.phase() is Phase.SPEAKING
        at.engine.audio_fact(heard.Drained(2, {"i2": 1000.0}))
        assert at.phase() is Phase.IDLE
        (record,) = at.records
        assert record["heard_ms"] == 2000.0

    play(story)


def test_an_interrupted_tool_is_stopped_and_its_call_answered() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "wait", "arguments": "{}"}
        at.finish("r1", output=[{**call, "status": "completed"}])
        at.press()  # before the tool's task ran at all
        await asyncio.sleep(0.1)
        outputs = [f["item"] for f in at.frames() if f["type"] == "conversation.item.create"]
        assert [(item["call_id"], "stopped" in item["output"]) for item in outputs] == [("c1", True)]
        assert at.phase() is Phase.LISTENING

    play(story)


# --- time ---


def test_nobody_speaks_and_nobody_answers_all_in_virtual_time() -> None:
    async def story(at: Rig) -> None:
        began = at.loop.time()
        at.press()
        at.release(100)  # a tap
        await asyncio.sleep(59.9)
        assert at.phase() is Phase.LISTENING
        await asyncio.sleep(0.2)
        assert at.phase() is Phase.IDLE
        assert ("cue", "too-short") in at.take()
        at.question()
        await asyncio.sleep(19.9)
        assert at.phase() is Phase.THINKING
        at.announce("r1")  # any progress starts the patience anew
        await asyncio.sleep(19.9)
        assert at.phase() is Phase.THINKING
        await asyncio.sleep(0.2)
        assert at.phase() is Phase.IDLE
        assert ("close",) in at.take()
        assert at.loop.time() - began > 100

    play(story)


def test_an_idle_link_is_closed_after_a_while() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        at.take()
        await asyncio.sleep(239)
        assert at.take() == []
        await asyncio.sleep(2)
        assert at.take() == [("close",)]
        assert at.engine.state.link is Link.DOWN
        await asyncio.sleep(10_000)
        assert at.take() == []

    play(story)


def test_no_timer_outlives_the_engine() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.engine.close()
        await asyncio.sleep(1000)
        assert at.phase() is Phase.LISTENING

    play(story)


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


# --- mute in each phase ---


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
