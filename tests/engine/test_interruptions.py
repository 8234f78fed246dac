"""The engine. Interruptions, and time."""

from __future__ import annotations

import asyncio

from appliance.audio import facts as heard
from appliance.conversation.state import Link, Phase
from tests.engine.rig import Rig, play

# --- interruptions ---


def test_interrupt_flush_repair() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        for _ in range(3):
            at.audio("r1", "i1")
        at.words("r1", "i1", "A long story")
        at.take()
        at.press()
        acts = at.take()
        assert acts[0] == ("flush",)
        assert acts.index(("flush",)) < acts.index(("gate", True, 2))
        assert at.kinds() == ["response.cancel", "input_audio_buffer.clear"]
        assert at.said == [("appliance", "A long story")]
        at.audio("r1", "i1")  # still on its way
        assert [told for told in at.take() if told[0] == "push"] == []
        at.engine.audio_fact(heard.Flushed({"i1": 1200.4}, at.loop.time() + 0.005))
        (cut,) = at.frames()
        assert (cut["type"], cut["item_id"], cut["audio_end_ms"]) == ("conversation.item.truncate", "i1", 1200)
        at.finish("r1", "cancelled")
        assert at.phase() is Phase.LISTENING
        (record,) = at.records
        assert record["barge_in_to_silence_ms"] == 5.0
        assert record["truncated_at_ms"] == 1200

    play(story)


def test_the_question_after_an_interruption_is_answered() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        at.press()
        at.engine.audio_fact(heard.Flushed({"i1": 500.0}, at.loop.time()))
        at.speak(turn=2)
        at.release()
        at.tail(2)
        assert "response.create" not in at.kinds(), "one response at a time"
        at.finish("r1", "cancelled")
        assert at.kinds() == ["response.create"]
        at.reply("r2", "i2")

    play(story)


def test_pressing_again_before_the_response_is_asked_for_does_not_lose_the_next_answer() -> None:
    """The request was withdrawn inside the protocol: the conversation must hear of that."""

    async def story(at: Rig) -> None:
        at.press()
        at.link_up()
        at.speak(turn=1)
        at.release()
        at.press()  # within the milliseconds before the tail, or while the socket is stalled
        at.tail(1)
        assert "response.create" not in at.kinds()
        at.speak(turn=2)
        at.release()
        at.tail(2)
        assert "response.create" in at.kinds()
        at.reply()

    play(story)


def test_two_responses_in_one_reply_end_once() -> None:
    """The model says something, calls a tool, and goes on when it has the answer."""

    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.audio("r1", "i1")
        call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "wait", "arguments": "{}"}
        at.finish("r1", output=[{**call, "status": "completed"}])
        at.take()
        await asyncio.sleep(1)
        at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING, "the tool still runs"
        at.slow.set()
        await asyncio.sleep(1)
        assert at.kinds() == ["conversation.item.create", "response.create"]
        at.announce("r2")
        at.audio("r2", "i2")
        at.finish("r2")
        at.engine.audio_fact(heard.Drained(1, {}))  # stale
        assert at.phase() is Phase.SPEAKING
        at.engine.audio_fact(heard.Drained(2, {"i2": 1000.0}))
        assert at.phase() is Phase.IDLE
        (record,) = at.records
        assert record["heard_ms"] == 2000.0

    play(story)


def test_an_interrupted_tool_is_stopped_and_its_call_answered() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        call = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "wait", "arguments": "{}"}
        at.finish("r1", output=[{**call, "status": "completed"}])
        at.press()  # before the tool's task ran at all
        await asyncio.sleep(0.1)
        outputs = [f["item"] for f in at.frames() if f["type"] == "conversation.item.create"]
        assert [(item["call_id"], "stopped" in item["output"]) for item in outputs] == [("c1", True)]
        assert at.phase() is Phase.LISTENING

    play(story)


def test_a_model_that_only_calls_tools_is_asked_for_words_at_last() -> None:
    async def story(at: Rig) -> None:
        at.question()
        asked = []
        for number in range(1, 12):
            at.take()
            at.announce(f"r{number}")
            call = {"type": "function_call", "id": f"f{number}", "call_id": f"c{number}", "name": "none"}
            at.finish(f"r{number}", output=[{**call, "arguments": "{}", "status": "completed"}])
            await asyncio.sleep(0.1)
            asked += [f["response"] for f in at.frames() if f["type"] == "response.create"]
        assert [response.get("tool_choice") for response in asked[-11:]] == [None] * 10 + ["none"]
        at.reply("r12")

    play(story)


# --- time ---


def test_nobody_speaks_and_nobody_answers_all_in_virtual_time() -> None:
    async def story(at: Rig) -> None:
        began = at.loop.time()
        at.press()
        at.release(100)  # a tap
        await asyncio.sleep(59.9)
        assert at.phase() is Phase.LISTENING
        await asyncio.sleep(0.2)
        assert at.phase() is Phase.IDLE
        assert ("cue", "too-short") in at.take()
        at.question()
        await asyncio.sleep(19.9)
        assert at.phase() is Phase.THINKING
        at.announce("r1")  # any progress starts the patience anew
        await asyncio.sleep(19.9)
        assert at.phase() is Phase.THINKING
        await asyncio.sleep(0.2)
        assert at.phase() is Phase.IDLE
        assert ("close",) in at.take()
        assert at.loop.time() - began > 100

    play(story)


def test_an_answer_that_is_being_written_is_waited_for() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        for _ in range(10):
            await asyncio.sleep(15)
            at.words("r1", "i1", "and ")
            assert at.phase() is Phase.THINKING
        await asyncio.sleep(20.1)  # it writes no more
        assert at.phase() is Phase.IDLE
        assert ("close",) in at.told

    play(story)


def test_an_idle_link_is_closed_after_a_while() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.reply()
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        at.take()
        await asyncio.sleep(239)
        assert at.take() == []
        await asyncio.sleep(2)
        assert at.take() == [("close",)]
        assert at.engine.state.link is Link.DOWN
        await asyncio.sleep(10_000)
        assert at.take() == []

    play(story)


def test_no_timer_outlives_the_engine() -> None:
    async def story(at: Rig) -> None:
        at.press()
        at.engine.close()
        await asyncio.sleep(1000)
        assert at.phase() is Phase.LISTENING

    play(story)
