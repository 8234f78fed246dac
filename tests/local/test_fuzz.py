"""Whatever a client sends, the session answers with declared events and lives on."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.local.config import defaults
from appliance.local.session import Session
from tests.fakes.speech import FakeListener, FakeTalker
from tests.local.client import NOW, checked

_SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(
    _SCALARS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
_IDS = st.sampled_from(["a", "b", "root", "item_x", "i" * 40])
_AUDIO = st.binary(max_size=9600).map(lambda data: base64.b64encode(data).decode())
_PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_text"), "text": st.text(max_size=20)}),
    st.fixed_dictionaries({"type": st.just("input_audio"), "audio": _AUDIO}),
    st.fixed_dictionaries({"type": st.just("output_text"), "text": st.text(max_size=20)}),
    _JSON,
)
_ITEM = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.sampled_from(["user", "system", "assistant", "x"]),
            "content": st.lists(_PART, max_size=2),
        },
        optional={"id": _IDS},
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "name": st.just("set_timer"), "arguments": st.text(max_size=9)},
        optional={"call_id": _IDS},
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": _IDS, "output": st.text(max_size=9)}),
    _JSON,
)
_AUDIO_CONFIG = st.fixed_dictionaries(
    {
        "input": st.fixed_dictionaries(
            {},
            optional={
                "format": st.sampled_from([{"type": "audio/pcmu"}, {"type": "audio/pcm"}, {"type": "audio/pcma"}]),
                "turn_detection": st.sampled_from([None, {"type": "server_vad"}, {"type": "semantic_vad"}]),
                "transcription": st.sampled_from([None, {"model": "gpt-transcribe"}]),
            },
        )
    }
)
_EVENT = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("session.update"),
            "session": st.fixed_dictionaries(
                {"type": st.just("realtime")}, optional={"audio": _AUDIO_CONFIG, "tools": _JSON, "tool_choice": _JSON}
            ),
        }
    ),
    st.fixed_dictionaries({"type": st.just("input_audio_buffer.append"), "audio": _AUDIO}),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["input_audio_buffer.commit", "input_audio_buffer.clear", "response.cancel"])}
    ),
    st.fixed_dictionaries(
        {"type": st.just("conversation.item.create"), "item": _ITEM}, optional={"previous_item_id": _IDS}
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["conversation.item.retrieve", "conversation.item.delete"]),
            "item_id": _IDS,
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("conversation.item.truncate"),
            "item_id": _IDS,
            "content_index": st.integers(0, 2),
            "audio_end_ms": st.integers(-1, 500),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("response.create")},
        optional={
            "response": st.fixed_dictionaries(
                {},
                optional={
                    "conversation": st.sampled_from(["auto", "none"]),
                    "input": st.lists(_ITEM, max_size=2),
                    "output_modalities": st.sampled_from([["text"], ["audio"], []]),
                    "instructions": st.text(max_size=20),
                    "max_output_tokens": st.integers(1, 50),
                },
            )
        },
    ),
    st.fixed_dictionaries({"type": st.text(max_size=5)}, optional={"event_id": _JSON}),
)
_MESSAGE = st.one_of(
    _EVENT.map(lambda event: msgspec.json.encode(event).decode()),
    _JSON.map(lambda value: msgspec.json.encode(value).decode()),
    st.text(max_size=30),
    st.binary(max_size=10),
)


async def _talk(messages: list[str | bytes]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []

    async def flush() -> None:
        await asyncio.sleep(0)

    async def source() -> AsyncIterator[str | bytes]:
        for message in messages:
            yield message
            await asyncio.sleep(0)
        for _ in range(200):
            await asyncio.sleep(0)

    session = Session(
        defaults("gpt-realtime-1.5", session_id="sess_1", expires_at=0),
        listener=FakeListener(["What is one plus one?"] * 9),
        talker=FakeTalker(),
        send=lambda data: events.append(msgspec.json.decode(data)),
        flush=flush,
        now=lambda: NOW,
    )
    await session.run(source())
    return events


@settings(max_examples=150, deadline=None)
@given(st.lists(_MESSAGE, max_size=12))
def test_no_message_breaks_a_session(messages: list[str | bytes]) -> None:
    events = asyncio.run(_talk([*messages, '{"type": "never.heard.of"}']))
    for event in events:
        checked(event)
    # The last message was answered, so the session was alive to its end.
    assert any(event["type"] == "error" and "never.heard.of" in event["error"]["message"] for event in events)
    created = [event["response"]["id"] for event in events if event["type"] == "response.created"]
    done = [event["response"]["id"] for event in events if event["type"] == "response.done"]
    assert len(done) == len(set(done)), "a response ends once"
    assert set(done) <= set(created)
