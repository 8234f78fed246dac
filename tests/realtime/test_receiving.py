"""Lenient in what it receives: nothing a server says raises, and what is not understood is counted."""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.conversation import events as ev
from appliance.realtime import facts, wire
from appliance.realtime.usage import Tokens, cost_usd
from tests.realtime.talk import MS, Json, Talk, heard

KNOWN = [
    "session.created",
    "session.updated",
    "error",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.input_audio_transcription.completed",
    "response.created",
    "response.output_item.added",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.delta",
    "response.output_text.delta",
    "response.output_audio_transcript.done",
    "response.output_text.done",
    "response.output_item.done",
    "response.done",
    "response.mcp_call.completed",
    "mcp_list_tools.failed",
    *wire.ALIASES,
]
HUGE = 10**400
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(HUGE)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["resp_1", "item_1", "call_1", "AAAA", "AAA", "completed", "function_call", "mcp_call", "server_error"]
    )
)
NAMES = sorted(
    {f for kind in (wire.Received, wire.Response, wire.Item, wire.Fault, wire.Usage) for f in kind.__struct_fields__}
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
events = st.builds(
    lambda kind, fields: json.dumps({**fields, "type": kind}),
    st.sampled_from(KNOWN) | st.text(max_size=20) | values,
    st.dictionaries(st.sampled_from(NAMES), values, max_size=6),
)
frames = (
    events
    | st.text(max_size=40)
    | st.text(st.characters(), max_size=10)
    | st.binary(max_size=40)
    | values.map(json.dumps)
    | st.sampled_from(["[" * 50_000, '{"type":' * 50_000, '{"type":"x","y":' + "[" * 20_000, "9" * 6_000, "\ud800"])
)


@settings(max_examples=400, deadline=None)
@given(st.lists(frames, max_size=8), st.booleans(), st.booleans())
def test_nothing_a_server_says_raises(said: list[str | bytes], admits: bool, ready: bool) -> None:
    talk = Talk(admits=admits, turn_detection="server_vad")
    if ready:
        talk.open().turn()
        talk.pump()
    else:
        talk.protocol.connected("m")
    for frame in said:
        for fact in talk.take(frame):
            if isinstance(fact, facts.UsageReported):
                assert (cost_usd(fact.tokens, "gpt-realtime") or 0) >= 0
        talk.pump()  # and whatever it is led to say is valid


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        ("", "malformed_frames"),
        ("nonsense", "malformed_frames"),
        ("[]", "malformed_frames"),
        ("null", "malformed_frames"),
        (b"\xff\xfe\x00", "malformed_frames"),
        ("\ud800", "malformed_frames"),
        ("[" * 100_000, "malformed_frames"),
        ('{"type":"response.done","response":' + '{"a":' * 100_000, "malformed_frames"),
        ('{"type":"error","error":"in words"}', "malformed_events"),
        ('{"type":7}', "malformed_events"),
        ('{"type":"response.mcp_call.in_progress"}', "other_events"),
        ('{"type":"localai.whatever"}', "other_events"),
        ("{}", "other_events"),
    ],
)
def test_what_is_not_understood_is_counted(frame: str | bytes, counter: str) -> None:
    talk = Talk().open()
    assert talk.take(frame) == []
    assert talk.protocol.counters[counter] == 1
    talk.turn()
    assert "response.create" in talk.kinds()  # and life goes on


def test_a_field_of_a_wrong_type_costs_that_field_only() -> None:
    """A lost response.done would leave the response active until a watchdog tears the session down."""
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    done: dict[str, Any] = {
        "id": "resp_1",
        "status": "completed",
        "usage": {"total_tokens": 1.5, "input_token_details": {"text_tokens": "many", "audio_tokens": 7}},
        "output": [{"type": "function_call", "call_id": "c", "name": "n", "arguments": {"not": "text"}}, "junk"],
        "metadata": [],
    }
    found = talk.say("response.done", response=done)
    assert facts.UsageReported("resp_1", Tokens(audio_in=7)) in found
    assert ev.ToolRequested(ev.ToolCall("c", "n", "{}")) in found
    assert found[-1] == ev.ResponseFinished("resp_1", ev.Outcome.COMPLETED)
    assert talk.protocol.counters["malformed_events"] == 1


def test_an_error_with_a_number_for_a_code_still_counts() -> None:
    talk = Talk()
    talk.protocol.connected("m")
    talk.say("session.created")
    talk.pump()
    talk.say("error", error={"code": 400, "message": "unknown field", "type": "BadRequest"})
    assert talk.kinds() == ["session.update"]
    assert talk.protocol.reduced


def test_a_server_without_ids_announcements_or_usage_is_heard() -> None:
    """No response.created, no event, response or item ids, beta names, no usage."""
    talk = Talk()
    talk.protocol.connected("m")
    talk.say("conversation.created")
    talk.pump()
    assert facts.Configured() in talk.say("session.updated")
    talk.turn()
    talk.pump()
    delta = base64.b64encode(bytes(100 * MS)).decode()
    talk.say("response.audio_transcript.delta", delta="Hello ")
    talk.say("response.audio.delta", delta=delta)
    talk.say("response.audio.delta", delta=delta)
    talk.say("response.audio.done")
    found = talk.say("response.done")
    assert len(heard(talk.facts)) == 200 * MS
    assert [type(f) for f in found] == [facts.AudioEnded, facts.UsageReported, ev.ResponseFinished]
    assert len([f for f in talk.facts if isinstance(f, ev.ResponseStarted)]) == 1
    # What it says later of the same response begins no second one.
    assert talk.say("response.audio.delta", delta=delta) == []
    assert talk.protocol.responses.active is None
    talk.turn()
    assert "response.create" in talk.kinds()


@pytest.mark.parametrize("named", ["created", "deltas", "done", "deltas and done", "created and deltas", ""])
def test_a_response_is_one_where_only_some_events_name_it(named: str) -> None:
    talk = Talk().open().turn()
    talk.pump()
    name = {part: {"id": "resp_1", "response_id": "resp_1"} if part in named else {} for part in ("created", "done")}
    mine = {"response_id": "resp_1"} if "deltas" in named else {}
    delta = base64.b64encode(bytes(100 * MS)).decode()
    talk.say("response.created", response={"status": "in_progress", **name["created"]})
    for _ in range(2):
        talk.say("response.output_audio.delta", item_id="item_1", delta=delta, **mine)
    found = talk.say("response.done", response={"status": "completed", **name["done"]})
    assert len(heard(talk.facts)) == 200 * MS
    (started,) = [f for f in talk.facts if isinstance(f, ev.ResponseStarted)]
    assert found[-1] == ev.ResponseFinished(started.response_id)
    assert talk.say("response.output_audio.delta", item_id="item_1", delta=delta, **mine)[1:] == []
    assert talk.pump() == []
    talk.protocol.played()
    assert talk.say("response.output_audio.delta", item_id="item_1", delta=delta, **mine) == []
    talk.turn()
    assert "response.create" in talk.kinds()


@pytest.mark.parametrize(
    ("beta", "current"),
    [
        ("response.audio.delta", "response.output_audio.delta"),
        ("response.audio.done", "response.output_audio.done"),
        ("response.audio_transcript.delta", "response.output_audio_transcript.delta"),
        ("response.text.delta", "response.output_text.delta"),
    ],
)
def test_beta_names_mean_the_same(beta: str, current: str) -> None:
    found = []
    for kind in (beta, current):
        talk = Talk().open().turn()
        talk.pump()
        talk.created()
        talk.audio(20)
        found.append(talk.say(kind, response_id="resp_1", item_id="item_1", delta="AAAA"))
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.parametrize(
    "kinds",
    [
        ("response.output_audio_transcript.done", "response.done"),
        ("response.audio_transcript.done",),
        ("response.text.done",),
        ("response.done",),
        ("response.output_audio_transcript.delta", "response.output_audio_transcript.done", "response.done"),
    ],
)
def test_words_are_remembered_once_whether_they_come_in_pieces_or_as_a_whole(kinds: tuple[str, ...]) -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(100)
    content = [{"type": "output_audio", "transcript": "Paris."}]
    output = [{"id": "item_1", "type": "message", "role": "assistant", "content": content}]
    whole = {"response_id": "resp_1", "item_id": "item_1"}
    for kind in kinds:
        if kind.endswith("delta"):
            talk.words("Paris.")
        elif kind != "response.done":
            talk.say(kind, **whole, **{"text" if "text" in kind.split(".")[1] else "transcript": "Paris."})
    talk.done(output=output if "response.done" in kinds else [])
    assert [f.words for f in talk.facts if isinstance(f, facts.WordsReceived)] == ["Paris."]
    talk.protocol.played()
    talk.protocol.disconnected()
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "assistant"]
    assert told == ["Paris."]


@pytest.mark.parametrize("ids", [("item_1", ""), ("", "item_1"), ("", "")])
def test_words_are_remembered_once_where_only_some_events_name_their_item(ids: tuple[str, str]) -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    pieces, whole = ({"item_id": name} if name else {} for name in ids)
    talk.say("response.output_audio_transcript.delta", response_id="resp_1", delta="Paris.", **pieces)
    talk.say("response.output_audio_transcript.done", response_id="resp_1", transcript="Paris.", **whole)
    assert [f.words for f in talk.facts if isinstance(f, facts.WordsReceived)] == ["Paris."]


def test_whole_words_of_an_interrupted_answer_are_not_remembered() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(100)
    talk.protocol.interrupt()
    whole = {"response_id": "resp_1", "item_id": "item_1", "transcript": "Paris is the capital."}
    assert talk.say("response.output_audio_transcript.done", **whole) == []


def test_captions_find_their_turns_where_the_server_never_says_committed() -> None:
    talk = Talk(captions="gpt-transcribe").open()
    for number in (1, 2):
        talk.turn()
        talk.pump()
        talk.created(f"resp_{number}")
        talk.audio(100, f"item_{number}", f"resp_{number}")
        talk.done(f"resp_{number}")
        talk.protocol.played()
    for item_id, words in (("user_1", "One."), ("user_2", "Two."), ("user_1", "One!")):
        kind = "conversation.item.input_audio_transcription.completed"
        talk.say(kind, item_id=item_id, transcript=words)
    talk.protocol.disconnected()
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "user"]
    assert told == ["One!", "Two."]


def test_both_greetings_configure_once() -> None:
    talk = Talk()
    talk.protocol.connected("m")
    talk.say("conversation.created")
    talk.say("session.created")
    assert talk.kinds() == ["session.update"]


def test_ids_that_repeat_in_the_next_session_are_new_ones() -> None:
    """Some servers number their responses, items and calls from one in every session."""
    talk = Talk()
    for session in (1, 2):
        talk.open().turn()
        talk.pump()
        talk.created()
        talk.words(f"Answer {session}.")
        talk.audio(100)
        call = {"type": "function_call", "call_id": "call_1", "name": "n", "arguments": "{}", "status": "completed"}
        talk.say("response.output_item.done", response_id="resp_1", item=call)
        talk.done()
        talk.protocol.played()
        talk.protocol.tool_output("call_1", "{}")
        talk.pump()
        talk.protocol.disconnected()
    assert len(heard(talk.facts)) == 200 * MS
    assert len([f for f in talk.facts if isinstance(f, ev.ToolRequested)]) == 2
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "assistant"]
    assert told == ["Answer 1.", "Answer 2."]


def test_samples_cut_in_half_between_deltas_are_put_together() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    pcm = bytes(range(250)) * 4
    cuts = [0, 1, 2, 7, 100, 101, 333, 1000]
    for start, stop in itertools.pairwise(cuts):
        delta = base64.b64encode(pcm[start:stop]).decode()
        talk.say("response.output_audio.delta", response_id="resp_1", item_id="item_1", delta=delta)
    pieces = [f.pcm for f in talk.facts if isinstance(f, facts.AudioReceived)]
    assert b"".join(pieces) == pcm
    assert all(piece and len(piece) % 2 == 0 for piece in pieces)


@pytest.mark.parametrize("delta", [None, "", "????", "AAA", "\u2603", 7])
def test_audio_that_is_none_is_counted(delta: object) -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.say("response.output_audio.delta", response_id="resp_1", delta=delta)
    assert heard(talk.facts) == b""
    assert talk.protocol.counters["malformed_audio"] == 1


def test_a_call_is_reported_once_and_a_half_written_one_never() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    call = {"type": "function_call", "call_id": "c1", "name": "n", "arguments": "{}", "status": "completed"}
    half = call | {"call_id": "c2", "status": "incomplete"}
    for item in (call, half):
        talk.say("response.output_item.done", response_id="resp_1", item=item)
    talk.done(output=[call, half])
    assert [f.call.call_id for f in talk.facts if isinstance(f, ev.ToolRequested)] == ["c1"]


@pytest.mark.parametrize(
    ("output", "item", "expected"),
    [
        ("audio", {"type": "message", "id": "item_1", "role": "assistant"}, ev.Outcome.INCOMPLETE),
        ("audio", {"type": "mcp_list_tools", "id": "item_1"}, ev.Outcome.INCOMPLETE),
        ("audio", {"type": "mcp_approval_request", "id": "item_1", "name": "n"}, ev.Outcome.COMPLETED),
        ("audio", {"type": "function_call", "call_id": "c1", "name": "n", "arguments": "{}"}, ev.Outcome.COMPLETED),
        ("text", {"type": "message", "id": "item_1", "role": "assistant"}, ev.Outcome.COMPLETED),
    ],
)
def test_a_complete_answer_that_cannot_be_heard_is_none(output: str, item: Json, expected: ev.Outcome) -> None:
    talk = Talk(output=output).open().turn()
    talk.pump()
    talk.created()
    assert talk.done(output=[item])[-1] == ev.ResponseFinished("resp_1", expected)


def test_a_call_that_only_the_end_of_a_response_without_a_status_tells_is_run() -> None:
    talk = Talk().open().turn()
    talk.pump()
    call = {"type": "function_call", "call_id": "c1", "name": "n", "arguments": "{}"}
    found = talk.say("response.done", response={"id": "resp_1", "output": [call]})
    assert ev.ToolRequested(ev.ToolCall("c1", "n", "{}")) in found


def test_an_end_that_is_told_twice_while_the_answer_sounds_counts_once() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    talk.audio(100)
    usage = {"input_token_details": {"audio_tokens": 7}}
    assert len(talk.done(usage=usage)) == 3
    assert talk.done(usage=usage) == []


def test_calls_of_an_incomplete_response_are_not_run() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    call = {"type": "function_call", "call_id": "c1", "name": "n", "arguments": '{"a":'}
    found = talk.done(status="incomplete", output=[call])
    assert [type(f) for f in found] == [facts.UsageReported, ev.ResponseFinished]


def test_a_caption_replaces_the_placeholder_even_after_the_reply() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.say("input_audio_buffer.committed", item_id="item_u")
    talk.created()
    talk.words("Four.")
    talk.done()
    kind = "conversation.item.input_audio_transcription.completed"
    assert talk.say(kind, item_id="item_u", transcript="Two and two?") == [
        facts.CaptionReceived("item_u", "Two and two?")
    ]
    talk.protocol.disconnected()
    talk.open()
    texts = [e["item"]["content"][0]["text"] for e in talk.pump() if e["type"] == "conversation.item.create"]
    assert texts == ["Two and two?", "Four."]


def test_an_hour_of_conversation_does_not_grow() -> None:
    """What is kept of 3000 turns is what is kept of 300."""

    def kept(turns: int) -> list[int]:
        talk = Talk().open()
        p = talk.protocol
        for n in range(turns):
            talk.turn(100)
            talk.pump()
            talk.sent.clear()
            talk.facts.clear()
            talk.say("input_audio_buffer.committed", item_id=f"u{n}")
            talk.created(f"r{n}")
            talk.words("words " * 5, f"i{n}", f"r{n}")
            talk.audio(20, f"i{n}", f"r{n}")
            call = {"type": "function_call", "call_id": f"c{n}", "name": "n", "arguments": "{}"}
            talk.say("response.output_item.done", response_id=f"r{n}", item=call)
            p.tool_output(f"c{n}", "{}")
            if n % 3 == 0:
                p.interrupt()
                p.repair({f"i{n}": 5.0})
            talk.done(f"r{n}", status="cancelled" if n % 3 == 0 else "completed")
            p.played()
            talk.error(f"code_{n}")
            talk.say(f"unknown.{n}")
        talk.pump()
        own = [p.history, p.counters]
        book = [p.responses._alive, p.responses._dead, p.responses._silenced, p.uplink._turns]
        return [len(thing) for thing in [*own, *book]]  # type: ignore[arg-type]

    assert kept(900) == kept(300)


def test_a_stage_is_not_left_by_a_stray_event() -> None:
    talk = Talk()
    for kind in KNOWN:
        talk.say(kind)
    assert talk.protocol.stage.value == "closed"
    talk.protocol.connected("m")
    talk.say("session.updated")
    assert talk.protocol.stage.value == "greeting"
    assert talk.pump() == []
