"""What an error of the server leads to: each row of the policy table, as seen by the conversation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from appliance.conversation import events as ev
from appliance.realtime import policy
from appliance.realtime.facts import Broken, Fact, Refused
from tests.realtime.talk import Talk

Expected = list[type[Fact]]
MINE = "the event that caused it"


def asking() -> tuple[Talk, str]:
    """A talk with a turn committed and a response asked for; returns the id of the response.create."""
    talk = Talk().open().turn()
    return talk, talk.pump()[-1]["event_id"]


@pytest.mark.parametrize(
    ("code", "message", "event_id", "expected"),
    [
        ("response_cancel_not_active", "Cancellation failed: no active response found", None, []),
        (None, "Cancellation failed: no active response found", None, []),
        (None, "Cancellation failed: no active response found", MINE, []),
        (None, "Audio content of 900ms is already shorter than 1000ms", None, []),
        ("item_truncate_invalid_item_id", "Item not found", None, []),
        ("item_delete_invalid_item_id", "Item not found", None, []),
        ("cannot_update_voice", "Cannot update a conversation's voice", None, []),
        ("conversation_already_has_active_response", "There is one", MINE, []),
        ("rate_limit_exceeded", "Slow down", MINE, [ev.ResponseRefused]),
        ("rate_limit_exceeded", "Slow down", None, [ev.ResponseRefused]),
        ("rate_limit_exceeded", "Slow down", "another event", []),
        ("inference_rate_limit_exceeded", "Slow down", MINE, [ev.ResponseRefused]),
        ("invalid_value", "No such voice", MINE, [ev.ResponseRefused]),
        ("unheard_of", "What?", MINE, [ev.ResponseRefused]),
        ("unheard_of", "What?", None, []),
        (None, "", None, []),
        ("insufficient_quota", "Pay", None, [Refused]),
        ("billing_hard_limit_reached", "Pay", MINE, [Refused]),
        ("account_deactivated", "Gone", None, [Refused]),
        ("invalid_api_key", "No", None, [Refused]),
        ("model_not_found", "No", None, [Refused]),
        ("beta_api_shape_disabled", "No", None, [Refused]),
        ("session_expired", "60 minutes", None, [Broken]),
        (None, "Your session hit the maximum duration of 60 minutes.", None, [Broken]),
        ("server_error", "Sorry", None, [Broken]),
        ("server_error", "Sorry", MINE, [Broken]),
        ("input_audio_buffer_commit_empty", "buffer too small", None, [ev.TurnRejected]),
    ],
)
def test_each_row(code: str | None, message: str, event_id: str | None, expected: Expected) -> None:
    talk, create_id = asking()
    facts = talk.error(code, message, event_id=create_id if event_id == MINE else event_id)
    assert [type(f) for f in facts] == expected
    assert sum(n for name, n in talk.protocol.counters.items() if name.startswith("error_")) == 1


def test_server_error_by_type_alone() -> None:
    talk, _ = asking()
    assert [type(f) for f in talk.error(None, "Sorry", type="server_error")] == [Broken]


def test_an_empty_commit_is_a_race_while_the_server_ends_turns() -> None:
    talk = Talk(turn_detection="server_vad").open()
    talk.pump()
    assert talk.error("input_audio_buffer_commit_empty", "too small") == []


def test_a_refused_commit_is_no_turn_whatever_the_server_calls_it() -> None:
    """Else the model answers what was said before, and the next caption goes to the turn that was none."""
    talk = Talk(captions="gpt-transcribe").open().turn()
    commit = next(e for e in talk.pump() if e["type"] == "input_audio_buffer.commit")
    assert talk.error("buffer_too_small", "No.", event_id=commit["event_id"]) == [ev.TurnRejected()]
    talk.turn()
    talk.pump()
    talk.say("input_audio_buffer.committed", item_id="item_u2")
    kind = "conversation.item.input_audio_transcription.completed"
    talk.say(kind, item_id="item_u2", transcript="Second.")
    talk.protocol.interrupt()
    talk.protocol.disconnected()
    talk.open()
    told = [e["item"]["content"][0]["text"] for e in talk.pump() if e.get("item", {}).get("role") == "user"]
    assert told == ["Second."]


def test_a_rate_limit_in_the_middle_of_an_answer_refuses_no_answer() -> None:
    talk, _ = asking()
    talk.created()
    assert talk.error("rate_limit_exceeded", "Slow down.") == []
    talk.done()
    assert talk.error("rate_limit_exceeded", "Slow down.") == [ev.ResponseRefused("rate_limit_exceeded")]


def test_every_fatal_code_has_a_hint_of_its_own() -> None:
    fatal = {code for code, what in policy.CODES.items() if what is policy.Policy.FATAL}
    assert fatal == policy.HINTS.keys()
    assert set(policy.FATAL_CLOSES.values()) <= fatal
    assert policy.hint("unheard_of")


def configuring() -> Talk:
    talk = Talk(model="gpt-realtime-2")
    talk.protocol.connected("gpt-realtime-2")
    talk.say("session.created")
    return talk


@pytest.mark.parametrize("code", ["unknown_parameter", "invalid_value", "missing_required_parameter", None, "whatever"])
@pytest.mark.parametrize("names", [lambda mine: mine, lambda _: None, lambda _: "an id of the server's"])
def test_a_refused_update_is_reduced_once_and_then_given_up(
    code: str | None, names: Callable[[str], str | None]
) -> None:
    talk = configuring()
    full = talk.pump()[-1]
    assert talk.error(code, "Unknown parameter: 'session.truncation'.", event_id=names(full["event_id"])) == []
    reduced = talk.pump()[-1]
    assert reduced["type"] == "session.update"
    assert reduced["session"].keys() < full["session"].keys()
    # A second complaint about the first one is no complaint about the second.
    assert talk.error(code, "Unknown parameter: 'session.speed'.", event_id=full["event_id"]) == []
    assert talk.pump() == []
    facts = talk.error(code, "Still no.", event_id=names(reduced["event_id"]))
    assert [type(f) for f in facts] == [Refused]


def test_the_reduced_update_opens_the_session_with_what_waited() -> None:
    talk = configuring()
    talk.turn()
    talk.error("unknown_parameter", event_id=talk.pump()[-1]["event_id"])
    talk.pump()
    talk.say("session.updated")
    assert talk.kinds() == ["input_audio_buffer.append"] * 2 + ["input_audio_buffer.commit", "response.create"]


@pytest.mark.parametrize(("code", "expected"), [("insufficient_quota", Refused), ("server_error", Broken)])
def test_what_no_reduction_helps_is_not_reduced(code: str, expected: type[Fact]) -> None:
    talk = configuring()
    assert [type(f) for f in talk.error(code, "No", event_id=talk.pump()[-1]["event_id"])] == [expected]
    assert talk.pump() == []


def test_a_refused_switch_of_turn_detection_ends_the_session() -> None:
    """Going on silently would leave a server that ends turns by itself, or none that does."""
    talk = Talk(turn_detection="server_vad").open()
    talk.pump()
    talk.protocol.set_server_vad(False)
    update = talk.pump()[-1]
    facts = talk.error("invalid_value", "No", event_id=update["event_id"])
    assert [type(f) for f in facts] == [Broken]


def test_a_failed_response_is_told_with_its_cause() -> None:
    for code, expected in (("inference_rate_limit_exceeded", []), ("insufficient_quota", [Refused])):
        talk, _ = asking()
        talk.created()
        details = {"type": "failed", "error": {"code": code, "message": "No"}}
        facts = talk.done(status="failed", status_details=details)
        assert [type(f) for f in facts if isinstance(f, Refused)] == expected
        assert facts[-1] == ev.ResponseFinished("resp_1", ev.Outcome.FAILED)
        assert talk.protocol.counters[f"failed_{code}"] == 1


def test_counters_do_not_grow_with_what_a_server_makes_up() -> None:
    talk = Talk().open()
    for number in range(1000):
        talk.error(f"code_{number}" * 20)
    assert len(talk.protocol.counters) <= 130
    assert all(len(name) <= 48 for name in talk.protocol.counters)
    assert sum(talk.protocol.counters.values()) == 1000


@pytest.mark.parametrize("named", [True, False])
def test_a_response_that_cannot_be_cancelled_is_over(named: bool) -> None:
    """Some servers lose a response.done: without this nothing could be asked for in that session any more."""
    talk = Talk().open()
    talk.protocol.request_response()
    talk.pump()
    talk.say("response.created", response={"id": "r1"})
    talk.protocol.interrupt()
    talk.pump()
    cancel = talk.sent[-1]
    assert cancel["type"] == "response.cancel"
    mine = {"event_id": cancel["event_id"]} if named else {}
    told = talk.say("error", error={"code": "response_cancel_not_active", "message": "none active", **mine})
    assert ev.ResponseFinished("r1", ev.Outcome.CANCELLED) in told
    assert talk.say("error", error={"code": "response_cancel_not_active", "message": "none active", **mine}) == []
    talk.protocol.request_response()
    talk.pump()
    assert talk.sent[-1]["type"] == "response.create"
