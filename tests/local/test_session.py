"""The protocol of one session, over a real socket, with fake speech."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local.client import Bench, Client, in_session, on_bench

HALF_SECOND = bytes(24000)


def test_created_comes_first_with_the_defaults() -> None:
    async def story(client: Client) -> None:
        session = client.seen[0]["session"]
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert session["audio"]["output"]["voice"] == "alloy"
        assert session["model"] == "gpt-realtime-1.5"

    in_session(story)


def test_a_rejected_update_applies_nothing() -> None:
    async def story(client: Client) -> None:
        await client.send(
            "session.update", event_id="e1", session={"type": "realtime", "instructions": "new", "temperature": 1}
        )
        error = await client.error()
        assert (error["code"], error["param"], error["event_id"]) == (
            "unknown_parameter",
            "session.temperature",
            "e1",
        )
        updated = await client.configure(max_output_tokens=100)
        assert updated["session"]["instructions"] != "new"
        assert updated["session"]["max_output_tokens"] == 100

    in_session(story)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_json"),
        ("[1]", "invalid_type"),
        ("[" * 100_000, "invalid_json"),
        (b"binary", "invalid_message"),
        ("{}", "missing_required_parameter"),
        ('{"type": 5}', "invalid_value"),
        ('{"type": "dance"}', "invalid_value"),
        ('{"type": "response.cancel", "event_id": 5}', "invalid_type"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "*"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": "AAAA"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append", "audio": []}', "invalid_type"),
        ('{"type": "input_audio_buffer.append", "audio": "", "rate": 1}', "unknown_parameter"),
        ('{"type": "conversation.item.create", "item": 5}', "invalid_type"),
        ('{"type": "response.create", "response": {"speed": 1}}', "unknown_parameter"),
        ('{"type": "response.create", "response": {"metadata": {"k": 1}}}', "invalid_type"),
        ('{"type": "response.cancel"}', "response_cancel_not_active"),
        ('{"type": "input_audio_buffer.commit"}', "input_audio_buffer_commit_empty"),
    ],
)
def test_a_bad_message_gets_an_error_and_the_session_goes_on(message: str | bytes, code: str) -> None:
    async def story(client: Client) -> None:
        await client.socket.send(message)
        assert (await client.error())["code"] == code
        reply = await client.ask("What is one plus one?")
        assert reply["status"] == "completed"

    in_session(story)


def test_push_to_talk() -> None:
    async def story(bench: Bench, client: Client) -> None:
        await client.append(HALF_SECOND)
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert client.kinds(since="session.updated")[1:] == [
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "rate_limits.updated",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio_transcript.delta",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        assert done["output"][0]["content"][0]["transcript"] == "Four plus five is nine."
        assert bench.talker.spoken == ["Four plus five is nine."]
        assert len(client.audio()) == len("Four plus five is nine.") * 20 * 48
        assert bench.listener.sounds[0].length_ms == 500

    on_bench(story, heard=["What is four plus five?"])


def test_a_commit_needs_a_tenth_of_a_second() -> None:
    async def story(client: Client) -> None:
        await client.append(bytes(4798))
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["code"] == "input_audio_buffer_commit_empty"
        await client.append(bytes(2))
        await client.send("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.append(HALF_SECOND)
        await client.send("input_audio_buffer.clear")
        await client.until("input_audio_buffer.cleared")
        await client.send("input_audio_buffer.commit")
        assert (await client.error())["code"] == "input_audio_buffer_commit_empty"

    in_session(story)


def test_commits_name_the_item_before_them() -> None:
    async def story(client: Client) -> None:
        ids: list[str | None] = [None]
        for _ in range(3):
            await client.append(HALF_SECOND)
            await client.send("input_audio_buffer.commit")
            committed = await client.until("input_audio_buffer.committed")
            assert committed["previous_item_id"] == ids[-1]
            ids.append(committed["item_id"])

    in_session(story)


def test_transcription_only_where_it_is_asked_for() -> None:
    async def story(client: Client) -> None:
        await client.append(HALF_SECOND)
        await client.send("input_audio_buffer.commit")
        await client.configure(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
        await client.append(HALF_SECOND)
        await client.send("input_audio_buffer.commit")
        kind = "conversation.item.input_audio_transcription"
        completed = await client.until(f"{kind}.completed")
        assert completed["transcript"] == "second"
        assert completed["usage"]["input_tokens"] == 5
        assert sum(event["type"] == f"{kind}.completed" for event in client.seen) == 1
        await client.send("conversation.item.retrieve", item_id=completed["item_id"])
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert item["content"][0]["transcript"] == "second"
        assert len(item["content"][0]["audio"]) == len(HALF_SECOND) * 4 // 3

    in_session(story, heard=["first", "second"])


def test_items_are_placed_retrieved_and_deleted() -> None:
    async def story(client: Client) -> None:
        await client.write("b", id="item_b")
        for item_id, previous in (("item_a", "root"), ("item_c", "item_b"), ("item_d", None)):
            item = {"type": "message", "role": "system", "id": item_id, "content": [{"type": "input_text", "text": ""}]}
            await client.send("conversation.item.create", item=item, previous_item_id=previous)
            done = await client.until("conversation.item.done")
            assert done["previous_item_id"] == {"item_a": None, "item_c": "item_b", "item_d": "item_c"}[item_id]
        await client.send("conversation.item.delete", item_id="item_b")
        assert (await client.until("conversation.item.deleted"))["item_id"] == "item_b"
        for kind, verb in (("retrieve", "retrieve"), ("delete", "delete")):
            await client.send(f"conversation.item.{kind}", item_id="item_b")
            assert (await client.error())["code"] == f"item_{verb}_invalid_item_id"

    in_session(story)


PNG = "data:image/png;base64,iVBORw0KGgo="


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ({"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": ""}]}, "invalid_value"),
        ({"type": "message", "role": "user", "content": [{"type": "output_text", "text": ""}]}, "invalid_value"),
        ({"type": "message", "role": "user", "id": "i" * 33, "content": []}, "invalid_value"),
        ({"type": "message", "role": "user", "id": "taken", "content": []}, "item_create_duplicate_item_id"),
        ({"type": "message", "role": "user"}, "missing_required_parameter"),
        ({"type": "message", "content": []}, "missing_required_parameter"),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": "http://x/y.png"}]},
            "invalid_value",
        ),
        ({"type": "function_call_output", "call_id": "call_x", "output": ""}, "invalid_tool_call_id"),
        ({"type": "function_call", "call_id": "c" * 33, "name": "f", "arguments": "{}"}, "invalid_value"),
        ({"type": "mcp_call", "id": "x"}, "invalid_value"),
    ],
)
def test_items_that_may_not_be_created(item: dict[str, Any], code: str) -> None:
    async def story(client: Client) -> None:
        await client.write("here", id="taken")
        await client.send("conversation.item.create", event_id="mine", item=item)
        error = await client.error()
        assert (error["code"], error["event_id"]) == (code, "mine")

    in_session(story)


def test_history_can_be_replayed_as_text() -> None:
    async def story(client: Client) -> None:
        await client.write("What is one plus one?")
        answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "It is two."}]}
        call = {"type": "function_call", "call_id": "call_1", "name": "set_timer", "arguments": '{"seconds": 60}'}
        output = {"type": "function_call_output", "call_id": "call_1", "output": "ok"}
        for item in (call, output, answer):
            await client.send("conversation.item.create", item=item)
            await client.until("conversation.item.done")
        reply = await client.ask("Say that again.")
        assert reply["output"][0]["content"][0]["transcript"] == "It is two."

    in_session(story)


def test_a_picture_is_taken_and_not_seen() -> None:
    async def story(client: Client) -> None:
        item = {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": PNG}]}
        await client.send("conversation.item.create", item=item)
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert done["output"][0]["content"][0]["transcript"] == "I cannot see pictures."
        assert done["usage"]["input_token_details"]["image_tokens"] > 0

    in_session(story)


def test_truncation() -> None:
    async def story(client: Client) -> None:
        reply = await client.ask("What is seven times six?")
        item_id = reply["output"][0]["id"]
        length_ms = len(client.audio()) // 48

        async def truncate(audio_end_ms: int, content_index: int = 0, item: str = item_id) -> dict[str, Any]:
            where = {"item_id": item, "content_index": content_index, "audio_end_ms": audio_end_ms}
            await client.send("conversation.item.truncate", event_id="t", **where)
            return await client.until("conversation.item.truncated", "error")

        beyond = await truncate(length_ms + 1)
        assert f"already shorter than {length_ms + 1}ms" in beyond["error"]["message"]
        assert beyond["error"]["event_id"] == "t"
        assert (await truncate(0))["type"] == "error"
        assert (await truncate(100, content_index=1))["type"] == "error"
        assert (await truncate(100, item="item_x"))["error"]["code"] == "item_truncate_invalid_item_id"
        assert (await truncate(200))["audio_end_ms"] == 200
        assert (await truncate(300))["type"] == "error"
        await client.send("conversation.item.retrieve", item_id=item_id)
        item = (await client.until("conversation.item.retrieved"))["item"]
        assert "transcript" not in item["content"][0]
        again = await client.ask("Say that again.")
        assert again["output"][0]["content"][0]["transcript"] == "Seven"

    in_session(story)


def test_only_the_assistants_audio_is_truncated() -> None:
    async def story(client: Client) -> None:
        done = await client.write("Hello")
        await client.send("conversation.item.truncate", item_id=done["item"]["id"], content_index=0, audio_end_ms=10)
        assert (await client.error())["code"] == "invalid_value"

    in_session(story)


def test_audio_items_in_g711() -> None:
    async def story(bench: Bench, client: Client) -> None:
        await client.configure(
            audio={"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}
        )
        await client.append(bytes(800))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        await client.until("response.done")
        assert bench.listener.sounds[0].rate == 8000
        assert bench.listener.sounds[0].length_ms == 100
        assert len(client.audio()) == len("One plus one is two.") * 20 * 8

    on_bench(story, heard=["What is one plus one?"])


def test_mcp_servers_are_out_of_reach() -> None:
    async def story(client: Client) -> None:
        await client.configure(tools=[{"type": "mcp", "server_label": "x", "server_url": "https://example.org"}])
        await client.until("mcp_list_tools.failed")

    in_session(story)


def test_the_event_loop_survives_surrogates_and_large_numbers() -> None:
    async def story(client: Client) -> None:
        for text in ('"\\ud800"', "1e999", "9" * 400):
            await client.socket.send('{"type": "conversation.item.delete", "item_id": ' + text + "}")
            assert (await client.error())["code"] in {"invalid_json", "invalid_type", "item_delete_invalid_item_id"}
        assert json.dumps(await client.ask("repeat after me \u2028 \U0001f600"))

    in_session(story)
