"""The person's audio: in order, nothing lost, nothing doubled, over any number of sessions."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from appliance.conversation import events as ev
from appliance.realtime.uplink import KEPT_BYTES, LONGEST_APPEND_BYTES, SHORTEST_BYTES, Uplink
from tests.realtime.talk import MS, Talk, pcm_of

CHUNK = 20 * MS


class Server:
    """What one session makes of what it is sent."""

    def __init__(self) -> None:
        self.buffer = b""
        self.turns: list[bytes] = []

    def take(self, event: dict[str, Any]) -> None:
        match event["type"]:
            case "input_audio_buffer.append":
                self.buffer += pcm_of([event])
            case "input_audio_buffer.clear":
                self.buffer = b""
            case "input_audio_buffer.commit":
                assert len(self.buffer) >= SHORTEST_BYTES, "the server would refuse it"
                self.turns.append(self.buffer)
                self.buffer = b""


class Sending(RuleBasedStateMachine):
    """Turns, sessions and a socket that takes what it likes; a model says what each session must have heard."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk().open()
        self.server = Server()
        self.next = 0
        self.kept: list[bytes] = []  # finished turns that a session must be told, oldest first
        self.speaking: bytes | None = None
        self.pump(10)

    def pump(self, frames: int) -> None:
        for _ in range(frames):
            if (frame := self.talk.protocol.next_frame()) is None:
                return
            self.server.take(json.loads(frame.text))

    @rule()
    def begin(self) -> None:
        self.talk.protocol.begin_turn()
        self.speaking = b""

    @rule(chunks=st.integers(1, 12), size=st.sampled_from([2, 480, CHUNK, 250 * MS]))
    def speak(self, chunks: int, size: int) -> None:
        if sum(map(len, self.kept)) + len(self.speaking or b"") > KEPT_BYTES // 2:
            return  # the bound has tests of its own
        for _ in range(chunks):
            self.next = (self.next + 1) % 60_000
            pcm = self.next.to_bytes(2, "little") * (size // 2)
            self.talk.protocol.append(pcm, 0.0)
            if self.speaking is not None:
                self.speaking += pcm

    @rule()
    def end(self) -> None:
        self.talk.protocol.end_turn()
        facts = self.talk.protocol.turn_complete()
        if self.speaking is not None:
            if len(self.speaking) >= SHORTEST_BYTES:
                self.kept.append(self.speaking)
            assert facts == ([] if len(self.speaking) >= SHORTEST_BYTES else [ev.TurnRejected()])
        self.speaking = None

    @rule()
    def give_up(self) -> None:
        self.talk.protocol.clear_turn()
        self.speaking = None

    @rule(frames=st.sampled_from([1, 1, 2, 3, 30]))
    def send(self, frames: int) -> None:
        self.pump(frames)

    @rule()
    def acknowledge(self) -> None:
        """The server names the item of each turn it made; nothing changes for the audio."""
        for number in range(len(self.server.turns)):
            self.talk.say("input_audio_buffer.committed", item_id=f"item_{number}")

    @rule()
    def answer(self) -> None:
        """The answer to all that was committed so far is complete."""
        told = len(self.server.turns)
        self.talk.created(f"r{self.next}")
        self.talk.done(f"r{self.next}")
        self.kept = self.kept[told:]
        self.server.turns.clear()

    @rule()
    def reconnect(self) -> None:
        self.talk.protocol.disconnected()
        self.talk.open()
        self.server = Server()

    def teardown(self) -> None:
        self.pump(10_000)
        assert self.server.turns == self.kept
        assert self.server.buffer == (self.speaking or b"")
        assert self.talk.protocol.uplink.dropped_bytes >= 0


Sending.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestSending: Any = Sending.TestCase


def drained(uplink: Uplink) -> list[tuple[bytes, float]]:
    found = []
    while (audio := uplink.next_append()) is not None:
        found.append(audio)
    return found


def spoken(uplink: Uplink, ms: int, *, end: bool = True, mark: int = 1) -> bytes:
    uplink.begin("t")
    pcm = b""
    for number in range(0, ms, 20):
        chunk = bytes([mark, number // 20 % 256]) * (CHUNK // 2)
        uplink.append(chunk, number / 1000)
        pcm += chunk
    if end:
        uplink.end()
        assert bool(uplink.complete()) is (ms < 100)
    return pcm


def test_small_chunks_are_joined_up_to_100_ms_with_the_time_of_the_oldest() -> None:
    uplink = Uplink()
    pcm = spoken(uplink, 330)
    found = drained(uplink)
    assert [len(p) // MS for p, _ in found] == [100, 100, 100, 40]
    assert [at for _, at in found] == [0.0, 0.1, 0.2, 0.3]
    assert b"".join(p for p, _ in found) == pcm
    assert LONGEST_APPEND_BYTES == 100 * MS


def test_a_long_chunk_goes_alone_and_a_lone_chunk_is_not_copied() -> None:
    uplink = Uplink()
    uplink.begin("t")
    long, short = bytes(300 * MS), bytes(10 * MS)
    uplink.append(short, 0.0)
    uplink.append(long, 0.1)
    uplink.append(short, 0.4)
    found = drained(uplink)
    assert [len(p) for p, _ in found] == [len(short), len(long), len(short)]
    assert found[1][0] is long


def test_at_most_30_s_are_held_and_what_is_lost_is_counted() -> None:
    uplink = Uplink()
    spoken(uplink, 40_000, end=False)
    assert uplink.dropped_bytes == 10_000 * MS
    found = b"".join(p for p, _ in drained(uplink))
    assert len(found) == KEPT_BYTES
    assert found[:2] == bytes([1, 500 % 256])  # the oldest was given up


def test_a_minute_sent_while_it_is_spoken_loses_nothing() -> None:
    uplink = Uplink()
    uplink.begin("t")
    sent = 0
    for number in range(3000):
        uplink.append(bytes(CHUNK), number / 50)
        sent += sum(len(p) for p, _ in drained(uplink))
    assert sent == 60_000 * MS
    assert uplink.dropped_bytes == 0
    assert uplink.clear()  # the server has audio of it, though the oldest is not held any more


def test_audio_without_a_turn_is_dropped_and_counted() -> None:
    uplink = Uplink()
    uplink.append(bytes(CHUNK), 0.0)
    spoken(uplink, 200)
    uplink.append(bytes(CHUNK), 0.0)
    assert uplink.dropped_bytes == 2 * CHUNK


def test_under_100_ms_is_no_turn() -> None:
    for size, kept in ((SHORTEST_BYTES - 2, False), (SHORTEST_BYTES, True)):
        talk = Talk().open()
        talk.protocol.begin_turn()
        talk.protocol.append(bytes(size), 0.0)
        talk.protocol.end_turn()
        talk.protocol.request_response()
        facts = talk.protocol.turn_complete()
        kinds = talk.kinds()
        if kept:
            assert facts == []
            assert kinds[-2:] == ["input_audio_buffer.commit", "response.create"]
        else:
            assert facts == [ev.TurnRejected(), ev.ResponseRefused("withdrawn")]
            assert kinds == ["input_audio_buffer.clear", "input_audio_buffer.clear"]


def test_a_remnant_too_short_to_commit_is_given_up() -> None:
    """A finished turn that waited without a session, and of which the bound has left next to nothing."""
    for left_ms in (0, 40):
        uplink = Uplink()
        spoken(uplink, 1000)
        spoken(uplink, 30_000 - left_ms, mark=2)
        assert b"\x01" not in b"".join(p[:1] for p, _ in drained(uplink))
        assert uplink.next_commit()
        assert not uplink.next_commit()


def test_an_answered_remnant_is_not_replayed() -> None:
    """The same for a turn that one session had been told in full."""
    uplink = Uplink()
    spoken(uplink, 1000)
    drained(uplink)
    assert uplink.next_commit()
    later = spoken(uplink, 29_960, mark=2)
    uplink.reopened()
    assert b"".join(p for p, _ in drained(uplink)) == later


def test_a_new_press_does_not_throw_away_the_turn_before() -> None:
    """On a slow line turn one is half sent when the person presses again: clearing would cut it."""
    talk = Talk().open()
    talk.turn(1000)
    frames = [talk.protocol.next_frame() for _ in range(3)]
    assert all(frames)
    talk.protocol.interrupt()
    talk.turn(400)
    kinds = talk.kinds()
    assert kinds.count("input_audio_buffer.commit") == 2
    assert "input_audio_buffer.clear" not in kinds
    assert kinds[-1] == "response.create"


def test_a_press_by_mistake_does_not_throw_away_the_turn_before() -> None:
    """The same when the second press is too short to be a turn at all."""
    talk = Talk().open()
    talk.turn(1000)
    frames = [talk.protocol.next_frame() for _ in range(3)]
    assert all(frames)
    talk.protocol.interrupt()
    talk.protocol.begin_turn()
    talk.protocol.end_turn()
    assert talk.protocol.turn_complete() == [ev.TurnRejected()]
    kinds = talk.kinds()
    assert kinds[-1] == "input_audio_buffer.commit"
    assert "input_audio_buffer.clear" not in kinds


def test_a_press_before_the_tail_came_keeps_the_turn() -> None:
    talk = Talk().open()
    talk.protocol.begin_turn()
    talk.protocol.append(bytes(9600), 0.0)
    talk.protocol.end_turn()
    talk.protocol.interrupt()
    talk.protocol.begin_turn()
    talk.protocol.append(bytes(4800), 0.0)
    assert talk.kinds() == [
        "input_audio_buffer.clear",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.append",
    ]


def test_beginning_keeps_a_turn_whose_end_was_marked_and_gives_up_one_whose_was_not() -> None:
    for marked in (True, False):
        uplink = Uplink()
        first = spoken(uplink, 200, end=False)
        if marked:
            uplink.end()
        uplink.begin("t")
        assert b"".join(p for p, _ in drained(uplink)) == (first if marked else b"")


def vad_talk() -> Talk:
    talk = Talk(turn_detection="server_vad")
    talk.protocol.set_server_vad(True)
    return talk.open()


def test_a_turn_that_the_server_ended_is_replayed_with_a_commit() -> None:
    talk = vad_talk()
    talk.protocol.begin_turn()
    talk.protocol.append(bytes([1, 0]) * 4800, 0.0)
    talk.pump()
    talk.protocol.append(bytes([2, 0]) * 4800, 0.2)
    assert talk.say("input_audio_buffer.speech_stopped", item_id="u1") == [ev.SpeechStopped()]
    talk.say("input_audio_buffer.committed", item_id="u1")
    assert pcm_of(talk.pump()) == bytes([2, 0]) * 4800  # what was not sent is the next turn's
    talk.protocol.disconnected()
    talk.protocol.end_turn()
    talk.protocol.turn_complete()
    talk.open()
    sent = talk.pump()
    kinds = [e["type"] for e in sent]
    assert kinds.count("input_audio_buffer.commit") == 2
    assert pcm_of(sent) == bytes([1, 0]) * 4800 + bytes([2, 0]) * 4800
    assert talk.sent[-len(sent) - 1]["session"]["audio"]["input"]["turn_detection"] is None
    # Once it is told, the server may end turns again.
    assert kinds[-1] == "session.update"
    assert sent[-1]["session"]["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_the_second_session_names_the_turn_anew() -> None:
    """The item that a replayed turn became is the new session's: a third one is not told it as text as well."""
    talk = Talk().open().turn()
    talk.pump()
    for session in (1, 2, 3):
        talk.say("input_audio_buffer.committed", item_id=f"u{session}")
        talk.protocol.disconnected()
        talk.open()
        kinds = talk.kinds()
        assert kinds == ["input_audio_buffer.append"] * 2 + ["input_audio_buffer.commit"]


def test_a_server_commit_of_nothing_sent_is_no_turn() -> None:
    talk = vad_talk()
    talk.protocol.begin_turn()
    talk.say("input_audio_buffer.committed", item_id="u1")
    talk.protocol.append(bytes(9600), 0.0)
    assert len(pcm_of(talk.pump())) == 9600


def test_the_server_is_told_at_once_to_leave_the_turns_to_us_and_only_later_to_take_them_back() -> None:
    talk = vad_talk()
    talk.pump()
    talk.protocol.set_server_vad(False)
    assert [e["session"]["audio"]["input"]["turn_detection"] for e in talk.pump()] == [None]
    talk.turn(300)
    talk.protocol.set_server_vad(True)
    kinds = talk.kinds()
    assert kinds.index("input_audio_buffer.commit") < kinds.index("session.update")
