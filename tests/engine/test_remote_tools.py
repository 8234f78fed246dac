"""Tools that the provider runs itself, through the whole control plane: one more response, and never a silence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from appliance.audio import facts as heard
from appliance.conversation.state import Led, Link, Phase, Settings
from tests.engine.rig import Rig, play

CALL: dict[str, Any] = {"type": "mcp_call", "server_label": "home", "name": "look", "arguments": "{}"}


def call(number: int = 1) -> dict[str, Any]:
    return {**CALL, "id": f"mcp_{number}"}


def calls(at: Rig, response: str = "r1", *numbers: int) -> None:
    """A response that only has the server call tools."""
    at.announce(response)
    at.finish(response, output=[call(number) for number in numbers or (1,)])


def ended(at: Rig, number: int = 1, how: str = "completed") -> None:
    at.serve(f"response.mcp_call.{how}", item_id=f"mcp_{number}", output_index=0)


def asked(at: Rig) -> int:
    return at.kinds().count("response.create")


@pytest.mark.parametrize("how", ["completed", "failed"])
def test_the_answer_is_asked_for_once_the_call_and_its_response_are_over(how: str) -> None:
    async def story(at: Rig) -> None:
        at.question()
        calls(at)
        assert (at.phase(), at.shown[-1]) == (Phase.THINKING, Led.THINKING)
        await asyncio.sleep(0.1)
        assert at.kinds() == [], "no tool of this device was run"
        ended(at, how=how)
        assert at.kinds() == ["response.create"]
        ended(at, how=how)
        assert at.kinds() == []
        at.reply("r2")
        at.engine.audio_fact(heard.Drained(2, {"i1": 2000.0}))
        assert at.phase() is Phase.IDLE
        assert at.engine.counters["cue_error"] == 0

    play(story)


def test_a_call_that_ends_before_its_response_is_asked_about_after_it() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.serve("response.output_item.done", response_id="r1", item=call())
        ended(at)
        assert asked(at) == 0, "one response at a time"
        at.finish("r1", output=[call()])
        assert asked(at) == 1

    play(story)


def test_the_last_of_several_calls_is_waited_for_those_of_this_device_too() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        ours = {"type": "function_call", "id": "f1", "call_id": "c1", "name": "wait", "arguments": "{}"}
        at.finish("r1", output=[call(1), {**ours, "status": "completed"}, call(2)])
        ended(at, 1)
        ended(at, 2)
        await asyncio.sleep(0.1)
        assert asked(at) == 0
        at.slow.set()
        await asyncio.sleep(0.1)
        assert at.kinds() == ["conversation.item.create", "response.create"]

    play(story)


def test_a_call_that_never_ends_is_owned_up_to() -> None:
    async def story(at: Rig) -> None:
        at.question()
        calls(at)
        await asyncio.sleep(Settings().think_s - 1)
        assert at.phase() is Phase.THINKING
        await asyncio.sleep(2)
        assert at.phase() is Phase.IDLE
        assert at.engine.counters["cue_error"] == 1
        at.question()
        ended(at)
        assert asked(at) == 0

    play(story)


def test_a_model_that_only_calls_the_servers_tools_is_asked_for_words_at_last() -> None:
    async def story(at: Rig) -> None:
        at.question()
        choices: list[object] = []
        for number in range(1, 12):
            calls(at, f"r{number}", number)
            ended(at, number)
            created = [frame for frame in at.frames() if frame["type"] == "response.create"]
            choices += [frame["response"].get("tool_choice") for frame in created]
        assert choices == [None] * 10 + ["none"]
        calls(at, "r12", 12)
        ended(at, 12)
        assert at.phase() is Phase.IDLE
        assert at.engine.counters["cue_error"] == 1

    play(story)


def test_who_interrupts_a_call_is_not_answered_twice() -> None:
    async def story(at: Rig) -> None:
        at.question()
        calls(at)
        at.press()
        assert at.phase() is Phase.LISTENING
        ended(at)
        turn = at.engine._turn
        at.speak(turn=turn)
        at.release()
        at.tail(turn)
        assert asked(at) == 1
        at.reply("r2")

    play(story)


def test_a_call_of_an_interrupted_response_is_not_waited_for() -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.press()
        at.finish("r1", output=[call()])
        ended(at)
        assert asked(at) == 0
        assert not at.engine.state.calls
        assert not at.protocol.remote_calls

    play(story)


@pytest.mark.parametrize("spoken", [False, True])
def test_a_call_whose_link_breaks_is_asked_about_again(spoken: bool) -> None:
    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        if spoken:
            at.audio("r1", "i1")
        at.finish("r1", output=[call()])
        at.link_lost()
        if spoken:
            at.engine.audio_fact(heard.Drained(1, {"i1": 1000.0}))
        assert at.phase() is Phase.THINKING
        assert at.engine.state.link is Link.OPENING
        at.link_up()
        assert asked(at) == 1
        ended(at)
        assert asked(at) == 0, "of the session before"
        at.reply("r2", "i2")

    play(story)


def test_leave_is_denied_and_the_model_goes_on() -> None:
    request = {**CALL, "type": "mcp_approval_request", "id": "leave_1"}

    async def story(at: Rig) -> None:
        at.question()
        at.announce("r1")
        at.serve("response.output_item.done", response_id="r1", item=request)
        (denial,) = at.frames()
        assert (denial["item"]["type"], denial["item"]["approve"]) == ("mcp_approval_response", False)
        at.finish("r1", output=[request])
        assert at.kinds() == ["response.create"]
        at.announce("r2")
        at.press()
        at.serve("response.output_item.done", response_id="r2", item={**request, "id": "leave_2"})
        denials = [frame["item"] for frame in at.frames() if frame["type"] == "conversation.item.create"]
        assert [denial["approval_request_id"] for denial in denials] == ["leave_2"], "also where nobody waits any more"
        assert asked(at) == 0

    play(story)
