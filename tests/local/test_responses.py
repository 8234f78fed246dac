"""Responses over a real socket: modalities, cancelling, tools, limits, out-of-band, usage."""

from __future__ import annotations

import json
from typing import Any

from tests.local.client import QUESTION, Bench, Client, in_session, on_bench

TIMER = {
    "type": "function",
    "name": "set_timer",
    "description": "Sets a timer",
    "parameters": {"type": "object", "properties": {"seconds": {"type": "integer"}, "label": {"type": "string"}}},
}


def said(response: dict[str, Any]) -> str:
    part = response["output"][0]["content"][0]
    return str(part.get("transcript") or part.get("text"))


def test_text_instead_of_audio() -> None:
    async def story(bench: Bench, client: Client) -> None:
        reply = await client.ask("What is one plus one?", output_modalities=["text"])
        assert reply["output"][0]["content"] == [{"type": "output_text", "text": "One plus one is two."}]
        assert "response.output_text.delta" in client.kinds()
        assert not client.audio()
        assert not bench.talker.spoken
        assert reply["usage"]["output_token_details"]["audio_tokens"] == 0

    on_bench(story)


def test_the_transcript_is_the_sum_of_its_deltas() -> None:
    async def story(bench: Bench, client: Client) -> None:
        reply = await client.ask("What can you do?")
        kind = "response.output_audio_transcript.delta"
        assert "".join(event["delta"] for event in client.seen if event["type"] == kind) == said(reply)
        assert len(bench.talker.spoken) == 2, "one synthesis a sentence"

    on_bench(story)


def test_a_second_response_is_refused_while_one_is_active() -> None:
    async def story(bench: Bench, client: Client) -> None:
        bench.talker.hold()
        await client.write("Hello")
        await client.send("response.create")
        created = await client.until("response.created")
        await client.send("response.create", event_id="second")
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("conversation_already_has_active_response", "second")
        bench.talker.release()
        assert (await client.until("response.done"))["response"]["id"] == created["response"]["id"]
        assert (await client.ask("Hello"))["status"] == "completed"

    on_bench(story)


def test_cancelling_while_it_thinks() -> None:
    async def story(bench: Bench, client: Client) -> None:
        bench.talker.hold()
        await client.write("Hello")
        await client.send("response.create")
        await client.until("response.content_part.added")
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        assert done["output"][0]["status"] == "incomplete"
        assert done["usage"]["input_tokens"] > 0
        assert client.kinds(since="response.output_audio.done") == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        await client.send("response.cancel")
        assert (await client.error())["code"] == "response_cancel_not_active"
        bench.talker.release()
        assert said(await client.ask("What is one plus one?")) == "One plus one is two."

    on_bench(story)


def test_cancelling_by_id() -> None:
    async def story(bench: Bench, client: Client) -> None:
        bench.talker.hold()
        await client.send("response.create")
        created = await client.until("response.created")
        await client.send("response.cancel", response_id="resp_other")
        assert (await client.error())["code"] == "response_cancel_not_active"
        await client.send("response.cancel", response_id=created["response"]["id"])
        assert (await client.until("response.done"))["response"]["status"] == "cancelled"

    on_bench(story)


def test_a_timer_is_called_and_confirmed() -> None:
    async def story(client: Client) -> None:
        await client.configure(tools=[TIMER])
        reply = await client.ask("Set a tea timer for three minutes.")
        call = reply["output"][0]
        assert (call["type"], call["name"]) == ("function_call", "set_timer")
        assert json.loads(call["arguments"]) == {"seconds": 180, "label": "tea"}
        assert client.kinds(since="response.output_item.added") == [
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"ok": true}'}
        await client.send("conversation.item.create", item=output)
        await client.send("response.create")
        done = (await client.until("response.done"))["response"]
        assert said(done) == "The tea timer is set for three minutes."

    in_session(story)


def test_without_a_timer_tool_it_says_so() -> None:
    async def story(client: Client) -> None:
        assert said(await client.ask("Set a timer for three minutes.")) == "This device offers no timers."
        # The tools of one response are enough.
        reply = await client.ask("Set a timer for three minutes.", tools=[TIMER])
        assert reply["output"][0]["type"] == "function_call"

    in_session(story)


def test_out_of_band_runs_beside_and_leaves_nothing() -> None:
    async def story(bench: Bench, client: Client) -> None:
        await client.ask("Hello")
        bench.talker.hold()
        await client.write("What is one plus one?")
        await client.send("response.create")
        await client.until("response.content_part.added")
        before = len(client.seen)
        await client.send(
            "response.create",
            response={
                "conversation": "none",
                "output_modalities": ["text"],
                "instructions": "Summarise the conversation.",
                "metadata": {"purpose": "summary"},
            },
        )
        done = (await client.until("response.done"))["response"]
        assert done["metadata"] == {"purpose": "summary"}
        assert done["conversation_id"] is None
        assert said(done).startswith("The user said: Hello; What is one plus one?.")
        assert not any(event["type"].startswith("conversation.item") for event in client.seen[before:])
        bench.talker.release()
        assert (await client.until("response.done"))["response"]["conversation_id"] is not None

    on_bench(story)


def test_a_response_with_its_own_input() -> None:
    async def story(client: Client) -> None:
        await client.write("What is one plus one?", id="first")
        await client.write("Hello", id="second")
        for given, expected in (
            ([{"type": "item_reference", "id": "first"}], "One plus one is two."),
            (
                [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "2 plus 2"}]}],
                "Two plus",
            ),
            ([], "Good afternoon."),
        ):
            await client.send("response.create", response={"conversation": "none", "input": given})
            assert said((await client.until("response.done"))["response"]).startswith(expected)
        await client.send("response.create", response={"input": [{"type": "item_reference", "id": "third"}]})
        assert (await client.error())["param"] == "response.input[0].id"

    in_session(story)


def test_the_token_limit_cuts_a_reply() -> None:
    async def story(client: Client) -> None:
        reply = await client.ask("What can you do?", max_output_tokens=60)
        assert reply["status"] == "incomplete"
        assert reply["status_details"]["reason"] == "max_output_tokens"
        assert 0 < reply["usage"]["output_tokens"] <= 60
        assert client.audio()

    in_session(story)


def test_the_bill() -> None:
    async def story(client: Client) -> None:
        await client.configure(instructions="i" * 40)
        await client.append(bytes(48 * 1000))
        await client.send("input_audio_buffer.commit")
        await client.send("response.create")
        first = (await client.until("response.done"))["response"]["usage"]
        audio_ms = len(client.audio()) // 48
        assert first["input_token_details"]["audio_tokens"] == 10
        assert first["input_token_details"]["text_tokens"] == 10
        assert first["input_token_details"]["cached_tokens"] == 0
        assert first["output_token_details"]["audio_tokens"] == -(-audio_ms // 50)
        second = (await client.ask("Hello"))["usage"]
        assert second["input_token_details"]["cached_tokens"] == first["input_tokens"]
        assert second["total_tokens"] == second["input_tokens"] + second["output_tokens"]
        await client.configure(instructions="other")
        third = (await client.ask("Hello"))["usage"]
        assert third["input_token_details"]["cached_tokens"] == 0, "new instructions bust the cache"

    in_session(story, heard=["What is one plus one?"])


def test_the_voice_is_fixed_after_audio() -> None:
    async def story(client: Client) -> None:
        voice = {"output": {"voice": "marin"}}
        assert (await client.configure(audio=voice))["session"]["audio"]["output"]["voice"] == "marin"
        await client.ask("Hello")
        refused = await client.configure(audio={"output": {"voice": "cedar"}})
        assert refused["error"]["code"] == "cannot_update_voice"

    in_session(story)


def test_the_question_is_small_enough_to_ship() -> None:
    assert QUESTION.stat().st_size < 150_000
