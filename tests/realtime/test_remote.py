"""Tools that the provider runs itself (MCP), as the protocol tells the conversation of them."""

from __future__ import annotations

import json

import pytest

from appliance.conversation import events as ev
from appliance.realtime import facts
from appliance.realtime.facts import Fact
from tests.realtime.talk import Json, Talk

CALL: Json = {"id": "mcp_1", "type": "mcp_call", "server_label": "home", "name": "look", "arguments": '{"at":"door"}'}
MESSAGE: Json = {"id": "item_1", "type": "message", "role": "assistant"}
LEAVE: Json = {**CALL, "id": "leave_1", "type": "mcp_approval_request"}
BEGUN = ev.ToolRequested(ev.ToolCall("mcp_1", "look", '{"at":"door"}', remote=True))
ENDED = ev.ToolFinished("mcp_1", "")


def asked() -> Talk:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    return talk


def item_done(talk: Talk, item: Json) -> list[Fact]:
    return talk.say("response.output_item.done", response_id="resp_1", item=item)


def ended(talk: Talk, how: str = "completed", item_id: str = "mcp_1") -> list[Fact]:
    return talk.say(f"response.mcp_call.{how}", item_id=item_id, output_index=0)


@pytest.mark.parametrize("how", ["completed", "failed"])
def test_a_call_begins_with_the_end_of_its_response_and_ends_when_the_server_says_so(how: str) -> None:
    talk = asked()
    assert item_done(talk, CALL) == []
    finished = ev.ResponseFinished("resp_1", ev.Outcome.COMPLETED)
    assert [f for f in talk.done() if not isinstance(f, facts.UsageReported)] == [BEGUN, finished]
    assert ended(talk, how) == [ENDED]
    talk.protocol.tool_output("mcp_1", "")
    assert ended(talk, how) == [], "told twice, it ends once"
    assert talk.pump() == [], "the server has the output"
    assert len(talk.protocol.history) == 1


@pytest.mark.parametrize("order", ["end first", "in the item", "failed in the item", "by done alone"])
def test_a_call_that_ended_before_its_response(order: str) -> None:
    talk = asked()
    outcome: dict[str, Json] = {
        "in the item": {"output": "A cat."},
        "failed in the item": {"error": {"type": "http_error"}},
    }
    item = CALL | outcome.get(order, {})
    if order == "end first":
        ended(talk)
    if order != "by done alone":
        item_done(talk, item)
    found = talk.done(output=[CALL | {"output": ""} if order == "by done alone" else item])
    assert [type(f) for f in found] == [ev.ToolRequested, ev.ToolFinished, facts.UsageReported, ev.ResponseFinished]


def test_a_call_that_the_model_has_spoken_after_is_not_waited_for() -> None:
    for output in ([], [CALL, MESSAGE]):
        talk = asked()
        item_done(talk, CALL)
        ended(talk)
        talk.audio(100)
        item_done(talk, MESSAGE)
        assert [type(f) for f in talk.done(output=output)] == [
            facts.AudioEnded,
            facts.UsageReported,
            ev.ResponseFinished,
        ]


def test_words_before_a_call_do_not_answer_the_question() -> None:
    talk = asked()
    talk.audio(100)
    item_done(talk, MESSAGE)
    item_done(talk, CALL)
    assert BEGUN in talk.done(output=[MESSAGE, CALL])
    ended(talk)
    talk.protocol.disconnected()
    assert talk.protocol.uplink.reopened(), "a new session is told the turn again"


@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_calls_of_a_response_that_came_to_nothing_are_not_waited_for(status: str) -> None:
    talk = asked()
    item_done(talk, CALL)
    assert BEGUN not in talk.done(status=status, output=[CALL])
    assert ended(talk) == []


def test_each_of_several_calls_ends() -> None:
    talk = asked()
    for number in (1, 2, 3):
        item_done(talk, CALL | {"id": f"mcp_{number}"})
    assert sum(isinstance(f, ev.ToolRequested) for f in talk.done()) == 3
    found = [fact for number in (3, 1, 2) for fact in ended(talk, item_id=f"mcp_{number}")]
    assert found == [ev.ToolFinished(f"mcp_{number}", "") for number in (3, 1, 2)]


def test_after_an_interruption_nobody_waits() -> None:
    talk = asked()
    item_done(talk, CALL)
    talk.done()
    talk.protocol.interrupt()
    assert ended(talk) == []


def test_the_session_is_not_left_while_a_call_runs() -> None:
    talk = Talk().open()
    talk.protocol.say("Who is at the door?")
    talk.protocol.request_response()
    talk.pump()
    talk.created()
    item_done(talk, CALL)
    talk.done()
    found = [(talk.protocol.engaged, talk.protocol.may_move(old=True))]
    ended(talk)
    talk.protocol.tool_output("mcp_1", "")
    found.append((talk.protocol.engaged, talk.protocol.may_move(old=True)))
    assert found == [(True, False), (False, True)]


def test_a_call_ends_with_its_session() -> None:
    talk = asked()
    item_done(talk, CALL)
    talk.done()
    talk.protocol.disconnected()
    talk.protocol.connected("gpt-realtime-1.5")
    talk.say("session.created")
    talk.pump()
    assert talk.say("session.updated") == [facts.Configured(), ENDED]


def test_leave_is_denied_at_once_and_told(caplog: pytest.LogCaptureFixture) -> None:
    talk = asked()
    found = item_done(talk, LEAVE)
    request = ev.ToolRequested(ev.ToolCall("leave_1", "look", '{"at":"door"}', remote=True))
    assert found == [request, ev.ToolFinished("leave_1", "")]
    talk.protocol.tool_output("leave_1", "")
    (event,) = talk.pump()
    answer = event["item"]
    assert (answer["type"], answer["approval_request_id"], answer["approve"]) == (
        "mcp_approval_response",
        "leave_1",
        False,
    )
    assert answer["reason"]
    (line,) = caplog.messages
    assert "'look'" in line
    assert "'home'" in line
    assert 'require_approval = "never"' in line
    assert talk.done(output=[LEAVE])[-1] == ev.ResponseFinished("resp_1", ev.Outcome.COMPLETED)
    assert talk.pump() == [], "once"


def test_what_a_server_cannot_list_is_told(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk().open()
    talk.say("mcp_list_tools.failed", item_id="x")
    assert "cannot list an MCP server's tools" in caplog.text


def test_names_of_a_server_are_told_in_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    talk = asked()
    item_done(talk, LEAVE | {"name": "a\nb" * 5000, "server_label": "\x1b[31m"})
    (line,) = caplog.messages
    assert len(line) < 400
    assert line.isprintable()


def test_any_nonsense_about_calls_is_survived() -> None:
    talk = asked()
    odd: Json = {**CALL, "output": 7, "error": "x", "arguments": None}
    for item in ({"type": "mcp_call"}, {"type": "mcp_call", "id": 7}, odd):
        item_done(talk, item)
    for number in range(200):
        ended(talk, item_id=f"other_{number}")
    talk.take(json.dumps({"type": "response.mcp_call.completed"}))
    assert ev.ToolRequested(ev.ToolCall("mcp_1", "look", "{}", remote=True)) in talk.done()
    assert ended(talk) == [ENDED]
