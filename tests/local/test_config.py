from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeSessionCreateRequest

from appliance.local.config import check, defaults, is_served, merged
from appliance.local.schema import Refused

BASE = defaults("gpt-realtime-1.5", session_id="sess_1", expires_at=0)


def update(**session: Any) -> dict[str, Any]:
    return merged(BASE, check({"type": "realtime", **session}, model="gpt-realtime-1.5"))


@pytest.mark.parametrize(
    ("patch", "code", "param"),
    [
        ({}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "realtime", "temperature": 1}, "unknown_parameter", "session.temperature"),
        ({"type": "realtime", "voice": "marin"}, "unknown_parameter", "session.voice"),
        ({"type": "realtime", "modalities": ["audio"]}, "unknown_parameter", "session.modalities"),
        ({"type": "realtime", "audio": {"input": {"vad": 1}}}, "unknown_parameter", "session.audio.input.vad"),
        ({"type": "realtime", "audio": {"output": {"voice": "bob"}}}, "invalid_value", "session.audio.output.voice"),
        ({"type": "realtime", "audio": {"output": {"speed": 9}}}, "invalid_value", "session.audio.output.speed"),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "eagerness": "low"}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.eagerness",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 1}}}},
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        ({"type": "realtime", "output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"type": "realtime", "instructions": 7}, "invalid_type", "session.instructions"),
        ({"type": "realtime", "max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"type": "realtime", "max_output_tokens": True}, "invalid_type", "session.max_output_tokens"),
        ({"type": "realtime", "tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"type": "realtime", "model": "gpt-realtime"}, "invalid_value", "session.model"),
        ({"type": "realtime", "reasoning": {"effort": "low"}}, "unknown_parameter", "session.reasoning"),
        ([], "invalid_type", "session"),
    ],
)
def test_refusals_name_the_field(patch: Any, code: str, param: str) -> None:
    with pytest.raises(Refused) as refusal:
        check(patch, model="gpt-realtime-1.5")
    assert (refusal.value.code, refusal.value.param) == (code, param)


def test_reasoning_is_for_the_models_that_reason() -> None:
    checked = check({"type": "realtime", "reasoning": {"effort": "low"}}, model="gpt-realtime-2.1-mini")
    assert checked["reasoning"] == {"effort": "low"}
    with pytest.raises(Refused):
        check({"type": "realtime", "parallel_tool_calls": True}, model="gpt-realtime-2025-08-28")


def test_an_update_keeps_what_it_does_not_mention() -> None:
    before = copy.deepcopy(BASE)
    after = update(audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}})
    assert after["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 900
    assert after["audio"]["input"]["turn_detection"]["threshold"] == 0.5
    assert after["audio"]["output"] == before["audio"]["output"]
    assert before == BASE, "the old configuration must not change"


def test_null_empty_and_other_detectors() -> None:
    assert update(audio={"input": {"turn_detection": None}})["audio"]["input"]["turn_detection"] is None
    assert update(instructions="")["instructions"] == ""
    semantic = update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    assert semantic["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_the_voice_is_fixed_once_heard() -> None:
    patch = {"audio": {"output": {"voice": "marin"}}}
    assert merged(BASE, patch)["audio"]["output"]["voice"] == "marin"
    with pytest.raises(Refused) as refusal:
        merged(BASE, patch, voice_is_fixed=True)
    assert refusal.value.code == "cannot_update_voice"
    same = {"audio": {"output": {"voice": "alloy"}}, "instructions": "new"}
    assert merged(BASE, same, voice_is_fixed=True)["instructions"] == "new"


def test_models() -> None:
    assert all(map(is_served, ("gpt-realtime", "gpt-realtime-1.5", "gpt-realtime-2.1-mini", "gpt-realtime-2025-08-28")))
    assert not any(map(is_served, ("", "gpt-5", "gpt-realtime-whisper", "gpt-realtime-translate", "gpt-realtime/x")))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_FIELDS = st.sampled_from(["audio", "tools", "tool_choice", "include", "truncation", "tracing", "prompt", "model", "x"])


@given(st.dictionaries(_FIELDS, _JSON, max_size=3))
def test_any_json_is_accepted_whole_or_refused(session: dict[str, Any]) -> None:
    try:
        effective = update(**session)
    except Refused:
        return
    RealtimeSessionCreateRequest.model_validate(effective)
