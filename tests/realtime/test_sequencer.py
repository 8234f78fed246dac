"""One response at a time may write the conversation, whatever the interleaving of commands and server events."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from appliance.conversation import events as ev
from appliance.realtime.facts import AudioReceived, Fact, UsageReported
from tests.realtime.talk import Json, Talk, heard

ACTIVE = "conversation_already_has_active_response"


class Exchange(RuleBasedStateMachine):
    """A client, a server and two queues between them; the client decides as the conversation does."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk(admits=False, turn_detection="server_vad")
        self.up: deque[Json] = deque()
        self.down: deque[tuple[str, Json]] = deque()
        self.generating = ""  # at the server
        self.told = True  # the server announced it
        self.count = 0
        self.in_flight: set[str] = set()
        self.response, self.requested, self.doomed = "", False, False

    @initialize(announces=st.booleans(), others=st.sampled_from(["none", "silent", "vad"]))
    def begin(self, announces: bool, others: str) -> None:
        self.announces, self.others = announces, others
        self.talk.open()
        self.talk.protocol.set_server_vad(others == "vad")
        self.talk.pump()

    # --- the client ---

    @rule(speaks=st.booleans())
    def ask(self, speaks: bool) -> None:
        if self.requested or self.response:
            return
        self.requested = True
        if speaks:
            self.talk.turn(100)
        else:
            self.talk.protocol.request_response()

    @rule()
    def interrupt(self) -> None:
        self.doomed = bool(self.requested or self.response)
        for fact in self.talk.protocol.interrupt():
            self.note(fact)
        self.talk.protocol.repair({})

    @rule()
    def speak_long(self) -> None:
        """A turn whose end is marked and whose tail is still to come holds the response back."""
        self.talk.protocol.begin_turn()
        self.talk.protocol.append(bytes(9600), 0.0)
        self.talk.protocol.end_turn()

    @rule()
    def tail(self) -> None:
        for fact in self.talk.protocol.turn_complete():
            self.note(fact)

    @rule()
    def send(self) -> None:
        for event in self.talk.pump():
            if event["type"] == "response.create":
                assert self.talk.protocol.responses.active is None
                if self.others == "none":
                    assert not self.in_flight
                    assert not self.response
                self.in_flight.add(event["event_id"])
            self.up.append(event)

    @precondition(lambda self: self.down)
    @rule()
    def hear(self) -> None:
        kind, fields = self.down.popleft()
        created_for = fields.pop("_of", None)
        self.in_flight.discard(created_for or fields.get("error", {}).get("event_id"))
        for fact in self.talk.say(kind, **fields):
            self.note(fact)

    def note(self, fact: Fact) -> None:
        """Decide as appliance.conversation.replies does."""
        match fact:
            case ev.ResponseStarted(response_id) if self.doomed or self.response:
                if not self.response:
                    self.response, self.requested, self.doomed = response_id, False, True
                self.talk.protocol.cancel(response_id)
            case ev.ResponseStarted(response_id):
                self.response, self.requested = response_id, False
                self.talk.protocol.admit(response_id)
            case ev.ResponseFinished(response_id) if response_id == self.response:
                self.response, self.doomed = "", False
            case ev.ResponseRefused(_):
                self.requested = False
                self.doomed = self.doomed and bool(self.response)
            case AudioReceived(response_id, _, _):
                assert response_id == self.response
                assert not self.doomed

    @rule()
    def lose_the_link(self) -> None:
        self.up.clear()
        self.down.clear()
        self.in_flight.clear()
        self.generating, self.response, self.requested, self.doomed = "", "", False, False
        self.talk.protocol.disconnected()
        self.talk.open()

    # --- the server ---

    def start(self, of: str | None, *, told: bool) -> None:
        self.count += 1
        self.generating, self.told = f"r{self.count}", told
        if told and self.announces:
            self.down.append(("response.created", {"response": {"id": self.generating}, "_of": of}))
        elif of:
            self.in_flight.discard(of)

    @precondition(lambda self: self.up)
    @rule()
    def serve(self) -> None:
        event = self.up.popleft()
        match event["type"]:
            case "response.create" if self.generating:
                body = {"code": ACTIVE, "event_id": event["event_id"], "message": "one is active"}
                self.down.append(("error", {"error": body}))
            case "response.create":
                self.start(event["event_id"], told=True)
            case "response.cancel" if self.generating and event["response_id"] == self.generating:
                self.end("cancelled")
            case "response.cancel":
                self.down.append(("error", {"error": {"code": "response_cancel_not_active"}}))

    def end(self, status: str) -> None:
        self.down.append(("response.done", {"response": {"id": self.generating, "status": status}}))
        self.generating = ""

    @precondition(lambda self: self.generating and self.told)
    @rule()
    def stream(self) -> None:
        fields = {"response_id": self.generating, "item_id": f"i_{self.generating}", "delta": "AAAA"}
        self.down.append(("response.output_audio.delta", fields))

    @precondition(lambda self: self.generating)
    @rule(status=st.sampled_from(["completed", "incomplete", "failed"]))
    def finish(self, status: str) -> None:
        self.end(status)

    @precondition(lambda self: self.others != "none" and not self.generating)
    @rule()
    def answer_unasked(self) -> None:
        self.start(None, told=self.others == "vad")

    def teardown(self) -> None:
        """Let everything run its course: nothing stays waiting."""
        if not hasattr(self, "others"):
            return
        self.tail()
        for _ in range(60):
            self.send()
            while self.up:
                self.serve()
            if self.generating:
                self.end("completed")
            while self.down:
                self.hear()
        p = self.talk.protocol
        assert not self.requested, "somebody waits for a response that nobody will make"
        assert not self.response
        assert not p.wanted
        assert not p.create_id
        assert p.responses.active is None


Exchange.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestExchange: Any = Exchange.TestCase


def kinds_after(talk: Talk) -> list[str]:
    return [k for k in talk.kinds() if k.startswith("response.")]


def test_requests_while_one_is_active_are_merged() -> None:
    talk = Talk().open()
    talk.protocol.request_response()
    talk.protocol.request_response()
    assert kinds_after(talk) == ["response.create"]
    talk.protocol.request_response()
    talk.protocol.request_response()
    assert kinds_after(talk) == []
    talk.created()
    assert kinds_after(talk) == []
    talk.done()
    assert kinds_after(talk) == ["response.create"]


@pytest.mark.parametrize("announced_late", [False, True])
def test_already_active_is_asked_again_after_it(announced_late: bool) -> None:
    talk = Talk().open()
    talk.protocol.request_response()
    create = talk.pump()[-1]
    assert talk.error(ACTIVE, event_id=create["event_id"]) == []
    if announced_late:
        talk.created("resp_other")
    assert kinds_after(talk) == []
    talk.done("resp_other")
    assert kinds_after(talk) == ["response.create"]
    assert talk.created("resp_mine") == [ev.ResponseStarted("resp_mine")]


def test_already_active_of_an_interrupted_request_is_not_asked_again() -> None:
    talk = Talk().open()
    talk.protocol.request_response()
    create = talk.pump()[-1]
    assert talk.protocol.interrupt() == []  # it was sent: its end is the server's to tell
    assert talk.error(ACTIVE, event_id=create["event_id"]) == [ev.ResponseRefused(ACTIVE)]
    talk.done("resp_other")
    assert kinds_after(talk) == []


def test_a_request_withdrawn_before_it_was_sent_is_owned_up_to() -> None:
    talk = Talk().open().turn()
    assert talk.protocol.interrupt() == [ev.ResponseRefused("withdrawn")]
    assert "response.create" not in talk.kinds()
    assert talk.protocol.interrupt() == []


def test_a_cancel_before_created_is_applied_when_it_comes() -> None:
    talk = Talk(admits=False).open()
    talk.protocol.request_response()
    talk.pump()
    talk.protocol.interrupt()
    assert kinds_after(talk) == []  # a cancel now would do nothing
    assert talk.created() == [ev.ResponseStarted("resp_1")]
    talk.protocol.cancel("resp_1")  # as the conversation does with what it has doomed
    assert kinds_after(talk) == ["response.cancel"]
    assert heard(talk.audio(100)) == b""
    talk.done(status="cancelled")
    assert talk.protocol.counters["audio_of_dead_responses"] == 1


def test_late_events_of_a_dead_response_are_dropped() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(100)
    talk.protocol.interrupt()
    talk.done(status="cancelled")
    for found in (talk.audio(100), talk.words("more"), talk.created(), talk.done()):
        assert found == []
    assert talk.protocol.counters["late_events"] == 3
    assert talk.protocol.counters["unannounced_responses"] == 1
    assert talk.protocol.responses.active is None


def test_done_for_a_response_never_announced_ends_nothing() -> None:
    talk = Talk().open()
    assert talk.done("resp_ghost") == []
    assert talk.protocol.counters["unannounced_responses"] == 1
    talk.protocol.request_response()
    assert kinds_after(talk) == ["response.create"]
    # A response that the server dropped by itself is not the answer to ours.
    assert talk.done("resp_ghost2", "cancelled") == []
    assert talk.created() == [ev.ResponseStarted("resp_1")]


def test_done_is_enough_of_an_announcement() -> None:
    talk = Talk().open()
    talk.protocol.request_response()
    talk.pump()
    found = talk.done("resp_1")
    assert [type(f) for f in found] == [ev.ResponseStarted, UsageReported, ev.ResponseFinished]


def test_a_refused_create_frees_the_way() -> None:
    talk = Talk().open()
    talk.protocol.request_response()
    create = talk.pump()[-1]
    assert talk.error("invalid_value", event_id=create["event_id"]) == [ev.ResponseRefused("invalid_value")]
    talk.protocol.request_response()
    assert kinds_after(talk) == ["response.create"]


def test_the_create_waits_for_the_commit_and_the_commit_for_the_tail() -> None:
    talk = Talk().open()
    talk.protocol.begin_turn()
    talk.protocol.append(bytes(9600), 0.0)
    talk.protocol.end_turn()
    talk.protocol.request_response()
    assert talk.kinds() == ["input_audio_buffer.clear", "input_audio_buffer.append"]
    talk.protocol.append(bytes(960), 0.1)
    assert talk.protocol.turn_complete() == []
    assert talk.kinds() == ["input_audio_buffer.append", "input_audio_buffer.commit", "response.create"]


def test_tool_outputs_go_before_the_create_and_the_create_after_done() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    for call_id in ("a", "b"):
        call = {"type": "function_call", "call_id": call_id, "name": "n", "arguments": "{}"}
        talk.say("response.output_item.done", response_id="resp_1", item=call)
    talk.protocol.tool_output("a", "1")
    talk.protocol.request_response()
    assert talk.kinds() == ["conversation.item.create"]
    talk.done()
    talk.protocol.tool_output("b", "2")
    assert talk.kinds() == ["conversation.item.create", "response.create"]
