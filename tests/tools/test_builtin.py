"""Timers, volume, the time."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.realtime import RealtimeFunctionTool

from appliance.errors import ToolError
from appliance.tools.builtin import LONGEST_TIMER_S, MOST_TIMERS, Timers, time_tool, timer_tools, volume_tool
from tests.virtual_time import run

NOW = datetime(2026, 11, 27, 23, 5, tzinfo=timezone(timedelta(hours=1), "CET"))


class Kitchen:
    """Timers, and when they rang."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.begun = self.loop.time()
        self.rang: list[tuple[str, float]] = []
        self.timers = Timers(self.loop, self.ring)

    def ring(self, label: str) -> None:
        self.rang.append((label, self.loop.time() - self.begun))


def test_timers_ring_once_at_their_time_in_order() -> None:
    async def story() -> None:
        at = Kitchen()
        assert await at.timers.set({"seconds": 600, "label": "eggs"}) == {"ok": True, "label": "eggs", "seconds": 600}
        await at.timers.set({"seconds": LONGEST_TIMER_S, "label": "bread"})
        await at.timers.set({"seconds": 1.5})
        await asyncio.sleep(2 * LONGEST_TIMER_S)
        assert at.rang == [("timer", 1.5), ("eggs", 600.0), ("bread", 86_400.0)]
        assert await at.timers.list({}) == {"timers": []}

    run(story())


def test_the_list_tells_what_is_left() -> None:
    async def story() -> None:
        at = Kitchen()
        await at.timers.set({"seconds": 60, "label": "tea"})
        await asyncio.sleep(20)
        assert await at.timers.list({}) == {"timers": [{"label": "tea", "seconds_left": 40}]}

    run(story())


@pytest.mark.parametrize(
    ("asked", "gone", "left"),
    [
        ({"label": "TEA"}, 2, ["eggs"]),
        ({}, 3, []),
        ({"label": None}, 3, []),
        ({"label": "pie"}, 0, ["tea", "Tea", "eggs"]),
    ],
)
def test_cancelling_by_label_or_all(asked: dict[str, Any], gone: int, left: list[str]) -> None:
    async def story() -> None:
        at = Kitchen()
        for n, label in enumerate(("tea", "Tea", "eggs")):
            await at.timers.set({"seconds": 60 + n, "label": label})
        assert await at.timers.cancel(asked) == {"cancelled": gone}
        await asyncio.sleep(100)
        assert [label for label, _ in at.rang] == left

    run(story())


def test_a_long_label_can_be_cancelled_by_its_name() -> None:
    async def story() -> None:
        at = Kitchen()
        await at.timers.set({"seconds": 60, "label": "x" * 200})
        assert await at.timers.cancel({"label": "x" * 200}) == {"cancelled": 1}

    run(story())


@pytest.mark.parametrize(
    "seconds", [None, True, "60", 0, -5, 0.5, LONGEST_TIMER_S + 1, math.inf, math.nan, 10**400, [60]]
)
def test_a_senseless_duration_is_refused(seconds: object) -> None:
    async def story() -> None:
        at = Kitchen()
        with pytest.raises(ToolError, match="seconds must be"):
            await at.timers.set({"seconds": seconds})
        assert await at.timers.list({}) == {"timers": []}

    run(story())


def test_there_is_a_limit_and_room_again_after_it() -> None:
    async def story() -> None:
        at = Kitchen()
        for n in range(MOST_TIMERS):
            await at.timers.set({"seconds": 10 + n})
        with pytest.raises(ToolError, match="run already"):
            await at.timers.set({"seconds": 10})
        await asyncio.sleep(10)
        await at.timers.set({"seconds": 10})

    run(story())


def test_close_silences_all() -> None:
    async def story() -> None:
        at = Kitchen()
        await at.timers.set({"seconds": 10})
        at.timers.close()
        await asyncio.sleep(100)
        assert at.rang == []

    run(story())


async def _volume(arguments: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    heard: list[int] = []
    return await volume_tool(heard.append).run(arguments), heard


@given(st.integers(0, 100))
def test_volume_is_set_and_confirmed(percent: int) -> None:
    assert run(_volume({"percent": percent})) == ({"ok": True, "percent": percent}, [percent])


@pytest.mark.parametrize("percent", [None, True, -1, 101, 50.0, "50"])
def test_a_senseless_volume_is_refused(percent: object) -> None:
    with pytest.raises(ToolError, match="whole number from 0 to 100"):
        run(_volume({"percent": percent}))


def test_declarations_are_what_the_api_takes() -> None:
    async def story() -> None:
        tools = [*timer_tools(Kitchen().timers), volume_tool(lambda _: None), time_tool(lambda: NOW)]
        for tool in tools:
            RealtimeFunctionTool.model_validate(tool.declaration())
            required = tool.parameters.get("required", [])
            assert set(required) <= set(tool.parameters["properties"])

    run(story())


def test_the_time_is_that_of_the_place() -> None:
    async def story() -> None:
        told = await time_tool(lambda: NOW).run({})
        assert told == {"local_time": "2026-11-27 23:05", "weekday": "Friday", "time_zone": "CET (UTC+0100)"}

    run(story())


def test_a_clock_that_was_never_set_tells_no_time() -> None:
    async def story() -> None:
        with pytest.raises(ToolError, match="not set yet"):
            await time_tool(lambda: datetime(1970, 1, 1, tzinfo=UTC)).run({})

    run(story())
