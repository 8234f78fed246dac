"""Every call ends in exactly one answer, whatever the model sends and whatever the tool does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.conversation.events import ToolCall, ToolFinished
from appliance.errors import ToolError
from appliance.tools.toolbox import STOPPED, Arguments, Tool, Toolbox
from tests.virtual_time import run

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}


async def echo(arguments: Arguments) -> Arguments:
    return {"got": arguments}


async def slow(arguments: Arguments) -> Arguments:
    await asyncio.sleep(arguments.get("s", 3600))
    return {"done": True}


async def stubborn(_: Arguments) -> Arguments:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        await asyncio.sleep(1)
    return {"done": "late"}


async def unable(_: Arguments) -> Arguments:
    raise ToolError("the oven is cold", hint="heat it")


async def broken(_: Arguments) -> Arguments:
    return {"never": 1 / 0}


async def unspeakable(_: Arguments) -> Arguments:
    return {"not JSON": object()}


TOOLS = [
    Tool(f.__name__, f"Does {f.__name__}.", SCHEMA, f) for f in (slow, echo, stubborn, unable, broken, unspeakable)
]
Story = Callable[[Toolbox, list[ToolFinished]], Awaitable[None]]


def played(story: Story) -> list[ToolFinished]:
    """Run a story with a toolbox in a task group; returns all answers."""

    async def told() -> list[ToolFinished]:
        answers: list[ToolFinished] = []
        async with asyncio.TaskGroup() as group:
            box = Toolbox(TOOLS, group.create_task, answers.append)
            await story(box, answers)
        await asyncio.sleep(0)
        return answers

    return run(told())


def answer_to(name: str, arguments: str = "{}") -> dict[str, Any]:
    async def story(box: Toolbox, _: list[ToolFinished]) -> None:
        box.run(ToolCall("c1", name, arguments))

    (answer,) = played(story)
    assert answer.call_id == "c1"
    decoded: dict[str, Any] = json.loads(answer.output)
    return decoded


def test_the_result_is_json() -> None:
    assert answer_to("echo", '{"a": [1, "ü"]}') == {"got": {"a": [1, "ü"]}}


@pytest.mark.parametrize("arguments", ["", "{}", " { } "])
def test_no_arguments(arguments: str) -> None:
    assert answer_to("echo", arguments) == {"got": {}}


@pytest.mark.parametrize(
    "arguments", ["{", "[]", "5", "null", '"x"', '{"a":' * 5000, "[" * 5000, '{"\udc80": 1}', "\x00"]
)
def test_arguments_that_are_no_object_are_told_to_the_model(arguments: str) -> None:
    assert "not a JSON object" in answer_to("echo", arguments)["error"]


@settings(max_examples=100, deadline=None)
@given(name=st.text(max_size=10) | st.sampled_from(["echo", "unable", "broken"]), arguments=st.text(max_size=20))
def test_any_call_is_answered_once_with_an_object(name: str, arguments: str) -> None:
    logging.getLogger("appliance.tools.toolbox").disabled = True
    try:
        assert isinstance(answer_to(name, arguments), dict)
    finally:
        logging.getLogger("appliance.tools.toolbox").disabled = False


def test_an_unknown_tool_is_named() -> None:
    assert answer_to("fly") == {"error": "there is no tool 'fly' on this device"}


def test_a_tool_that_cannot_says_why() -> None:
    assert answer_to("unable") == {"error": "the oven is cold; heat it"}


@pytest.mark.parametrize("name", ["broken", "unspeakable"])
def test_a_bug_in_a_tool_is_answered_and_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert answer_to(name) == {"error": "the tool failed inside this device"}
    assert [r.getMessage() for r in caplog.records] == [f"tool {name} failed"]
    assert caplog.records[0].exc_info


def test_stop_answers_what_runs_and_nothing_else() -> None:
    async def story(box: Toolbox, answers: list[ToolFinished]) -> None:
        box.run(ToolCall("quick", "slow", '{"s": 1}'))
        box.run(ToolCall("long", "slow", "{}"))
        await asyncio.sleep(2)
        assert [a.call_id for a in answers] == ["quick"]
        box.stop()
        box.stop()
        await asyncio.sleep(0.1)
        assert answers[1:] == [ToolFinished("long", STOPPED)]
        box.stop()

    assert len(played(story)) == 2
    assert "stopped" in json.loads(STOPPED)["error"]


def test_a_call_that_is_stopped_before_it_began_is_answered_too() -> None:
    async def story(box: Toolbox, _: list[ToolFinished]) -> None:
        box.run(ToolCall("c1", "echo", "{}"))
        box.stop()  # in the same turn of the loop: the task never gets to run

    assert played(story) == [ToolFinished("c1", STOPPED)]


def test_a_tool_that_will_not_stop_is_answered_once_when_it_ends() -> None:
    async def story(box: Toolbox, _: list[ToolFinished]) -> None:
        box.run(ToolCall("c1", "stubborn", "{}"))
        await asyncio.sleep(1)
        box.stop()

    assert played(story) == [ToolFinished("c1", '{"done":"late"}')]


def test_the_same_id_twice_is_answered_twice_and_both_can_be_stopped() -> None:
    async def story(box: Toolbox, _: list[ToolFinished]) -> None:
        box.run(ToolCall("c1", "slow", '{"s": 1}'))
        box.run(ToolCall("c1", "slow", "{}"))
        await asyncio.sleep(2)
        box.stop()

    assert played(story) == [ToolFinished("c1", '{"done":true}'), ToolFinished("c1", STOPPED)]


def test_thousands_of_calls_leave_nothing_behind() -> None:
    async def story(box: Toolbox, answers: list[ToolFinished]) -> None:
        for n in range(3000):
            box.run(ToolCall(f"c{n}", "echo", "{}"))
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        assert len(answers) == 3000
        assert not box._running

    played(story)


def test_declarations_are_sorted_and_complete() -> None:
    async def none(_: Arguments) -> Arguments:
        return {}

    tools = [Tool(name, f"About {name}.", SCHEMA, none) for name in ("b", "a", "c")]
    box = Toolbox(tools, lambda _: pytest.fail("nothing runs"), lambda _: None)
    assert [entry["name"] for entry in box.declarations()] == ["a", "b", "c"]
    assert box.declarations()[0] == {"type": "function", "name": "a", "description": "About a.", "parameters": SCHEMA}
