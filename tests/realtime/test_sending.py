"""Strict in what it sends: every frame is held against the vendor's types, unknown keys forbidden."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.errors import LocalProtocolError
from appliance.realtime import configuration, models
from appliance.realtime.configuration import Wishes
from appliance.realtime.facts import Stage
from appliance.realtime.responses import Delete, Truncate
from tests.realtime.talk import TOOL, Talk, checked, pcm_of

MODELS = [*models.CAPABILITIES, "gpt-realtime-2025-08-28", "some/other:model"]


def test_the_yardstick_can_fail() -> None:
    """A misspelt key, a beta field and a wrong type are refused, at any depth."""
    good = {"type": "session.update", "event_id": "a", "session": {"type": "realtime", "audio": {"input": {}}}}
    checked(json.dumps(good))
    wrong: list[dict[str, Any]] = [
        {"temperature": 0.8},
        {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
        {"audio": {"input": {"turn_detection": {"type": "server_vad", "silence": 3}}}},
        {"audio": {"voice": "marin"}},
        {"output_modalities": ["speech"]},
    ]
    for session in wrong:
        with pytest.raises(ValidationError):
            checked(json.dumps(good | {"session": {"type": "realtime", **session}}))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("turn_detection", ["local", "server_vad", "semantic_vad"])
@pytest.mark.parametrize("reduced", [False, True])
def test_every_session_update_is_valid(model: str, turn_detection: str, reduced: bool) -> None:
    for output in ("audio", "text"):
        for server_vad in (False, True):
            wishes = Wishes(
                model, "marin", "Hi.", turn_detection, output, 1.2, "far_field", "gpt-transcribe", 512, (TOOL,)
            )
            session = configuration.session(wishes, model=model, server_vad=server_vad, reduced=reduced)
            checked(json.dumps({"type": "session.update", "event_id": "a", "session": session}))
            assert session["type"] == "realtime"
            wanted = None if turn_detection == "local" or not server_vad else turn_detection
            found = session["audio"]["input"]["turn_detection"]
            assert (found and found["type"]) == wanted  # null is sent, since the default is server_vad
            update = configuration.turn_detection_update(wishes, server_vad=server_vad)
            checked(json.dumps({"type": "session.update", "event_id": "a", "session": update}))


def test_nothing_foreign_to_a_model_is_asked_of_it() -> None:
    unknown = configuration.session(Wishes("llama", "v", ""), model="llama", server_vad=False)
    assert "truncation" not in unknown
    for model in MODELS:
        built = configuration.session(Wishes(model, "v", ""), model=model, server_vad=False)
        assert not {"reasoning", "parallel_tool_calls", "prompt", "tracing"} & built.keys()


def test_nothing_but_the_update_goes_out_before_the_session_is_configured() -> None:
    talk = Talk()
    talk.protocol.say("Hello?")
    talk.protocol.show("data:image/png;base64,AAAA")
    talk.turn()
    assert talk.pump() == []
    talk.protocol.connected("gpt-realtime-1.5")
    talk.protocol.tool_output("call_1", "{}")
    assert talk.pump() == []
    talk.say("session.created")
    assert talk.kinds() == ["session.update"]
    talk.protocol.clear_turn()
    talk.protocol.cancel("resp_1")
    talk.protocol.interrupt()
    talk.protocol.repair({})
    talk.protocol.set_server_vad(False)
    assert talk.pump() == []
    with pytest.raises(LocalProtocolError):
        talk.protocol.send("response.create", response={})
    talk.say("session.updated")
    assert talk.kinds()[:2] == ["conversation.item.create", "conversation.item.create"]


def test_every_kind_of_frame_is_valid_and_ids_are_never_repeated() -> None:
    talk = Talk(tools=(TOOL,), turn_detection="server_vad").open()
    p = talk.protocol
    p.set_server_vad(False)
    p.say("Typed.")
    p.show("data:image/png;base64,AAAA")
    talk.turn().pump()
    talk.created()
    talk.audio(500)
    talk.audio(500, "item_2")
    call = {"type": "function_call", "call_id": "call_1", "name": "set_timer", "arguments": "{}", "status": "completed"}
    talk.say("response.output_item.done", response_id="resp_1", item=call)
    p.tool_output("call_1", '{"ok":true}')
    p.interrupt()
    assert p.repair({"item_1": 100.0}) == [Truncate("item_1", 100, 0.2, 1), Delete("item_2", 1)]
    talk.done(status="cancelled")
    p.set_server_vad(True)
    p.begin_turn()
    talk.pump()
    p.append(bytes(4000), 0.0)
    talk.pump()
    p.clear_turn()
    talk.pump()
    # The next session is told what happened, calls with their outputs.
    p.disconnected()
    talk.open()
    talk.pump()
    kinds = {e["type"] for e in talk.sent}
    assert kinds == {
        "session.update",
        "conversation.item.create",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "input_audio_buffer.clear",
        "conversation.item.truncate",
        "conversation.item.delete",
        "response.create",
        "response.cancel",
    }
    items = {
        e["item"]["type"] + e["item"].get("role", "") for e in talk.sent if e["type"] == "conversation.item.create"
    }
    assert items == {"messageuser", "function_call", "function_call_output"}
    ids = [e["event_id"] for e in talk.sent]
    assert len(set(ids)) == len(ids)


def test_history_with_an_answer_is_replayed_as_valid_items() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.say("input_audio_buffer.committed", item_id="item_u")
    talk.created()
    talk.words("An answer.")
    talk.done()
    talk.protocol.disconnected()
    talk.open()
    told = [e["item"] for e in talk.pump() if e["type"] == "conversation.item.create"]
    assert [(i["role"], i["content"][0]["type"]) for i in told] == [
        ("user", "input_text"),
        ("assistant", "output_text"),
    ]


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    talk = Talk().open()
    talk.protocol.say(text)
    sent = talk.pump()
    assert sent[-1]["item"]["content"][0]["text"] == text
    talk.protocol.disconnected()
    talk.open()
    assert talk.pump()[-1]["type"] == "conversation.item.create"


@given(pcm=st.binary(min_size=2, max_size=4000))
def test_any_audio_survives(pcm: bytes) -> None:
    talk = Talk().open()
    talk.protocol.begin_turn()
    talk.protocol.append(pcm, 0.0)
    assert pcm_of(talk.pump()) == pcm


def test_a_typed_text_said_in_any_stage_is_told_exactly_once_a_session() -> None:
    for stage in Stage:
        talk = Talk()
        if stage is not Stage.CLOSED:
            talk.protocol.connected("m")
        if stage in (Stage.CONFIGURING, Stage.READY):
            talk.say("session.created")
        if stage is Stage.READY:
            talk.say("session.updated")
        talk.protocol.say("Hello.")
        talk.pump()
        if stage is not Stage.READY:
            talk.open()
        talk.pump()
        assert len([e for e in talk.sent if "Hello." in json.dumps(e)]) == 1, stage


def test_pictures_without_a_session_are_bounded() -> None:
    talk = Talk()
    for number in range(100):
        talk.protocol.show(f"data:image/png;base64,{number:04}")
    talk.open()
    parts = [e["item"]["content"][0] for e in talk.pump() if e["type"] == "conversation.item.create"]
    assert [part["image_url"][-4:] for part in parts if "image_url" in part] == ["0096", "0097", "0098", "0099"]


def test_an_output_without_its_call_is_not_sent() -> None:
    talk = Talk().open()
    talk.protocol.tool_output("call_unknown", "{}")
    assert talk.kinds() == []


def test_a_call_of_an_earlier_session_is_told_with_its_late_output() -> None:
    talk = Talk().open().turn()
    talk.pump()
    talk.created()
    call = {"type": "function_call", "call_id": "call_1", "name": "set_timer", "arguments": "{}"}
    talk.say("response.output_item.done", response_id="resp_1", item=call)
    talk.protocol.disconnected()
    talk.open()
    talk.pump()
    talk.protocol.tool_output("call_1", "done")
    assert [e["item"]["type"] for e in talk.pump()] == ["function_call", "function_call_output"]


def test_a_made_up_response_id_is_never_sent() -> None:
    """A server without response ids: the cancel names none, and so means the active one."""
    talk = Talk().open().turn()
    talk.pump()
    talk.say("response.created", response={})
    talk.protocol.interrupt()
    cancels = [e for e in talk.pump() if e["type"] == "response.cancel"]
    assert len(cancels) == 1
    assert "response_id" not in cancels[0]


def test_what_a_lost_session_had_still_to_send_is_told_to_the_next_once() -> None:
    talk = Talk().open()
    talk.protocol.show("data:image/png;base64,AAAA")
    talk.protocol.disconnected()
    assert talk.pump() == []
    talk.open()
    assert [e["item"]["content"][0]["image_url"][-4:] for e in talk.pump()] == ["AAAA"]
